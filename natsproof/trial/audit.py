"""After healing: does it accept writes again, are the replicas level, and what does each of them hold?

The replica audit reads every server's own store through the client protocol, without stopping or
moving anything: a consumer with one replica reads the store of the server it is placed on and names
that server, placement is random, so consumers are made until every server has been read. A few
thousand keys on three servers take 0.1 to 0.3 s. Stepping leaders down until each replica has led
reads the same stores but takes seconds a bucket and disturbs what is audited; a forensic server on a
copy of the volume needs the server stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from nats.aio.msg import Msg

from natsproof.client import RecordingClient
from natsproof.client.payload import value_of
from natsproof.client.watch import Delivery, dump
from natsproof.clock import Deadline, as_seconds, now_ns
from natsproof.cluster import Cluster
from natsproof.errors import ClusterError
from natsproof.faults.sight import PlatformView, look
from natsproof.history import NONE, Kind
from natsproof.trial.scene import Stage

PROBE_TIMEOUT_S = 1.0
FINAL_READERS = 16
FINAL_TRIES = 3
AUDIT_S = 90.0
#: Without a meta leader nothing of the API is answered; after a partition an election took up to 8 s
#: (docs/findings.md, 46 and 47). So long without any answer is waited for one.
SILENCE_S = 20.0
AGAIN_S = 0.2
#: Chance that three servers are not all drawn in 60 placements: 1 in 10^10.
PLACEMENTS = 60
#: How often all stores are read because the bucket grew meanwhile.
AUDITS = 3


async def accepts_writes(
    client: RecordingClient, buckets: Sequence[str], prefix: str, within_s: float, *, name: str = "probe"
) -> str:
    """Put into each bucket until it is acknowledged; "" or what is still refused when time is up."""
    deadline = Deadline.within(within_s)

    async def one(bucket: str) -> str:
        prober = client.fork(f"{name} {bucket}")
        while True:
            answer = await prober.put(bucket, f"{prefix}.probe", size=32)
            if answer.ok:
                return ""
            if deadline.passed:
                return f"{bucket}: {answer.error}"
            await asyncio.sleep(0.1)

    problems = await asyncio.gather(*(one(bucket) for bucket in buckets))
    return "; ".join(problem for problem in problems if problem)


async def every_server_serves(stage: Stage, within_s: float) -> str:
    """Wait until a write is acknowledged through each server that takes connections; "" or what is refused.

    A server is Ready some hundred milliseconds before its peers hear of an account's subjects
    (docs/findings.md, 28): its clients meet `no responders` then, and no fault made that.
    """

    async def one(server: str) -> str:
        try:
            name = f"probe {server}"
            async with stage.guest(name, server=server, timeout_s=PROBE_TIMEOUT_S) as client:
                refused = await accepts_writes(client, stage.buckets, stage.prefix, within_s, name=name)
        except ClusterError as problem:
            refused = str(problem)
        return refused and f"through {server}: {refused}"

    problems = await asyncio.gather(*(one(server.name) for server in stage.cluster.servers))
    return "; ".join(problem for problem in problems if problem)


async def level(cluster: Cluster, buckets: Sequence[str], within_s: float) -> str:
    """Wait until every server has every bucket's stream, all current and holding as much, but for what
    expires meanwhile; "" or what lags. Nobody writes any more, so a bucket that was level once stays so."""
    deadline = Deadline.within(within_s)
    levelled: set[str] = set()
    before: PlatformView | None = None
    while True:
        view = await asyncio.to_thread(look, cluster)
        for bucket in buckets:
            stream = f"KV_{bucket}"
            if view.converged(stream) or (before and view.expiring(stream, before)):
                levelled.add(bucket)
        behind, before = [bucket for bucket in buckets if bucket not in levelled], view
        if not behind:
            return ""
        if deadline.passed:
            silent = [name for name, server in view.servers.items() if server is None]
            note = f" ({', '.join(silent)} do not answer)" if silent else ""
            return f"replicas not level: {', '.join(behind)}{note}"
        await asyncio.sleep(0.2)


async def settle(stage: Stage, client: RecordingClient, within_s: float) -> bool:
    """Wait for writes and for level replicas; marks `settled` or `not_settled` and says how long it took."""
    recorder, began = stage.recorder, now_ns()
    deadline = Deadline.within(within_s)
    writes = await accepts_writes(client, stage.buckets, stage.prefix, within_s)
    writes_s = as_seconds(now_ns() - began)
    replicas = await level(stage.cluster, stage.buckets, deadline.left_s)
    facts: dict[str, Any] = {
        "writes_s": round(writes_s, 4),
        "replicas_s": round(as_seconds(now_ns() - began), 4),
        "budget_s": within_s,
        "refused": writes,
        "behind": replicas,
    }
    recorder.observe("settled", facts)
    recorder.mark("not_settled" if writes or replicas else "settled")
    return not (writes or replicas)


async def final_reads(stage: Stage, clients: Sequence[RecordingClient]) -> None:
    """FINAL_GET of every key of the trial, through the leader: each until it is answered, three times at
    least, and no longer than SILENCE_S after the last answer to any."""
    wanted = [(bucket, name) for bucket, name in stage.recorder.known_keys() if bucket in stage.buckets]
    queue = iter(wanted)
    deadline, answer_due = Deadline.within(AUDIT_S), Deadline.within(SILENCE_S)

    async def read(client: RecordingClient, bucket: str, name: str) -> None:
        nonlocal answer_due
        for tried in count(1):
            if deadline.passed:
                return
            if (await client.get(bucket, name, kind=Kind.FINAL_GET)).ok:
                answer_due = Deadline.within(SILENCE_S)
                return
            if not answer_due.passed:
                await asyncio.sleep(AGAIN_S)
            elif tried >= FINAL_TRIES:
                return

    async def reader(number: int) -> None:
        client = clients[number % len(clients)].fork(f"final {number}")
        for bucket, name in queue:
            await read(client, bucket, name)

    await asyncio.gather(*(reader(number) for number in range(FINAL_READERS)))
    if deadline.passed:
        stage.recorder.observe("final_reads", {"cut_off_after_s": AUDIT_S, "keys": len(wanted)})


@dataclass(frozen=True)
class _Store:
    """What one server's store held, and when it was read."""

    began_ns: int
    over_ns: int
    rows: list[tuple[str, Msg, Delivery]]


