"""Writers and watchers: every revision must reach every watcher, once and in order."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from natsproof.client import RecordingClient
from natsproof.client.watch import Watcher
from natsproof.errors import UsageError
from natsproof.history import NONE
from natsproof.workloads.pacing import Pace

if TYPE_CHECKING:
    from natsproof.trial import Scene

CATCH_UP_S = 15.0


@dataclass(frozen=True)
class Watch:
    """`writers` put and delete `keys` keys a bucket (0: each put its own key) at `rate_hz` in all;
    `watchers` a bucket follow, spread over the servers.

    With history 1 a key written twice may be seen once by a watcher that was away; own keys cannot hide
    a lost event. At the end each watcher gets 15 s to reach the last acknowledged revision; observation
    `watch_end`: {"client", "bucket", "wanted", "reached": its last revision}.
    """

    buckets: tuple[str, ...]
    writers: int = 2
    watchers: int = 3
    rate_hz: float = 100.0
    keys: int = 0
    size: int = 48
    delete_share: float = 0.1
    timeout_s: float = 2.0

    def __post_init__(self) -> None:
        if not self.buckets or self.writers < 1 or self.watchers < 1 or self.rate_hz <= 0:
            raise UsageError(f"{self!r}: wants a bucket, a writer, a watcher and a rate above 0")

    async def prepare(self, scene: Scene) -> None:
        """Writers' connections, and watchers that have caught up."""
        writers = [await scene.client(f"writer {n}", timeout_s=self.timeout_s) for n in range(self.writers)]
        watchers: list[Watcher] = []
        for number in range(self.watchers):
            server = scene.servers[number % len(scene.servers)].name
            client = await scene.client(f"watcher {number}", server=server)
            for bucket in self.buckets:
                watchers.append(Watcher(client.fork(f"{client.name} {bucket}"), bucket, scene.prefix))
        for watcher in watchers:
            watcher.start()
        scene.kept.update(writers=writers, watchers=watchers, last={})
        await asyncio.wait_for(asyncio.gather(*(w.caught_up.wait() for w in watchers)), CATCH_UP_S)

    async def drive(self, scene: Scene) -> None:
        writers: list[RecordingClient] = scene.kept["writers"]
        draws = [random.Random(scene.rng.random()) for _ in writers]
        await asyncio.gather(
            *(self._write(scene, number, client, draws[number]) for number, client in enumerate(writers))
        )

    async def finish(self, scene: Scene) -> None:
        """Wait for the watchers and end them."""
        watchers: list[Watcher] = scene.kept["watchers"]
        last: dict[str, int] = scene.kept["last"]

        async def end(watcher: Watcher) -> None:
            wanted = last.get(watcher.bucket, 0)
            await watcher.reach(wanted, CATCH_UP_S)
            await watcher.stop()
            facts = {"client": watcher.client.index, "bucket": watcher.bucket}
            scene.observe("watch_end", {**facts, "wanted": wanted, "reached": watcher.last})

        await asyncio.gather(*(end(watcher) for watcher in watchers))

    async def _write(self, scene: Scene, number: int, client: RecordingClient, rng: random.Random) -> None:
        pace, count = Pace(scene, self.rate_hz / self.writers, rng), 0
        last: dict[str, int] = scene.kept["last"]
        while await pace.turn():
            bucket = self.buckets[(number + count) % len(self.buckets)]
            key = scene.key(f"k{rng.randrange(self.keys)}" if self.keys else f"{number}-{count}")
            if count and rng.random() < self.delete_share:
                if not self.keys:
                    key = scene.key(f"{number}-{rng.randrange(count)}")
                answer = await client.delete(bucket, key)
            else:
                answer = await client.put(bucket, key, size=self.size)
            if answer.revision != NONE:
                last[bucket] = max(last.get(bucket, 0), answer.revision)
            count += 1
