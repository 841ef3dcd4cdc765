"""Locks come free again: L4 none outlives its TTL, L7 a free one can be taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers import Checker
from natsproof.checkers.exhibits import MOST, count, exhibit
from natsproof.checkers.locks import Chains
from natsproof.checkers.segments import first_at_least, pack, running_max
from natsproof.checkers.two_leaders import IN_FLIGHT, refusals_in_doubt
from natsproof.checkers.windows import due_after_faults
from natsproof.checkers.writes import CLOCK_ERROR_NS, created_ns, rows_of, ttl_ns_by_key
from natsproof.history import NEVER_NS, NONE, History, Kind, Outcome
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown

#: Error codes of a refused condition, as they stand in the texts of errors.
CONFLICTS = ("10071", IN_FLIGHT)

Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Lives:
    """When a value may have existed: per key, intervals by begin; `end` is NEVER_NS where nothing
    bounds it. `of` is the write's position in the log."""

    begin: Int
    end: Int
    group_starts: Int
    group_key: Int
    of: Int


def a_free_lock_can_be_taken(late_s: float, *, after_faults: bool = False) -> Checker:
    """L4 and L7: a create is refused as a conflict only if a value may have existed meanwhile.

    A value may exist from the call of its write until the next write of the key has returned, and no
    longer than the TTL plus `late_s` after its write has returned (after its server time, where that is
    known). An error 10164 is also explained by any other write of the key in flight at the same time, and the
    refusal of a create over a marker's revision by any that may have been stored then (a purge, say), and any
    refusal by a marker that was the last write and may have been over itself before the create was.
    With `after_faults`, `late_s` counts from the healing of a fault that was on when the lock was due.
    UNKNOWN if no acquisition succeeded after an expiry, a delete or a purge.
    """

    def checker(history: History) -> Verdict:
        history = refusals_in_doubt(history)
        chains = Chains.of(history, 0.05)
        rows = _conflicts(history)
        bad = rows[~_explained(history, chains, rows, late_s, after_faults)] if len(rows) else rows
        takes = np.flatnonzero(chains.takes)
        before = chains.kind[takes - 1]
        evidence = {
            "conflicts": len(rows),
            "without_a_holder": len(bad),
            "taken_after_delete": int(np.count_nonzero(before == Kind.DELETE)),
            "taken_after_purge": int(np.count_nonzero(before == Kind.PURGE)),
            "taken_after_marker": int(np.count_nonzero(before > Kind.PURGE)),
            "taken_after_expiry": len(chains.takes_after_an_expiry),
        }
        if len(bad):
            shown = [_shown(history, chains, row) for row in bad[:MOST].tolist()]
            return broken(f"{count(len(bad), 'create')} refused though the lock was free", shown, **evidence)
        if not np.count_nonzero(before >= 0):
            return unknown("no lock was taken again", (), **evidence)
        return holds(
            f"{count(int(np.count_nonzero(before >= 0)), 're-acquisition')}, none refused on a free lock",
            **evidence,
        )

    checker.__name__ = checker.__qualname__ = f"a_free_lock_can_be_taken(within {late_s:g} s)"
    checker.__doc__ = f"A lock can be taken at once after its release, and {late_s:g} s after its TTL."
    return checker


def no_lock_outlives_its_ttl(late_s: float, *, after_faults: bool = False) -> Checker:
    """L4: no read through the leader shows a lock later than its TTL plus `late_s` after its last write.

    `after_faults` as in a_free_lock_can_be_taken.
    UNKNOWN if no lock was left to expire: a read or a create after the TTL is the evidence.
    """

    def checker(history: History) -> Verdict:
        history = refusals_in_doubt(history)
        chains = Chains.of(history, 0.05)
        ops, log = history.operations, chains.log
        own = (log.seen_write >= 0) & np.isin(ops.kind[log.seen], (Kind.GET, Kind.FINAL_GET))
        reads, write = log.seen[own], log.seen_write[own]
        due = _due(history, chains, late_s, after_faults)[write]
        bad = reads[ops.call_ns[reads] > due]
        bad_write = write[ops.call_ns[reads] > due]
        expired = len(chains.takes_after_an_expiry)
        evidence = {"reads": len(reads), "late": len(bad), "taken_after_expiry": expired}
        if len(bad):
            shown = [
                exhibit(history, "still there after its TTL:", (int(log.row[w]), r))
                for w, r in zip(bad_write[:MOST].tolist(), bad[:MOST].tolist(), strict=True)
            ]
            return broken(f"{count(len(bad), 'read')} of a lock past its TTL", shown, **evidence)
        if not expired and not _was_seen_gone(history, chains):
            return unknown("no lock was seen to expire", (), **evidence)
        return holds("no lock was seen after its TTL", **evidence)

    checker.__name__ = checker.__qualname__ = f"no_lock_outlives_its_ttl(by {late_s:g} s)"
    checker.__doc__ = f"A lock that is not renewed is gone {late_s:g} s after its TTL."
    return checker


def _due(history: History, chains: Chains, late_s: float, after_faults: bool) -> Int:
    """The latest moment at which each write's value may exist for want of renewal; NEVER_NS if no TTL."""
    log = chains.log
    ttl_ns = ttl_ns_by_key(history)[log.key]
    stamp = created_ns(history, log)
    last = np.where(stamp >= 0, np.minimum(stamp + CLOCK_ERROR_NS, log.return_ns), log.return_ns)
    bounded = (ttl_ns > 0) & (last < NEVER_NS)
    due = np.where(bounded, np.where(bounded, last, 0) + ttl_ns, NEVER_NS)
    if after_faults:
        return due_after_faults(history, due, int(late_s * 1e9))
    return np.where(bounded, np.where(bounded, due, 0) + int(late_s * 1e9), NEVER_NS)


