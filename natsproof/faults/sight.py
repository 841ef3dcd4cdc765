"""What can be seen of a platform from outside: leaders and replicas by /jsz, ports by knocking."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from natsproof.clock import wait_until
from natsproof.cluster import Cluster, Server
from natsproof.errors import ClusterError, DeadlineExceeded, UsageError

MONITOR_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class StreamView:
    """One server's view of one stream. `replicas` is only what a leader knows: name -> (current, seconds
    since it was heard, messages it lags)."""

    leader: str
    leader_since: str
    last_seq: int
    first_seq: int
    messages: int
    bytes: int
    replicas: dict[str, tuple[bool, float, int]]


@dataclass(frozen=True, slots=True)
class ServerView:
    """One server's /jsz. `meta_replicas` is only what the meta leader knows, as in StreamView."""

    server_id: str
    meta_leader: str
    meta_replicas: dict[str, tuple[bool, float, int]]
    streams: dict[str, StreamView]


@dataclass(frozen=True, slots=True)
class PlatformView:
    """All servers at about one moment; None for those that did not answer."""

    servers: dict[str, ServerView | None] = field(default_factory=dict)

    def leader(self, stream: str) -> str | None:
        """The server that says of itself that it leads `stream`; the latest, if several do."""
        claims = [
            (view.streams[stream].leader_since, name)
            for name, view in self.servers.items()
            if view and stream in view.streams and view.streams[stream].leader == name
        ]
        return max(claims)[1] if claims else None

    def meta_leader(self) -> str | None:
        for name, view in self.servers.items():
            if view and view.meta_leader == name:
                return name
        return None

    def caught_up(self, stream: str) -> bool:
        """Whether every server has the stream up to its end, and its leader calls all others current."""
        views = [view.streams.get(stream) if view else None for view in self.servers.values()]
        leader = self.leader(stream)
        if leader is None or not all(views):
            return False
        mine = self.servers[leader]
        assert mine is not None
        replicas = mine.streams[stream].replicas.values()
        if len(replicas) != len(views) - 1 or any(not current or lag for current, _, lag in replicas):
            return False
        return len({view.last_seq for view in views if view}) == 1

    def converged(self, stream: str) -> bool:
        """Whether all have caught up and hold as much, from the same beginning to the same end."""
        views = [view.streams.get(stream) if view else None for view in self.servers.values()]
        return self.caught_up(stream) and len({(v.first_seq, v.messages) for v in views if v}) == 1

    def expiring(self, stream: str, before: PlatformView) -> bool:
        """Whether all have caught up, nothing was written since `before`, and each has less than then.

        Every server expires values by its own clock, and one is asked after the other: while a bucket lapses
        no two of them are seen to hold as much.
        """
        if not (self.caught_up(stream) and before.caught_up(stream)):
            return False
        now, then = (
            [view.streams[stream] for view in seen.servers.values() if view] for seen in (self, before)
        )
        return len(now) == len(then) and all(
            n.last_seq == t.last_seq and n.messages < t.messages for n, t in zip(now, then, strict=True)
        )


def _replicas(cluster: dict[str, Any]) -> dict[str, tuple[bool, float, int]]:
    return {
        r["name"]: (
            bool(r.get("current")) and not r.get("offline"),
            int(r.get("active", 0)) / 1e9,
            int(r.get("lag", 0)),
        )
        for r in cluster.get("replicas") or ()
    }


def look_at(cluster: Cluster, server: str) -> ServerView | None:
    """One server's view, None if it does not answer."""
    try:
        jsz = cluster.monitor(server, "/jsz?accounts=true&streams=true", timeout_s=MONITOR_TIMEOUT_S)
    except (ClusterError, OSError):
        return None
    meta = jsz.get("meta_cluster") or {}
    streams = {}
    for account in jsz.get("account_details") or ():
        for detail in account.get("stream_detail") or ():
            group, state = detail.get("cluster") or {}, detail["state"]
            streams[detail["name"]] = StreamView(
                leader=group.get("leader", ""),
                leader_since=group.get("leader_since", ""),
                last_seq=state["last_seq"],
                first_seq=state["first_seq"],
                messages=state["messages"],
                bytes=state["bytes"],
                replicas=_replicas(group),
            )
    return ServerView(jsz.get("server_id", ""), meta.get("leader", ""), _replicas(meta), streams)


