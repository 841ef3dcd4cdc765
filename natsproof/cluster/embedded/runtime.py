"""What starts containers: in namespaces, or (loopback.py) as plain processes. Synchronous and thread-safe."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from natsproof.clock import wait_until
from natsproof.cluster.embedded import universe
from natsproof.cluster.embedded.pid1 import Launch, Process, pid1


class StartGate:
    """Lets pods that are created together also start together, whatever making their roots takes.

    A first election from empty logs waits for all servers; one that campaigns before the last is up costs
    another election timeout of 4 to 9 s. Kubernetes' nodes start pods at the same time too.
    """

    def __init__(self, pods: int) -> None:
        self.fd, self._writer = os.pipe()
        self._missing = pods
        self.opened = asyncio.Event()

    def arrived(self) -> None:
        self._missing -= 1
        if self._missing <= 0:
            self.open()

    def open(self) -> None:
        if not self.opened.is_set():
            os.close(self._writer)
            self.opened.set()

    def close(self) -> None:
        """When no start can come any more (a closed descriptor's number may be another's)."""
        self.open()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Running(Protocol):
    """A process in a pod."""

    exited: Future[int]  # exit code, negative for a signal
    pid: int  # as seen from this process

    @property
    def alive(self) -> bool: ...
    def signal(self, number: int) -> bool: ...
    def signal_all(self, number: int) -> None: ...


def is_stopped(pid: int) -> bool:
    """Whether all threads of a process are stopped by SIGSTOP: the signal takes a moment to reach each."""
    states = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
    return all(state in "Tt" for state in states)


def freeze(pid: int, within_s: float) -> None:
    """SIGSTOP, in force when this returns. Raises ProcessLookupError, DeadlineExceeded."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(f"process {pid} to stop", lambda: is_stopped(pid), within_s=within_s)


class Runtime(Protocol):
    """Sandboxes are pods' networks and names; they outlive the containers in them."""

    node_address: str  # where probes come from
    nameserver: str
    changes_user: bool  # runAsUser and fsGroup can be obeyed

    def pod_address(self, number: int) -> str: ...
    def sandbox(self, name: str, hostname: str, address: str) -> None: ...
    def spawn(self, name: str, launch: Launch, log: Path, gate: int | None) -> Running: ...
    def execute(self, inside: Running, name: str, launch: Launch, log: Path) -> Running: ...
    def remove(self, name: str) -> None: ...
    def close(self) -> None: ...


class NamespaceRuntime:
    """Containers with file system, network, names and processes of their own. See universe.py."""

    def __init__(self, workdir: Path) -> None:
        self._here = universe.universe()
        self._block = self._here.take_block(self)
        universe.add_node_address(self._block)
        self.node_address = self.nameserver = universe.node_address(self._block)
        self.changes_user = self._here.isolation is universe.Isolation.NAMESPACES_ROOT
        self._workdir = workdir
        self._init = pid1()
        self._links: dict[str, universe.PodLink] = {}
        self._lock = threading.Lock()
        self._processes: dict[str, list[Process]] = {}
        self._stages = 0

    def pod_address(self, number: int) -> str:
        return f"{universe.NETWORK}.{self._block}.{10 + number}"

    def link(self, name: str) -> universe.PodLink | None:
        return self._links.get(name)

    def sandbox(self, name: str, hostname: str, address: str) -> None:
        """Raises ClusterError if the kernel refuses."""
        network, control = self._init.sandbox(self._key(name), hostname)
        with self._lock:
            self._links[name] = universe.PodLink(network, control, address)

    def spawn(self, name: str, launch: Launch, log: Path, gate: int | None) -> Running:
        with self._lock, log.open("ab") as output:
            self._stages += 1
            stage = self._workdir / "stage" / str(self._stages)
            stage.mkdir(parents=True)
            process = self._init.spawn(
                self._key(name), launch, stage=stage, output=output.fileno(), gate=gate
            )
            self._processes.setdefault(name, []).append(process)
            return process

    def execute(self, inside: Running, name: str, launch: Launch, log: Path) -> Running:
        assert isinstance(inside, Process)
        with log.open("ab") as output:
            return self._init.execute(inside, launch, output=output.fileno())

    def remove(self, name: str) -> None:
        """Forget a pod's network and names, and end what a start that crossed this may have left."""
        with self._lock:
            link = self._links.pop(name, None)
            if link:
                link.close()
                self._init.forget(self._key(name))
            for process in self._processes.pop(name, []):
                process.signal(signal.SIGKILL)

    def close(self) -> None:
        for name in list(self._links):
            self.remove(name)
        universe.remove_node_address(self._block)
        self._here.free_block(self._block)

    def _key(self, name: str) -> str:
        return f"{self._block}/{name}"
