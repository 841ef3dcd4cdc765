"""What only a real Kubernetes does to a platform: a rollout by its controller, the loss of a node."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from natsproof.clock import wait_until
from natsproof.contract.change import with_config
from natsproof.contract.model import Contract
from natsproof.errors import UsageError
from natsproof.faults import Aimed
from natsproof.faults.operations import came_back, known_ids
from natsproof.faults.sight import confirmed, each, knock_at, server_of

WITNESS_S = 5.0
MAX_MEM = re.compile(r"^(\s*max_mem(?:ory_store)?\s*[:=]?\s*)\S+", re.M)


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
        return known_ids(cluster, targets)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        cluster.rollout_restart()
        wait_until("the rollout to be complete", cluster.rolled_out, within_s=self.within_s, every_s=0.3)

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, str]) -> str:
        return came_back(cluster, targets, before)

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return ""  # a rollout that is over leaves no trace without the ids from before

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        """The controller ends what it began."""


@dataclass(frozen=True)
class ConfigurationRollout(Aimed):
    """Another `max_mem` in the ConfigMap, applied and rolled out as the runbook has it; healed by the
    ConfigMap of the contract, rolled out likewise.

    The witness asks each server what it runs with: a ConfigMap that does not reach the pods is seen.
    """

    victim: str = "all"
    at_s: float = 1.0
    down_s: float | None = 0.0
    within_s: float = 300.0
    max_mem_bytes: int = 777 << 20

    needs: ClassVar[tuple[str, ...]] = ("Rollable", "NodeLosable")

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        self._roll_out(cluster, with_config(cluster.applied, self._changed))

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        def one(name: str) -> str:
            now = cluster.monitor(name, "/varz")["jetstream"]["config"]["max_memory"]
            return f"{name} runs with max_memory {now}" if now == self.max_mem_bytes else ""

        return confirmed("the servers to run the change", lambda: each(targets, one), within_s=WITNESS_S)

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        self._roll_out(cluster, cluster.applied)

    def _roll_out(self, cluster: Any, contract: Contract) -> None:
        cluster.configure(contract)
        cluster.rollout_restart()
        wait_until("the rollout to be complete", cluster.rolled_out, within_s=self.within_s, every_s=0.3)

    def _changed(self, text: str) -> str:
        changed, number = MAX_MEM.subn(rf"\g<1>{self.max_mem_bytes >> 20}Mi", text, count=1)
        if not number:
            raise UsageError("nats.conf has no max_mem to change")
        return changed


@dataclass(frozen=True)
class NodeLoss(Aimed):
    """The whole node of the victim hangs: server, kubelet and network stack fall silent together."""

    needs: ClassVar[tuple[str, ...]] = ("NodeLosable",)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.lose_node(target)

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        def one(name: str) -> str:
            seen = knock_at(server_of(cluster, name))
            return f"{name}: ports {' and '.join(seen)}" if "answers" not in seen else ""

        return confirmed("the node to fall silent", lambda: each(targets, one), within_s=WITNESS_S)

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.restore_node(target)
