"""What natsproof understood of the manifests, as a table with the line of every value."""

from __future__ import annotations

from collections.abc import Iterator

from natsproof.contract.model import Bucket, Contract, Place

Row = tuple[str, str, Place]


def describe(contract: Contract) -> str:
    """One line a value: what, how much in plain units, where it is written."""
    rows = list(_rows(contract))
    first = max(len(row[0]) for row in rows)
    second = max(len(row[1]) for row in rows)
    return "\n".join(f"{name:<{first}}  {value:<{second}}  {place}".rstrip() for name, value, place in rows)


def size(count: int | None) -> str:
    """Bytes in the largest binary unit that divides them: 10737418240 is `10 GiB`."""
    if count is None:
        return "unlimited"
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count and count % (1 << power) == 0:
            return f"{count >> power} {unit}"
    return f"{count} B"


def duration(seconds: float | None) -> str:
    """Seconds as `1 h 30 min`; None is `never`."""
    if seconds is None:
        return "never"
    parts = []
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        count = int(seconds // unit_s)
        if count:
            parts.append(f"{count} {unit}")
            seconds -= count * unit_s
    if seconds or not parts:
        parts.append(f"{seconds:g} s")
    return " ".join(parts)


def _rows(contract: Contract) -> Iterator[Row]:
    sts, container, config = contract.statefulset, contract.server_container, contract.config
    governing, client = contract.governing_service, contract.client_service
    yield "StatefulSet", f"{contract.namespace}/{sts.name}, {sts.replicas} pods", sts.at("replicas")
    yield "image", container.image, container.at("image")
    yield "governing service", governing.name if governing else "none", sts.at("service_name")
    yield "client service", client.name if client else "none", client.place if client else sts.place
    for claim in sts.claims:
        yield f"volume {claim.name}", f"{size(claim.storage_bytes)} each", claim.at("storage_bytes")
    yield "store_dir", config.store_dir or "none", config.at("store_dir")
    yield "max_file", size(config.max_file_bytes), config.at("max_file_bytes")
    yield "max_mem", size(config.max_memory_bytes), config.at("max_memory_bytes")
    interval = "always" if config.sync_always else duration(config.sync_interval_s or 120)
    yield "sync_interval", interval, config.at("sync_interval_s")
    yield "routes", str(len(config.routes)), config.at("routes")
    for bucket in contract.job_buckets:
        yield f"creates {bucket.name}", _bucket(bucket), bucket.place
    for bucket in contract.promises.buckets:
        yield f"promises {bucket.name}", _bucket(bucket), bucket.place
    for fault, seconds in contract.promises.recovery_s.items():
        yield f"recovers {fault}", duration(seconds), contract.promises.at(f"recovery.{fault}")
    for what in ("survives", "linearizable"):
        yield what, ", ".join(getattr(contract.promises, what)) or "nothing", contract.promises.at(what)


def _bucket(bucket: Bucket) -> str:
    return (
        f"{size(bucket.max_bytes)}, expires {duration(bucket.ttl_s)}, R{bucket.replicas} {bucket.storage},"
        f" history {bucket.history}"
    )
