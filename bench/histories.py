"""Concurrent histories as a correct platform would give them, made with numpy: 10^7 operations in seconds.

Each client does one operation after the other; each operation takes effect at a moment between its call
and its return. Sorting by that moment gives the revisions and what each read finds.
"""

from __future__ import annotations

import numpy as np

from natsproof.history import (
    ABSENT,
    DTYPES,
    NEVER_NS,
    NONE,
    History,
    Injection,
    Key,
    Kind,
    Operations,
    Outcome,
)

#: Share of puts, conditional updates, deletes; the rest are reads through the leader.
MIX = (0.42, 0.06, 0.02)
TIMEOUT_NS = 2_000_000_000


def concurrent(
    operations: int,
    *,
    keys: int,
    clients: int = 64,
    busy: float = 0.84,
    unknown: float = 0.005,
    seed: int = 0,
    sweep: bool = True,
) -> History:
    """About `operations` operations. `busy` is the share of its time that a client waits for answers;
    `unknown` the share of writes without an answer, of which half are applied."""
    rng = np.random.default_rng(seed)
    n = operations - (keys if sweep else 0)
    each = -(-n // clients)
    took = rng.exponential(1_000_000, (clients, each)).astype(np.int64) + 50_000
    pause_ns = 1_050_000 * (1 / busy - 1)
    pause = rng.exponential(pause_ns, (clients, each)).astype(np.int64)
    call = (np.cumsum(took + pause, axis=1) - took).ravel()[:n]
    took = took.ravel()[:n]
    client = np.repeat(np.arange(clients, dtype=np.int32), each)[:n]
    point = call + (took * rng.random(n)).astype(np.int64)
    draw = rng.random(n)
    kind = np.full(n, Kind.GET, dtype=np.int8)
    edges = np.cumsum(MIX)
    kind[draw < edges[2]] = Kind.DELETE
    kind[draw < edges[1]] = Kind.UPDATE
    kind[draw < edges[0]] = Kind.PUT
    key = rng.integers(0, keys, n, dtype=np.int32)
    doubt = (kind != Kind.GET) & (rng.random(n) < unknown)
    lost = doubt & (rng.random(n) < 0.5)

    revision, previous, last = _effects(kind, key, point, lost, keys)
    has = previous >= 0
    known = has & ~doubt[previous]  # nobody can name a revision that nobody was told
    kind[(kind == Kind.UPDATE) & ~known] = Kind.PUT
    expected = np.where((kind == Kind.UPDATE) & has, revision[previous], NONE)
    found = has & (kind[previous] != Kind.DELETE)
    value = np.arange(n)
    is_read = kind == Kind.GET
    value = np.where(is_read, np.where(found, value[previous], ABSENT), value)
    told = np.where(is_read, np.where(found, revision[previous], NONE), revision)
    told[doubt] = NONE
    outcome = np.where(doubt, Outcome.UNKNOWN, Outcome.OK)
    returned = np.where(doubt, NEVER_NS, call + took)
    done = np.where(doubt, call + TIMEOUT_NS, call + took)
    columns = {
        "kind": kind, "client": client, "server": np.full(n, NONE), "key": key, "call_ns": call,
        "return_ns": returned, "outcome": outcome, "revision": told, "expected": expected,
        "value": value, "created_ns": np.full(n, NONE), "error": np.full(n, NONE),
    }  # fmt: skip
    by_end = np.argsort(done, kind="stable")
    table = {name: columns[name][by_end].astype(DTYPES[name]) for name in DTYPES}
    if sweep:
        final = _final(last, kind, revision, int(done.max()))
        table = {name: np.concatenate((table[name], final[name])) for name in DTYPES}
    kill = Injection(
        "Kill('leader')", ("nats-0",), "leader", int(np.median(call)), int(np.median(call)),
        int(np.median(call)) + 10**9, True, "the pid is gone",
    )  # fmt: skip
    return History(
        meta={"trial": "bench", "began_ns": 0, "began_wall_ns": 0, "buckets": {"b": {"replicas": 3}}},
        operations=Operations(**table),
        keys=tuple(Key("b", f"k{i}") for i in range(keys)),
        injections=(kill,),
    )


def _effects(
    kind: np.ndarray, key: np.ndarray, point: np.ndarray, lost: np.ndarray, keys: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By the moments of taking effect: each write's revision, the applied write before each operation
    of its key (-1: none), and the last applied write of each key."""
    n = len(kind)
    writes = (kind != Kind.GET) & ~lost
    order = np.argsort(point, kind="stable")
    revision = np.empty(n, dtype=np.int64)
    revision[order] = np.cumsum(writes[order])
    by_key = order[np.argsort(key[order], kind="stable")]  # key by key, in that order
    latest = np.maximum.accumulate(np.where(writes[by_key], np.arange(n), -1))
    begins = np.searchsorted(key[by_key], np.arange(keys))
    before = np.concatenate(([-1], latest[:-1]))
    before[before < begins[key[by_key]]] = -1
    previous = np.empty(n, dtype=np.int64)
    previous[by_key] = np.where(before >= 0, by_key[before], -1)
    ends = np.append(begins[1:], n)
    last = np.where(ends > begins, latest[ends - 1], -1)
    return revision, previous, np.where(last >= begins, by_key[last], -1)


def _final(write: np.ndarray, kind: np.ndarray, revision: np.ndarray, end_ns: int) -> dict[str, np.ndarray]:
    """One read of each key after everything, given the last applied write of each."""
    keys = len(write)
    found = (write >= 0) & (kind[write] != Kind.DELETE)
    at = end_ns + 1_000_000_000 + np.arange(keys) * 1000
    columns = {
        "kind": np.full(keys, Kind.FINAL_GET), "client": np.zeros(keys), "server": np.full(keys, NONE),
        "key": np.arange(keys), "call_ns": at, "return_ns": at + 500, "outcome": np.zeros(keys),
        "revision": np.where(found, revision[write], NONE), "expected": np.full(keys, NONE),
        "value": np.where(found, write, ABSENT), "created_ns": np.full(keys, NONE),
        "error": np.full(keys, NONE),
    }  # fmt: skip
    return {name: columns[name].astype(DTYPES[name]) for name in DTYPES}


def stale_read(history: History) -> History:
    """The same with one read near the end made to show an older write that was overwritten long before."""
    ops = history.operations
    table = {name: getattr(ops, name).copy() for name in DTYPES}
    reads = np.flatnonzero((ops.kind == Kind.GET) & (ops.value >= 0))
    row = int(reads[int(len(reads) * 0.9)])
    acked = (ops.kind == Kind.PUT) & (ops.outcome == Outcome.OK) & (ops.key == ops.key[row])
    old = np.flatnonzero(acked & (ops.return_ns < ops.call_ns[row]))
    old_one = int(old[len(old) // 2])
    table["value"][row], table["revision"][row] = ops.value[old_one], ops.revision[old_one]
    return history.with_operations(Operations(**table))
