"""Nothing expires early, nothing lives longer than its TTL plus a bound, on any replica, for any watcher."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers import Checker
from natsproof.checkers.exhibits import MOST, count, exhibit
from natsproof.checkers.segments import pack, running_max
from natsproof.checkers.two_leaders import two_may_lead
from natsproof.checkers.windows import caught_up_ns, due_after_faults
from natsproof.checkers.writes import WriteLog, created_ns, ttl_ns_by_key, write_log
from natsproof.history import ABSENT, NEVER_NS, NONE, History, Kind, Outcome
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown

Int = NDArray[np.int64]
ABSENT_READS = (Kind.GET, Kind.FINAL_GET)
PRESENT_READS = (Kind.GET, Kind.DIRECT_GET, Kind.FINAL_GET, Kind.REPLICA_ROW)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Over the write log: the earliest and latest moment a write's value was created (NEVER_NS: no
    bound), the TTL of its key, and whether it is a put that carries it."""

    log: WriteLog
    first: Int
    last: Int
    ttl_ns: Int
    is_put: NDArray[np.bool_]

    @classmethod
    def of(cls, history: History, clock_error_ns: int) -> Lifetimes:
        log = write_log(history)
        stamp = created_ns(history, log)
        told = stamp >= 0
        first = np.where(told, np.maximum(log.call_ns, stamp - clock_error_ns), log.call_ns)
        last = np.where(told, np.minimum(log.return_ns, stamp + clock_error_ns), log.return_ns)
        return cls(log, first, last, ttl_ns_by_key(history)[log.key], log.kind <= Kind.UPDATE)


def values_expire_on_time(
    late_s: float, *, early_s: float = 0.0, clock_error_s: float = 0.05, after_faults: bool = False
) -> Checker:
    """In buckets with a TTL no value is gone before `ttl_s - early_s` and none is there after
    `ttl_s + late_s`, counted from the server's own timestamp of its last write.

    Server timestamps are brought onto the history's clock with an error of `clock_error_s`; without one
    the write's call (for "early") and return (for "late") bound the moment. Seen through the leader, in
    direct gets and in each replica's own store; watchers must hear of an expiry within the same bounds,
    where the bucket tells them. Keys deleted by clients, or perhaps deleted, say nothing about early.
    With `after_faults`, `late_s` counts from the healing of a fault that was on when a value was due; where
    the bucket leaves markers, which its leader alone does, from when its replicas were level again.
    Where two may lead, an absence is early only if no later read through the leader shows the value.
    UNKNOWN unless some value was seen both alive and, when its time was over, gone.
    """

    def checker(history: History) -> Verdict:
        lives = Lifetimes.of(history, int(clock_error_s * 1e9))
        if not (lives.ttl_ns > 0).any():
            return unknown('no key with a TTL was written (meta["buckets"][bucket]["ttl_s"])')
        early = list(_early(history, lives, int(early_s * 1e9)))
        late = list(_late(history, lives, int(late_s * 1e9), after_faults))
        events = list(_events(history, lives, int(early_s * 1e9), int(late_s * 1e9), after_faults))
        evidence = _evidence(history, lives, early, late, events, int(late_s * 1e9))
        wrong = [*early, *late, *events]
        if wrong:
            reasons = []
            for noun, found in (("gone early", early), ("there too late", late), ("told wrongly", events)):
                if found:
                    reasons.append(f"{count(len(found), 'value')} {noun}")
            shown = [one for found in (early, late, events) for one in found[:MOST]]
            return broken("; ".join(reasons), [_shown(history, *one) for one in shown], **evidence)
        if not evidence["expired"]:
            return unknown("no value was seen gone after its time", (), **evidence)
        if not evidence["seen_alive"]:
            return unknown("no value was seen alive before its time", (), **evidence)
        return holds(
            f"{count(int(evidence['expired']), 'value')} gone when their time was over, none before "
            f"(at most {late_s:g} s late)",
            **evidence,
        )

    checker.__name__ = checker.__qualname__ = f"values_expire_on_time(by {late_s:g} s)"
    checker.__doc__ = f"No value expires early, none outlives its TTL by more than {late_s:g} s."
    return checker


Finding = tuple[str, tuple[int, ...]]


def _absent_reads(history: History) -> NDArray[np.int64]:
    ops = history.operations
    none = (ops.outcome == Outcome.OK) & (ops.value == ABSENT)
    return np.flatnonzero(none & np.isin(ops.kind, [int(k) for k in ABSENT_READS]))


