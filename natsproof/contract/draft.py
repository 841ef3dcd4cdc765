"""A first `promises.yaml` for manifests that carry none: what they already say, and careful defaults.

The buckets are those the set-up Job makes. Power loss is promised only where `sync_interval` is `always`.
Whoever owns the platform reads it, and changes what is not meant.
"""

from __future__ import annotations

from collections.abc import Iterator

from natsproof.contract.model import Bucket, Contract

_TIME_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_SIZE_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, ""))
_NO_BUCKET = "      # the manifests make no bucket: - {name: state, ttl: 15m, max_bytes: 10GiB, replicas: 3}"
_REST = """\
    linearizable: [process-kill-one, process-kill-all, rolling-restart]
    recovery: # from the fault to the next acknowledged write; an election takes 4 to 9 s, or twice that
      one-server-killed: 20s
      leader-paused: 20s
      quorum-restored: 20s
      all-restarted: 20s
      partition-healed: 20s
      power-restored: 20s
      rolling-restart: 10s # the longest pause in it
    expiry_late: 2s
    direct_get_late: 2s # most clients' get, answered by any replica, shows nothing overwritten longer ago
    monitoring: [/varz, /connz, /routez, /subsz, /jsz]
    # rate_floor_hz: 200 # acknowledged puts a second, all buckets together; judged by `make load`
    # rate_floor_one_down_hz: 100
    # p99: 500ms
"""


def draft(contract: Contract) -> str:
    """A ConfigMap as YAML that the loader reads together with these manifests."""
    survives = ["process-kill-one", "process-kill-all", "pod-moved", "partition"]
    if contract.config.sync_always:
        survives += ["power-loss-one", "power-loss-all"]
    return "\n".join(
        [
            "# Drafted by `natsproof promises` from the manifests: read it, change what is not meant.",
            "apiVersion: v1",
            "kind: ConfigMap",
            "metadata:",
            f"  name: {contract.statefulset.name}-promises",
            f"  namespace: {contract.namespace}",
            "data:",
            "  promises.yaml: |",
            "    buckets:",
            *(_buckets(contract) if contract.job_buckets else [_NO_BUCKET]),
            f"    survives: [{', '.join(survives)}]",
            _REST,
        ]
    )


def _buckets(contract: Contract) -> Iterator[str]:
    for bucket in contract.job_buckets:
        yield f"      - {{{', '.join(_fields(bucket))}}}"


def _fields(bucket: Bucket) -> Iterator[str]:
    yield f"name: {bucket.name}"
    if bucket.ttl_s:
        yield f"ttl: {_in_units(bucket.ttl_s, _TIME_UNITS)}"
    if bucket.max_bytes:
        yield f"max_bytes: {_in_units(bucket.max_bytes, _SIZE_UNITS)}"
    if bucket.max_value_bytes:
        yield f"max_value_bytes: {_in_units(bucket.max_value_bytes, _SIZE_UNITS)}"
    yield f"replicas: {bucket.replicas}"
    yield f"storage: {bucket.storage}"
    yield f"history: {bucket.history}"


def _in_units(amount: float, units: tuple[tuple[int, str], ...]) -> str:
    """In the largest unit that says it as a whole number; a broken number of the smallest otherwise."""
    for size, unit in units:
        if amount % size == 0:
            return f"{int(amount // size)}{unit}"
    return f"{amount:g}{units[-1][1]}"
