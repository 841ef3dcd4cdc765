"""Three real nats-servers on loopback ports: the smallest cluster that kills and pauses, for tests of
the recording half. Not the embedded cluster: no manifests are read."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from natsproof.clock import wait_until
from natsproof.cluster import JobResult, PodEvent, Server
from natsproof.cluster.binaries import nats_server
from natsproof.cluster.embedded.runtime import freeze
from natsproof.contract.model import Bucket, Promises
from natsproof.errors import ClusterError

VERSION = "2.12.8"
BUCKETS = (
    Bucket(name="message_state", ttl_s=900, max_bytes=1 << 26, replicas=3),
    Bucket(name="integration_locks", ttl_s=300, max_bytes=1 << 25, replicas=3),
)


def free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


class LoopbackCluster:
    """A Cluster that is Killable, Stoppable, Pausable and gives access to its volumes."""

    kind = "loopback"

    def __init__(self, buckets: Sequence[Bucket] = BUCKETS) -> None:
        self.binary = str(nats_server(VERSION).path)
        self.contract: Any = SimpleNamespace(
            digest="0" * 64, promises=Promises(buckets=tuple(buckets)), job_buckets=tuple(buckets)
        )
        self.folder = Path(tempfile.mkdtemp(prefix="loopback-"))
        ports = free_ports(9)
        self.cluster_ports = ports[6:]
        self._servers = tuple(
            Server(f"nats-{i}", i, f"nats://127.0.0.1:{ports[i]}", f"http://127.0.0.1:{ports[3 + i]}")
            for i in range(3)
        )
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> LoopbackCluster:
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def servers(self) -> tuple[Server, ...]:
        return self._servers

    @property
    def job(self) -> JobResult | None:
        return None

    def up(self) -> None:
        for server in self._servers:
            self.start(server.name)
        for server in self._servers:
            wait_until(f"{server.name} healthy", lambda s=server: self.ready(s.name), within_s=15)
        for bucket in self.contract.promises.buckets:
            wait_until(f"bucket {bucket.name}", lambda b=bucket: self._create(b), within_s=15)

    def down(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait(timeout=10)
        self._processes.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, server: str) -> None:
        it = self._server(server)
        routes = ", ".join(f"nats://127.0.0.1:{port}" for port in self.cluster_ports)
        config = self.folder / f"{server}.conf"
        config.write_text(
            f"server_name: {server}\nlisten: {it.client_url[7:]}\nhttp: {it.monitor_url[7:]}\n"
            f"jetstream {{ store_dir: {self.folder / server}, max_file: 2G, max_mem: 64M }}\n"
            f"cluster {{ name: loop, listen: 127.0.0.1:{self.cluster_ports[it.ordinal]}, "
            f"routes: [{routes}], no_advertise: true }}\n"
        )
        with (self.folder / f"{server}.log").open("ab") as log:
            self._processes[server] = subprocess.Popen(
                [self.binary, "-c", str(config)], stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, server: str) -> None:
        self._processes[server].kill()
        self._processes[server].wait(timeout=10)

    def stop(self, server: str) -> None:
        self._processes[server].terminate()
        self._processes[server].wait(timeout=30)

    def pause(self, server: str) -> None:
        freeze(self._processes[server].pid, 5)

    def resume(self, server: str) -> None:
        os.kill(self._processes[server].pid, signal.SIGCONT)

    def volume_path(self, server: str) -> Path:
        return self.folder / server

    def wipe_volume(self, server: str) -> None:
        shutil.rmtree(self.folder / server)
        (self.folder / server).mkdir()

    def ready(self, server: str) -> bool:
        try:
            return bool(self.monitor(server, "/healthz")["status"] == "ok")
        except ClusterError:
            return False

    def running(self, server: str) -> bool:
        return server in self._processes and self._processes[server].poll() is None

    def monitor(self, server: str, path: str, *, timeout_s: float = 2.0) -> Any:
        url = self._server(server).monitor_url + path
        try:
            with urllib.request.urlopen(url, timeout=timeout_s) as answer:
                return json.load(answer)
        except (OSError, ValueError) as problem:
            if isinstance(problem, urllib.error.HTTPError):
                problem.close()
            raise ClusterError(f"{server} {path}: {problem}") from None

    def log(self, server: str) -> str:
        return (self.folder / f"{server}.log").read_text(errors="replace")

    def events(self) -> Sequence[PodEvent]:
        return ()

    def describe(self) -> Mapping[str, Any]:
        return {"server": {"version": VERSION}}

    def _server(self, name: str) -> Server:
        return next(s for s in self._servers if s.name == name)

    def _create(self, bucket: Bucket) -> bool:
        """STREAM.CREATE by hand on a plain socket: the recording client never creates."""
        host, port = self._servers[0].client_url[7:].split(":")
        config = {
            "name": f"KV_{bucket.name}",
            "subjects": [f"$KV.{bucket.name}.>"],
            "num_replicas": bucket.replicas,
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "max_age": int((bucket.ttl_s or 0) * 1e9),
            "max_bytes": bucket.max_bytes or -1,
            "max_msgs_per_subject": bucket.history,
            "max_msgs": -1,
            "max_consumers": -1,
            "allow_rollup_hdrs": True,
            "allow_direct": True,
            "deny_delete": True,
        }
        body = json.dumps(config).encode()
        with socket.create_connection((host, int(port)), timeout=5) as s, s.makefile("rwb") as wire:
            wire.readline()
            wire.write(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB _INBOX.x 1\r\n')
            wire.write(b"PUB $JS.API.STREAM.CREATE.KV_%b _INBOX.x %d\r\n" % (bucket.name.encode(), len(body)))
            wire.write(body + b"\r\n")
            wire.flush()
            while not (line := wire.readline()).startswith(b"MSG"):
                if not line:
                    return False
                if line.startswith(b"PING"):
                    wire.write(b"PONG\r\n")
                    wire.flush()
            answer = json.loads(wire.readline())
        if "error" in answer:
            raise ClusterError(f"bucket {bucket.name}: {answer['error']}")
        return True
