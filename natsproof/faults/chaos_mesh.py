"""Faults that Chaos Mesh carries out, seen by witnesses that do not ask it.

The object's name comes from the fault and its targets, so `heal` finds what `inject` made. A fault with an
end tells Chaos Mesh to end it by itself somewhat later: a run that is killed leaves none in force.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from natsproof.clock import wait_until
from natsproof.cluster.kubernetes import chaos_bodies
from natsproof.cluster.kubernetes.chaos_bodies import Body
from natsproof.errors import ClusterError, UsageError
from natsproof.faults import Aimed
from natsproof.faults.network import apart, other_servers
from natsproof.faults.operations import server_ids
from natsproof.faults.sight import closed, confirmed, each, server_of

#: How much later than `down_s` Chaos Mesh itself ends a fault that nobody ended.
BELT_S = 120.0
#: A pod that is deleted is back in seconds where its image is; on a busy node it takes longer.
BACK_S = 60.0
SILENT_S = 12.0
#: The clock is moved by whole seconds; asking for it takes a moment.
CLOCK_SLACK_S = 2.0

#: pod UID, restarts of the server's container, the server's own id.
Identity = tuple[str, int, str]


@dataclass(frozen=True)
class Chaos(Aimed):
    """What all have in common; `body` is the chaos object for these targets."""

    needs: ClassVar[tuple[str, ...]] = ("ChaosInjectable",)

    def body(self, cluster: Any, targets: Sequence[str]) -> Body:
        raise NotImplementedError

    def name(self, targets: Sequence[str]) -> str:
        """The same for the same fault and targets: `natsproof-1a2b3c4d`.

        Short: pod-failure makes it a part of an annotation's name, which may have 63 letters.
        """
        return f"natsproof-{zlib.crc32(repr((self, targets)).encode()):08x}"

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        cluster.inject_chaos(self._bounded(cluster, targets))

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        cluster.recover_chaos(self._bounded(cluster, targets))

    def _bounded(self, cluster: Any, targets: Sequence[str]) -> Body:
        body = self.body(cluster, targets)
        return body if self.down_s is None else chaos_bodies.ends_after(body, self.down_s + BELT_S)


@dataclass(frozen=True)
class _Once(Chaos):
    """A one-shot: over when the victims are back. Its object is removed at once."""

    down_s: float | None = None
    back_s: float = BACK_S

    one_shot: ClassVar[bool] = True

    def sight(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, Identity]:
        return _identities(cluster, targets)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        super().inject(cluster, targets)
        super().heal(cluster, targets)

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, Identity]) -> str:
        def one(name: str) -> str:
            now = _identities(cluster, [name]).get(name)
            return self.changed(name, before[name], now) if name in before and now else ""

        return confirmed("new servers", lambda: each(targets, one), within_s=self.back_s)

    def changed(self, name: str, before: Identity, now: Identity) -> str:
        raise NotImplementedError

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return ""  # what is over leaves nothing to see without what was before


@dataclass(frozen=True)
class ChaosPodKill(_Once):
    """PodChaos pod-kill: the pod is deleted without grace and made anew by its controller.

    The witness: another pod UID, and another server in it.
    """

    def body(self, cluster: Any, targets: Sequence[str]) -> Body:
        return chaos_bodies.pod_kill(self.name(targets), cluster.namespace, targets)

    def changed(self, name: str, before: Identity, now: Identity) -> str:
        gone = now[0] not in ("", before[0]) and now[2] != before[2]
        return f"{name} is pod {now[0][:8]} after {before[0][:8]}, and another server" if gone else ""


@dataclass(frozen=True)
class ChaosContainerKill(_Once):
    """PodChaos container-kill: SIGKILL for the server, restarted in its pod by the kubelet.

    The witness: the same pod, one restart more, another server in it.
    """

    def body(self, cluster: Any, targets: Sequence[str]) -> Body:
        return chaos_bodies.container_kill(
            self.name(targets), cluster.namespace, targets, container=cluster.container
        )

    def changed(self, name: str, before: Identity, now: Identity) -> str:
        restarted = now[0] == before[0] and now[1] > before[1] and now[2] != before[2]
        return f"{name} was restarted {now[1] - before[1]} times in its pod" if restarted else ""


@dataclass(frozen=True)
class ChaosPodFailure(Chaos):
    """PodChaos pod-failure: the images of the pods' containers are exchanged for one that only pauses.

    The container ends with the pod's own grace first. The witness: both ports hang up.
    """

    down_s: float | None = 15.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.down_s is None:
            raise UsageError("a ChaosPodFailure needs an end: Chaos Mesh asks for its duration")

    def body(self, cluster: Any, targets: Sequence[str]) -> Body:
        assert self.down_s is not None
        return chaos_bodies.pod_failure(
            self.name(targets), cluster.namespace, targets, for_s=self.down_s + BELT_S
        )

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        def one(name: str) -> str:
            return closed(server_of(cluster, name))

        grace_s = cluster.contract.statefulset.template.termination_grace_period_s
        return confirmed("the ports to close", lambda: each(targets, one), within_s=SILENT_S + grace_s)

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        """Over when the servers run again."""
        super().heal(cluster, targets)
        back = f"{', '.join(targets)} to run again"
        wait_until(back, lambda: all(cluster.running(t) for t in targets), within_s=BACK_S, every_s=0.2)


@dataclass(frozen=True)
class ChaosPartition(Chaos):
    """NetworkChaos partition: no packet between the victims and the other servers.

    `direction` as Chaos Mesh counts it, from the victims: both, to, from. Clients reach all servers. A pod
    that is made anew meanwhile is not cut off. The witness: servers that do not hear each other.
    """

    direction: str = "both"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.direction not in ("both", "to", "from"):
            raise UsageError(f"direction={self.direction!r} is none. Valid: both, to, from")
        if self.victim == "all":
            raise UsageError("a partition of all servers has no other side; name fewer victims")

    def body(self, cluster: Any, targets: Sequence[str]) -> Body:
        far = other_servers(cluster, targets)
        return chaos_bodies.partition(
            self.name(targets), cluster.namespace, targets, far, direction=self.direction
        )

    def sight(self, cluster: Any, targets: Sequence[str]) -> str:
        """What would be taken for a partition although none was made yet."""
        return apart(cluster, targets)

    def witness_change(self, cluster: Any, targets: Sequence[str], before: str) -> str:
        return "" if before else self.witness(cluster, targets)

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        what = "the sides to lose each other"
        return confirmed(what, lambda: apart(cluster, targets), within_s=SILENT_S)


@dataclass(frozen=True)
class ChaosClock(Chaos):
    """TimeChaos: the servers' wall clocks are `offset_s` off, ahead or (negative) behind.

    The witness: /varz `now` of each victim against this host's clock, before and after.
    """

    offset_s: float = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if abs(self.offset_s) <= 2 * CLOCK_SLACK_S:
            raise UsageError(
                f"offset_s={self.offset_s:g} cannot be told from none; more than {2 * CLOCK_SLACK_S:g}"
            )

    def body(self, cluster: Any, targets: Sequence[str]) -> Body:
        return chaos_bodies.clock_shift(
            self.name(targets),
            cluster.namespace,
            targets,
            container=cluster.container,
            offset_s=self.offset_s,
        )

    def sight(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, float]:
        return {target: _ahead_s(cluster, target) for target in targets}

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, float]) -> str:
        def one(name: str) -> str:
            moved_s = _ahead_s(cluster, name) - before[name]
            near = abs(moved_s - self.offset_s) <= CLOCK_SLACK_S
            return f"{name}: its clock moved by {moved_s:+.1f} s" if near else ""

        return confirmed("the clocks to move", lambda: each(targets, one), within_s=SILENT_S)

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return ""  # how far it moved shows only beside how it was


def _ahead_s(cluster: Any, server: str) -> float:
    """How far a server's wall clock is ahead of this host's. Raises ClusterError."""
    now = datetime.fromisoformat(str(cluster.monitor(server, "/varz")["now"]).replace("Z", "+00:00"))
    return now.timestamp() - time.time()


def _identities(cluster: Any, targets: Sequence[str]) -> dict[str, Identity]:
    """Of those that answer. Not by Chaos Mesh: the API server's pods and the servers' own ids."""
    found = {}
    for target, server_id in server_ids(cluster, targets).items():
        try:
            found[target] = (cluster.uid(target), cluster.restarts(target), server_id)
        except ClusterError:
            continue
    return found
