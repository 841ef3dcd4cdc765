"""Is the platform whole again? Every bucket acknowledges writes, every server holds what was written before.

Under load no two servers ever end alike, so a server has caught up once it holds the sequence that the
stream had when the wait began, and its leader calls it current.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from natsproof.client import RecordingClient
from natsproof.clock import Deadline, as_seconds, now_ns
from natsproof.cluster import Cluster
from natsproof.faults.sight import PlatformView, look
from natsproof.trial import audit
from natsproof.trial.scene import Stage

LOOK_EVERY_S = 0.1


def last_sequences(view: PlatformView, buckets: Sequence[str]) -> dict[str, int]:
    """The highest sequence any server has of each bucket's stream."""
    return {
        bucket: max(
            (s.streams[f"KV_{bucket}"].last_seq for s in view.servers.values() if s and _has(s, bucket)),
            default=0,
        )
        for bucket in buckets
    }


def _has(server: Any, bucket: str) -> bool:
    return f"KV_{bucket}" in server.streams


def behind(view: PlatformView, least: dict[str, int]) -> list[str]:
    """What is not whole, in words: servers that are silent or lack something, streams without a leader."""
    problems = [f"{name} does not answer" for name, server in view.servers.items() if server is None]
    if view.meta_leader() is None:
        problems.append("no meta leader")
    for bucket, sequence in least.items():
        leader = view.leader(f"KV_{bucket}")
        seen = view.servers[leader] if leader else None
        if not leader or seen is None:
            problems.append(f"{bucket} has no leader")
            continue
        replicas = seen.streams[f"KV_{bucket}"].replicas
        problems += [f"{bucket} on {name} is not current" for name, (ok, _, _) in replicas.items() if not ok]
        if len(replicas) != len(view.servers) - 1:
            problems.append(f"{bucket} has {len(replicas) + 1} replicas")
        for name, server in view.servers.items():
            if server and (not _has(server, bucket) or server.streams[f"KV_{bucket}"].last_seq < sequence):
                problems.append(f"{bucket} on {name} has not reached {sequence}")
    return problems


async def caught_up(
    cluster: Cluster, buckets: Sequence[str], deadline: Deadline, ending: asyncio.Event
) -> str:
    """Wait until nothing is behind what was there at the call; "" or what is when time is up."""
    least: dict[str, int] = {}
    while True:
        view = await asyncio.to_thread(look, cluster)
        least = least or last_sequences(view, buckets)
        problems = behind(view, least)
        if not problems:
            return ""
        if deadline.passed or ending.is_set():
            return "; ".join(problems)
        await asyncio.sleep(LOOK_EVERY_S)


async def wait_until_whole(stage: Stage, prober: RecordingClient, within_s: float) -> bool:
    """Wait for both, write down how long each took (observation `whole`); whether it became whole."""
    began, deadline = now_ns(), Deadline.within(within_s)
    refused = await audit.accepts_writes(prober, stage.buckets, stage.prefix, within_s)
    writes_s = as_seconds(now_ns() - began)
    lacking = refused or await caught_up(stage.cluster, stage.buckets, deadline, stage.ending)
    facts = {
        "writes_s": round(writes_s, 3),
        "whole_s": round(as_seconds(now_ns() - began), 3),
        "within_s": within_s,
        "lacking": lacking,
    }
    stage.recorder.observe("whole", facts)
    return not lacking
