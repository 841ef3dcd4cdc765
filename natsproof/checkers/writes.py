"""The write log of a history: which writes happened, at which revision, and who saw what of them.

Every value is the identity of its write, so a read, a watch event or a replica's row that shows a value
proves that its write happened and says at which revision. Unknown outcomes are resolved this way:
seen -> it happened, at the revision seen, at some time after its call; never seen -> left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers.segments import pack
from natsproof.history import ABSENT, FOREIGN, NEVER_NS, NONE, History, Kind, Outcome

#: Rows whose value, if not ABSENT, is that of a stored message.
SEEING = (Kind.GET, Kind.DIRECT_GET, Kind.FINAL_GET, Kind.WATCH_PUT, Kind.REPLICA_ROW)
#: Rows that show a deletion's own message.
MARKERS = (Kind.WATCH_DELETE, Kind.WATCH_PURGE, Kind.WATCH_EXPIRED, Kind.REPLICA_ROW)
#: In `kind` of a WriteLog: a deletion made by the server (expiry), or one whose writer is not known.
BY_SERVER = 100

Rows = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class WriteLog:
    """Columns over the writes, in the order of completion, then the server's own.

    `row` indexes the history's operations (NONE for the server's). `revision` is the one acknowledged or
    seen, NONE if neither. `happened`: acknowledged, or seen. `seen` and `seen_write` pair the rows that
    showed a value with positions in these columns (-1: no recorded write has that value).
    """

    row: Rows
    key: NDArray[np.int32]
    kind: NDArray[np.int8]
    call_ns: NDArray[np.int64]
    return_ns: NDArray[np.int64]
    revision: NDArray[np.int64]
    expected: NDArray[np.int64]
    acknowledged: NDArray[np.bool_]
    happened: NDArray[np.bool_]
    seen: Rows
    seen_write: Rows
    repeated_values: int
    phantom_rows: Rows
    refused_rows: Rows
    mismatched_rows: Rows

    def positioned(self) -> NDArray[np.bool_]:
        """Writes that happened at a known revision."""
        out: NDArray[np.bool_] = self.happened & (self.revision >= 0)
        return out

    def floating(self) -> NDArray[np.bool_]:
        """Unknown outcomes that nothing resolved: each may or may not have happened."""
        out: NDArray[np.bool_] = ~self.happened & (self.return_ns == NEVER_NS)
        return out


def kinds_mask(kind: NDArray[np.int8], kinds: tuple[Kind, ...]) -> NDArray[np.bool_]:
    """Where `kind` is one of `kinds`; a table of 128 flags, so one pass whatever their number."""
    table = np.zeros(128, dtype=np.bool_)
    table[[int(k) for k in kinds]] = True
    out: NDArray[np.bool_] = table[kind]
    return out


def rows_of(mask: NDArray[np.bool_]) -> Rows:
    return np.flatnonzero(mask).astype(np.int32)


class Values:
    """Finds the write of a value: by a table where values are dense, else by bisection."""

    def __init__(self, values: NDArray[np.int64]) -> None:
        usable = np.flatnonzero(values >= 0)
        own = values[usable]
        top = int(own.max()) + 1 if len(own) else 0
        self._dense = top <= 8 * len(values) + 1024
        self._table: NDArray[np.int32]
        if self._dense:
            self._table = np.full(top + 1, -1, dtype=np.int32)
            self._table[own] = usable
            self.repeated = len(own) - int(np.count_nonzero(self._table >= 0))
        else:
            order = np.argsort(own, kind="stable")
            self._sorted = own[order]
            self._table = usable[order].astype(np.int32)
            self.repeated = int(np.count_nonzero(self._sorted[1:] == self._sorted[:-1]))

    def find(self, values: NDArray[np.int64]) -> NDArray[np.int32]:
        """Positions of the writes with these values, -1 where there is none."""
        if self._dense:
            known = (values >= 0) & (values < len(self._table))
            return self._table[np.where(known, values, -1)]  # the last entry stands for "none"
        at = np.minimum(np.searchsorted(self._sorted, values), len(self._sorted) - 1)
        return np.where(self._sorted[at] == values, self._table[at], np.int32(-1))


def write_log(history: History) -> WriteLog:
    """Build the write log. O(n) for dense values, O(n log n) else."""
    ops = history.operations
    row = rows_of((ops.kind >= Kind.PUT) & (ops.kind <= Kind.PURGE))
    kind, outcome, revision = ops.kind[row], ops.outcome[row], ops.revision[row]
    names_value = kind <= Kind.UPDATE
    values = Values(np.where(names_value, ops.value[row], np.int64(ABSENT)))

    answered = (ops.outcome == Outcome.OK) & (ops.value != ABSENT)
    seen = rows_of(kinds_mask(ops.kind, SEEING) & answered)
    seen_write = values.find(ops.value[seen])
    known = seen_write >= 0
    of_other_key = known & (ops.key[seen] != ops.key[row[seen_write]])
    seen_write[of_other_key] = -1
    known &= ~of_other_key

    was_seen = np.zeros(len(row), dtype=np.bool_)
    was_seen[seen_write[known]] = True
    acknowledged = outcome == Outcome.OK
    happened = acknowledged | was_seen

    seen_revision = ops.revision[seen]
    fills = known & (seen_revision >= 0)
    fills[fills] = revision[seen_write[fills]] < 0
    revision[seen_write[fills]] = seen_revision[fills]
    mismatched = known & (seen_revision >= 0)
    mismatched[mismatched] = revision[seen_write[mismatched]] != seen_revision[mismatched]

    refused = known.copy()
    refused[known] = outcome[seen_write[known]] == Outcome.FAILED
    return_ns = ops.return_ns[row]
    return_ns[outcome == Outcome.UNKNOWN] = NEVER_NS
    log = WriteLog(
        row=row,
        key=ops.key[row],
        kind=kind,
        call_ns=ops.call_ns[row],
        return_ns=return_ns,
        revision=revision,
        expected=ops.expected[row],
        acknowledged=acknowledged,
        happened=happened,
        seen=seen,
        seen_write=seen_write,
        repeated_values=values.repeated,
        phantom_rows=seen[~known],
        refused_rows=seen[refused],
        mismatched_rows=seen[mismatched],
    )
    return _with_markers(history, log)


def _with_markers(history: History, log: WriteLog) -> WriteLog:
    """Resolve deletions of unknown outcome by the markers that were seen, and add the server's own.

    A marker is seen by a watcher, in a replica's store, by a read that was told its revision, or by a
    create that was stored on it. Only the first two show a deletion by the server: expiry.
    """
    ops = history.operations
    shows = kinds_mask(ops.kind, MARKERS) & (ops.revision >= 0) & (ops.value == ABSENT)
    told = kinds_mask(ops.kind, (Kind.GET, Kind.FINAL_GET)) & (ops.revision >= 0) & (ops.value == ABSENT)
    on = np.zeros(len(ops), dtype=np.bool_)
    on[log.row[log.happened & (log.kind == Kind.CREATE) & (log.expected > 0)]] = True
    marker = rows_of(((shows | told) & (ops.outcome == Outcome.OK)) | on)
    if not len(marker):
        return log
    at = np.where(on[marker], ops.expected[marker], ops.revision[marker])
    owned = log.positioned()
    pairs = pack(np.append(log.key[owned], ops.key[marker]), np.append(log.revision[owned], at))
    split = int(np.count_nonzero(owned))
    # The first row of each pair; rows that show a marker themselves come before those that imply one.
    order = np.argsort(~shows[marker], kind="stable")
    _, first = np.unique(pairs[split:][order], return_index=True)
    first = order[first]
    first = first[~np.isin(pairs[split:][first], pairs[:split])]
    if not len(first):
        return log
    marker, at = marker[first], at[first]
    revision, happened = log.revision.copy(), log.happened.copy()
    left = _resolve_deletions(ops.key[marker], at, ops.kind[marker], log, revision, happened)
    return _with_server_writes(history, log, marker[left & shows[marker]], revision, happened)


def _resolve_deletions(
    key: NDArray[np.int32],
    at: NDArray[np.int64],
    shown: NDArray[np.int8],
    log: WriteLog,
    revision: NDArray[np.int64],
    happened: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Give markers that nobody owns to deletions of unknown outcome; true where none was found.

    In the order of revisions: to the one conditional on the revision before, else to the unconditional
    one with the earliest call. If any assignment is consistent, this one is.
    """
    left = np.ones(len(key), dtype=np.bool_)
    doubt = np.flatnonzero(log.floating() & ((log.kind == Kind.DELETE) | (log.kind == Kind.PURGE)))
    if not len(doubt):
        return left
    mine = np.flatnonzero(np.isin(key, log.key[doubt]) & (shown != Kind.WATCH_EXPIRED))
    for i in mine[np.argsort(at[mine], kind="stable")].tolist():
        fitting = doubt[(log.key[doubt] == key[i]) & ~happened[doubt]]
        known = (log.key == key[i]) & happened & (revision >= 0) & (revision < at[i])
        before = int(revision[known].max()) if known.any() else 0
        bound = fitting[log.expected[fitting] == before]
        free = bound if len(bound) else fitting[log.expected[fitting] <= 0]
        if len(free):
            one = int(free[np.argmin(log.call_ns[free])])
            revision[one], happened[one], left[i] = at[i], True, False
    return left


