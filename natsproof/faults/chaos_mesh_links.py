"""Bad links made by Chaos Mesh, between the victims and the other servers; clients reach all of them.

The witness is a neighbour's container: how long the victim's route port takes to greet it, how fast a long
text comes from there. A pod that is made anew meanwhile has good links again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from natsproof.cluster.kubernetes import chaos_bodies
from natsproof.cluster.kubernetes.chaos_bodies import Body
from natsproof.errors import UsageError
from natsproof.faults.chaos_mesh import Chaos
from natsproof.faults.inside import LEAST_DELAY_S, Greetings, fetched_kbytes_per_s, greetings, neighbour
from natsproof.faults.network import other_servers
from natsproof.faults.sight import each

#: A packet that was lost is sent again after 0.2 s, a handshake's after 1 s.
HELD_UP_S = 0.19
#: A greeting needs a SYN, its answer and the greeting itself.
GREETING_PACKETS = 3
#: WANTED bytes must take half a second or more, or the rate is no statement.
MOST_KBYTES_PER_S = 200.0


@dataclass(frozen=True)
class _BadLink(Chaos):
    """Told from the good link before. `probes` greetings are asked for."""

    probes: int = 15

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.victim == "all":
            raise UsageError("the links of all servers have no other end; name fewer victims")

    def sight(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, Any]:
        near = neighbour(cluster, targets)
        return {target: self._probe(cluster, near, target) for target in targets}

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, Any]) -> str:
        near = neighbour(cluster, targets)

        def one(name: str) -> str:
            seen = self._seen(before[name], self._probe(cluster, near, name)) if name in before else ""
            return f"{name} seen from {near}: {seen}" if seen else ""

        return each(targets, one)

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return ""  # a bad link is told from the good one before

    def _probe(self, cluster: Any, near: str, name: str) -> Any:
        return greetings(cluster, near, name, number=self.probes)

    def _seen(self, before: Any, now: Any) -> str:
        raise NotImplementedError


@dataclass(frozen=True)
class ChaosDelay(_BadLink):
    """NetworkChaos delay: packets between the victims and the others arrive `delay_s` later, both ways.

    The witness: the median greeting takes at least 1.5 times that longer. Needs netem in the nodes' kernel.
    """

    delay_s: float = 0.1
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delay_s < LEAST_DELAY_S:
            raise UsageError(f"delay_s={self.delay_s:g} could not be seen; {LEAST_DELAY_S:g} or more")

    def body(self, cluster: Any, targets: Sequence[str]) -> Body:
        return chaos_bodies.delay(
            self.name(targets),
            cluster.namespace,
            targets,
            other_servers(cluster, targets),
            latency_s=self.delay_s,
            jitter_s=self.jitter_s,
        )

    def _seen(self, before: Greetings, now: Greetings) -> str:
        if not now.took_s or now.median_s - before.median_s < 1.5 * self.delay_s:
            return ""
        return f"a greeting takes {now.median_s * 1e3:.0f} ms, {before.median_s * 1e3:.0f} ms before"


@dataclass(frozen=True)
class ChaosLoss(_BadLink):
    """NetworkChaos loss: `percent` of the packets between the victims and the others are lost, both ways.

    The witness: greetings that were held up as long as a repetition takes. Three packets make one; a third of
    the part that must meet a loss is demanded, and hardly any before. Needs netem in the nodes' kernel.
    """

    percent: float = 20.0
    probes: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 10 <= self.percent < 100:
            raise UsageError(f"percent={self.percent:g}: 10 or more can be seen, 100 is a ChaosPartition")

    def body(self, cluster: Any, targets: Sequence[str]) -> Body:
        others = other_servers(cluster, targets)
        return chaos_bodies.loss(self.name(targets), cluster.namespace, targets, others, percent=self.percent)

    def _seen(self, before: Greetings, now: Greetings) -> str:
        expected = 1 - (1 - self.percent / 100) ** GREETING_PACKETS
        part, part_before = now.late(HELD_UP_S), before.late(HELD_UP_S)
        if not now.asked or part < expected / 3 or part_before > expected / 6:
            return ""
        return f"{part:.0%} of {now.asked} greetings held up or lost, {part_before:.0%} before"


@dataclass(frozen=True)
class ChaosBandwidth(_BadLink):
    """NetworkChaos bandwidth: from the victims to the others go no more than `kbytes_per_s` (1000 bytes).

    The witness: a long text of the victim's comes no faster than that (half as much again is granted for what
    the bucket had saved up), and came at least twice as fast before.
    """

    victim: str = "follower"
    kbytes_per_s: float = 64.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 8 <= self.kbytes_per_s <= MOST_KBYTES_PER_S:
            raise UsageError(
                f"kbytes_per_s={self.kbytes_per_s:g}: 8 at least, or heartbeats do not fit, and "
                f"{MOST_KBYTES_PER_S:g} at most, or it cannot be seen"
            )

    def body(self, cluster: Any, targets: Sequence[str]) -> Body:
        return chaos_bodies.bandwidth(
            self.name(targets),
            cluster.namespace,
            targets,
            other_servers(cluster, targets),
            bytes_per_s=int(self.kbytes_per_s * 1000),
        )

    def _probe(self, cluster: Any, near: str, name: str) -> float:
        return fetched_kbytes_per_s(cluster, near, name)

    def _seen(self, before: float, now: float) -> str:
        if not 0 < now <= 1.5 * self.kbytes_per_s or before < 2 * now:
            return ""
        return f"{now:.0f} kB/s come through, {before:.0f} kB/s before"
