"""How full buckets get: rate x entry x TTL against `max_bytes`, volumes and replicas.

An entry costs its value, its subject and a record of fixed size in the stream (what counts against
`max_bytes`), and on disk the index, block slack and Raft's log beside it. The fixed sizes are those of
nats-server 2.12's file store (fileStoreMsgSize); `tests/test_load_sizing_cluster.py` checks the model
against a measured fill.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from natsproof.contract.model import Bucket, Contract

#: Length, sequence, time, subject's length, checksum: 4 + 8 + 8 + 2 + 8.
RECORD_BYTES = 30
#: Beside headers, their length.
HEADER_LENGTH_BYTES = 4
DAY_S = 86_400


def entry_bytes(bucket: str, key_bytes: int, value_bytes: int, header_bytes: int = 0) -> int:
    """What one entry counts against the bucket's `max_bytes`."""
    subject = len(f"$KV.{bucket}.") + key_bytes
    headers = HEADER_LENGTH_BYTES + header_bytes if header_bytes else 0
    return RECORD_BYTES + subject + headers + value_bytes


@dataclass(frozen=True, slots=True)
class Usage:
    """How one bucket is used: writes of new keys a second, sizes in bytes. Overwriting a key and deleting
    it keeps one entry, so `keys` bounds the entries where keys come back (None: every write a new key).
    `disk_per_byte` is the measured bytes on disk for each byte in the stream."""

    rate_hz: float
    value_bytes: int
    key_bytes: int = 36
    keys: int | None = None
    disk_per_byte: float = 1.1


@dataclass(frozen=True, slots=True)
class BucketSize:
    """The answer for one bucket. `full_after_s` is None if it never fills; `most_hz` is the highest rate
    of new keys that never fills it."""

    bucket: str
    rate_hz: float
    entry_bytes: int
    ttl_s: float | None
    max_bytes: int | None
    steady_bytes: float
    full_after_s: float | None
    most_hz: float | None
    replicas: int

    @property
    def fills(self) -> bool:
        return self.full_after_s is not None

    @property
    def says(self) -> str:
        """One sentence for an operator."""
        if self.max_bytes is None:
            return f"{self.bucket} has no limit: it takes what the servers' disks have"
        if not self.fills:
            part = self.steady_bytes / self.max_bytes
            return f"{self.bucket} levels off at {part:.1%} of its {self.max_bytes / 2**30:g} GiB"
        assert self.full_after_s is not None
        return (
            f"{self.bucket} is full after {_duration(self.full_after_s)} at {self.rate_hz:g} new keys "
            "a second; from then on every put is refused (503/10077 maximum bytes exceeded), "
            "overwrites too, until entries expire or keys are purged"
        )


def _duration(seconds: float) -> str:
    for unit, length in (("days", DAY_S), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def size_of(bucket: Bucket, usage: Usage) -> BucketSize:
    entry = entry_bytes(bucket.name, usage.key_bytes, usage.value_bytes)
    held = math.inf if bucket.ttl_s is None else usage.rate_hz * bucket.ttl_s
    if usage.keys is not None:
        held = min(held, usage.keys)
    steady = held * entry
    limit = bucket.max_bytes
    full_after: float | None = None
    most: float | None = None
    if limit is not None:
        if steady > limit and usage.rate_hz > 0:
            full_after = limit / (usage.rate_hz * entry)
        if usage.keys is None or usage.keys * entry > limit:
            most = limit / (entry * bucket.ttl_s) if bucket.ttl_s else 0.0
    return BucketSize(
        bucket.name, usage.rate_hz, entry, bucket.ttl_s, limit, steady, full_after, most, bucket.replicas
    )


@dataclass(frozen=True, slots=True)
class PlatformSize:
    """All buckets on `servers` servers. Bytes are those of one server, on average over the servers."""

    servers: int
    volume_bytes: int
    max_file_bytes: int | None
    buckets: tuple[BucketSize, ...]
    reserved_bytes: float
    used_disk_bytes: float
    findings: tuple[str, ...] = field(default=())


def platform_size(
    contract: Contract,
    usages: Mapping[str, Usage],
    *,
    servers: int | None = None,
    ttl_s: Mapping[str, float] | None = None,
) -> PlatformSize:
    """What-if: other numbers of servers, other TTLs. Without them the contract's own."""
    count = servers or contract.statefulset.replicas
    volume = sum(claim.storage_bytes for claim in contract.statefulset.claims)
    sizes, disk = [], 0.0
    for bucket in contract.promises.buckets:
        usage = usages.get(bucket.name, Usage(0.0, 0))
        changed = Bucket(
            name=bucket.name,
            ttl_s=(ttl_s or {}).get(bucket.name, bucket.ttl_s),
            max_bytes=bucket.max_bytes,
            replicas=bucket.replicas,
        )
        size = size_of(changed, usage)
        sizes.append(size)
        held = min(size.steady_bytes, size.max_bytes or math.inf)
        disk += held * usage.disk_per_byte * min(1.0, bucket.replicas / count)
    reserved = sum((s.max_bytes or 0) * min(1.0, s.replicas / count) for s in sizes)
    limit = contract.config.max_file_bytes
    return PlatformSize(
        count,
        volume,
        limit,
        tuple(sizes),
        reserved,
        disk,
        tuple(_findings(sizes, reserved, disk, limit, volume)),
    )


def _findings(
    sizes: Sequence[BucketSize], reserved: float, disk: float, limit: int | None, volume: int
) -> list[str]:
    gib = 2**30
    found = [size.says for size in sizes if size.fills]
    if limit is not None and reserved > limit:
        found.append(
            f"buckets reserve {reserved / gib:.0f} GiB a server, max_file is {limit / gib:.0f} GiB: "
            "not all of them can be created"
        )
    if disk > volume:
        found.append(f"{disk / gib:.0f} GiB would be on a volume of {volume / gib:.0f} GiB")
    return found
