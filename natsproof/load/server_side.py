"""What a load costs the servers: processor, memory, bytes written, Raft lag, read beside each step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from natsproof.cluster import Cluster
from natsproof.errors import ClusterError


@dataclass(frozen=True, slots=True)
class Reading:
    """Totals of all servers that run here and answer; None where this host cannot tell.

    `written_bytes` went to the block layer (/proc/PID/io), fsync or not; `lag` is the largest number
    of Raft entries that a follower is behind.
    """

    cpu_s: float | None
    memory_bytes: int
    written_bytes: int | None
    writes: int | None
    stored_bytes: int
    lag: int


def _process(cluster: Cluster, server: str) -> psutil.Process | None:
    find = getattr(cluster, "pid", None)
    pid = find(server) if find else None
    try:
        return psutil.Process(pid) if pid else None
    except psutil.NoSuchProcess:
        return None


def _lag(streams: Any) -> int:
    worst = 0
    for account in streams.get("account_details") or []:
        for stream in account.get("stream_detail") or []:
            replicas = (stream.get("cluster") or {}).get("replicas") or []
            worst = max([worst, *(int(replica.get("lag") or 0) for replica in replicas)])
    return worst


def read(cluster: Cluster) -> Reading:
    """One look at all servers; those that are down are left out."""
    cpu, written, writes, local = 0.0, 0, 0, False
    memory, stored, lag = 0, 0, 0
    for server in cluster.servers:
        try:
            told = cluster.monitor(server.name, "/varz")
            streams = cluster.monitor(server.name, "/jsz?streams=true&accounts=true")
        except (ClusterError, OSError):
            continue
        memory += int(told.get("mem") or 0)
        stored += int(((told.get("jetstream") or {}).get("stats") or {}).get("storage") or 0)
        lag = max(lag, _lag(streams))
        process = _process(cluster, server.name)
        if process is None:
            continue
        try:
            times = process.cpu_times()
            counters = _io(process.pid)
        except (psutil.Error, OSError):
            continue
        local = True
        cpu += times.user + times.system
        written += counters.get("write_bytes", 0)
        writes += counters.get("syscw", 0)
    if not local:
        return Reading(None, memory, None, None, stored, lag)
    return Reading(cpu, memory, written, writes, stored, lag)


def _io(pid: int) -> dict[str, int]:
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return {name: int(value) for name, _, value in lines}


def between(before: Reading, after: Reading, puts: int, put_bytes: int, seconds: float) -> dict[str, float]:
    """Costs of a step as flat numbers, units last; what could not be read is left out."""
    told: dict[str, float] = {
        "servers_memory_bytes": float(after.memory_bytes),
        "raft_lag_entries": float(after.lag),
    }
    if before.cpu_s is not None and after.cpu_s is not None and seconds > 0:
        told["servers_cpu_cores"] = (after.cpu_s - before.cpu_s) / seconds
        if puts:
            told["servers_cpu_per_put_us"] = (after.cpu_s - before.cpu_s) / puts * 1e6
    if before.written_bytes is not None and after.written_bytes is not None and put_bytes:
        told["disk_written_per_byte_put"] = (after.written_bytes - before.written_bytes) / put_bytes
    if before.writes is not None and after.writes is not None and puts:
        told["write_calls_per_put"] = (after.writes - before.writes) / puts
    return told
