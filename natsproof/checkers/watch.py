"""Watchers: every event in order, once, true, none left out, and none lost by a resume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers.exhibits import MOST, count, end_ns, exhibit
from natsproof.checkers.segments import pack
from natsproof.checkers.writes import (
    BY_SERVER,
    WriteLog,
    bucket_by_key,
    of_the_runner,
    ttl_ns_by_key,
    write_log,
)
from natsproof.history import NEVER_NS, NONE, History, Kind, Outcome
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown

Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Session:
    """One subscription: event rows `first:last` of the sorted events, what it asked for, when it ran.

    `final` is true for a client's last session; only that one owes what was written up to its end.
    """

    client: int
    bucket: int
    wanted: int
    opened_ns: int
    rows: NDArray[np.int32]
    final: bool


def watchers_see_every_write(
    history: History, *, settle_s: float = 5.0, every_revision: bool | None = None
) -> Verdict:
    """Events come in the order of revisions, each once, each as it was written; a write with a known
    revision that lies in what a watcher asked for is delivered; a resumed watch misses nothing.

    A write may be left out if the bucket no longer held it: as many later writes of its key as the
    bucket keeps (`meta["buckets"][bucket]["history"]`, 1), a later purge, or its TTL. `every_revision`
    True demands it even so. The last writes may still be on their way: those acknowledged in the last
    `settle_s` seconds before the mark `end` (else the last operation) are not demanded.
    """
    log = write_log(history)
    ops = history.operations
    sessions = _sessions(history)
    delivered = sum(len(s.rows) for s in sessions)
    if not sessions:
        return unknown("no watcher was started")
    reasons: list[str] = []
    exhibits: list[Exhibit] = []

    def add(number: int, reason: str, shown: list[Exhibit]) -> None:
        if number:
            reasons.append(f"{reason} ({count(number, 'time')})")
            exhibits.extend(shown)

    pairs = [_order(history, s) for s in sessions]
    back = [p for pair in pairs for p in pair]
    add(
        len(back),
        "events out of order or twice",
        [exhibit(history, "the second event does not follow the first:", p) for p in back[:MOST]],
    )
    false_ones = _false_events(history, log)
    add(
        len(false_ones),
        "events that tell something else than was written",
        [exhibit(history, text, rows) for text, rows in false_ones[:MOST]],
    )
    demand = _Demand.of(history, log, settle_s, every_revision)
    missed = [m for s in sessions for m in demand.missing(history, log, s)]
    demanded = sum(demand.size(s) for s in sessions)
    add(
        len(missed),
        "writes that a watcher never saw",
        [
            exhibit(
                history, f"watcher {client} never saw revision {int(log.revision[w])}:", (int(log.row[w]),)
            )
            for client, w in missed[:MOST]
        ],
    )
    evidence: dict[str, int | float | str] = {
        "watchers": len({s.client for s in sessions}),
        "sessions": len(sessions),
        "resumed": sum(1 for s in sessions if s.wanted > 0),
        "delivered": delivered,
        "demanded": demanded,
        "missed": len(missed),
        "expirations_seen": int(np.count_nonzero(ops.kind == Kind.WATCH_EXPIRED)),
    }
    if reasons:
        return broken("; ".join(reasons), exhibits, **evidence)
    if not delivered or not demanded:
        return unknown("nothing was written that a watcher had to see", (), **evidence)
    return holds(
        f"{count(len(sessions), 'subscription')} saw all {demanded:,} writes they asked for, in order, once",
        **evidence,
    )


def _sessions(history: History) -> list[_Session]:
    """Events of each client, cut at its WATCH_STARTs. A client watches one bucket: where no event names it,
    its observation `watch_end` does, or there is but one."""
    ops = history.operations
    names, bucket = bucket_by_key(history)
    silent = {
        int(o.data["client"]): names.index(o.data["bucket"])
        for o in history.observed("watch_end")
        if o.data["bucket"] in names
    }
    only = 0 if len(set(bucket.tolist())) == 1 else NONE
    starts = np.flatnonzero(ops.kind == Kind.WATCH_START)
    events = np.flatnonzero((ops.kind >= Kind.WATCH_PUT) & (ops.kind <= Kind.WATCH_EXPIRED))
    out = []
    for client in np.unique(ops.client[starts]).tolist():
        own_starts = starts[ops.client[starts] == client]
        own = events[ops.client[events] == client]  # in the order of delivery
        keys = ops.key[own] if len(own) else ops.key[own_starts]
        known = keys[keys >= 0]
        its_bucket = int(bucket[known[0]]) if len(known) else silent.get(client, only)
        cuts = np.searchsorted(own, own_starts)
        for number, start in enumerate(own_starts.tolist()):
            end = int(cuts[number + 1]) if number + 1 < len(cuts) else len(own)
            out.append(
                _Session(
                    client=int(client),
                    bucket=its_bucket,
                    wanted=int(ops.expected[start]),
                    opened_ns=int(ops.return_ns[start]),
                    rows=own[int(cuts[number]) : end].astype(np.int32),
                    final=number + 1 == len(cuts),
                )
            )
    return out


def _order(history: History, session: _Session) -> list[tuple[int, int]]:
    """Pairs of events whose revisions do not rise, and events below the first wanted revision."""
    revision = history.operations.revision[session.rows]
    bad = np.flatnonzero(revision[1:] <= revision[:-1])
    pairs = [(int(session.rows[i]), int(session.rows[i + 1])) for i in bad.tolist()]
    if session.wanted > 0:
        below = np.flatnonzero(revision < session.wanted)
        pairs += [(int(session.rows[i]), int(session.rows[i])) for i in below[:MOST].tolist()]
    return pairs


def _false_events(history: History, log: WriteLog) -> list[tuple[str, tuple[int, ...]]]:
    """Events that contradict the write log."""
    ops = history.operations
    out: list[tuple[str, tuple[int, ...]]] = []
    watched = ops.kind[log.seen] == Kind.WATCH_PUT
    rows, write = log.seen[watched], log.seen_write[watched]
    if history.complete:
        for row in rows[write < 0].tolist():
            out.append(("an event with a value that nobody wrote to this key:", (row,)))
    empty = (ops.kind == Kind.WATCH_PUT) & (ops.value == -1)
    for row in np.flatnonzero(empty).tolist():
        out.append(("a put without a value (a deletion shown as a put?):", (row,)))
    known = write >= 0
    rows, write = rows[known], write[known]
    for title, bad in (
        ("an event of a write that was refused:", ops.outcome[log.row[write]] == Outcome.FAILED),
        ("an event at a revision that is not its write's:", ops.revision[rows] != log.revision[write]),
        ("an event delivered before its write was called:", ops.return_ns[rows] < log.call_ns[write]),
    ):
        out += [(title, (int(log.row[w]), int(r))) for r, w in zip(rows[bad], write[bad], strict=True)]
    return out + _false_kinds(history, log)


def _false_kinds(history: History, log: WriteLog) -> list[tuple[str, tuple[int, ...]]]:
    """Deletions shown at the revision of a put, deletes shown as purges, and the like."""
    ops = history.operations
    rows = np.flatnonzero((ops.kind > Kind.WATCH_PUT) & (ops.kind <= Kind.WATCH_EXPIRED))
    placed = np.flatnonzero(log.positioned())
    if not len(rows) or not len(placed):
        return []
    both = pack(
        np.append(log.key[placed], ops.key[rows]), np.append(log.revision[placed], ops.revision[rows])
    )
    own, asked = both[: len(placed)], both[len(placed) :]
    order = np.argsort(own, kind="stable")
    at = np.minimum(np.searchsorted(own[order], asked), len(own) - 1)
    match = own[order][at] == asked
    wanted = np.full(int(Kind.WATCH_EXPIRED) + 1, BY_SERVER)
    wanted[int(Kind.WATCH_DELETE)], wanted[int(Kind.WATCH_PURGE)] = int(Kind.DELETE), int(Kind.PURGE)
    writes = placed[order[at]]
    unlike = match & (log.kind[writes] != wanted[ops.kind[rows]])
    # A conditional deletion of unknown outcome may own what looks like nobody's.
    doubtful = np.unique(log.key[log.floating() & (log.kind >= Kind.DELETE)])
    nobody = unlike & (log.kind[writes] == BY_SERVER)
    out: list[tuple[str, tuple[int, ...]]] = []
    for i in np.flatnonzero(unlike & ~nobody).tolist():
        pair = (int(log.row[writes[i]]), int(rows[i]))
        out.append(("an event of another kind than its write:", pair))
    for i in np.flatnonzero(nobody & ~np.isin(ops.key[rows], doubtful)).tolist():
        out.append(("a deletion that nobody asked for:", (int(rows[i]),)))
    return out


@dataclass(frozen=True, slots=True)
class _Demand:
    """Writes of the log that watchers must see, by bucket and revision."""

    position: Int
    bucket: Int
    revision: Int
    call_ns: Int
    due: NDArray[np.bool_]  # acknowledged early enough to have been delivered by the end

    @classmethod
    def of(cls, history: History, log: WriteLog, settle_s: float, every: bool | None) -> _Demand:
        _, bucket_of = bucket_by_key(history)
        until = history.marks.get("end", end_ns(history))
        own = np.flatnonzero(log.positioned())
        # What the runner itself puts to see whether writes are taken has keys that nobody watches.
        own = own[(log.row[own] < 0) | ~of_the_runner(history)[log.row[own]]]
        if not every:
            own = own[~_may_be_gone(history, log, own, until)]
        own = own[np.argsort(log.revision[own], kind="stable")]
        settled = log.return_ns[own] <= until - int(settle_s * 1e9)
        return cls(
            position=own,
            bucket=bucket_of[log.key[own]].astype(np.int64),
            revision=log.revision[own],
            call_ns=log.call_ns[own],
            due=settled,
        )

    def _asked(self, session: _Session) -> NDArray[np.bool_]:
        asked: NDArray[np.bool_] = self.bucket == session.bucket
        if session.wanted > 0:
            asked &= self.revision >= session.wanted
        return asked

    def size(self, session: _Session) -> int:
        return int(np.count_nonzero(self._asked(session) & self.due))

    def missing(self, history: History, log: WriteLog, session: _Session) -> list[tuple[int, int]]:
        """(client, position in the log) of writes that the session skipped.

        Up to the last revision it delivered nothing may be missing; the last session of a client also
        owes what was acknowledged in time.
        """
        seen = history.operations.revision[session.rows]
        last = int(seen.max()) if len(seen) else NONE
        owed = self._asked(session) & (self.revision <= last)
        if session.final:
            owed |= self._asked(session) & self.due & (self.revision >= last)
        skipped = np.flatnonzero(owed & ~np.isin(self.revision, seen))
        return [(session.client, int(self.position[i])) for i in skipped.tolist()]


def _may_be_gone(history: History, log: WriteLog, own: Int, until_ns: int) -> NDArray[np.bool_]:
    """Writes that the bucket may have dropped before a watcher could be served."""
    if not len(own):
        return np.zeros(0, dtype=np.bool_)
    kept = history.meta.get("buckets", {})
    depth = np.fromiter(
        (int(kept.get(k.bucket, {}).get("history") or 1) for k in history.keys), np.int64, len(history.keys)
    )
    key, revision = log.key[own], log.revision[own]
    order = np.argsort(pack(key, revision), kind="stable")
    ordered = key[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    ends = np.append(starts[1:], len(own))
    rank_from_end = np.repeat(ends, ends - starts) - 1 - np.arange(len(own))
    gone = np.zeros(len(own), dtype=np.bool_)
    unresolved = np.bincount(log.key[log.floating()], minlength=len(depth))
    gone[order] = rank_from_end + unresolved[ordered] >= depth[ordered]
    last_purge = np.full(len(depth) + 1, -1, dtype=np.int64)
    purges = own[log.kind[own] == Kind.PURGE]
    np.maximum.at(last_purge, log.key[purges], log.revision[purges])
    gone |= revision < last_purge[key]
    ttl_ns = ttl_ns_by_key(history)[key]
    return gone | ((ttl_ns > 0) & (until_ns - log.call_ns[own] >= ttl_ns) & (log.call_ns[own] < NEVER_NS))
