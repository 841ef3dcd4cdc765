"""What recording costs: puts a second through RecordingClient against the same nats-py loop without it.

    python -m bench.recording

One process, one real R3 cluster on loopback, rounds interleaved, each figure a median of the rounds'
ratios. Two unrecorded loops: nats-py's own `kv.put`, which users write, and the bare request with the
same payload that the recording client makes, which shows the recording alone. `recording` is the worst
of both shapes (one put in flight, 32 in flight) against the bare request.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import nats
from nats.js.kv import KeyValue

from natsproof.client import RecordingClient
from natsproof.client.connection import Connection
from natsproof.client.payload import encode
from natsproof.clock import now_ns
from natsproof.recorder import Recorder
from tests.loopback import LoopbackCluster

ROUNDS = 9
PUTS = {1: 1200, 32: 4000}
BUCKET, KEYS, SIZE = "message_state", 500, 64

Put = Callable[[int, str], Awaitable[object]]


async def rate(put: Put, in_flight: int) -> float:
    """Acknowledged puts a second with that many in flight."""
    numbers = iter(range(PUTS[in_flight]))

    async def writer(client: int) -> None:
        for number in numbers:
            await put(client, f"k{number % KEYS}")

    began_ns = now_ns()
    await asyncio.gather(*(writer(client) for client in range(in_flight)))
    return PUTS[in_flight] / ((now_ns() - began_ns) / 1e9)


async def measure(cluster: LoopbackCluster, folder: Path) -> dict[tuple[str, int], list[float]]:
    index_of = {urlsplit(server.client_url).netloc: server.ordinal for server in cluster.servers}
    first = [cluster.servers[0]]
    with Recorder(folder / "history.jsonl", {}) as recorder:
        connection = Connection(recorder, "bench", first, index_of)
        await connection.open(5)
        root = RecordingClient(recorder, connection, "bench")
        clients = [root.fork(f"writer {number}") for number in range(32)]
        plain = await nats.connect(first[0].client_url)
        kv: KeyValue = await plain.jetstream(timeout=2).key_value(BUCKET)

        async def recorded(client: int, key: str) -> None:
            answer = await clients[client].put(BUCKET, key, size=SIZE)
            assert answer.ok, answer

        async def with_kv(_: int, key: str) -> None:
            await kv.put(key, encode(0, key, SIZE))

        async def bare(_: int, key: str) -> None:
            await plain.request(f"$KV.{BUCKET}.{key}", encode(0, key, SIZE), timeout=2)

        ratios: dict[tuple[str, int], list[float]] = {}
        for in_flight in PUTS:
            await rate(recorded, in_flight)  # warm
            for _ in range(ROUNDS):
                mine = await rate(recorded, in_flight)
                for name, loop in (("kv.put", with_kv), ("bare request", bare)):
                    ratios.setdefault((name, in_flight), []).append(mine / await rate(loop, in_flight))
        await plain.close()
        await connection.close()
    return ratios


def main() -> None:
    began = time.monotonic()
    with LoopbackCluster() as cluster, tempfile.TemporaryDirectory() as folder:
        ratios = asyncio.run(measure(cluster, Path(folder)))
    medians = {case: statistics.median(values) for case, values in ratios.items()}
    for (name, in_flight), ratio in medians.items():
        print(f"recording against {name}, {in_flight} in flight: {ratio:.2f} x unrecorded")
    worst = min(ratio for (name, _), ratio in medians.items() if name == "bare request")
    print(f"recording: {worst:.2f} x unrecorded")
    print(f"took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
