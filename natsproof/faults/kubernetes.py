"""What only a real Kubernetes does to a platform: a rollout by its controller, the loss of a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from natsproof.clock import wait_until
from natsproof.faults import Aimed
from natsproof.faults.operations import server_ids
from natsproof.faults.sight import confirmed, each, knock, server_of

WITNESS_S = 5.0


@dataclass(frozen=True)
class RolloutRestart(Aimed):
    """`kubectl rollout restart`: the StatefulSet's controller replaces pod by pod, highest ordinal first.

    Over when the controller says so, within `within_s`. The witness compares the servers' own ids.
    """

    victim: str = "all"
    at_s: float = 1.0
    down_s: float | None = None
    within_s: float = 300.0

    needs: ClassVar[tuple[str, ...]] = ("Rollable",)
    one_shot: ClassVar[bool] = True

    def sight(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, str]:
        return server_ids(cluster, targets)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        cluster.rollout_restart()
        wait_until("the rollout to be complete", cluster.rolled_out, within_s=self.within_s, every_s=0.3)

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, str]) -> str:
        now = server_ids(cluster, targets)
        changed = [name for name in targets if name in before and now.get(name, before[name]) != before[name]]
        return f"{', '.join(changed)} came back with new ids" if len(changed) == len(targets) else ""

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return ""  # a rollout that is over leaves no trace without the ids from before

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        """The controller ends what it began."""


@dataclass(frozen=True)
class NodeLoss(Aimed):
    """The whole node of the victim hangs: server, kubelet and network stack fall silent together."""

    needs: ClassVar[tuple[str, ...]] = ("NodeLosable",)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.lose_node(target)

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        def one(name: str) -> str:
            server = server_of(cluster, name)
            seen = knock(server.client_url), knock(server.monitor_url, greeting=False)
            return f"{name}: ports {' and '.join(seen)}" if "answers" not in seen else ""

        return confirmed("the node to fall silent", lambda: each(targets, one), within_s=WITNESS_S)

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.restore_node(target)
