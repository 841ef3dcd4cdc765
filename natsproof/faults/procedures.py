"""Procedures of an operator: a backup given back to an empty platform, and two drains at once."""

from __future__ import annotations

import functools
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from natsproof.clock import Deadline, wait_until
from natsproof.cluster import runbook
from natsproof.contract.model import DisruptionBudget
from natsproof.errors import ClusterError, DeadlineExceeded
from natsproof.faults.operations import server_ids
from natsproof.faults.upgrade import Operation, meta_size

#: Seconds for the runbook's restore: a bucket whose restore breaks off takes some 15 s more (finding 58).
RESTORE_S = 240.0


@dataclass(frozen=True)
class BackUpAndRestore(Operation):
    """The runbook's backup under way of clients; then every server dies, every volume is emptied, and the
    runbook's restore into the empty platform, then its set-up Job.

    The injection begins when the backup does: what was acknowledged before must come back. The witness:
    the servers are others than before, and between both they listed no bucket at all.
    """

    needs: ClassVar[tuple[str, ...]] = ("Killable", "VolumeAccess", "Administrable")

    def sight(self, cluster: Any, targets: Sequence[str]) -> Any:
        return {}

    def inject(self, cluster: Any, targets: Sequence[str]) -> Any:
        before = server_ids(cluster, targets)
        with tempfile.TemporaryDirectory(prefix="natsproof-backup-") as name:
            folder = Path(name)
            runbook.follow(cluster, "Backup", folder)
            for target in targets:
                cluster.kill(target)
            for target in targets:
                cluster.wipe_volume(target)
            for target in targets:
                cluster.start(target)
            for target in targets:
                ready = functools.partial(cluster.ready, target)
                wait_until(f"{target} to be Ready", ready, within_s=self.ready_s)
            wait_until("a meta leader", lambda: meta_size(cluster) == len(targets), within_s=self.ready_s)
            empty = _buckets(cluster)
            runbook.follow(cluster, "Restore into an empty platform", folder, within_s=RESTORE_S)
        job = cluster.run_job()
        if not job.complete:
            raise ClusterError(f"the set-up Job does not accept what was restored: {job.log[-600:]}")
        return {"ids": before, "empty": empty, "restored": _buckets(cluster)}

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Any) -> str:
        if not before or before["empty"] or not before["restored"]:
            return ""
        now = server_ids(cluster, targets)
        if any(now.get(name) in (None, before["ids"].get(name)) for name in targets):
            return ""
        return f"no bucket on any server after the wipe; then {', '.join(before['restored'])}"


def _buckets(cluster: Any) -> list[str]:
    found = set()
    for server in cluster.servers:
        jsz = cluster.monitor(server.name, "/jsz?streams=true&accounts=true")
        for account in jsz.get("account_details") or ():
            found |= {str(stream["name"]) for stream in account.get("stream_detail") or ()}
    return sorted(found)


@dataclass(frozen=True)
class Drains(Operation):
    """`walkers` operators restart all servers at once, from different ends. Each asks before it stops one,
    and the answer is the disruption budget's, as the Eviction API counts it: Ready pods less those that
    must stay. Without a budget nothing is refused. The witness compares the servers' own ids.
    """

    walkers: int = 2

    needs: ClassVar[tuple[str, ...]] = ("Stoppable",)

    def sight(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, str]:
        return server_ids(cluster, targets)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        desk = Desk(cluster, targets)
        names = sorted(targets)
        routes = [names if number % 2 else names[::-1] for number in range(self.walkers)]
        with ThreadPoolExecutor(self.walkers) as pool:
            for done in [pool.submit(self._walk, cluster, desk, route) for route in routes]:
                done.result()

    def _walk(self, cluster: Any, desk: Desk, route: Sequence[str]) -> None:
        for name in route:
            deadline = Deadline.within(self.ready_s)
            while not desk.asks(name):
                if deadline.passed:
                    raise DeadlineExceeded(f"the eviction of {name} was refused for {self.ready_s:g} s")
                threading.Event().wait(0.1)
            try:
                cluster.stop(name)
            finally:
                desk.gone(name)
                cluster.start(name)
            wait_until(f"{name} to be Ready", functools.partial(cluster.ready, name), within_s=self.ready_s)

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, str]) -> str:
        now = server_ids(cluster, targets)
        changed = [name for name in targets if name in before and now.get(name, before[name]) != before[name]]
        return f"{', '.join(changed)} came back with new ids" if len(changed) == len(targets) else ""


class Desk:
    """Answers evictions, one at a time, by the disruption budgets of the contract that select the servers."""

    def __init__(self, cluster: Any, servers: Sequence[str]) -> None:
        self._cluster, self._servers = cluster, servers
        labels = cluster.contract.statefulset.template.labels
        self._budgets = [b for b in cluster.contract.budgets if b.selector.items() <= labels.items()]
        self._lock = threading.Lock()
        self._going: set[str] = set()  # granted, and perhaps still Ready

    def asks(self, server: str) -> bool:
        with self._lock:
            if server in self._going:
                return False
            ready = [n for n in self._servers if n not in self._going and self._cluster.ready(n)]
            if any(len(ready) <= _must_stay(budget, len(self._servers)) for budget in self._budgets):
                return False
            self._going.add(server)
            return True

    def gone(self, server: str) -> None:
        """It has stopped: from now on its readiness tells the truth."""
        with self._lock:
            self._going.discard(server)


def _must_stay(budget: DisruptionBudget, servers: int) -> int:
    """Healthy pods that must remain; percentages are rounded up, as Kubernetes does."""
    if budget.min_available is not None:
        return _share(budget.min_available, servers)
    if budget.max_unavailable is not None:
        return max(0, servers - _share(budget.max_unavailable, servers))
    return 0


def _share(bound: int | str, servers: int) -> int:
    if isinstance(bound, int):
        return bound
    return -(-int(bound.removesuffix("%")) * servers // 100)
