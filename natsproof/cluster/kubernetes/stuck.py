"""Pods that stay in Terminating: held by a finalizer, or on a node whose kubelet is silent.

Each function makes one, looks whether the platform goes on, releases it, and returns plain data for
`natsproof.checkers.stuck`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import nats
import nats.errors
import nats.js.errors

from natsproof.clock import as_seconds, now_ns, until, wait_until
from natsproof.cluster.kubernetes import operations
from natsproof.cluster.kubernetes.kind import KindCluster
from natsproof.cluster.kubernetes.platform import READY_S, Platform
from natsproof.errors import ClusterError

FINALIZER = "natsproof.io/hold"
#: Writes are acknowledged again within an election after a server went: the promise is 15 s.
WRITE_S = 30.0
#: After a pod's container has ended, how long it is watched to stay.
WATCHED_S = 5.0
WRITES = 10


def held_by_a_finalizer(cluster: KindCluster) -> dict[str, Any]:
    """Delete the highest server's pod while a finalizer holds the object; then take the finalizer away."""
    server = cluster.pod_names()[-1]
    before = _looked_at(cluster, server)
    _finalizers(cluster, server, [FINALIZER])
    try:
        cluster.api.delete("Pod", server, cluster.namespace)
        grace_s = cluster.contract.statefulset.template.termination_grace_period_s
        wait_until(
            f"the container of {server} to end", lambda: not cluster.running(server), within_s=grace_s + 30
        )
        while_stuck = _while_stuck(cluster, server)
    finally:
        _finalizers(cluster, server, [])
    return _after(cluster, server, "a finalizer", before, while_stuck)


def on_a_silent_node(cluster: KindCluster) -> dict[str, Any]:
    """Freeze the highest server's node, delete its pod, force it out, and give the node back."""
    server = cluster.pod_names()[-1]
    before = _looked_at(cluster, server)
    cluster.lose_node(server)
    try:
        cluster.api.delete("Pod", server, cluster.namespace)
        while_stuck = _while_stuck(cluster, server)
        cluster.api.delete("Pod", server, cluster.namespace, grace_s=0)  # as the runbook says for a dead node
        wait_until(f"the stuck pod {server} to go", lambda: cluster.uid(server) != before["uid"], within_s=30)
    finally:
        cluster.restore_node(server)
    return _after(cluster, server, "a silent node, then forced out", before, while_stuck)


def acknowledged_puts(cluster: Platform, number: int, *, within_s: float = WRITE_S) -> int:
    """How many of `number` puts into the first promised bucket are acknowledged, each tried until then."""
    return asyncio.run(_puts(cluster, number, within_s))


async def _puts(cluster: Platform, number: int, within_s: float) -> int:
    bucket = cluster.contract.promises.buckets[0].name
    connection = await nats.connect(
        [server.client_url for server in cluster.servers],
        connect_timeout=2,
        reconnect_time_wait=0.2,
        max_reconnect_attempts=-1,
        error_cb=_quiet,
    )
    done = 0
    try:
        stream = connection.jetstream(timeout=2)

        async def once() -> bool:
            try:
                await stream.publish(f"$KV.{bucket}.natsproof-stuck", b"x")
            except (TimeoutError, nats.errors.Error, nats.js.errors.Error) as problem:
                raise ClusterError(f"no acknowledgement: {type(problem).__name__} {problem}") from None
            return True

        for _ in range(number):
            await until("an acknowledged put", once, within_s=within_s, every_s=0.2)
            done += 1
        await stream.purge_stream(f"KV_{bucket}", subject=f"$KV.{bucket}.natsproof-stuck")
    finally:
        await connection.close()
    return done


async def _quiet(problem: Exception) -> None:
    """Connections to the server that is away fail: that is what is looked at."""


def _looked_at(cluster: KindCluster, server: str) -> dict[str, Any]:
    return {
        "uid": cluster.uid(server),
        "streams": operations.streams_of(cluster, server),
        "claims": operations.claims(cluster),
    }


def _while_stuck(cluster: KindCluster, server: str) -> dict[str, Any]:
    """What the others do meanwhile, and whether the pod really stays."""
    uid, began_ns = cluster.uid(server), now_ns()
    try:
        acknowledged, problem = acknowledged_puts(cluster, WRITES), ""
    except Exception as stopped:  # no acknowledgement is the finding, whatever the client calls it
        acknowledged, problem = 0, f"{type(stopped).__name__}: {stopped}"
    wait_until(
        "the pod to have been watched",
        lambda: as_seconds(now_ns() - began_ns) >= WATCHED_S,
        within_s=WATCHED_S + 5,
    )
    pod = cluster.api.get("Pod", server, cluster.namespace) or {}
    metadata = pod.get("metadata") or {}
    others = [name for name in cluster.pod_names() if name != server]
    return {
        "terminating": bool(metadata.get("deletionTimestamp")) and metadata.get("uid") == uid,
        "watched_s": round(as_seconds(now_ns() - began_ns), 1),
        "acknowledged": acknowledged,
        "problem": problem,
        "leader": operations.meta_leader(cluster, others),
    }


def _after(
    cluster: KindCluster, server: str, held_by: str, before: dict[str, Any], stuck: dict[str, Any]
) -> dict[str, Any]:
    released_ns = now_ns()
    problem = ""
    try:
        wait_until(
            f"{server} to be another pod",
            lambda: cluster.uid(server) not in ("", before["uid"]),
            within_s=READY_S,
        )
        cluster.wait_ready(READY_S)
        after = _looked_at(cluster, server)
    except Exception as stopped:  # a pod that never comes back is the finding
        problem, after = f"{type(stopped).__name__}: {stopped}", {"uid": "", "streams": {}, "claims": {}}
    return {
        "server": server,
        "held_by": held_by,
        "before": before,
        "while_stuck": stuck,
        "after": after,
        "problem": problem,
        "back_s": round(as_seconds(now_ns() - released_ns), 1),
    }


def _finalizers(cluster: KindCluster, server: str, names: list[str]) -> None:
    if cluster.api.get("Pod", server, cluster.namespace) is not None:
        change = {"metadata": {"finalizers": names or None}}
        cluster.api.patch("Pod", server, cluster.namespace, change)
