"""Facts read from a running platform through its monitoring endpoints, as plain JSON.

Reading only; judging is `natsproof.checkers.deployment`'s. Every server is asked, because a follower
shows neither the replicas of a stream nor those of the meta group. One that does not exist or does not
answer is named with the reason: what is missing is evidence too.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from natsproof.clock import wait_until
from natsproof.cluster import Cluster
from natsproof.errors import ClusterError, DeadlineExceeded

JSZ = "/jsz?streams=true&accounts=true&config=true"
BUCKET_PREFIX = "KV_"
OK = "ok"


def buckets(cluster: Cluster, *, settle_s: float = 10.0) -> dict[str, Any]:
    """Bucket name to {config, leader, peers, current, holders}, as each stream's leader tells it.

    `peers` are server names including the leader; `current` those of them that are up to date;
    `holders` the servers whose own store lists the stream. Waits up to `settle_s` until every peer is
    current: right after creation a replica shows one message of lag. Raises ClusterError if no server
    answers in all that time.
    """

    def settled() -> dict[str, Any] | None:
        seen, silent = _buckets_now(cluster)
        full = all(len(b["current"]) == len(b["peers"]) and b["leader"] for b in seen.values())
        return seen if full and seen and not silent else None

    try:
        return wait_until("all replicas current", settled, within_s=settle_s, every_s=0.1) or {}
    except DeadlineExceeded:
        seen, silent = _buckets_now(cluster)  # what there is, is the evidence
        if len(silent) == len(cluster.servers):
            raise ClusterError(f"no server answers: {'; '.join(silent.values())}") from None
        return seen


def _buckets_now(cluster: Cluster) -> tuple[dict[str, Any], dict[str, str]]:
    """The buckets, and the servers that do not answer with the reason."""
    found: dict[str, Any] = {}
    silent: dict[str, str] = {}
    for server in cluster.servers:
        try:
            told = cluster.monitor(server.name, JSZ)
        except ClusterError as problem:
            silent[server.name] = str(problem)
            continue
        for account in told.get("account_details") or []:
            for stream in account.get("stream_detail") or []:
                name = str(stream["name"])
                if name.startswith(BUCKET_PREFIX):
                    _enter(found.setdefault(name[len(BUCKET_PREFIX) :], _blank()), server.name, stream)
    return found, silent


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


def endpoints(cluster: Cluster, *, settle_s: float = 10.0) -> dict[str, dict[str, str]]:
    """Server to monitoring path to "ok" or what went wrong, for every promised path. What is not "ok" is
    asked again for `settle_s`: one answer that is late on a busy host is no silent endpoint."""
    there = {server.name for server in cluster.servers}
    paths = cluster.contract.promises.monitoring
    names = sorted(there | set(cluster.contract.statefulset.pod_names()))
    seen = {name: dict.fromkeys(paths, "" if name in there else "there is no such pod") for name in names}

    def all_answer() -> bool:
        for name in there:
            for path in paths:
                if seen[name][path] != OK:
                    seen[name][path] = _answer(cluster, name, path)
        return all(told == OK for name in there for told in seen[name].values())

    with suppress(DeadlineExceeded):
        wait_until("all endpoints to answer", all_answer, within_s=settle_s, every_s=0.2)
    return seen


def _answer(cluster: Cluster, server: str, path: str) -> str:
    try:
        body = cluster.monitor(server, path)
    except ClusterError as problem:
        return str(problem)
    named = body.get("server_id") if isinstance(body, dict) else None
    return OK if named else f"200, but no server_id in {str(body)[:80]!r}"


def members(cluster: Cluster, *, settle_s: float = 10.0) -> dict[str, Any]:
    """Server to {ready, running, name, version, routes, meta_leader, meta_size, sync_always, sync_interval_s,
    max_storage, max_memory, store_dir}, from /routez, /jsz and /varz; `silent` has the reason of one that
    does not answer for `settle_s`."""

    def all_answer() -> dict[str, Any] | None:
        seen = {server.name: _member(cluster, server.name) for server in cluster.servers}
        return None if any("silent" in facts for facts in seen.values()) else seen

    try:
        return wait_until("all servers to answer", all_answer, within_s=settle_s, every_s=0.2) or {}
    except DeadlineExceeded:
        return {server.name: _member(cluster, server.name) for server in cluster.servers}


def _member(cluster: Cluster, server: str) -> dict[str, Any]:
    try:
        return _told(cluster, server)
    except ClusterError as problem:
        return {**_NOTHING, "silent": str(problem)}


#: What a server that does not answer tells.
_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("ready", "running", "sync_always"), False),
    **dict.fromkeys(("name", "version", "meta_leader", "max_storage", "max_memory", "store_dir")),
    "routes": [],
    "meta_size": 0,
    "sync_interval_s": 0.0,
}


def _told(cluster: Cluster, server: str) -> dict[str, Any]:
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