async def replica_rows(stage: Stage, client: RecordingClient, bucket: str) -> None:
    """REPLICA_ROW of every message of the trial's keys in every server's store.

    `server` is whose store it is, `value` ABSENT for a marker. An observation `replica_audit` names the
    servers that were read and those that could not be. A put of long ago may arrive only now, out of a
    route that was silent, after one store was read and before the next: then all are read again.
    """
    reader = client.fork(f"audit {bucket}")
    for _ in range(AUDITS):
        before = await _last_revision(reader, bucket)
        stores, problem = await _stores(stage, reader, bucket)
        after = await _last_revision(reader, bucket)
        if NONE in (before, after) or before == after:
            break
    ordinals = {server.name: server.ordinal for server in stage.cluster.servers}
    for name, store in stores.items():
        for key, message, event in store.rows:
            stage.recorder.event(
                Kind.REPLICA_ROW,
                reader.index,
                stage.recorder.key(bucket, key),
                server=ordinals[name],
                revision=event.revision,
                value=value_of(message.data, key, message.headers),
                created_ns=event.created_ns,
                call_ns=store.began_ns,
                return_ns=store.over_ns,
            )
    unread = sorted(set(ordinals) - set(stores))
    rows = {name: len(stores[name].rows) if name in stores else 0 for name in ordinals}
    facts = {"bucket": bucket, "read": sorted(stores), "unread": unread, "rows": rows, "problem": problem}
    stage.recorder.observe("replica_audit", facts)


async def _stores(stage: Stage, reader: RecordingClient, bucket: str) -> tuple[dict[str, _Store], str]:
    """Each server's store, as far as they could be read in time, and what went wrong last."""
    wanted, stores = {server.name for server in stage.cluster.servers}, {}
    deadline, problem = Deadline.within(AUDIT_S), ""
    placed, answer_due = 0, Deadline.within(SILENCE_S)
    while wanted and placed < PLACEMENTS and not (deadline.passed or answer_due.passed):
        rows: list[tuple[str, Msg, Delivery]] = []
        began_ns = now_ns()

        def keep(_: str, *row: Any, rows: list[Any] = rows) -> None:
            rows.append(row)

        try:
            server = await dump(
                reader, bucket, stage.prefix, keep, wanted=frozenset(wanted), within_s=deadline.left_s
            )
        except ClusterError as trouble:
            problem = str(trouble)
            await asyncio.sleep(AGAIN_S)
            continue
        placed, answer_due = placed + 1, Deadline.within(SILENCE_S)
        if server in wanted:
            wanted.discard(server)
            stores[server] = _Store(began_ns, now_ns(), rows)
    return stores, problem


async def _last_revision(client: RecordingClient, bucket: str) -> int:
    """The bucket's, NONE if nobody tells it."""
    try:
        return int((await client.api(f"STREAM.INFO.KV_{bucket}"))["state"]["last_seq"])
    except ClusterError:
        return NONE