def look(cluster: Cluster) -> PlatformView:
    """All servers, asked at the same time."""
    names = [server.name for server in cluster.servers]
    with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        return PlatformView(
            dict(zip(names, pool.map(lambda name: look_at(cluster, name), names), strict=True))
        )


def resolve(
    victim: str, bucket: str, cluster: Cluster, rng: random.Random, *, within_s: float = 10.0
) -> tuple[tuple[str, ...], str]:
    """The servers a victim means now, and their role. `bucket` is whose leader `leader` means.

    Waits for a leader where one is wanted. Raises DeadlineExceeded, or UsageError for an unknown server.
    """
    names = [server.name for server in cluster.servers]
    if victim == "all":
        return tuple(names), "all"
    stream = f"KV_{bucket}"
    if victim in ("random", "two") or victim in names:
        seen = look(cluster).leader(stream)
        if victim == "two":
            chosen = tuple(sorted(rng.sample(names, 2)))
        else:
            chosen = (rng.choice(names) if victim == "random" else victim,)
        roles = ["leader" if name == seen else "follower" if seen else "unknown" for name in chosen]
        return chosen, "+".join(sorted(set(roles), reverse=True))
    if victim == "meta-leader":
        found = wait_until("a meta leader", lambda: look(cluster).meta_leader(), within_s=within_s)
        assert found is not None
        return (found,), "meta-leader"
    if victim in ("leader", "follower", "first-follower", "last-follower"):
        leader = wait_until(f"a leader of {stream}", lambda: look(cluster).leader(stream), within_s=within_s)
        assert leader is not None
        if victim == "leader":
            return (leader,), "leader"
        followers = [name for name in sorted(names) if name != leader]
        chosen_one = {"first-follower": followers[0], "last-follower": followers[-1]}.get(victim)
        return (chosen_one or rng.choice(followers),), "follower"
    raise UsageError(f"no server is called {victim!r}. Servers: {', '.join(names)}")


def knock(url: str, *, within_s: float = 1.0, greeting: bool = True) -> str:
    """What a fresh TCP connection to a `nats://` or `http://` address meets: `refused`, `unreachable`
    (no route, or no answer at all), `closed`, `silent` (accepted, says nothing), or `answers`.

    A nats-server greets by itself; on a monitoring port a request is made first.
    """
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=within_s) as wire:
            wire.settimeout(within_s)
            if not greeting:
                wire.sendall(b"GET /varz HTTP/1.0\r\n\r\n")
            try:
                return "answers" if wire.recv(1) else "closed"
            except TimeoutError:
                return "silent"
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "closed"
    except OSError:
        return "unreachable"


def knock_at(server: Server, *, within_s: float = 1.0) -> tuple[str, str]:
    """What its client port and its monitoring port meet, by ways where no client queues."""
    client, monitor = server.witness_urls or (server.client_url, server.monitor_url)
    return knock(client, within_s=within_s), knock(monitor, within_s=within_s, greeting=False)


def closed(server: Server) -> str:
    """How neither of its ports takes a connection, "" if one does."""
    client, monitor = knock_at(server)
    shut = {client, monitor} <= {"refused", "unreachable", "closed"}
    return f"{server.name}: client port {client}, monitor port {monitor}" if shut else ""


def server_of(cluster: Cluster, name: str) -> Server:
    for server in cluster.servers:
        if server.name == name:
            return server
    raise UsageError(f"no server is called {name!r}. Servers: {', '.join(s.name for s in cluster.servers)}")


def confirmed(what: str, probe: Any, *, within_s: float) -> str:
    """`probe()` once it gives a text, "" if it gives none in time."""
    try:
        return str(wait_until(what, probe, within_s=within_s, every_s=0.1))
    except DeadlineExceeded:
        return ""


def each(targets: Sequence[str], probe: Any) -> str:
    """The texts of `probe(target)` joined, or "" if it gives none for any target."""
    texts = [probe(target) for target in targets]
    return "; ".join(texts) if all(texts) else ""
