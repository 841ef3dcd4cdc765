"""Direct gets may be stale: how often, by how much. They never show what was not yet written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers import Checker
from natsproof.checkers.exhibits import MOST, count, exhibit
from natsproof.checkers.segments import pack, running_max, running_min_from_end, shifted
from natsproof.checkers.writes import WriteLog, foreign, write_log
from natsproof.history import NEVER_NS, NONE, History, Kind
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown

Int = NDArray[np.int64]


def direct_gets_are_bounded(
    *,
    backward_most: int | None = None,
    own_write_missed_most: int | None = None,
    staleness_most_s: float | None = None,
) -> Checker:
    """Direct gets show values that were written, never before they were; staleness is counted.

    Counted, and bounded where a bound is given: reads older than an earlier one of the same client and
    key (`backward_most`), older than the client's own acknowledged write (`own_write_missed_most`), and
    the time since the value read was overwritten by an acknowledged write (`staleness_most_s`).
    """

    def checker(history: History) -> Verdict:
        log = write_log(history)
        reads = _Reads.of(history, log)
        if not len(reads.rows):
            return unknown("no direct get was answered with a value")
        backward, missed = _backward(reads), _own_writes_missed(history, log, reads)
        stale_ns, by_write = _staleness(log, reads)
        stale = stale_ns > 0
        evidence: dict[str, int | float | str] = {
            "direct_gets": len(reads.rows),
            "stale": int(np.count_nonzero(stale)),
            "stale_ratio": round(float(np.count_nonzero(stale) / len(reads.rows)), 6),
            "staleness_max_s": round(float(stale_ns.max()) / 1e9, 6),
            "staleness_p99_s": round(float(np.percentile(stale_ns, 99)) / 1e9, 6),
            "backward": len(backward),
            "own_write_missed": len(missed),
        }
        reasons: list[str] = []
        exhibits: list[Exhibit] = []
        for text, found in _false(history, log, reads):
            reasons.append(f"{text} ({count(len(found), 'time')})")
            exhibits += [exhibit(history, f"{text}:", rows) for rows in found[:MOST]]
        if backward_most is not None and len(backward) > backward_most:
            reasons.append(f"{len(backward)} reads went backward, {backward_most} are allowed")
            exhibits += [
                exhibit(history, "the same client read a newer value before:", (p, r))
                for p, r in backward[:MOST]
            ]
        if own_write_missed_most is not None and len(missed) > own_write_missed_most:
            reasons.append(
                f"{len(missed)} reads missed the client's own write, {own_write_missed_most} allowed"
            )
            exhibits += [
                exhibit(history, "the client's own write is missing:", (w, r)) for w, r in missed[:MOST]
            ]
        if staleness_most_s is not None and stale_ns.max() > staleness_most_s * 1e9:
            worst = int(np.argmax(stale_ns))
            reasons.append(
                f"a read was stale by {stale_ns[worst] / 1e9:.3f} s, {staleness_most_s:g} s allowed"
            )
            rows = (int(log.row[by_write[worst]]), int(reads.rows[worst]))
            exhibits.append(exhibit(history, "overwritten long before it was read:", rows))
        if reasons:
            return broken("; ".join(reasons), exhibits, **evidence)
        return holds(
            f"{count(len(reads.rows), 'direct get')}, {int(stale.sum()):,} stale by at most "
            f"{stale_ns.max() / 1e6:.3f} ms; {len(missed):,} missed the client's own write, "
            f"{len(backward):,} went backward",
            **evidence,
        )

    checker.__name__ = checker.__qualname__ = "direct_gets_are_bounded"
    return checker


@dataclass(frozen=True, slots=True)
class _Reads:
    """Direct gets with a value: row, write shown (position in the log), key, client, call, revision."""

    rows: Int
    write: Int
    key: Int
    client: Int
    call_ns: Int
    revision: Int

    @classmethod
    def of(cls, history: History, log: WriteLog) -> _Reads:
        ops = history.operations
        own = (ops.kind[log.seen] == Kind.DIRECT_GET) & (log.seen_write >= 0)
        own[own] = log.revision[log.seen_write[own]] >= 0
        rows, write = log.seen[own].astype(np.int64), log.seen_write[own].astype(np.int64)
        return cls(
            rows,
            write,
            ops.key[rows].astype(np.int64),
            ops.client[rows].astype(np.int64),
            ops.call_ns[rows],
            log.revision[write],
        )


def _false(history: History, log: WriteLog, reads: _Reads) -> list[tuple[str, list[tuple[int, ...]]]]:
    ops = history.operations
    out: list[tuple[str, list[tuple[int, ...]]]] = []
    early = np.flatnonzero(ops.return_ns[reads.rows] < log.call_ns[reads.write])
    out.append(
        ("read before it was written", [(int(log.row[reads.write[i]]), int(reads.rows[i])) for i in early])
    )
    for text, rows in (
        ("a refused write was read", log.refused_rows),
        ("a value read at a revision that is not its write's", log.mismatched_rows),
        (
            "a value that nobody wrote to that key",
            log.phantom_rows if history.complete else foreign(history, log.phantom_rows),
        ),
    ):
        own = rows[ops.kind[rows] == Kind.DIRECT_GET]
        out.append((text, [(int(r),) for r in own.tolist()]))
    return [(text, found) for text, found in out if found]


def _pairs(major: Int, minor: Int) -> Int:
    """One number per (major, minor) pair of small counts."""
    return pack(major, minor)


def _backward(reads: _Reads) -> list[tuple[int, int]]:
    """(earlier read, later read) of one client and key where the later one shows an older revision."""
    who = _pairs(reads.key, reads.client)
    order = np.lexsort((reads.call_ns, who))
    who, revision = who[order], reads.revision[order]
    starts = np.flatnonzero(np.concatenate(([True], who[1:] != who[:-1])))
    highest = shifted(running_max(revision, starts), starts, -1)
    bad = np.flatnonzero(revision < highest)
    out = []
    for i in bad.tolist():
        begin = int(starts[np.searchsorted(starts, i, side="right") - 1])
        earlier = begin + int(np.argmax(revision[begin:i] == highest[i]))
        out.append((int(reads.rows[order[earlier]]), int(reads.rows[order[i]])))
    return out


def _latest_acknowledged(
    group: Int, moment: Int, own: Int, own_group: Int, own_return: Int, revision: Int
) -> tuple[Int, Int]:
    """For each (group, moment): the highest revision acknowledged before, and its position in `own`."""
    if not len(own):
        return np.full(len(group), NONE), np.zeros(len(group), dtype=np.int64)
    order = np.lexsort((own_return, own_group))
    own_group, own_return, revision = own_group[order], own_return[order], revision[order]
    starts = np.flatnonzero(np.concatenate(([True], own_group[1:] != own_group[:-1])))
    highest = running_max(revision, starts)
    holder = np.where(highest == revision, np.arange(len(revision)), -1)
    np.maximum.accumulate(holder, out=holder)
    low = int(min(own_return.min(), moment.min()))
    packed = pack(np.append(own_group, group), np.append(own_return, moment) - low)
    at = np.searchsorted(packed[: len(own)], packed[len(own) :], side="left") - 1
    same = (at >= 0) & (own_group[np.maximum(at, 0)] == group)
    place = holder[np.maximum(at, 0)]
    return np.where(same, highest[np.maximum(at, 0)], NONE), own[order[place]]


def _own_writes_missed(history: History, log: WriteLog, reads: _Reads) -> list[tuple[int, int]]:
    """(write, read) of one client where the read, called after the ack, shows an older revision."""
    acked = np.flatnonzero(log.acknowledged & (log.revision >= 0))
    client = history.operations.client[log.row[acked]].astype(np.int64)
    both = _pairs(np.append(log.key[acked].astype(np.int64), reads.key), np.append(client, reads.client))
    newest, by = _latest_acknowledged(
        both[len(acked) :],
        reads.call_ns,
        acked,
        both[: len(acked)],
        log.return_ns[acked],
        log.revision[acked],
    )
    return [(int(log.row[by[i]]), int(reads.rows[i])) for i in np.flatnonzero(newest > reads.revision)]


def _staleness(log: WriteLog, reads: _Reads) -> tuple[Int, Int]:
    """Nanoseconds between the acknowledgement of the first later write and the read's call, 0 if that
    was not acknowledged before; and that write."""
    acked = np.flatnonzero(log.acknowledged & (log.revision >= 0) & (log.return_ns < NEVER_NS))
    if not len(acked):
        return np.zeros(len(reads.rows), dtype=np.int64), reads.write
    packed = pack(np.append(log.key[acked], reads.key), np.append(log.revision[acked], reads.revision))
    order = np.argsort(packed[: len(acked)], kind="stable")
    ours, key = packed[: len(acked)][order], log.key[acked][order]
    # The earliest return among all later writes of the key: any of them has overwritten the value.
    starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    soonest = running_min_from_end(log.return_ns[acked][order], starts)
    at = np.searchsorted(ours, packed[len(acked) :], side="right")
    place = np.minimum(at, len(ours) - 1)
    later = (at < len(ours)) & (key[place] == reads.key)
    stale = np.where(later, reads.call_ns - soonest[place], 0)
    return np.maximum(stale, 0), acked[order[place]]