def _with_server_writes(
    history: History,
    log: WriteLog,
    marker: Rows,
    revision: NDArray[np.int64],
    happened: NDArray[np.bool_],
) -> WriteLog:
    ops, n = history.operations, len(marker)
    yes = np.ones(n, dtype=np.bool_)
    return WriteLog(
        row=np.append(log.row, np.full(n, NONE, dtype=np.int32)),
        key=np.append(log.key, ops.key[marker]),
        kind=np.append(log.kind, np.full(n, BY_SERVER, dtype=np.int8)),
        call_ns=np.append(log.call_ns, np.full(n, int(ops.call_ns.min()))),
        return_ns=np.append(log.return_ns, np.full(n, NEVER_NS)),
        revision=np.append(revision, ops.revision[marker]),
        expected=np.append(log.expected, np.full(n, NONE)),
        acknowledged=np.append(log.acknowledged, ~yes),
        happened=np.append(happened, yes),
        seen=log.seen,
        seen_write=log.seen_write,
        repeated_values=log.repeated_values,
        phantom_rows=log.phantom_rows,
        refused_rows=log.refused_rows,
        mismatched_rows=log.mismatched_rows,
    )


def ttl_ns_of(history: History, bucket: str) -> int:
    """A bucket's time to live, 0 if it has none."""
    info = history.meta.get("buckets", {}).get(bucket, {})
    return int(float(info.get("ttl_s") or 0) * 1e9)


