"""Clusters that can do more, by what their host allows. Which capabilities a cluster has is its class."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

from natsproof.cluster.binaries import Binaries
from natsproof.cluster.embedded.cluster import EmbeddedCluster
from natsproof.cluster.embedded.runtime import NamespaceRuntime, Runtime
from natsproof.cluster.embedded.stores import LoopStore, VolumeStore
from natsproof.cluster.embedded.universe import CLIENTS, PodLink, drop_from_clients, pass_from_clients
from natsproof.contract.model import Contract
from natsproof.errors import ClusterError, UsageError


class NamespacedCluster(EmbeddedCluster):
    """In namespaces of its own: Partitionable too."""

    def __init__(self, contract: Contract, workdir: Path, binaries: Binaries) -> None:
        super().__init__(contract, workdir, binaries)
        self._cuts: set[tuple[str, str]] = set()

    def _make_runtime(self) -> Runtime:
        return NamespaceRuntime(self.workdir)

    def partition(self, *groups: Sequence[str]) -> None:
        """Packets between servers of different groups are lost, both ways; `"clients"` is this process."""
        for number, group in enumerate(groups):
            for other in (name for rest in groups[number + 1 :] for name in rest):
                for one in group:
                    self.cut(one, other)
                    self.cut(other, one)

    def cut(self, source: str, target: str) -> None:
        """What `source` sends to `target` is lost until `heal`; the other direction passes."""
        self._apply(source, target, lost=True)
        self._cuts.add((source, target))
        self._running().node.record(source, "cut", f"to {target}")

    def heal(self) -> None:
        for source, target in sorted(self._cuts):
            self._apply(source, target, lost=False)
            self._running().node.record(source, "healed", f"to {target}")
        self._cuts.clear()

    def start(self, server: str) -> None:
        """A new pod of a partitioned server is cut off as the old one was."""
        super().start(server)
        for source, target in self._cuts:
            if server == source:
                self._apply(source, target, lost=True)

    def _apply(self, source: str, target: str, *, lost: bool) -> None:
        address = CLIENTS if target == "clients" else self._running().pod(target).identity.ip
        if source == "clients":
            (drop_from_clients if lost else pass_from_clients)(address)
            return
        self._running().pod(source)
        link = self._link(source)
        if link is None:
            if lost:
                raise ClusterError(f"{source} has no network now; start it before cutting it off")
            return
        (link.drop_to if lost else link.pass_to)(address)

    def _link(self, server: str) -> PodLink | None:
        assert isinstance(self._runtime, NamespaceRuntime)
        return self._runtime.link(server)

    def _node_address(self) -> str:
        assert isinstance(self._runtime, NamespaceRuntime)
        return self._runtime.node_address


class RootCluster(NamespacedCluster):
    """Of root: PowerCuttable and DiskFillable too, on ext4 images if `prepare` was told so before `up`."""

    def prepare(self, needs: Iterable[str]) -> None:
        if {"PowerCuttable", "DiskFillable"} & set(needs):
            self.volumes = "loop"

    def cut_power(self, servers: Sequence[str]) -> None:
        """All of them at one moment. Raises ClusterError without loop volumes."""
        plane, store = self._running(), self._loop_store()
        self._signal_all([name for name in servers if self.running(name)], signal.SIGSTOP)
        folders = {name: self.volume_path(name) for name in servers}
        copies = {name: store.copy_as_on_disk(folder) for name, folder in folders.items()}
        for name in servers:
            self.kill(name)
            store.lose_power(folders[name], copies[name])
            plane.node.record(name, "power-cut")

    def fill_disk(self, server: str) -> None:
        """No byte is left on the server's volume until `free_disk`."""
        taken = self._loop_store().fill(self.volume_path(server))
        self._running().node.record(server, "disk-filled", f"{taken} B")

    def free_disk(self, server: str) -> None:
        self._loop_store().free(self.volume_path(server))
        self._running().node.record(server, "disk-freed")

    def _make_store(self) -> VolumeStore:
        return LoopStore(self.workdir / "volumes") if self.volumes == "loop" else super()._make_store()

    def _loop_store(self) -> LoopStore:
        if not isinstance(self._store, LoopStore):
            raise UsageError("the volumes are folders; call prepare(['PowerCuttable']) before up()")
        return self._store
