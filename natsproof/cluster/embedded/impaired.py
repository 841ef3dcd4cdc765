"""What some hosts can do to links and clocks: mixed into the embedded cluster where they can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from natsproof.cluster.embedded.capable import NamespacedCluster
from natsproof.cluster.embedded.cluster import EmbeddedCluster
from natsproof.cluster.embedded.shaping import CLIENTS_PORT, Impairment, port_of, shape
from natsproof.cluster.embedded.vdso import WallClock
from natsproof.errors import ClusterError


class ImpairableCluster(NamespacedCluster):
    """With `tc`: loss and narrow links."""

    _impaired: Mapping[str, Impairment] = {}

    def impair(self, server: str, *, loss: float = 0.0, kbytes_per_s: float | None = None) -> None:
        """Joins what impairs the server already. Raises ClusterError if the server has no network now."""
        was = self._impaired.get(server, Impairment())
        self._impair(server, replace(was, loss=loss or was.loss, rate=kbytes_per_s or was.rate))
        rate = f", {kbytes_per_s:g} kB/s" if kbytes_per_s else ""
        self._running().node.record(server, "impaired", f"loss {loss:.0%}{rate}")

    def repair(self, server: str) -> None:
        if server in self._impaired:
            self._impaired = {name: it for name, it in self._impaired.items() if name != server}
            self._shape_all()
            self._running().node.record(server, "repaired")

    def start(self, server: str) -> None:
        """A new pod of an impaired server has the old one's link."""
        super().start(server)
        if self._impaired:
            self._shape_all()

    def _impair(self, server: str, impairment: Impairment) -> None:
        if self._link(server) is None:
            raise ClusterError(f"{server} has no network now; start it before impairing it")
        self._impaired = {**self._impaired, server: impairment}
        self._shape_all()

    def _shape_all(self) -> None:
        """Each port by what its own pod suffers, else by what the senders suffer."""
        node = self._running()
        of = {node.pod(name).identity.ip: it for name, it in self._impaired.items()}
        spared = self._node_address()
        for server in self.servers:
            address = node.pod(server.name).identity.ip
            if self._link(server.name) is not None:
                others = {source: it for source, it in of.items() if source != address}
                shape(port_of(address), of.get(address), others, spared)
        shape(CLIENTS_PORT, None, of, spared)


class DelayableCluster(ImpairableCluster):
    """With netem."""

    def delay(self, server: str, delay_s: float) -> None:
        self._impair(server, replace(self._impaired.get(server, Impairment()), delay_s=delay_s))
        self._running().node.record(server, "delayed", f"{delay_s * 1e3:g} ms")


class ClockShiftableCluster(EmbeddedCluster):
    """With a vDSO that can be written to."""

    _clocks: Mapping[str, WallClock] = {}

    def shift_clock(self, server: str, seconds: float) -> None:
        """Raises ClusterError if it does not run, or for less than whole seconds."""
        pid = self.pid(server)
        if pid is None:
            raise ClusterError(f"{server} does not run; there is no clock to shift")
        clock = self._clocks.get(server)
        if clock is None or clock.pid != pid:
            clock = WallClock(pid)
            self._clocks = {**self._clocks, server: clock}
        clock.shift(seconds)
        self._running().node.record(server, "clock-shifted", f"{seconds:+g} s")

    def restore_clock(self, server: str) -> None:
        """Nothing for a server that was started anew since: its clock is true."""
        clock = self._clocks.get(server)
        self._clocks = {name: it for name, it in self._clocks.items() if name != server}
        if clock is not None and clock.pid == self.pid(server):
            clock.restore()
            self._running().node.record(server, "clock-restored")
