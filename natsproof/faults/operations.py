"""What operators do on purpose: restarts one server after the other, evictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from natsproof.clock import wait_until
from natsproof.errors import ClusterError
from natsproof.faults import Aimed
from natsproof.faults.sight import confirmed

#: How long a server may take to answer its monitoring port on a busy machine.
WITNESS_S = 8.0


def server_ids(cluster: Any, targets: Sequence[str]) -> dict[str, str]:
    """The servers' own random ids, which change with each start; without those that do not answer."""
    ids = {}
    for target in targets:
        try:
            ids[target] = str(cluster.monitor(target, "/varz")["server_id"])
        except (ClusterError, OSError, KeyError):
            continue
    return ids


def known_ids(cluster: Any, targets: Sequence[str]) -> dict[str, str]:
    """`server_ids`, asked until all have answered, for WITNESS_S: a busy server may be late once."""
    seen: dict[str, str] = {}

    def all_known() -> str:
        seen.update(server_ids(cluster, targets))
        return "known" if len(seen) == len(targets) else ""

    confirmed("all servers to tell their ids", all_known, within_s=WITNESS_S)
    return seen


def came_back(cluster: Any, targets: Sequence[str], before: Mapping[str, str]) -> str:
    """That each target answers with another id than `before`, within WITNESS_S; "" if not."""

    def probe() -> str:
        now = server_ids(cluster, targets)
        changed = [name for name in targets if name in before and now.get(name, before[name]) != before[name]]
        return f"{', '.join(changed)} came back with new ids" if len(changed) == len(targets) else ""

    return confirmed("the servers to answer with new ids", probe, within_s=WITNESS_S)


@dataclass(frozen=True)
class RollingRestart(Aimed):
    """As a StatefulSet rolls out: from the highest ordinal down, each stopped as a pod is (preStop,
    SIGTERM, grace period), started, and Ready before the next. Over when the last is Ready.

    `ready_s` bounds the wait for each. The witness compares the servers' own ids.
    """

    victim: str = "all"
    at_s: float = 1.0
    down_s: float | None = None
    ready_s: float = 90.0

    needs: ClassVar[tuple[str, ...]] = ("Stoppable",)
    one_shot: ClassVar[bool] = True

    def sight(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, str]:
        return known_ids(cluster, targets)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        ordinals = {server.name: server.ordinal for server in cluster.servers}
        for target in sorted(targets, key=lambda name: -ordinals[name]):
            cluster.stop(target)
            cluster.start(target)
            wait_until(f"{target} ready", partial(cluster.ready, target), within_s=self.ready_s)

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, str]) -> str:
        if missing := [name for name in targets if name not in before]:
            raise ClusterError(f"the ids of {', '.join(missing)} from before are not known")
        return came_back(cluster, targets, before)

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return ""  # a restart that is over leaves no trace without the ids from before

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        """An interrupted roll leaves a server stopped."""
        for target in targets:
            if not cluster.running(target):
                cluster.start(target)


@dataclass(frozen=True)
class Evict(Aimed):
    """A voluntary eviction, as a drain asks for; an error if the disruption budget refuses it."""

    victim: str = "follower"
    down_s: float | None = None

    needs: ClassVar[tuple[str, ...]] = ("Evictable",)
    one_shot: ClassVar[bool] = True

    def sight(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, str]:
        return known_ids(cluster, targets)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            if not cluster.evict(target):
                raise ClusterError(f"the disruption budget refuses the eviction of {target}")

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, str]) -> str:
        """Gone, or come back as another: its id from before is not there any more."""
        now = server_ids(cluster, targets)
        gone = [name for name in targets if name in before and now.get(name) != before[name]]
        return f"{', '.join(gone)} no longer answer with their old ids" if len(gone) == len(targets) else ""

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return ""

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        """Its controller makes the pod again."""
