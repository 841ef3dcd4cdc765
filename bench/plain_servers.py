"""Plain nats-server processes on loopback, for figures about the generator and not about a platform."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from types import TracebackType

from natsproof.clock import wait_until
from natsproof.cluster.binaries import nats_server
from natsproof.cluster.embedded.runtime import freeze

VERSION = "2.12.8"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class PlainServers:
    """`count` servers with JetStream, clustered if more than one; with their default `sync_interval`."""

    def __init__(self, count: int = 3, *, sync_always: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="natsproof-bench-")
        self.count, self._sync = count, ", sync_interval: always" if sync_always else ""
        ports = _free_ports(3 * count)
        self._client, self._monitor, self._route = ports[:count], ports[count : 2 * count], ports[2 * count :]
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(f"nats://127.0.0.1:{port}" for port in self._client)

    @property
    def monitors(self) -> tuple[str, ...]:
        return tuple(f"http://127.0.0.1:{port}" for port in self._monitor)

    def __enter__(self) -> PlainServers:
        root, binary = Path(self._folder.name), str(nats_server(VERSION).path)
        routes = ", ".join(f"nats://127.0.0.1:{port}" for port in self._route)
        try:
            for i in range(self.count):
                cluster = (
                    f'cluster {{ name: bench, listen: "127.0.0.1:{self._route[i]}", routes: [{routes}] }}\n'
                )
                config = root / f"n{i}.conf"
                config.write_text(
                    f'server_name: n{i}\nlisten: "127.0.0.1:{self._client[i]}"\n'
                    f'http: "127.0.0.1:{self._monitor[i]}"\n'
                    f'jetstream {{ store_dir: "{root}/n{i}", max_file: 200G, max_mem: 1G{self._sync} }}\n'
                    + (cluster if self.count > 1 else "")
                )
                command = [binary, "-c", str(config), "-l", str(root / f"n{i}.log")]
                self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            wait_until("three healthy servers", self._healthy, within_s=30, every_s=0.1)
        except BaseException:
            self.stop()
            raise
        return self

    def _healthy(self) -> bool:
        for monitor in self.monitors:
            with urllib.request.urlopen(f"{monitor}/healthz", timeout=1) as answer:
                if answer.status != 200:
                    return False
        return True

    def pause(self, index: int) -> None:
        freeze(self.processes[index].pid, 5)

    def resume(self, index: int) -> None:
        os.kill(self.processes[index].pid, signal.SIGCONT)

    def store(self, index: int) -> Path:
        """The store directory of one server."""
        return Path(self._folder.name) / f"n{index}"

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(timeout=10)
        self._folder.cleanup()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