def of_the_runner(history: History) -> NDArray[np.bool_]:
    """Operations of the trial itself, which puts to see whether writes are taken: no workload's."""
    names = [str(name) for name in history.meta.get("clients", ())]
    runners = [i for i, name in enumerate(names) if name.startswith(("prober", "probe "))]
    return np.isin(history.operations.client, runners)


def ttl_ns_by_key(history: History) -> NDArray[np.int64]:
    """Each key's time to live from `meta["buckets"][bucket]["ttl_s"]`; 0 where its bucket has none."""
    ttl = {name: ttl_ns_of(history, name) for name in history.meta.get("buckets", {})}
    if not any(ttl.values()):
        return np.zeros(len(history.keys), dtype=np.int64)
    return np.fromiter((ttl.get(k.bucket, 0) for k in history.keys), np.int64, len(history.keys))


def bucket_by_key(history: History) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """The buckets' names, and for each key the index of its bucket."""
    numbers: dict[str, int] = {}
    index = np.fromiter(
        (numbers.setdefault(k.bucket, len(numbers)) for k in history.keys), np.int16, len(history.keys)
    )
    return tuple(numbers), index


def foreign(history: History, rows: Rows) -> Rows:
    """Those of the phantom `rows` that show bytes which are no value of ours at all."""
    out: Rows = rows[history.operations.value[rows] == FOREIGN]
    return out


#: How far the servers' clock is allowed to be from ours where a checker does not say otherwise.
CLOCK_ERROR_NS = 50_000_000


def created_ns(history: History, log: WriteLog) -> NDArray[np.int64]:
    """The server's own time of each write on the history's clock, NONE where no row carries it.

    Relates both clocks by `began_ns` and `began_wall_ns`; a host whose wall clock is stepped meanwhile,
    or servers on other hosts, add their offset as an error that the caller must allow for.
    """
    ops = history.operations
    out = np.full(len(log.row), NONE, dtype=np.int64)
    own = log.row >= 0
    out[own] = ops.created_ns[log.row[own]]
    told = (log.seen_write >= 0) & (ops.created_ns[log.seen] > 0)
    out[log.seen_write[told]] = ops.created_ns[log.seen[told]]
    offset = int(history.meta.get("began_ns", 0)) - int(history.meta.get("began_wall_ns", 0))
    return np.where(out > 0, out + offset, NONE)
