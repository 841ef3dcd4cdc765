"""Few hot keys under every operation: the workload of linearizability claims."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from natsproof.client import RecordingClient
from natsproof.errors import UsageError
from natsproof.history import NONE
from natsproof.workloads.pacing import Pace

if TYPE_CHECKING:
    from natsproof.trial import Scene


@dataclass(frozen=True)
class Register:
    """`clients` read, put, update, create and delete `keys` keys a bucket at `rate_hz` in all.

    Reads go through the leader; after a `direct_share` of all operations the client reads the key from any
    replica too, which may not have its own write yet. An update expects the revision its client saw last, so
    some are refused. `delete_share` of the operations are deletes; 0 leaves keys alive once written. Shares
    are of 1.
    """

    buckets: tuple[str, ...]
    clients: int = 6
    keys: int = 3
    rate_hz: float = 150.0
    size: int = 48
    read_share: float = 0.45
    update_share: float = 0.25
    delete_share: float = 0.08
    direct_share: float = 0.0
    timeout_s: float = 2.0

    def __post_init__(self) -> None:
        if not self.buckets or self.clients < 1 or self.keys < 1 or self.rate_hz <= 0:
            raise UsageError(f"{self!r}: wants a bucket, a client, a key and a rate above 0")
        if self.read_share + self.update_share + self.delete_share > 1:
            raise UsageError(f"{self!r}: shares of reads, updates and deletes are more than 1 together")

    async def prepare(self, scene: Scene) -> None:
        """A connection a client, spread over the servers."""
        for number in range(self.clients):
            await scene.client(f"client {number}", timeout_s=self.timeout_s)

    async def drive(self, scene: Scene) -> None:
        draws = [random.Random(scene.rng.random()) for _ in scene.clients]
        await asyncio.gather(*(self._use(scene, c, r) for c, r in zip(scene.clients, draws, strict=True)))

    async def finish(self, scene: Scene) -> None:
        """The runner's final reads are all that is needed."""

    async def _use(self, scene: Scene, client: RecordingClient, rng: random.Random) -> None:
        pace = Pace(scene, self.rate_hz / self.clients, rng)
        seen: dict[tuple[str, str], int] = {}
        while await pace.turn():
            bucket = rng.choice(self.buckets)
            key = scene.key(f"r{rng.randrange(self.keys)}")
            revision = seen.get((bucket, key), NONE)
            found = await self._operate(client, bucket, key, revision, rng)
            if rng.random() < self.direct_share:
                await client.direct_get(bucket, key)
            if found != NONE:
                seen[bucket, key] = found

    async def _operate(
        self, client: RecordingClient, bucket: str, key: str, revision: int, rng: random.Random
    ) -> int:
        """One operation, drawn; the key's revision as it is now known, or NONE."""
        draw = rng.random()
        if draw < self.read_share:
            answer = await client.get(bucket, key)
        elif draw < self.read_share + self.update_share:
            if revision == NONE:
                answer = await client.create(bucket, key, size=self.size)
            else:
                answer = await client.update(bucket, key, revision, size=self.size)
        elif draw < self.read_share + self.update_share + self.delete_share:
            conditional = revision != NONE and rng.random() < 0.5
            answer = await client.delete(bucket, key, revision if conditional else None)
        else:
            answer = await client.put(bucket, key, size=self.size)
        return answer.revision if answer.ok else NONE
