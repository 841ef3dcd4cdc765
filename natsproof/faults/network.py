"""Servers that run but cannot hear each other."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from natsproof.clock import wait_until
from natsproof.errors import ClusterError, DeadlineExceeded, UsageError
from natsproof.faults import Aimed
from natsproof.faults.sight import PlatformView, confirmed, knock, look, server_of

#: Raft heartbeats come every second: longer silence than this means that none came through.
SILENT_S = 1.8
WITNESS_S = 8.0
#: How long a cut waits for the one before to be over: after one the meta group may have no leader for 9 s.
CALM_S = 20.0
SIDES = ("both", "victims", "others")


class _Cut(Aimed):
    """Servers that no longer hear each other, until every cut of the cluster is healed."""

    needs: ClassVar[tuple[str, ...]] = ("Partitionable",)

    def sight(self, cluster: Any, targets: Sequence[str]) -> str:
        """What would be taken for a partition although none was made yet."""
        return still_apart(cluster, targets, self._others(cluster, targets))

    def witness_change(self, cluster: Any, targets: Sequence[str], before: str) -> str:
        return "" if before else self.witness(cluster, targets)

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        """TCP needs both ways, so a cut one way silences the pair too, for whoever leads."""
        others = self._others(cluster, targets)
        what = "the sides to lose each other"
        return confirmed(what, lambda: apart(cluster, targets, others), within_s=WITNESS_S)

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        cluster.heal()

    def _others(self, cluster: Any, targets: Sequence[str]) -> Sequence[str]:
        """Who is lost to the targets; nobody named: all other servers."""
        return ()


@dataclass(frozen=True)
class Partition(_Cut):
    """The victims and the other servers exchange no packet. `clients` says whom this process reaches:
    `both` sides, only the `victims`, or only the `others`.

    Healing ends every cut of the cluster, also those of another partition that is on.
    """

    clients: str = "both"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clients not in SIDES:
            raise UsageError(f"clients={self.clients!r} is no side of a partition. Valid: {', '.join(SIDES)}")
        if self.victim == "all":
            raise UsageError(
                "a partition of all servers from the others has no other side; name fewer victims"
            )

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        others = other_servers(cluster, targets)
        cluster.partition(list(targets), others)
        if self.clients != "both":
            cluster.partition(["clients"], others if self.clients == "victims" else list(targets))

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        def probe() -> str:
            seen = apart(cluster, targets)
            return f"{seen}{self._clients_cut(cluster, targets)}" if seen else ""

        return confirmed("the sides to lose each other", probe, within_s=WITNESS_S)

    def _clients_cut(self, cluster: Any, targets: Sequence[str]) -> str:
        if self.clients == "both":
            return ""
        far = other_servers(cluster, targets) if self.clients == "victims" else targets
        met = {name: knock(server_of(cluster, name).client_url, within_s=0.5) for name in far}
        if any(what == "answers" for what in met.values()):
            raise ClusterError(
                f"the clients still reach {', '.join(n for n, w in met.items() if w == 'answers')}"
            )
        return f"; clients find {', '.join(f'{name} {what}' for name, what in met.items())}"


@dataclass(frozen=True)
class OneWay(_Cut):
    """Packets from the victims to the other servers are lost (`direction="out"`), or those to the victims
    (`"in"`); the other way they pass."""

    direction: str = "out"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.direction not in ("out", "in"):
            raise UsageError(f"direction={self.direction!r} is none. Valid: out, in")

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            for other in other_servers(cluster, targets):
                source, sink = (target, other) if self.direction == "out" else (other, target)
                cluster.cut(source, sink)


@dataclass(frozen=True)
class PartialPartition(_Cut):
    """The victim and one other server exchange no packet; the rest hear both. `other` is its name, or the
    first in order. Each of the two thinks that the leader is gone while the other leads."""

    other: str = ""

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        others = self._others(cluster, targets)
        cluster.partition(list(targets), others)

    def _others(self, cluster: Any, targets: Sequence[str]) -> Sequence[str]:
        others = other_servers(cluster, targets)
        if self.other and self.other not in others:
            raise UsageError(
                f"other={self.other!r} is none of the servers to lose. Valid: {', '.join(others)}"
            )
        return [self.other] if self.other else others[:1]


def flapping(
    victim: str, *, times: int, every_s: float, down_s: float, at_s: float = 1.0, of: str | None = None
) -> tuple[Partition, ...]:
    """A partition that comes and goes `times` times, every `every_s` for `down_s`."""
    if down_s >= every_s:
        raise UsageError(
            f"down_s={down_s:g} must be less than every_s={every_s:g}, or the partition never heals"
        )
    return tuple(Partition(victim, of, at_s + number * every_s, down_s) for number in range(times))


def other_servers(cluster: Any, targets: Sequence[str]) -> list[str]:
    return [server.name for server in cluster.servers if server.name not in targets]


def apart(cluster: Any, targets: Sequence[str], others: Sequence[str] = ()) -> str:
    """What shows that the targets and the others (all, if none are named) do not hear each other, "" if
    nothing does."""
    if others:
        return _silence(look(cluster), targets, others)
    others = other_servers(cluster, targets)
    return _silence(look(cluster), targets, others) or _uneasy(cluster, targets, others)


def still_apart(cluster: Any, targets: Sequence[str], others: Sequence[str] = ()) -> str:
    """What shows the sides apart before the cut, and goes on doing so for `CALM_S`. A partition that was
    healed a moment ago is over when each side has heard the other: that takes a busy machine seconds."""
    if seen := apart(cluster, targets, others):
        with contextlib.suppress(DeadlineExceeded):
            what = "the sides to hear each other"
            wait_until(what, lambda: not apart(cluster, targets, others), within_s=CALM_S)
            return ""
    return seen


def _silence(view: PlatformView, targets: Sequence[str], others: Sequence[str]) -> str:
    """A leader that has not heard any server of the other side for longer than heartbeats allow, and has
    heard everyone else, if there is someone."""
    for name, server in view.servers.items():
        if server is None or name not in (*targets, *others):
            continue
        far = others if name in targets else targets
        groups = {"meta": server.meta_replicas} if server.meta_leader == name else {}
        groups |= {s: it.replicas for s, it in server.streams.items() if it.leader == name}
        for group, replicas in groups.items():
            silent = {n: heard_s for n, (_, heard_s, _) in replicas.items() if n in far}
            near = [heard_s for n, (_, heard_s, _) in replicas.items() if n not in far]
            if silent and min(silent.values()) >= SILENT_S and all(heard_s < SILENT_S for heard_s in near):
                heard = ", ".join(f"{n} for {heard_s:.1f} s" for n, heard_s in silent.items())
                return f"{name}, leader of {group}, has not heard {heard}"
    return ""


def _uneasy(cluster: Any, targets: Sequence[str], others: Sequence[str]) -> str:
    """The smaller side says itself that it lost the others: the larger may be out of our reach."""
    smaller = targets if len(targets) <= len(others) else others
    for name in smaller:
        try:
            cluster.monitor(name, "/healthz?details=true", timeout_s=1.0)
        except (ClusterError, OSError) as problem:
            text = str(problem)
            if "503" in text or "not current" in text or "contact" in text:
                return f"{name} says that it is not healthy: {text[:120]}"
    return ""
