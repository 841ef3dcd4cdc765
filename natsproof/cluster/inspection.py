"""Facts read from a running platform through its monitoring endpoints, as plain JSON.

Reading only; judging is `natsproof.checkers.deployment`'s. Every server is asked, because a follower
shows neither the replicas of a stream nor those of the meta group.
"""

from __future__ import annotations

from typing import Any

from natsproof.clock import wait_until
from natsproof.cluster import Cluster
from natsproof.errors import ClusterError, DeadlineExceeded

JSZ = "/jsz?streams=true&accounts=true&config=true"
BUCKET_PREFIX = "KV_"


def buckets(cluster: Cluster, *, settle_s: float = 10.0) -> dict[str, Any]:
    """Bucket name to {config, leader, peers, current, holders}, as each stream's leader tells it.

    `peers` are server names including the leader; `current` those of them that are up to date;
    `holders` the servers whose own store lists the stream. Waits up to `settle_s` until every peer is
    current: right after creation a replica shows one message of lag.
    """

    def settled() -> dict[str, Any] | None:
        seen = _buckets_now(cluster)
        full = all(len(b["current"]) == len(b["peers"]) and b["leader"] for b in seen.values())
        return seen if full and seen else None

    try:
        return wait_until("all replicas current", settled, within_s=settle_s, every_s=0.1) or {}
    except DeadlineExceeded:
        return _buckets_now(cluster)  # what there is, is the evidence


def _buckets_now(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for server in cluster.servers:
        for account in cluster.monitor(server.name, JSZ).get("account_details") or []:
            for stream in account.get("stream_detail") or []:
                name = str(stream["name"])
                if name.startswith(BUCKET_PREFIX):
                    _enter(found.setdefault(name[len(BUCKET_PREFIX) :], _blank()), server.name, stream)
    return found


def _blank() -> dict[str, Any]:
    return {"config": {}, "leader": "", "peers": [], "current": [], "holders": []}


def _enter(bucket: dict[str, Any], server: str, stream: dict[str, Any]) -> None:
    bucket["holders"].append(server)
    bucket["config"] = bucket["config"] or stream.get("config", {})
    group = stream.get("cluster") or {}
    if group.get("leader") != server:
        return
    replicas = group.get("replicas") or []
    bucket["leader"] = server
    bucket["config"] = stream.get("config", {})
    bucket["peers"] = sorted([server, *(r["name"] for r in replicas)])
    bucket["current"] = sorted(
        [server, *(r["name"] for r in replicas if r.get("current") and not r.get("lag"))]
    )


def endpoints(cluster: Cluster) -> dict[str, dict[str, str]]:
    """Server to monitoring path to "ok" or what went wrong, for every promised path."""
    return {
        server.name: {
            path: _answer(cluster, server.name, path) for path in cluster.contract.promises.monitoring
        }
        for server in cluster.servers
    }


def _answer(cluster: Cluster, server: str, path: str) -> str:
    try:
        body = cluster.monitor(server, path)
    except ClusterError as problem:
        return str(problem)
    named = body.get("server_id") if isinstance(body, dict) else None
    return "ok" if named else f"200, but no server_id in {str(body)[:80]!r}"


def members(cluster: Cluster) -> dict[str, Any]:
    """Server to {ready, running, name, version, routes, meta_leader, meta_size, sync_always, sync_interval_s,
    max_storage, max_memory, store_dir}, from /routez, /jsz and /varz."""
    return {server.name: _member(cluster, server.name) for server in cluster.servers}


def _member(cluster: Cluster, server: str) -> dict[str, Any]:
    varz = cluster.monitor(server, "/varz")
    routes = cluster.monitor(server, "/routez").get("routes") or []
    meta = cluster.monitor(server, "/jsz").get("meta_cluster") or {}
    limits = (varz.get("jetstream") or {}).get("config") or {}
    return {
        "ready": cluster.ready(server),
        "running": cluster.running(server),
        "name": varz.get("server_name"),
        "version": varz.get("version"),
        "routes": sorted({str(r.get("remote_name")) for r in routes}),
        "meta_leader": meta.get("leader"),
        "meta_size": meta.get("cluster_size"),
        "sync_always": bool(limits.get("sync_always")),
        "sync_interval_s": (limits.get("sync_interval") or 0) / 1e9,
        "max_storage": limits.get("max_storage"),
        "max_memory": limits.get("max_memory"),
        "store_dir": limits.get("store_dir"),
    }
