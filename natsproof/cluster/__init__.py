"""A platform that runs. Verbs come in pairs; what a cluster cannot do it does not have.

Clusters: `embedded` (real nats-servers in namespaces of this process), `kind`, `context:NAME`.
All verbs are synchronous and bounded; a trial calls them from threads. Names of servers are pod names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from natsproof.contract.model import Contract


@dataclass(frozen=True, slots=True)
class Server:
    """One pod of the platform, as reachable from this process."""

    name: str
    ordinal: int
    client_url: str  # nats://host:port
    monitor_url: str  # http://host:port, no trailing slash
    #: The same two for witnesses of faults, where clients may be so many that a way of theirs has a queue.
    witness_urls: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class PodEvent:
    """What happened to a pod, on the history's clock: created, started, ready, not-ready, probe-failed,
    killed-by-probe, exited, held, deleted, volume-lost, ..."""

    at_ns: int
    pod: str
    what: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class JobResult:
    """The set-up Job: `complete` as Kubernetes would say it, every attempt's output, seconds it took."""

    complete: bool
    attempts: int
    log: str
    took_s: float


@runtime_checkable
class Cluster(Protocol):
    """The common part. `up` returns when every pod is Ready and the set-up Job is complete, or raises
    ClusterError with the events and the last log lines. `down` is idempotent and leaves nothing."""

    kind: str  # "embedded", "kind", "context"
    contract: Contract

    def up(self) -> None: ...
    def down(self) -> None: ...
    @property
    def servers(self) -> tuple[Server, ...]: ...
    @property
    def job(self) -> JobResult | None: ...
    def ready(self, server: str) -> bool:
        """Readiness as Kubernetes sees it."""
        ...

    def running(self, server: str) -> bool:
        """Whether the server's process exists (paused counts as running)."""
        ...

    def monitor(self, server: str, path: str, *, timeout_s: float = 2.0) -> Any:
        """GET a monitoring path and decode its JSON. Raises ClusterError if it does not answer 200."""
        ...

    def log(self, server: str) -> str:
        """All the server has logged so far, restarts included."""
        ...

    def events(self) -> Sequence[PodEvent]: ...
    def describe(self) -> Mapping[str, Any]:
        """For the certificate: binaries with origin, version and SHA-256, image names, host facts,
        differences from the manifests (`differences`: list of text), isolation (`namespaces`, ...)."""
        ...


@runtime_checkable
class Killable(Protocol):
    def kill(self, server: str) -> None:
        """SIGKILL the server's process and hold it down until `start`."""
        ...

    def start(self, server: str) -> None: ...


@runtime_checkable
class Stoppable(Protocol):
    def stop(self, server: str) -> None:
        """preStop, SIGTERM, grace period, SIGKILL: as deleting the pod does; held down until `start`."""
        ...

    def start(self, server: str) -> None: ...


@runtime_checkable
class Pausable(Protocol):
    def pause(self, server: str) -> None: ...
    def resume(self, server: str) -> None: ...


@runtime_checkable
class Partitionable(Protocol):
    def partition(self, *groups: Sequence[str]) -> None:
        """Servers of different groups cannot exchange packets; `"clients"` names this process.
        One-way cuts: `cut(source, target)`."""
        ...

    def cut(self, source: str, target: str) -> None: ...
    def heal(self) -> None: ...


@runtime_checkable
class Impairable(Protocol):
    def impair(self, server: str, *, loss: float = 0.0, kbytes_per_s: float | None = None) -> None:
        """A share of the packets to and from the server is lost, or so much reaches it in a second and
        goes from it to each other; until `repair`. Probes and monitoring are spared."""
        ...

    def repair(self, server: str) -> None:
        """Ends all impairments of the server."""
        ...


@runtime_checkable
class Delayable(Protocol):
    def delay(self, server: str, delay_s: float) -> None:
        """Packets to and from the server arrive so much later, until `repair`."""
        ...

    def repair(self, server: str) -> None: ...


@runtime_checkable
class PowerCuttable(Protocol):
    def cut_power(self, servers: Sequence[str]) -> None:
        """The servers die and what they never fsynced is gone; held down until `start`."""
        ...

    def start(self, server: str) -> None: ...


@runtime_checkable
class DiskFillable(Protocol):
    def fill_disk(self, server: str) -> None: ...
    def free_disk(self, server: str) -> None: ...


@runtime_checkable
class VolumeAccess(Protocol):
    """The server's data directory as a path here (embedded) or a copy of it (kind), server stopped."""

    def volume_path(self, server: str) -> Path: ...
    def wipe_volume(self, server: str) -> None: ...


@runtime_checkable
class Evictable(Protocol):
    def evict(self, server: str) -> bool:
        """Ask for a voluntary eviction; False if the disruption budget refuses it."""
        ...


@runtime_checkable
class Scalable(Protocol):
    def scale(self, replicas: int) -> None: ...


