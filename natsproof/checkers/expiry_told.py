"""What watchers are told of expiries: once where the bucket leaves markers, nothing where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers import Checker
from natsproof.checkers.exhibits import MOST, count, exhibit
from natsproof.checkers.expiry import Lifetimes, latest
from natsproof.checkers.windows import caught_up_ns, windows
from natsproof.checkers.writes import CLOCK_ERROR_NS
from natsproof.history import History, Kind
from natsproof.verdict import Verdict, broken, holds, unknown

Finding = tuple[str, tuple[int, ...]]


def watchers_are_told_of_expiries(late_s: float, *, after_faults: bool = False) -> Checker:
    """A watcher that saw a value learns of its expiry exactly once if its bucket leaves markers, and is told
    nothing if it does not; no watcher is shown a value after its time.

    Watchers are those of the observations `watched`: {"client", "bucket", "marker_s", "until_ns"}. Owed are
    the expiries of the last value of each key that were due, bound included, before `until_ns`; but a watcher
    that began anew more than `marker_s` (how long a marker stays) after a value was due may have been away
    all that time, and one that began anew after a fault may be on a server that was, until it has caught up
    (docs/findings.md, 38). When an event may come is judged by `values_expire_on_time`. UNKNOWN without an
    expiry that a watcher lived through.
    """
    late_ns = int(late_s * 1e9)

    def checker(history: History) -> Verdict:
        lives = Lifetimes.of(history, CLOCK_ERROR_NS)
        watched = [dict(o.data) for o in history.observed("watched")]
        if not watched:
            return unknown("no watcher was started")
        wrong: list[Finding] = list(_shown_late(history, lives, late_ns, after_faults))
        owed = told = silent = 0
        for one in watched:
            puts = _owed(history, lives, one, late_ns, after_faults)
            events = _events_by_key(history, int(one["client"]))
            owed += len(puts)
            told += len(puts) if one["marker_s"] else 0
            silent += 0 if one["marker_s"] else len(puts)
            wrong += _wrongly_told(history, lives, puts, events, bool(one["marker_s"]))
        evidence: dict[str, int | float | str] = {
            "watchers": len(watched),
            "expiries_lived_through": owed,
            "wrong": len(wrong),
        }
        if wrong:
            shown = [exhibit(history, text, rows) for text, rows in wrong[:MOST]]
            return broken(f"{count(len(wrong), 'expiry', 'expiries')} told wrongly", shown, **evidence)
        if not owed:
            return unknown("no watcher saw a value and lived to see it expire", (), **evidence)
        return holds(
            f"{count(owed, 'expiry', 'expiries')} as they should be: {told} told once, {silent} in silence",
            **evidence,
        )

    checker.__name__ = checker.__qualname__ = f"watchers_are_told_of_expiries(by {late_s:g} s)"
    return checker


def _owed(
    history: History, lives: Lifetimes, one: Mapping[str, Any], late_ns: int, after_faults: bool
) -> NDArray[np.intp]:
    """Positions in the write log: the last put of each key of the bucket, shown to this watcher while it
    lived, its time over before the watch ended."""
    log, ops = lives.log, history.operations
    of_client = ops.client[log.seen] == int(one["client"])
    shown = log.seen_write[of_client & (ops.kind[log.seen] == Kind.WATCH_PUT) & (log.seen_write >= 0)]
    mine = np.unique(shown)
    mine = mine[log.positioned()[mine] & lives.is_put[mine] & (lives.ttl_ns[mine] > 0)]
    last: dict[int, int] = {}
    for write in np.flatnonzero(log.positioned() & (log.row >= 0)).tolist():
        key = int(log.key[write])
        if key not in last or log.revision[write] > log.revision[last[key]]:
            last[key] = write
    mine = mine[[last[int(log.key[w])] == w for w in mine.tolist()]] if len(mine) else mine
    due = latest(history, lives, mine, late_ns, after_faults)
    owed = due <= int(one["until_ns"])
    if one["marker_s"]:
        gone = lives.first[mine] + lives.ttl_ns[mine] + int(float(one["marker_s"]) * 1e9)
        owed &= gone > _there_since_ns(history, one)
    out: NDArray[np.intp] = mine[owed]
    return out


def _there_since_ns(history: History, one: Mapping[str, Any]) -> int:
    """From when on this watcher cannot have missed what its bucket holds."""
    ops = history.operations
    began = (ops.kind == Kind.WATCH_START) & (ops.client == int(one["client"]))
    since = int(ops.call_ns[began].max(initial=0))
    over = [
        caught_up_ns(history, window, str(one["bucket"]))
        for window in windows(history)
        if window.began_ns <= since
    ]
    return max([since, *over])


def _events_by_key(history: History, client: int) -> dict[int, list[int]]:
    """Rows of what this watcher was told of ends (expiry, deletion), by key."""
    ops = history.operations
    ends = (ops.kind > Kind.WATCH_PUT) & (ops.kind <= Kind.WATCH_EXPIRED) & (ops.client == client)
    found: dict[int, list[int]] = {}
    for row in np.flatnonzero(ends).tolist():
        found.setdefault(int(ops.key[row]), []).append(row)
    return found


def _wrongly_told(
    history: History,
    lives: Lifetimes,
    puts: NDArray[np.intp],
    events: Mapping[int, list[int]],
    markers: bool,
) -> Iterator[Finding]:
    """A marker is of what was there below its revision: an earlier one is no end of the last put."""
    revision = history.operations.revision
    for put in puts.tolist():
        row, told = int(lives.log.row[put]), events.get(int(lives.log.key[put]), [])
        if markers:
            told = [event for event in told if revision[event] > lives.log.revision[put]]
        if markers and not told:
            yield "its expiry was never told:", (row,)
        elif markers and len(told) > 1:
            yield "its expiry was told twice:", (row, *told)
        elif not markers and told:
            yield "its end was told, and the bucket leaves no markers:", (row, *told)


def _shown_late(history: History, lives: Lifetimes, late_ns: int, after_faults: bool) -> Iterator[Finding]:
    """Values delivered to watchers after their time. A server that was away tells its watchers what it learns
    in the order in which it was written, values that are over by now and then their ends: while it catches up
    that is not late (docs/findings.md, 32)."""
    log, ops = lives.log, history.operations
    shown = (log.seen_write >= 0) & (ops.kind[log.seen] == Kind.WATCH_PUT)
    rows, write = log.seen[shown], log.seen_write[shown]
    due = latest(history, lives, write, late_ns, after_faults, {key.bucket for key in history.keys})
    for i in np.flatnonzero(ops.call_ns[rows] > due).tolist():
        yield "shown to a watcher after its time:", (int(log.row[write[i]]), int(rows[i]))
