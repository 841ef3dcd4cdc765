"""The line of a key: its writes by revision, each with the reads that saw it (a cluster).

Clusters of all keys lie in one array, key after key; before a key's first write stands an empty cluster,
the time before it existed. All times are relative to the first call and end at `horizon`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers.segments import (
    numbering,
    pack,
    running_max,
    running_min_from_end,
    shifted,
    shifted_back,
)
from natsproof.checkers.writes import WriteLog, kinds_mask, rows_of, ttl_ns_by_key
from natsproof.history import NEVER_NS, NONE, History, Kind, Outcome

Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Line:
    """Columns over clusters. `write` is a position in the write log, -1 for "before it existed".

    `called_by`: the latest call in this and earlier clusters of the key; `called_before`: in earlier
    ones. `returned_after`: the earliest return in later ones. `opens_ns`: absence is possible right
    after this cluster for operations that return then or later: -1 always (deleted, not yet created),
    some time (may expire), horizon + 1 never.
    """

    starts: NDArray[np.int64]
    group: NDArray[np.int32]
    group_key: NDArray[np.int32]
    group_of_key: NDArray[np.int32]
    write: NDArray[np.int32]
    own_call: Int
    called_by: Int
    min_return: Int
    called_before: Int
    returned_after: Int
    revision_before: Int
    opens_ns: Int
    read_rows: NDArray[np.int32]
    read_cluster: NDArray[np.int32]
    start_ns: int
    horizon: int
    early_ns: int

    def row_of_write(self, log: WriteLog, cluster: int) -> int:
        """The operation that wrote this cluster's revision, NONE if it was the server or nobody."""
        position = int(self.write[cluster])
        return int(log.row[position]) if position >= 0 else NONE

    def rows_in(self, log: WriteLog, first: int, last: int) -> NDArray[np.int32]:
        """The operations in clusters first..last."""
        own = [self.row_of_write(log, c) for c in range(first, last + 1)]
        read = self.read_rows[(self.read_cluster >= first) & (self.read_cluster <= last)]
        return np.append(np.array([r for r in own if r >= 0], dtype=np.int32), read)

    def row_returning_at(self, history: History, log: WriteLog, cluster: int, at: int) -> int:
        """The operation of a cluster that returned at that (relative) moment."""
        rows = self.rows_in(log, cluster, cluster)
        back = np.minimum(history.operations.return_ns[rows] - self.start_ns, self.horizon)
        return int(rows[np.flatnonzero(back == at)[0]])

    def row_called_at(self, history: History, log: WriteLog, before: int, at: int) -> int:
        """The operation called at that (relative) moment in the clusters before one; NONE: the server's."""
        rows = self.rows_in(log, int(self.starts[self.group[before]]), before - 1)
        at_that = rows[history.operations.call_ns[rows] - self.start_ns == at]
        return int(at_that[0]) if len(at_that) else NONE


def times(history: History) -> tuple[int, int]:
    """The first call, and a moment (relative to it) after every call and return."""
    ops = history.operations
    if not len(ops):
        return 0, 1
    start = int(ops.call_ns.min())
    last = int(ops.call_ns.max())
    finite = np.where(ops.return_ns == NEVER_NS, start, ops.return_ns)
    return start, max(last, int(finite.max())) - start + 1


def line_of(
    history: History,
    log: WriteLog,
    reads: tuple[Kind, ...],
    start_ns: int,
    horizon: int,
    early_ns: int,
) -> Line:
    """Lay out the clusters. One sort of the writes by (key, revision); all else is linear."""
    ops = history.operations
    placed = rows_of(log.positioned())
    placed = placed[np.argsort(pack(log.key[placed], log.revision[placed]), kind="stable")]
    key = log.key[placed]
    new_key = np.empty(len(key), dtype=np.bool_)
    new_key[:1] = True
    np.not_equal(key[1:], key[:-1], out=new_key[1:])
    groups = int(np.count_nonzero(new_key))
    at = np.arange(len(key), dtype=np.int32) + np.cumsum(new_key, dtype=np.int32)
    size = len(key) + groups
    starts = (at[new_key] - 1).astype(np.int64)
    group_of_key = np.full(
        max(len(history.keys), int(key.max()) + 1 if len(key) else 0) + 1, -1, dtype=np.int32
    )
    group_of_key[key[new_key]] = np.arange(groups, dtype=np.int32)

    write = np.full(size, -1, dtype=np.int32)
    write[at] = placed
    own_call = np.full(size, -1, dtype=np.int64)
    own_call[at] = log.call_ns[placed] - start_ns
    max_call = own_call.copy()
    min_return = np.full(size, horizon, dtype=np.int64)
    min_return[at] = _relative(log.return_ns[placed], start_ns, horizon)
    revision = np.zeros(size, dtype=np.int64)
    revision[at] = log.revision[placed]

    cluster_of_write = np.full(len(log.row) + 1, -1, dtype=np.int32)
    cluster_of_write[placed] = at
    bound = kinds_mask(ops.kind[log.seen], reads) & (log.seen_write >= 0)
    read_rows, read_cluster = log.seen[bound], cluster_of_write[log.seen_write[bound]]
    good = read_cluster >= 0
    if not good.all():
        read_rows, read_cluster = read_rows[good], read_cluster[good]
    np.maximum.at(max_call, read_cluster, ops.call_ns[read_rows] - start_ns)
    np.minimum.at(min_return, read_cluster, _relative(ops.return_ns[read_rows], start_ns, horizon))

    called = running_max(max_call, starts)
    returned_after = shifted_back(running_min_from_end(min_return, starts), starts, horizon)
    return Line(
        starts=starts,
        group=numbering(starts, size) if size else np.empty(0, dtype=np.int32),
        group_key=key[new_key],
        group_of_key=group_of_key,
        write=write,
        own_call=own_call,
        called_by=called,
        min_return=min_return,
        called_before=shifted(called, starts, -1),
        returned_after=returned_after,
        revision_before=shifted(revision, starts, 0),
        opens_ns=_opens(history, log, write, own_call, returned_after, horizon, early_ns),
        read_rows=read_rows,
        read_cluster=read_cluster,
        start_ns=start_ns,
        horizon=horizon,
        early_ns=early_ns,
    )


def _relative(return_ns: Int, start_ns: int, horizon: int) -> Int:
    out = return_ns - start_ns
    np.minimum(out, horizon, out=out)
    return out


def _opens(
    history: History,
    log: WriteLog,
    write: NDArray[np.int32],
    own_call: Int,
    returned_after: Int,
    horizon: int,
    early_ns: int,
) -> Int:
    """See Line. Expiry is the server's write: called at the earliest moment it may happen, returning
    never. It may stand after a cluster if everything later returns after that call."""
    never = horizon + 1
    opens = np.full(len(write), never, dtype=np.int64)
    kind = log.kind[write]
    opens[(write < 0) | (kind >= Kind.DELETE)] = -1
    ttl_ns = ttl_ns_by_key(history)
    if ttl_ns.any():
        own = (write >= 0) & (kind < Kind.DELETE)
        own[own] = ttl_ns[log.key[write[own]]] > 0
        expiry = own_call[own] + ttl_ns[log.key[write[own]]] - early_ns
        opens[own] = np.where(returned_after[own] >= expiry, expiry, never)
    return opens


def absent_reads(history: History, reads: tuple[Kind, ...]) -> NDArray[np.int32]:
    """Reads that were answered: nothing there."""
    ops = history.operations
    return rows_of(kinds_mask(ops.kind, reads) & (ops.outcome == Outcome.OK) & (ops.value == -1))
