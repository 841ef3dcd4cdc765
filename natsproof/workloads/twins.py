"""Scaled twins: a bucket of another's configuration with a short TTL, so that expiry fits into a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from natsproof.client import RecordingClient
from natsproof.clock import until

if TYPE_CHECKING:
    from natsproof.trial import Scene

#: A twin holds canaries only; the real size would be reserved a second time and not fit.
TWIN_BYTES = 16 << 20


async def make_twin(scene: Scene, client: RecordingClient, bucket: str, ttl_s: float) -> str:
    """Make the twin of `bucket` and take it away after the trial; its name.

    Its TTL is added to the history's `buckets`; observation `twin`: {"bucket": twin, "of": bucket,
    "ttl_s"}. Raises DeadlineExceeded if the platform does not make it within 15 s (creation is
    repeated: an equal request is idempotent).
    """
    info = await client.api(f"STREAM.INFO.KV_{bucket}")
    name = f"{bucket}_twin_{scene.prefix.replace('.', '_')}"
    age_ns = int(ttl_s * 1e9)
    config = {
        **info["config"],
        "name": f"KV_{name}",
        "subjects": [f"$KV.{name}.>"],
        "max_age": age_ns,
        "max_bytes": TWIN_BYTES,
        "duplicate_window": min(age_ns, 120_000_000_000),
    }

    async def create() -> bool:
        return bool(await client.api(f"STREAM.CREATE.KV_{name}", config, timeout_s=5))

    await until(f"the twin of bucket {bucket}", create, within_s=15, every_s=0.2)
    scene.add_bucket(name)
    buckets = {**scene.recorder.meta["buckets"], name: {"ttl_s": ttl_s}}
    scene.recorder.amend(buckets=buckets)
    scene.observe("twin", {"bucket": name, "of": bucket, "ttl_s": ttl_s})
    scene.afterwards(lambda: client.api(f"STREAM.DELETE.KV_{name}", timeout_s=5))
    return name
