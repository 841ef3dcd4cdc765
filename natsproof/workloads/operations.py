"""A bucket filled to its last byte: what it refuses, keeps, and takes again once there is room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from natsproof.client import RecordingClient, outcomes
from natsproof.clock import until
from natsproof.errors import UsageError
from natsproof.workloads.twins import described

if TYPE_CHECKING:
    from natsproof.trial import Scene


@dataclass(frozen=True)
class FullBucket:
    """Fills a small twin of `of` (same configuration, `max_bytes`) with values of `size` bytes, goes on for
    `tries` puts and updates when it is full, purges `purged` keys, and writes again.

    Marks: `full` (the first refusal was seen), `room` (the purges were acknowledged), `refilled`.
    """

    of: str
    max_bytes: int = 256 << 10
    size: int = 2000
    tries: int = 40
    purged: int = 20
    pause_s: float = 0.01

    def __post_init__(self) -> None:
        if self.max_bytes < 4 * self.size * max(1, self.purged):
            raise UsageError(f"{self!r}: purging must leave most of what the bucket holds")

    async def prepare(self, scene: Scene) -> None:
        """The twin, and a client."""
        client = await scene.client("filler")
        scene.kept["bucket"] = await make_small_twin(scene, client, self.of, self.max_bytes)

    async def drive(self, scene: Scene) -> None:
        client, bucket = scene.clients[0], scene.kept["bucket"]
        kept = await self._fill(scene, client, bucket)
        scene.mark("full")
        for number in range(self.tries):
            if not await scene.rest(self.pause_s):
                return
            if number % 2 and kept:
                key, revision = kept[number % len(kept)]
                await client.update(bucket, key, revision, size=self.size)
            else:
                await client.put(bucket, scene.key(f"over{number}"), size=self.size)
        for key, _ in kept[: self.purged]:
            await client.purge(bucket, key)
        scene.mark("room")
        for number in range(self.purged // 2):
            await client.put(bucket, scene.key(f"again{number}"), size=self.size)
        scene.mark("refilled")

    async def finish(self, scene: Scene) -> None:
        """The runner's final reads show what was kept."""

    async def _fill(self, scene: Scene, client: RecordingClient, bucket: str) -> list[tuple[str, int]]:
        """Until a put is refused for its size, or twice the size was taken: the bucket knows no bound."""
        kept: list[tuple[str, int]] = []
        while not scene.over() and len(kept) * self.size < 2 * self.max_bytes:
            key = scene.key(f"k{len(kept)}")
            answer = await client.put(bucket, key, size=self.size)
            if answer.ok:
                kept.append((key, answer.revision))
            elif f"/{outcomes.STORE_FAILED} " in answer.error or not await scene.rest(self.pause_s):
                break  # of its size, not because its servers do not know each other yet (findings.md, 45)
        return kept


async def make_small_twin(scene: Scene, client: RecordingClient, bucket: str, max_bytes: int) -> str:
    """A bucket configured as `bucket` but for its size; taken away after the trial. Its name.

    Observation `small_twin`: {"bucket", "of", "max_bytes", "discard"}.
    """
    info = await described(client, bucket)
    name = f"{bucket}_small_{scene.prefix.replace('.', '_')}"
    subjects = [f"$KV.{name}.>"]
    config = {**info["config"], "name": f"KV_{name}", "subjects": subjects, "max_bytes": max_bytes}

    async def create() -> bool:
        return bool(await client.api(f"STREAM.CREATE.KV_{name}", config, timeout_s=5))

    await until(f"the small twin of bucket {bucket}", create, within_s=15, every_s=0.2)
    scene.add_bucket(name)
    ttl_s = (info["config"].get("max_age") or 0) / 1e9
    buckets = {**scene.recorder.meta["buckets"], name: {"ttl_s": ttl_s or None}}
    scene.recorder.amend(buckets=buckets)
    facts = {"bucket": name, "of": bucket, "max_bytes": max_bytes, "discard": info["config"].get("discard")}
    scene.observe("small_twin", facts)
    scene.afterwards(lambda: client.api(f"STREAM.DELETE.KV_{name}", timeout_s=5))
    return name
