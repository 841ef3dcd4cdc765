"""Canaries: planted at different phases and watched, on every replica, until they are gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from natsproof.client import RecordingClient
from natsproof.client.watch import Watcher
from natsproof.clock import now_ns
from natsproof.errors import UsageError
from natsproof.history import Outcome
from natsproof.workloads.twins import make_twin

if TYPE_CHECKING:
    from natsproof.trial import Scene

CATCH_UP_S = 3.0


@dataclass(frozen=True)
class Expiry:
    """`canaries` a bucket, planted over `plant_s`, read through the leader and in direct gets of a client of
    each server from `early_s` before they are due until they are gone, or `late_s` after. Any replica answers
    a direct get; what each of them still has at the end, the audit of the replicas reads.

    `ttl_s` set: a twin of each bucket with that TTL is made and used; None: the bucket itself, which
    is judged by the TTL the contract promises. `rewrite_share` of the canaries are written again after
    `rewrite_after_s` (None: half their life), which restarts their age. A read every `poll_s` and reader
    while a canary is due. Drive must last plant_s + rewrite_after_s + TTL + late_s to see the last one go;
    it ends when the last one is gone.

    `watchers` follow each bucket, spread over the servers, and one more begins when all is over; observation
    `watched`: {"client", "bucket", "marker_s", "until_ns"}. With `marker_ttl_s` the twins leave a marker of
    that life, the TTL at most, where a value expires, which tells watchers; the platform's own leave none.
    There no canary is written again once it may be expiring.
    """

    buckets: tuple[str, ...]
    ttl_s: float | None = 3.0
    canaries: int = 12
    plant_s: float = 2.0
    rewrite_share: float = 0.25
    rewrite_after_s: float | None = None
    watchers: int = 0
    marker_ttl_s: float | None = None
    early_s: float = 0.6
    late_s: float = 3.0
    poll_s: float = 0.1
    timeout_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.buckets or self.canaries < 1 or self.poll_s <= 0:
            raise UsageError(f"{self!r}: wants a bucket, a canary and a poll_s above 0")
        if self.ttl_s is not None and self.ttl_s < 0.2:
            raise UsageError(f"{self!r}: the server's shortest TTL is 0.1 s and its timer ticks every 0.25 s")
        if self.rewrite_after_s is not None and self.rewrite_after_s < 0:
            raise UsageError(f"{self!r}: rewrite_after_s is a time after planting")
        if self.marker_ttl_s is not None and self.ttl_s is None:
            raise UsageError(f"{self!r}: markers are a twin's; give ttl_s")

    async def prepare(self, scene: Scene) -> None:
        """A planter, and a reader pinned to each server; twins where a TTL is given."""
        planter = await scene.client("planter", timeout_s=self.timeout_s)
        readers = [
            await scene.client(f"reader on {server.name}", server=server.name, timeout_s=self.timeout_s)
            for server in scene.servers
        ]
        plots: list[tuple[str, float]] = []
        for bucket in self.buckets:
            if self.ttl_s is None:
                promised = scene.contract.promises.bucket(bucket).ttl_s
                if not promised:
                    raise UsageError(f"{self!r}: bucket {bucket} promises no TTL, nothing would expire")
                self._judge_by(scene, bucket, promised)
                plots.append((bucket, promised))
            else:
                plots.append((await self._twin(scene, planter, bucket, self.ttl_s), self.ttl_s))
        scene.kept.update(planter=planter, readers=readers, plots=plots)
        names = [bucket for bucket, _ in plots]
        scene.kept["watchers"] = await self._watch(scene, names, range(self.watchers))

    @staticmethod
    def _judge_by(scene: Scene, bucket: str, ttl_s: float) -> None:
        """The history's TTL of the bucket is the promised one, whatever the set-up Job gave it."""
        buckets = scene.recorder.meta["buckets"]
        scene.recorder.amend(buckets={**buckets, bucket: {**buckets.get(bucket, {}), "ttl_s": ttl_s}})

    async def drive(self, scene: Scene) -> None:
        await asyncio.gather(
            *(
                self._canary(scene, bucket, ttl_s, number, random.Random(scene.rng.random()))
                for bucket, ttl_s in scene.kept["plots"]
                for number in range(self.canaries)
            )
        )

    async def finish(self, scene: Scene) -> None:
        """End the watchers. All else is the runner's: final reads and the audit of the replicas."""
        if not self.watchers:
            return
        latecomers = await self._watch(scene, [bucket for bucket, _ in scene.kept["plots"]], (self.watchers,))
        for watcher in (*scene.kept["watchers"], *latecomers):
            until_ns = now_ns()
            await watcher.stop()
            facts = {"client": watcher.client.index, "bucket": watcher.bucket, "until_ns": until_ns}
            scene.observe("watched", {**facts, "marker_s": min(self.marker_ttl_s or 0.0, self.ttl_s or 0.0)})

    async def _twin(self, scene: Scene, client: RecordingClient, bucket: str, ttl_s: float) -> str:
        return await make_twin(scene, client, bucket, ttl_s, marker_ttl_s=self.marker_ttl_s)

    async def _watch(self, scene: Scene, buckets: list[str], numbers: Iterable[int]) -> list[Watcher]:
        """Watchers with a connection of their own, caught up unless what they wait for expires meanwhile."""
        watchers: list[Watcher] = []
        for number in numbers:
            server = scene.servers[number % len(scene.servers)].name
            client = await scene.client(f"watcher {number}", server=server, timeout_s=self.timeout_s)
            watchers += [Watcher(client.fork(f"{client.name} {b}"), b, scene.prefix) for b in buckets]
        for watcher in watchers:
            watcher.start()
        waits = [asyncio.wait_for(watcher.caught_up.wait(), CATCH_UP_S) for watcher in watchers]
        for end in await asyncio.gather(*waits, return_exceptions=True):
            if end is not True and not isinstance(end, TimeoutError):
                raise end
        return watchers

    async def _canary(self, scene: Scene, bucket: str, ttl_s: float, number: int, rng: random.Random) -> None:
        """One canary's life. It has clients of its own: readers of several canaries overlap in time."""
        key = scene.key(f"c{number}")
        planter: RecordingClient = scene.kept["planter"].fork(f"planter {bucket} {number}")
        if not await scene.rest(self.plant_s * rng.random()):
            return
        planted_ns = await self._plant(scene, planter, bucket, key)
        again_s = ttl_s / 2 if self.rewrite_after_s is None else self.rewrite_after_s
        if planted_ns and rng.random() < self.rewrite_share and await scene.rest(again_s):
            last_ns = planted_ns + int((ttl_s - self.timeout_s) * 1e9) if self.marker_ttl_s else None
            planted_ns = await self._plant(scene, planter, bucket, key, last_ns) or planted_ns
        if not planted_ns:
            return
        due_ns = planted_ns + int(ttl_s * 1e9)
        readers: list[RecordingClient] = scene.kept["readers"]
        watching = [planter, *(reader.fork(f"{reader.name} {bucket} {number}") for reader in readers)]
        await asyncio.gather(
            *(self._until_gone(scene, client, bucket, key, due_ns, client is planter) for client in watching)
        )

    async def _plant(
        self, scene: Scene, client: RecordingClient, bucket: str, key: str, last_ns: int | None = None
    ) -> int:
        """Write and read back at once, for the server's own timestamp; the call of the write, or 0.

        With markers of our making none is begun after `last_ns` or one of unknown outcome, which may be
        expiring: its marker would remove the new one (finding 61), and no bucket of the platform has any.
        """
        for _ in range(20):
            called_ns = now_ns()
            if last_ns is not None and called_ns > last_ns:
                break
            answer = await client.put(bucket, key)
            if answer.ok:
                await client.get(bucket, key)
                return called_ns
            if self.marker_ttl_s and answer.outcome is Outcome.UNKNOWN:
                break
            if not await scene.rest(0.3):
                break
        return 0

    async def _until_gone(
        self, scene: Scene, client: RecordingClient, bucket: str, key: str, due_ns: int, through_leader: bool
    ) -> None:
        """Read once in mid-life, then every poll_s round the due time until it is gone on this path."""
        await scene.rest((due_ns - now_ns()) / 2e9)
        read = client.get if through_leader else client.direct_get
        await read(bucket, key)
        await scene.rest((due_ns - now_ns()) / 1e9 - self.early_s)
        while now_ns() < due_ns + int(self.late_s * 1e9):
            answer = await read(bucket, key)
            if answer.ok and answer.value < 0:
                return
            if not await scene.rest(self.poll_s):
                return
