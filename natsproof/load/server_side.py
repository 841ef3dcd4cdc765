"""What a load costs the servers: processor, memory, bytes written, flushes, Raft lag, read beside each step.

The kernel counts no process's fsyncs, but the flushes that each block device was asked for. fsyncs of one
moment may share a flush, and whoever else uses the device is counted too: on a quiet host it is the
platform's figure, and at least one flush a put says that `sync_interval: always` reaches the disk.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from natsproof.cluster import Cluster, VolumeAccess
from natsproof.errors import ClusterError

#: The place of `flush I/Os` in a device's stat (Documentation/block/stat.rst).
FLUSHES = 15


@dataclass(frozen=True, slots=True)
class Spent:
    """Totals of one process since it started. `written_bytes` went to the block layer, fsync or not."""

    pid: int
    cpu_s: float
    written_bytes: int
    writes: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What all servers that answered said; `spent` by server, of those that run on this host.

    `lag` is the largest number of Raft entries that a living follower is behind. `flushes` counts those of
    the block devices below the volumes, by device, where both can be seen.
    """

    memory_bytes: int
    stored_bytes: int
    lag: int
    spent: dict[str, Spent]
    flushes: dict[str, int] = field(default_factory=dict)


def _process(cluster: Cluster, server: str) -> psutil.Process | None:
    find = getattr(cluster, "pid", None)
    pid = find(server) if find else None
    try:
        return psutil.Process(pid) if pid else None
    except psutil.NoSuchProcess:
        return None


def _lag(streams: Any, living: set[str]) -> int:
    """Most entries that one of the `living` is behind; a follower that is down is not behind but away."""
    worst = 0
    for account in streams.get("account_details") or []:
        for stream in account.get("stream_detail") or []:
            for replica in (stream.get("cluster") or {}).get("replicas") or []:
                if replica.get("name") in living:
                    worst = max(worst, int(replica.get("lag") or 0))
    return worst


def read(cluster: Cluster) -> Reading:
    """One look at all servers; those that are down are left out."""
    memory, stored = 0, 0
    streams: dict[str, Any] = {}
    spent: dict[str, Spent] = {}
    for server in cluster.servers:
        try:
            told = cluster.monitor(server.name, "/varz")
            streams[server.name] = cluster.monitor(server.name, "/jsz?streams=true&accounts=true")
        except (ClusterError, OSError):
            continue
        memory += int(told.get("mem") or 0)
        stored += int(((told.get("jetstream") or {}).get("stats") or {}).get("storage") or 0)
        process = _process(cluster, server.name)
        if process is None:
            continue
        try:
            times, counters = process.cpu_times(), _io(process.pid)
        except (psutil.Error, OSError):
            continue
        spent[server.name] = Spent(
            process.pid,
            times.user + times.system,
            counters.get("write_bytes", 0),
            counters.get("syscw", 0),
        )
    lag = max((_lag(one, set(streams)) for one in streams.values()), default=0)
    return Reading(memory, stored, lag, spent, _flushes(cluster))


def _flushes(cluster: Cluster) -> dict[str, int]:
    """Flush requests completed since the host started, by `major:minor` (Linux 5.5 and newer)."""
    if not isinstance(cluster, VolumeAccess):
        return {}
    told = {}
    for server in cluster.servers:
        try:
            device = cluster.volume_path(server.name).stat().st_dev
            name = f"{os.major(device)}:{os.minor(device)}"
            fields = Path(f"/sys/dev/block/{name}/stat").read_text().split()
        except (ClusterError, OSError):  # no server there now, or a file system that is on no one device
            continue
        if len(fields) > FLUSHES:
            told[name] = int(fields[FLUSHES])
    return told


def _io(pid: int) -> dict[str, int]:
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return {name: int(value) for name, _, value in lines}


def between(before: Reading, after: Reading, puts: int, put_bytes: int, seconds: float) -> dict[str, float]:
    """Costs of a step as flat numbers, units last; what could not be read is left out.

    Only processes that lived through the step count: a server killed or started meanwhile would not be
    comparable with itself.
    """
    told: dict[str, float] = {
        "servers_memory_bytes": float(after.memory_bytes),
        "raft_lag_entries": float(after.lag),
    }
    flushed = _flushed(before, after)
    if puts and flushed is not None:
        told["device_flushes_per_put"] = flushed / puts
    same = [n for n, s in after.spent.items() if n in before.spent and before.spent[n].pid == s.pid]
    if not same or len(same) < len(after.spent):
        return told
    cpu_s = sum(after.spent[n].cpu_s - before.spent[n].cpu_s for n in same)
    written = sum(after.spent[n].written_bytes - before.spent[n].written_bytes for n in same)
    writes = sum(after.spent[n].writes - before.spent[n].writes for n in same)
    if seconds > 0:
        told["servers_cpu_cores"] = cpu_s / seconds
    if puts and put_bytes:
        told["servers_cpu_per_put_us"] = cpu_s / puts * 1e6
        told["disk_written_per_byte_put"] = written / put_bytes
        told["write_calls_per_put"] = writes / puts
    return told


def _flushed(before: Reading, after: Reading) -> int | None:
    """Flushes between two readings of the same devices; None if they differ or none was seen."""
    if not after.flushes or before.flushes.keys() != after.flushes.keys():
        return None
    return sum(after.flushes[name] - before.flushes[name] for name in after.flushes)