def _last_before(lives: Lifetimes, key: Int, moment: Int) -> NDArray[np.int64]:
    """For each (key, moment) the happened write of the highest revision among those that had returned
    by then, NONE if none had."""
    log = lives.log
    own = np.flatnonzero(log.positioned() & (log.return_ns < NEVER_NS))
    if not len(own) or not len(key):
        return np.full(len(key), NONE, dtype=np.int64)
    low = int(min(log.return_ns[own].min(), moment.min()))
    packed = pack(np.append(log.key[own], key), np.append(log.return_ns[own], moment) - low)
    order = np.argsort(packed[: len(own)], kind="stable")
    own, ours = own[order], packed[: len(own)][order]
    keys = log.key[own]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    best = _highest_so_far(log.revision[own], starts)
    at = np.searchsorted(ours, packed[len(order) :], side="right") - 1
    same = (at >= 0) & (keys[np.maximum(at, 0)] == key)
    return np.where(same, own[best[np.maximum(at, 0)]], NONE)


def _highest_so_far(revision: Int, starts: Int) -> Int:
    """In each segment, the position of the highest revision up to each place."""
    highest = running_max(revision, starts)
    at = np.where(highest == revision, np.arange(len(revision)), -1)
    out: Int = np.maximum.accumulate(at)
    return out


def _early(history: History, lives: Lifetimes, early_ns: int) -> Iterator[Finding]:
    """Absent before the last write's time was over, and nobody deleted it."""
    ops, log = history.operations, lives.log
    rows = _absent_reads(history)
    last = _last_before(lives, ops.key[rows].astype(np.int64), ops.call_ns[rows])
    known = last != NONE
    last = np.where(known, last, 0)
    bad = known & lives.is_put[last] & (lives.ttl_ns[last] > 0)
    bad &= ops.return_ns[rows] < lives.first[last] + lives.ttl_ns[last] - early_ns
    deletes = log.kind >= Kind.DELETE
    for i in np.flatnonzero(bad).tolist():
        # Only a deletion by a client (done or in doubt) that began before the read ended explains it.
        mine = deletes & (log.key == ops.key[rows[i]]) & (log.call_ns < ops.return_ns[rows[i]])
        mine &= log.floating() | (log.happened & (log.revision > log.revision[last[i]]))
        mine &= log.row >= 0
        if not mine.any() and not _shown_again(history, log, int(last[i]), int(rows[i])):
            yield "gone before its time:", (int(log.row[last[i]]), int(rows[i]))


def _shown_again(history: History, log: WriteLog, write: int, row: int) -> bool:
    """A deposed leader answered that read: what is really gone nobody shows again."""
    ops = history.operations
    if not two_may_lead(history, int(ops.call_ns[row])):
        return False
    later = (log.seen_write == write) & np.isin(ops.kind[log.seen], (Kind.GET, Kind.FINAL_GET))
    return bool((ops.call_ns[log.seen[later]] > ops.return_ns[row]).any())


def _late(history: History, lives: Lifetimes, late_ns: int, after_faults: bool) -> Iterator[Finding]:
    """A value shown after its latest time."""
    ops, log = history.operations, lives.log
    shown = (log.seen_write >= 0) & np.isin(ops.kind[log.seen], [int(k) for k in PRESENT_READS])
    rows, write = log.seen[shown], log.seen_write[shown]
    due = latest(history, lives, write, late_ns, after_faults, _with_markers(history))
    for i in np.flatnonzero(ops.call_ns[rows] > due).tolist():
        server = int(ops.server[rows[i]])
        names = list(history.meta.get("servers", []))
        where = f" on {names[server]}" if 0 <= server < len(names) else ""
        yield f"still there{where} after its time:", (int(log.row[write[i]]), int(rows[i]))


def latest(
    history: History,
    lives: Lifetimes,
    write: NDArray[Any],
    late_ns: int,
    after_faults: bool,
    level: Iterable[str] = (),
) -> Int:
    """The last moment at which each write's value may be there; NEVER_NS where nothing bounds it. In the
    buckets `level` a fault is over when their replicas are level again, not when it is healed."""
    bounded = (lives.ttl_ns[write] > 0) & (lives.last[write] < NEVER_NS)
    due = np.where(bounded, np.where(bounded, lives.last[write], 0) + lives.ttl_ns[write], NEVER_NS)
    if not after_faults:
        return np.where(bounded, np.where(bounded, due, 0) + late_ns, NEVER_NS)
    out = due_after_faults(history, due, late_ns)
    for bucket in level:
        own = np.isin(lives.log.key[write], history.keys_of(bucket))
        out[own] = due_after_faults(history, due[own], late_ns, partial(caught_up_ns, history, bucket=bucket))
    return out


