"""Keys that are written anew just as they expire."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from natsproof.client import RecordingClient
from natsproof.clock import now_ns
from natsproof.errors import UsageError
from natsproof.workloads.twins import make_twin

if TYPE_CHECKING:
    from natsproof.trial import Scene

#: Share of the values that are left until they are gone for certain, and looked for: that they expire at all
#: must not depend on whether the server's timer, at most 0.25 s late when idle, came by in `overdue_s`.
LEFT = 0.2
LEFT_S = 1.0


@dataclass(frozen=True)
class Overwrites:
    """`keys` of a twin of each bucket with a TTL of `ttl_s`. Each is put again and again, `overdue_s` after
    its value was due: some of those the server has not removed yet, or is removing just then. In mid-life it
    is read through the leader: the new value must be there. One value in five is left, and read 1 s late."""

    buckets: tuple[str, ...]
    ttl_s: float = 1.0
    keys: int = 100
    overdue_s: float = 0.1
    timeout_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.buckets or self.keys < 1:
            raise UsageError(f"{self!r}: wants a bucket and a key")
        if self.ttl_s < 0.2 or self.overdue_s < 0:
            raise UsageError(f"{self!r}: the server's shortest TTL is 0.1 s; overdue_s is a time after it")

    async def prepare(self, scene: Scene) -> None:
        """One connection, and the twins."""
        client = await scene.client("overwriter", timeout_s=self.timeout_s)
        twins = [await make_twin(scene, client, bucket, self.ttl_s) for bucket in self.buckets]
        scene.kept.update(client=client, twins=twins)

    async def drive(self, scene: Scene) -> None:
        await asyncio.gather(
            *(
                self._circle(scene, twin, number, random.Random(scene.rng.random()))
                for twin in scene.kept["twins"]
                for number in range(self.keys)
            )
        )

    async def finish(self, scene: Scene) -> None:
        """All is the runner's: final reads and the audit of the replicas."""

    async def _circle(self, scene: Scene, twin: str, number: int, rng: random.Random) -> None:
        client: RecordingClient = scene.kept["client"].fork(f"overwriter {twin} {number}")
        key = scene.key(f"o{number}")
        more = await scene.rest(rng.random() * (self.ttl_s + self.overdue_s))
        while more:
            called_ns = now_ns()
            await client.put(twin, key)
            if await scene.rest(self.ttl_s / 2 - _since_s(called_ns)):
                await client.get(twin, key)
            left = rng.random() < LEFT
            more = await scene.rest(self.ttl_s + (LEFT_S if left else self.overdue_s) - _since_s(called_ns))
            if more and left:
                await client.get(twin, key)


def _since_s(called_ns: int) -> float:
    return (now_ns() - called_ns) / 1e9
