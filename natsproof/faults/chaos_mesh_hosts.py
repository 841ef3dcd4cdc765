"""Slow and failing disks, busy processors, full memory, made by Chaos Mesh in the victims' containers."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import sleep
from typing import Any

from natsproof.cluster.kubernetes import chaos_bodies
from natsproof.cluster.kubernetes.chaos_bodies import Body
from natsproof.errors import ClusterError, UsageError
from natsproof.faults.chaos_mesh import Chaos
from natsproof.faults.compared import Compared
from natsproof.faults.inside import LEAST_DELAY_S, look_s, memory_bytes, processor_s
from natsproof.faults.sight import confirmed

SEEN_WITHIN_S = 15.0
#: How long the processor time of a container is looked at.
CPU_LOOK_S = 2.0


def store_mount(cluster: Any) -> str:
    """Where the volume with the server's store is mounted. Raises ClusterError if it lies on none."""
    store = posixpath.normpath(cluster.contract.config.store_dir or "/tmp/nats/jetstream")
    paths: list[str] = [posixpath.normpath(m.mount_path) for m in cluster.contract.server_container.mounts]
    above = [path for path in paths if f"{store}/".startswith(f"{path.rstrip('/')}/")]
    if not above:
        raise ClusterError(f"the store {store} lies on no volume of {', '.join(paths)}: IOChaos needs one")
    return max(above, key=len)


@dataclass(frozen=True)
class _Inside(Compared, Chaos):
    """Told by what the victim's container shows, once it shows it."""

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, Any]) -> str:
        look = partial(super().witness_change, cluster, targets, before)
        return confirmed(type(self).__name__, look, within_s=SEEN_WITHIN_S)


@dataclass(frozen=True)
class ChaosSlowDisk(_Inside):
    """IOChaos latency: every file operation on the store's volume takes `delay_s` longer.

    The witness: listing the volume takes that much longer.
    """

    delay_s: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delay_s < LEAST_DELAY_S:
            raise UsageError(f"delay_s={self.delay_s:g} could not be seen; {LEAST_DELAY_S:g} or more")

    def body(self, cluster: Any, targets: Sequence[str]) -> Body:
        return chaos_bodies.slow_disk(
            self.name(targets),
            cluster.namespace,
            targets,
            container=cluster.container,
            volume_path=store_mount(cluster),
            delay_s=self.delay_s,
        )

    def _probe(self, cluster: Any, name: str) -> float:
        return look_s(cluster, name, store_mount(cluster))

    def _seen(self, before: float, now: float) -> str:
        slower = now - before >= 0.9 * self.delay_s
        return f"listing its volume takes {now:.2f} s, {before:.2f} s before" if slower else ""


@dataclass(frozen=True)
class ChaosFailingDisk(_Inside):
    """IOChaos fault: writes and fsyncs on the store's volume fail with `errno` (28: no space left).

    The witness: the server says so in its log, more often than before.
    """

    victim: str = "follower"
    errno: int = 28

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.errno not in (5, 28, 30):
            raise UsageError(f"errno={self.errno}: 5 (input/output), 28 (no space) or 30 (read-only)")

    def body(self, cluster: Any, targets: Sequence[str]) -> Body:
        return chaos_bodies.failing_disk(
            self.name(targets),
            cluster.namespace,
            targets,
            container=cluster.container,
            volume_path=store_mount(cluster),
            errno=self.errno,
        )

    def _probe(self, cluster: Any, name: str) -> int:
        return str(cluster.log(name)).lower().count(os.strerror(self.errno).lower())

    def _seen(self, before: int, now: int) -> str:
        return f"its log says {os.strerror(self.errno)!r} {now - before} times more" if now > before else ""


@dataclass(frozen=True)
class ChaosBusyCpu(_Inside):
    """StressChaos cpu: `workers` processes in the server's container, each at `load_percent` of a processor.

    The witness: the container uses at least a fifth of that more; its CPU limit, or a busy node, may allow no
    more.
    """

    workers: int = 2
    load_percent: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers < 1 or not 10 <= self.load_percent <= 100:
            raise UsageError(
                f"workers={self.workers}, load_percent={self.load_percent}: one or more, at 10 to 100 percent"
            )

    def body(self, cluster: Any, targets: Sequence[str]) -> Body:
        return chaos_bodies.busy_cpu(
            self.name(targets),
            cluster.namespace,
            targets,
            container=cluster.container,
            workers=self.workers,
            load_percent=self.load_percent,
        )

    def _probe(self, cluster: Any, name: str) -> float:
        """Processors that the container uses."""
        used_s, began_s = processor_s(cluster, name)
        sleep(CPU_LOOK_S)
        used_later_s, ended_s = processor_s(cluster, name)
        return (used_later_s - used_s) / max(0.01, ended_s - began_s)

    def _seen(self, before: float, now: float) -> str:
        wanted = self.workers * self.load_percent / 100 / 5
        return f"it uses {now:.2f} processors, {before:.2f} before" if now - before >= wanted else ""


@dataclass(frozen=True)
class ChaosFullMemory(_Inside):
    """StressChaos memory: a process in the server's container that holds `mbytes` (2^20 bytes).

    More than the container's limit leaves kills one of its processes, perhaps the server. The witness: the
    container holds at least half of that more.
    """

    mbytes: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mbytes < 64:
            raise UsageError(f"mbytes={self.mbytes} could not be told from the server's own; 64 or more")

    def body(self, cluster: Any, targets: Sequence[str]) -> Body:
        return chaos_bodies.full_memory(
            self.name(targets),
            cluster.namespace,
            targets,
            container=cluster.container,
            workers=1,
            size=f"{self.mbytes}MB",
        )

    def _probe(self, cluster: Any, name: str) -> int:
        return memory_bytes(cluster, name)

    def _seen(self, before: int, now: int) -> str:
        grown = (now - before) / 2**20
        return f"it holds {grown:.0f} MiB more" if grown >= self.mbytes / 2 else ""