@runtime_checkable
class ClockShiftable(Protocol):
    def shift_clock(self, server: str, seconds: float) -> None:
        """The wall clock of the server's process is so much off; its timers are not. A server that is
        started anew has a true clock."""
        ...

    def restore_clock(self, server: str) -> None: ...


@runtime_checkable
class Rollable(Protocol):
    """A controller rolls the servers by itself, as `kubectl rollout restart` asks it to."""

    def rollout_restart(self) -> None:
        """Ask for it; returns at once."""
        ...

    def rolled_out(self) -> bool:
        """Whether the controller says that the last rollout is complete."""
        ...


@runtime_checkable
class Changeable(Protocol):
    """Manifests can be changed under it; pods follow when they are made anew."""

    def apply(self, contract: Contract) -> None:
        """Pods that run go on as they are. A changed server image is what new pods run."""
        ...


@runtime_checkable
class Administrable(Protocol):
    """An operator can work on it: run the nats CLI beside it, and its set-up Job once more."""

    def administer(self, script: str, *, folder: Path, within_s: float = 60.0) -> tuple[int, str]:
        """Run a bash script in `folder` as the runbook's tools pod does: `nats` on PATH, NATS_URL for
        clients without credentials, SYS_USER and SYS_PASSWORD of the system account. (exit code, output).
        """
        ...

    def run_job(self) -> JobResult:
        """The set-up Job's pod once, whatever the Job allows in attempts."""
        ...


@runtime_checkable
class NodeLosable(Protocol):
    """The machine under a server can be lost whole: its kubelet falls silent too."""

    def lose_node(self, server: str) -> None: ...
    def restore_node(self, server: str) -> None: ...


@runtime_checkable
class ChaosInjectable(Protocol):
    """Chaos Mesh runs there and can be asked. `body` is a chaos object as its definitions have it."""

    def inject_chaos(self, body: dict[str, Any]) -> None:
        """Returns once it is injected into every pod it names, or raises with Chaos Mesh's words."""
        ...

    def recover_chaos(self, body: dict[str, Any]) -> None: ...


@runtime_checkable
class Reproducible(Protocol):
    """Servers from other manifests can be made beside its own. No fault needs it; measurements use it."""

    @property
    def contract(self) -> Contract: ...

    def beside(self, contract: Contract, name: str) -> Any:
        """Another such Cluster, not up: who asks for it ends it. `name` is unique beside this one."""
        ...


@runtime_checkable
class Borrowed(Protocol):
    """A platform that belongs to somebody else: ask before writing to it, and tidy up after."""

    def require_load_allowed(self) -> None:
        """Raises NotAvailableHere unless its owner has allowed load."""
        ...

    def remove_keys(self, buckets: Sequence[str], prefix: str) -> int:
        """Remove the keys `prefix.*` of these buckets; how many messages went."""
        ...


#: Capability names as they stand in certificates and in `needs` of faults.
CAPABILITIES: dict[str, type] = {
    "Killable": Killable,
    "Stoppable": Stoppable,
    "Pausable": Pausable,
    "Partitionable": Partitionable,
    "Impairable": Impairable,
    "Delayable": Delayable,
    "PowerCuttable": PowerCuttable,
    "DiskFillable": DiskFillable,
    "VolumeAccess": VolumeAccess,
    "Evictable": Evictable,
    "Scalable": Scalable,
    "ClockShiftable": ClockShiftable,
    "Rollable": Rollable,
    "NodeLosable": NodeLosable,
    "Changeable": Changeable,
    "Administrable": Administrable,
    "ChaosInjectable": ChaosInjectable,
}


class Abilities(frozenset[str]):
    """Names of CAPABILITIES that a cluster has; `lacking` says why not, where that is known."""

    lacking: Mapping[str, str]

    def __new__(cls, names: Iterable[str] = (), lacking: Mapping[str, str] | None = None) -> Abilities:
        made = super().__new__(cls, names)
        made.lacking = dict(lacking or {})
        return made

    def why_not(self, names: Iterable[str]) -> str:
        """`not A (reason), not B`, for those it lacks; "" if it has them all."""
        missing = [name for name in names if name not in self]
        return ", ".join(f"not {n} ({self.lacking[n]})" if n in self.lacking else f"not {n}" for n in missing)


def abilities(cluster: Any) -> Abilities:
    """What a cluster can do, by its own word or by the verbs it has; `cluster.lacking()` gives reasons."""
    lacking = getattr(cluster, "lacking", None)
    reasons: Mapping[str, str] = lacking() if callable(lacking) else {}
    able = getattr(cluster, "capabilities", None)
    names = able() if callable(able) else [n for n, kind in CAPABILITIES.items() if isinstance(cluster, kind)]
    return Abilities(names, {n: why for n, why in reasons.items() if n not in names})
