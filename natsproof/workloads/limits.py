"""Many clients at once: each with a connection of its own that comes back by itself."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from natsproof.client import RecordingClient
from natsproof.errors import UsageError
from natsproof.workloads.pacing import Pace

if TYPE_CHECKING:
    from natsproof.trial import Scene

OPENED_AT_ONCE = 50


@dataclass(frozen=True)
class Crowd:
    """`clients` connections, spread over the servers; each puts its own keys, `rate_hz` in all, and comes
    back on its own when it is cut off: all at once after a restart of all. At most `forwarded` where each
    connection is a port-forward through the API server: of more, that server would be measured."""

    buckets: tuple[str, ...]
    clients: int = 300
    forwarded: int = 60
    rate_hz: float = 150.0
    size: int = 64
    timeout_s: float = 2.0

    def __post_init__(self) -> None:
        if not self.buckets or min(self.clients, self.forwarded) < 1 or self.rate_hz <= 0:
            raise UsageError(f"{self!r}: wants a bucket, a client and a rate above 0")

    async def prepare(self, scene: Scene) -> None:
        """All connections."""
        through_api = any(server.witness_urls for server in scene.servers)
        clients = min(self.clients, self.forwarded) if through_api else self.clients
        for first in range(0, clients, OPENED_AT_ONCE):
            numbers = range(first, min(first + OPENED_AT_ONCE, clients))
            await asyncio.gather(*(scene.client(f"crowd {n}", timeout_s=self.timeout_s) for n in numbers))

    async def drive(self, scene: Scene) -> None:
        draws = [random.Random(scene.rng.random()) for _ in scene.clients]
        await asyncio.gather(
            *(self._write(scene, n, client, draws[n]) for n, client in enumerate(scene.clients))
        )

    async def finish(self, scene: Scene) -> None:
        """The runner's final reads are all that is needed."""

    async def _write(self, scene: Scene, number: int, client: RecordingClient, rng: random.Random) -> None:
        pace, count = Pace(scene, self.rate_hz / len(scene.clients), rng), 0
        while await pace.turn():
            bucket = self.buckets[(number + count) % len(self.buckets)]
            await client.put(bucket, scene.key(f"{number}-{count}"), size=self.size)
            count += 1