def _conflicts(history: History) -> NDArray[np.int32]:
    """Creates refused because the key was not absent."""
    ops = history.operations
    codes = history.errors_with(*CONFLICTS)
    wants_none = (ops.kind == Kind.CREATE) | ((ops.kind == Kind.UPDATE) & (ops.expected == 0))
    return rows_of(wants_none & (ops.outcome == Outcome.FAILED) & np.isin(ops.error, codes))


def _lives(chains: Chains, due: Int) -> _Lives:
    line, log = chains.line, chains.log
    own = np.flatnonzero((line.write >= 0) & (chains.kind < Kind.DELETE))
    following = np.full(len(line.write), NEVER_NS, dtype=np.int64)
    last = np.append(line.starts[1:], len(line.write)) - 1
    has_next = np.ones(len(line.write), dtype=np.bool_)
    has_next[last] = False
    at = np.flatnonzero(has_next)
    following[at] = log.return_ns[line.write[at + 1]]
    position = line.write[own].astype(np.int64)
    end = np.minimum(following[own], due[position])
    floating = np.flatnonzero(log.floating() & (log.kind <= Kind.UPDATE))
    position = np.append(position, floating)
    end = np.append(end, np.full(len(floating), NEVER_NS))
    begin, key = log.call_ns[position], log.key[position]
    order = np.argsort(pack(key, begin - int(begin.min() if len(begin) else 0)), kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1]))) if len(key) else np.array([], int)
    return _Lives(begin[order], end[order], starts, key[starts].astype(np.int64), position[order])


def _explained(
    history: History, chains: Chains, rows: NDArray[np.int32], late_s: float, after_faults: bool
) -> NDArray[np.bool_]:
    ops = history.operations
    due = _due(history, chains, late_s, after_faults)
    lives = _lives(chains, due)
    out = np.zeros(len(rows), dtype=np.bool_)
    if len(lives.begin):
        longest = running_max(lives.end, lives.group_starts)
        ends = np.append(lives.group_starts[1:], len(lives.begin))
        group = np.searchsorted(lives.group_key, ops.key[rows])
        known = (group < len(lives.group_key)) & (
            lives.group_key[np.minimum(group, len(lives.group_key) - 1)] == ops.key[rows]
        )
        group = np.where(known, group, 0)
        begin, end = lives.group_starts[group], ends[group]
        # The last interval that began at or before the refusal.
        at = first_at_least(lives.begin, begin, end, ops.return_ns[rows] + 1) - 1
        inside = known & (at >= begin)
        out[inside] = longest[at[inside]] >= ops.call_ns[rows[inside]]
    in_flight = history.errors_with(IN_FLIGHT)
    over_a_marker = ops.expected[rows] > 0
    for index in np.flatnonzero(~out & (np.isin(ops.error[rows], in_flight) | over_a_marker)).tolist():
        row = int(rows[index])
        others = (ops.key == ops.key[row]) & (ops.kind <= Kind.PURGE)
        if over_a_marker[index]:
            others &= ops.outcome != Outcome.FAILED
        others[row] = False
        overlap = others & (ops.call_ns <= ops.return_ns[row]) & (ops.return_ns >= ops.call_ns[row])
        out[index] = bool(overlap.any())
    for index in np.flatnonzero(~out).tolist():
        out[index] = _by_a_passing_marker(history, chains, int(rows[index]), due)
    return out


def _by_a_passing_marker(history: History, chains: Chains, row: int, due: Int) -> bool:
    """A create takes two steps over a marker; one that goes between them has refused it all the same."""
    log, ops = chains.log, history.operations
    last = _last_before(history, chains, row)
    if last == NONE:
        return False
    ttl_ns = int(ttl_ns_by_key(history)[log.key[last]])
    early = int(log.call_ns[last]) + ttl_ns - CLOCK_ERROR_NS <= ops.return_ns[row]
    return bool(log.kind[last] >= Kind.DELETE and ttl_ns and early and due[last] >= ops.call_ns[row])


def _was_seen_gone(history: History, chains: Chains) -> bool:
    """Whether a read found nothing where a value had stood that nobody took back."""
    ops = history.operations
    absent = np.isin(ops.kind, (Kind.GET, Kind.FINAL_GET)) & (ops.outcome == Outcome.OK) & (ops.value == -1)
    before = (_last_before(history, chains, row) for row in rows_of(absent).tolist())
    return any(last != NONE and chains.log.kind[last] <= Kind.UPDATE for last in before)


def _last_before(history: History, chains: Chains, row: int) -> int:
    """The position in the log of the key's last write that had returned by then; NONE if there was none."""
    log, ops = chains.log, history.operations
    earlier = np.flatnonzero(
        (log.key == ops.key[row]) & log.positioned() & (log.return_ns <= ops.call_ns[row])
    )
    return int(earlier[np.argmax(log.revision[earlier])]) if len(earlier) else NONE


def _shown(history: History, chains: Chains, row: int) -> Exhibit:
    """The refused create, and the last write of its key that had returned before it."""
    last = _last_before(history, chains, row)
    first = NONE if last == NONE else int(chains.log.row[last])
    rows = [row] if first == NONE else [first, row]
    return exhibit(history, "refused as taken, though nobody can have held it:", rows)
