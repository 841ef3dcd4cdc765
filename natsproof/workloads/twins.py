"""Scaled twins: a bucket of another's configuration with a short TTL, so that expiry fits into a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from natsproof.client import RecordingClient
from natsproof.clock import until

if TYPE_CHECKING:
    from natsproof.trial import Scene

#: A twin holds canaries only; the real size would be reserved a second time and not fit.
TWIN_BYTES = 16 << 20


async def described(client: RecordingClient, bucket: str) -> dict[str, Any]:
    """The server's word on a bucket: {"config", "state", ...}. Raises DeadlineExceeded after 15 s without:
    the first requests after a start may go to a server that cannot reach the leader yet."""

    async def told() -> dict[str, Any]:
        return await client.api(f"STREAM.INFO.KV_{bucket}")

    return await until(f"bucket {bucket} to be described", told, within_s=15, every_s=0.2)


async def make_twin(
    scene: Scene, client: RecordingClient, bucket: str, ttl_s: float, *, marker_ttl_s: float | None = None
) -> str:
    """Make the twin of `bucket` and take it away after the trial; its name. With `marker_ttl_s` it differs
    in that expired values leave a marker of that life.

    Its TTL is added to the history's `buckets`; observation `twin`: {"bucket": twin, "of": bucket, "ttl_s",
    "of_config", "config": both streams' own, as the server has them}. Raises DeadlineExceeded if the
    platform does not make it within 15 s (creation is repeated: an equal request is idempotent).
    """
    info = await described(client, bucket)
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
    if marker_ttl_s is not None:
        config |= {"allow_msg_ttl": True, "subject_delete_marker_ttl": int(marker_ttl_s * 1e9)}

    async def create() -> dict[str, Any]:
        return await client.api(f"STREAM.CREATE.KV_{name}", config, timeout_s=5)

    made = await until(f"the twin of bucket {bucket}", create, within_s=15, every_s=0.2)
    scene.add_bucket(name, of=bucket)
    buckets = {**scene.recorder.meta["buckets"], name: {"ttl_s": ttl_s}}
    scene.recorder.amend(buckets=buckets)
    about = {"bucket": name, "of": bucket, "ttl_s": ttl_s}
    scene.observe("twin", {**about, "of_config": info["config"], "config": made["config"]})
    scene.afterwards(lambda: client.api(f"STREAM.DELETE.KV_{name}", timeout_s=5))
    return name
