"""Unique puts, all read back at the end: the workload of durability claims."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from natsproof.client import RecordingClient
from natsproof.clock import NS_PER_S, now_ns
from natsproof.errors import UsageError
from natsproof.workloads.pacing import Pace

if TYPE_CHECKING:
    from natsproof.trial import Scene


@dataclass(frozen=True)
class Ledger:
    """`writers` clients put values of `size` bytes at `rate_hz` in all, round the `buckets` in turn.

    `keys` is the number of keys a bucket: 0 (the default) gives every put its own key, so that each
    acknowledged put must still be there at the end; with few keys only the last one must. With
    `until_fault` the writers end a second after the first fault began: at a rate that nobody answers,
    each then has a put in flight nearly all the time.
    """

    buckets: tuple[str, ...]
    writers: int = 4
    rate_hz: float = 200.0
    size: int = 64
    keys: int = 0
    timeout_s: float = 2.0
    until_fault: bool = False

    def __post_init__(self) -> None:
        if not self.buckets or self.writers < 1 or self.rate_hz <= 0:
            raise UsageError(f"{self!r}: wants a bucket, a writer and a rate above 0")

    async def prepare(self, scene: Scene) -> None:
        """A connection a writer, spread over the servers."""
        for number in range(self.writers):
            await scene.client(f"writer {number}", timeout_s=self.timeout_s)

    async def drive(self, scene: Scene) -> None:
        draws = [random.Random(scene.rng.random()) for _ in scene.clients]
        await asyncio.gather(
            *(self._write(scene, n, client, draws[n]) for n, client in enumerate(scene.clients))
        )

    async def finish(self, scene: Scene) -> None:
        """The runner's final reads are all that is needed."""

    async def _write(self, scene: Scene, number: int, client: RecordingClient, rng: random.Random) -> None:
        pace, count = Pace(scene, self.rate_hz / self.writers, rng), 0
        while await pace.turn() and not self._done(scene):
            bucket = self.buckets[(number + count) % len(self.buckets)]
            name = f"k{rng.randrange(self.keys)}" if self.keys else f"{number}-{count}"
            await client.put(bucket, scene.key(name), size=self.size)
            count += 1

    def _done(self, scene: Scene) -> bool:
        """The fault is being injected when its mark is set; what is in flight then is what is wanted."""
        if not self.until_fault:
            return False
        first_ns = scene.recorder.marks.get("first_fault")
        return first_ns is not None and now_ns() > first_ns + NS_PER_S
