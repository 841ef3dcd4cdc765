"""A measured fill: what an entry really costs in the stream and on disk, against the model of sizing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from natsproof.cluster import Cluster, VolumeAccess
from natsproof.errors import ClusterError
from natsproof.load.mix import Action
from natsproof.load.rig import Rig
from natsproof.load.sizing import entry_bytes
from natsproof.load.variations import BUCKET, fills, weights

CLIENTS = 32
SECONDS = 0.7
#: Of fewer new entries than this the bytes of one are no statement.
FEWEST = 100


def _stored(cluster: Cluster, bucket: str) -> tuple[int, int]:
    """(messages, bytes) of a bucket's stream as its most advanced replica has them."""
    best = (0, 0)
    for server in cluster.servers:
        try:
            told = cluster.monitor(server.name, "/jsz?streams=true&accounts=true")
        except (ClusterError, OSError):
            continue
        for account in told.get("account_details") or []:
            for stream in account.get("stream_detail") or []:
                if stream.get("name") == f"KV_{bucket}":
                    state = stream.get("state") or {}
                    best = max(best, (int(state.get("messages", 0)), int(state.get("bytes", 0))))
    return best


def _on_disk(cluster: Cluster, bucket: str) -> int | None:
    """Bytes that one server's volume has for a bucket's stream; None where volumes cannot be seen."""
    if not isinstance(cluster, VolumeAccess):
        return None
    try:
        root = cluster.volume_path(cluster.servers[0].name)
    except (ClusterError, OSError):
        return None
    total = 0
    for folder in Path(root).rglob(f"KV_{bucket}"):
        for path in folder.rglob("*"):
            try:
                total += path.stat().st_blocks * 512 if path.is_file() else 0
            except OSError:  # a block was compacted meanwhile
                continue
    return total


def measured_fill(rig: Rig, cluster: Cluster) -> list[dict[str, Any]]:
    """A row for each value size: puts of new keys, what they added, and what the model says."""
    rows = (_filled(rig, cluster, action) for action in fills())
    return [row for row in rows if row]


def _filled(rig: Rig, cluster: Cluster, action: Action) -> dict[str, Any]:
    """Empty where too little was written to say."""
    mix = rig.spec.mix
    before, disk_before = _stored(cluster, BUCKET), _on_disk(cluster, BUCKET)
    rig.closed(CLIENTS, SECONDS, weights(mix, [action]))
    after, disk_after = _stored(cluster, BUCKET), _on_disk(cluster, BUCKET)
    messages, added = after[0] - before[0], after[1] - before[1]
    if messages < FEWEST:
        return {}
    key = f"{rig.spec.prefix}.w0.{mix.index(action)}.{messages}"
    disk = None if disk_before is None or disk_after is None else disk_after - disk_before
    return {
        "bucket": BUCKET,
        "value_bytes": action.value_bytes,
        "entries": messages,
        "bytes_per_entry": round(added / messages, 1),
        "model_bytes_per_entry": entry_bytes(BUCKET, len(key), action.value_bytes),
        "disk_bytes_per_entry": None if disk is None else round(disk / messages, 1),
        "disk_per_byte": None if disk is None else round(disk / added, 3),
    }
