"""A server whose snapshot of the meta group is damaged leads that group."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import nats
import nats.errors
import orjson

from natsproof.clock import until, wait_until
from natsproof.cluster import Server
from natsproof.errors import ClusterError
from natsproof.faults.sight import confirmed, look, server_of
from natsproof.verdict import Verdict, broken, holds
from tests.track_record import system

#: What a server says of a stream that the meta group does not know, before it deletes it.
ORPHANED = "Detected orphaned stream"
SNAPSHOTS = "**/_js_/_meta_/snapshots/*"
FLIPS = 8
#: A server looks for streams that the meta group does not know half a minute after it began to lead it.
ORPHANS_S = 50.0
STARTS_S = 40.0


def damaged_snapshot(cluster: Any, seed: int) -> Verdict:
    """A follower stops and starts, which makes a snapshot; streams are added, which its log has beside it;
    it is killed, bits of the snapshot are flipped, it starts again and is given the leadership. BROKEN if it
    takes the buckets for orphans."""
    first = str(wait_until("a meta leader", lambda: look(cluster).meta_leader(), within_s=20))
    victim = sorted(server.name for server in cluster.servers if server.name != first)[0]
    cluster.stop(victim)
    cluster.start(victim)
    wait_until(f"{victim} ready", lambda: cluster.ready(victim), within_s=STARTS_S)
    buckets = asyncio.run(_streams(server_of(cluster, first)))
    asyncio.run(_added(server_of(cluster, first)))
    cluster.kill(victim)
    flipped = _flip(Path(cluster.volume_path(victim)), random.Random(seed))
    cluster.start(victim)
    if not confirmed("it to start", lambda: look(cluster).servers[victim] and "yes", within_s=STARTS_S):
        return holds(f"{victim} does not start with {flipped} damaged")
    _lead(cluster, victim)
    if not confirmed("orphans", lambda: ORPHANED in cluster.log(victim) and ORPHANED, within_s=ORPHANS_S):
        return holds(f"{victim} led with {flipped} damaged and took no stream for an orphan")
    left = asyncio.run(_streams(server_of(cluster, victim)))
    known = f"the cluster knows {len(buckets & left)} of {len(buckets)} buckets"
    return broken(f"{victim} took streams for orphans; {known}")


def _flip(volume: Path, rng: random.Random) -> str:
    """The names of the damaged files."""
    files = sorted(volume.rglob(SNAPSHOTS))
    if not files:
        raise ClusterError(f"{volume} has no snapshot of the meta group")
    for file in files:
        data = bytearray(file.read_bytes())
        for _ in range(FLIPS):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
    return ", ".join(file.name for file in files)


def _lead(cluster: Any, victim: str) -> None:
    """Ask who leads the meta group to hand over, until the victim leads."""

    def leads() -> bool:
        leader = look(cluster).meta_leader()
        if leader not in (None, victim):
            wish = {"placement": {"preferred": victim}}
            system.ask(cluster, str(leader), "META.LEADER.STEPDOWN", wish)
        return leader == victim

    wait_until(f"{victim} to lead the meta group", leads, within_s=30, every_s=1.0)


async def _streams(server: Server) -> set[str]:
    """The names that the meta leader knows."""
    client = await nats.connect(server.client_url, allow_reconnect=False)
    try:

        async def names() -> dict[str, Any]:
            try:
                answer = await client.request("$JS.API.STREAM.NAMES", b"", timeout=2)
            except nats.errors.Error as problem:
                raise ClusterError(str(problem)) from problem
            told: dict[str, Any] = orjson.loads(answer.data)
            return {} if "error" in told else told

        return set((await until("the names of streams", names, within_s=15)).get("streams") or ())
    finally:
        await client.close()


async def _added(server: Server) -> None:
    """Three streams: entries of the log after the snapshot."""
    client = await nats.connect(server.client_url, allow_reconnect=False)
    try:
        for number in range(3):
            wish = {"name": f"ADDED{number}", "subjects": [f"added{number}"], "num_replicas": 3}
            wish |= {"storage": "file", "max_bytes": 1 << 20}
            name = f"$JS.API.STREAM.CREATE.ADDED{number}"
            answer = orjson.loads((await client.request(name, orjson.dumps(wish), timeout=5)).data)
            if "error" in answer:
                raise ClusterError(f"{name}: {answer['error']}")
    finally:
        await client.close()
