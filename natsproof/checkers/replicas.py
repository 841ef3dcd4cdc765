"""Replicas hold the same contents, and each holds what was acknowledged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers.exhibits import MOST, count, exhibit
from natsproof.checkers.segments import pack
from natsproof.checkers.two_leaders import refusals_in_doubt
from natsproof.checkers.writes import WriteLog, bucket_by_key, foreign, ttl_ns_by_key, write_log
from natsproof.history import ABSENT, NONE, History, Kind, Outcome
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown

Rows = NDArray[np.int64]


def replicas_are_equal(history: History) -> Verdict:
    """Every server's store holds the same messages: key, revision and value, bucket by bucket.

    The servers compared are those of `meta["servers"]`; UNKNOWN if the audit did not read one of them.
    Messages whose TTL ran out while the audit read are left out (each replica removes them by itself).
    """
    audit = _Audit(history)
    if reason := audit.unread():
        return unknown(reason)
    ops, rows = history.operations, audit.rows
    identity = pack(audit.bucket, ops.revision[rows])
    exhibits: list[Exhibit] = []
    order = np.lexsort((ops.server[rows], identity))
    sorted_rows, ident = rows[order], identity[order]
    begins = np.flatnonzero(np.concatenate(([True], ident[1:] != ident[:-1])))
    sizes = np.diff(np.append(begins, len(ident)))
    missing = np.flatnonzero(sizes != len(audit.servers))
    first = np.repeat(sorted_rows[begins], sizes)
    unlike = np.flatnonzero(
        (ops.value[sorted_rows] != ops.value[first]) | (ops.key[sorted_rows] != ops.key[first])
    )
    for at in missing[:MOST].tolist():
        there = sorted_rows[begins[at] : begins[at] + sizes[at]]
        on = ", ".join(audit.name(s) for s in ops.server[there].tolist())
        exhibits.append(exhibit(history, f"stored only on {on}:", there[:1].tolist()))
    for at in unlike[:MOST].tolist():
        pair = (int(first[at]), int(sorted_rows[at]))
        exhibits.append(exhibit(history, "one revision, two contents:", pair))
    evidence: dict[str, int | float | str] = {
        "replicas": len(audit.servers),
        "messages": len(begins),
        "missing_somewhere": len(missing),
        "unlike": len(unlike),
        "left_out_expiring": audit.left_out,
    }
    if len(missing) or len(unlike):
        return broken(
            f"{count(len(missing) + len(unlike), 'message')} of {len(begins):,} differ between replicas",
            exhibits,
            **evidence,
        )
    if not len(begins):
        return unknown("the replicas held no message of this trial", (), **evidence)
    return holds(
        f"{count(len(begins), 'message')} equal on {count(len(audit.servers), 'replica')}", **evidence
    )


def every_replica_holds_what_was_acknowledged(history: History) -> Verdict:
    """On each server's own store the last message of every key is its last acknowledged write or a
    later one. Keys that may have expired, or that only a deletion of unknown outcome can explain, are
    not judged. What a deposed leader refused its successor may have stored (docs/findings.md, 1)."""
    history = refusals_in_doubt(history)
    audit = _Audit(history)
    if reason := audit.unread():
        return unknown(reason)
    log, ops = audit.log, history.operations
    acked = np.flatnonzero(log.acknowledged & (log.revision >= 0))
    newest = np.full(len(history.keys) + 1, -1, dtype=np.int64)
    order = acked[np.argsort(log.revision[acked], kind="stable")]
    newest[log.key[order]] = order
    keys = np.flatnonzero(newest >= 0)
    write = newest[keys]
    judged = log.return_ns[write] < audit.began_ns
    ttl_ns = ttl_ns_by_key(history)[keys]
    judged &= (ttl_ns == 0) | (log.call_ns[write] + ttl_ns > audit.ended_ns + 1_000_000_000)
    in_doubt = np.unique(log.key[log.floating() & (log.kind >= Kind.DELETE)])
    judged &= ~np.isin(keys, in_doubt)
    keys, write = keys[judged], write[judged]
    exhibits, lost = [], 0
    for server in audit.servers:
        held = np.full(len(history.keys) + 1, -1, dtype=np.int64)
        own = audit.all_rows[ops.server[audit.all_rows] == server]
        np.maximum.at(held, ops.key[own], ops.revision[own])
        bad = write[held[keys] < log.revision[write]]
        lost += len(bad)
        for one in bad[:MOST].tolist():
            text = f"acknowledged, but not in the store of {audit.name(server)}:"
            exhibits.append(exhibit(history, text, (int(log.row[one]),)))
    evidence: dict[str, int | float | str] = {
        "acknowledged": len(keys),
        "replicas": len(audit.servers),
        "missing": lost,
        "not_judged": int(np.count_nonzero(~judged)),
    }
    phantoms = foreign(history, log.phantom_rows) if not history.complete else log.phantom_rows
    phantoms = phantoms[ops.kind[phantoms] == Kind.REPLICA_ROW]
    refused = log.refused_rows[ops.kind[log.refused_rows] == Kind.REPLICA_ROW]
    for rows, text in ((phantoms, "stored, but nobody wrote it:"), (refused, "stored, but refused:")):
        exhibits += [exhibit(history, text, (r,)) for r in rows[:MOST].tolist()]
    if lost or len(phantoms) or len(refused):
        return broken(
            f"{count(lost, 'acknowledged write')} missing on a replica, "
            f"{len(phantoms) + len(refused)} stored without an acknowledged writer",
            exhibits,
            **evidence,
        )
    if not len(keys):
        return unknown("no acknowledged write could be compared with the replicas", (), **evidence)
    return holds(
        f"{count(len(keys), 'acknowledged key')} on each of {count(len(audit.servers), 'replica')}",
        **evidence,
    )


class _Audit:
    """The rows of the last replica audit, and who was read."""

    def __init__(self, history: History) -> None:
        ops = history.operations
        self.log: WriteLog = write_log(history)
        self.history = history
        self.all_rows: Rows = np.flatnonzero((ops.kind == Kind.REPLICA_ROW) & (ops.outcome == Outcome.OK))
        self.names: list[str] = [str(name) for name in history.meta.get("servers", [])]
        seen = np.unique(ops.server[self.all_rows])
        told = [o.data for o in history.observed("replica_audit")]
        read = {name for data in told for name in data.get("read", [])}
        self.not_read = sorted({name for data in told for name in data.get("unread", [])})
        by_rows = {self.names[s] for s in seen.tolist() if 0 <= s < len(self.names)}
        self.missing = sorted(set(self.names) - read - by_rows)
        self.servers: list[int] = list(range(len(self.names))) or seen.tolist()
        self.began_ns = int(ops.call_ns[self.all_rows].min()) if len(self.all_rows) else 0
        self.ended_ns = int(ops.return_ns[self.all_rows].max()) if len(self.all_rows) else 0
        self.rows, self.left_out = self._stable_rows()
        _, bucket = bucket_by_key(history)
        self.bucket = bucket[ops.key[self.rows]]

    def unread(self) -> str:
        if not len(self.all_rows):
            return "no replica's store was read"
        silent = self.not_read or self.missing
        if silent:
            return f"the store of {', '.join(silent)} was not read"
        return "" if len(self.servers) > 1 else "only one replica's store was read"

    def name(self, server: int) -> str:
        return self.names[server] if 0 <= server < len(self.names) else f"server {server}"

    def _stable_rows(self) -> tuple[Rows, int]:
        """Rows that no replica may have expired before another was read (within 2 s)."""
        ops, meta = self.history.operations, self.history.meta
        ttl_ns = ttl_ns_by_key(self.history)[ops.key[self.all_rows]]
        offset = int(meta.get("began_ns", 0)) - int(meta.get("began_wall_ns", 0))
        stamp = ops.created_ns[self.all_rows]
        due = np.where(stamp == NONE, self.began_ns, stamp + offset) + ttl_ns
        stable = (ttl_ns == 0) | (due > self.ended_ns + 2_000_000_000)
        stable |= (ops.value[self.all_rows] == ABSENT) & (ttl_ns == 0)
        return self.all_rows[stable], int(np.count_nonzero(~stable))