def _with_markers(history: History) -> list[str]:
    """Buckets where the leader alone removes what is over, so that all wait for one."""
    twins = [o.data for o in history.observed("twin")]
    return [str(d["bucket"]) for d in twins if d["config"].get("subject_delete_marker_ttl")]


def _events(
    history: History, lives: Lifetimes, early_ns: int, late_ns: int, after_faults: bool
) -> Iterator[Finding]:
    """Expiry events: about a value that was written, neither early nor late."""
    ops, log = history.operations, lives.log
    rows = np.flatnonzero((ops.kind == Kind.WATCH_EXPIRED) & (ops.revision >= 0))
    puts = np.flatnonzero(log.positioned() & lives.is_put)
    if not len(rows):
        return
    if not len(puts):
        yield "expiry of a value that nobody wrote:", (int(rows[0]),)
        return
    packed = pack(np.append(log.key[puts], ops.key[rows]), np.append(log.revision[puts], ops.revision[rows]))
    order = np.argsort(packed[: len(puts)], kind="stable")
    at = np.searchsorted(packed[: len(puts)][order], packed[len(puts) :]) - 1
    write = puts[order[np.maximum(at, 0)]]
    mine = (at >= 0) & (log.key[write] == ops.key[rows])
    for i in np.flatnonzero(~mine).tolist():
        yield "expiry of a value that nobody wrote:", (int(rows[i]),)
    own, rows = write[mine], rows[mine]
    due = lives.first[own] + lives.ttl_ns[own] - early_ns
    for i in np.flatnonzero((lives.ttl_ns[own] > 0) & (ops.return_ns[rows] < due)).tolist():
        yield "told to have expired before its time:", (int(log.row[own[i]]), int(rows[i]))
    # Late is judged on the server's own time of the marker: delivery may have waited for a resume.
    offset = int(history.meta.get("began_ns", 0)) - int(history.meta.get("began_wall_ns", 0))
    stamp = np.where(ops.created_ns[rows] > 0, ops.created_ns[rows] + offset, NONE)
    due = latest(history, lives, own, late_ns, after_faults, _with_markers(history))
    for i in np.flatnonzero((stamp >= 0) & (stamp > due)).tolist():
        yield "told to have expired long after its time:", (int(log.row[own[i]]), int(rows[i]))


def _evidence(
    history: History,
    lives: Lifetimes,
    early: list[Finding],
    late: list[Finding],
    events: list[Finding],
    late_ns: int,
) -> dict[str, int | float | str]:
    ops, log = history.operations, lives.log
    rows = _absent_reads(history)
    last = _last_before(lives, ops.key[rows].astype(np.int64), ops.call_ns[rows])
    known = last != NONE
    last = np.where(known, last, 0)
    gone = known & lives.is_put[last] & (lives.ttl_ns[last] > 0)
    gone &= ops.return_ns[rows] >= lives.first[last] + lives.ttl_ns[last]
    expired = len(np.unique(ops.key[rows[gone]]))
    # How much of its life the value that was seen longest had behind it: closeness of the evidence.
    shown = (log.seen_write >= 0) & (lives.ttl_ns[log.seen_write] > 0)
    shown &= np.isin(ops.kind[log.seen], [int(k) for k in PRESENT_READS])
    age = ops.call_ns[log.seen[shown]] - lives.first[log.seen_write[shown]]
    share = age / lives.ttl_ns[log.seen_write[shown]]
    after = (ops.return_ns[rows[gone]] - lives.first[last[gone]] - lives.ttl_ns[last[gone]]) / 1e9
    return {
        "expired": expired,
        "seen_alive": int(np.count_nonzero(shown)),
        "oldest_alive_of_ttl": round(float(share.max()), 4) if len(share) else 0.0,
        "first_seen_gone_s": round(float(after.min()), 4) if len(after) else -1.0,
        "expiry_events": int(np.count_nonzero(ops.kind == Kind.WATCH_EXPIRED)),
        "early": len(early),
        "late": len(late),
        "wrong_events": len(events),
        "late_bound_s": late_ns / 1e9,
    }


def _shown(history: History, text: str, rows: tuple[int, ...]) -> Exhibit:
    return exhibit(history, text, rows)
