"""The shipped nats.conf on loopback ports, with the set-up Job's own script: for tests that compare the
readme with what the real server and CLI do. Not the embedded cluster: nothing else is interpreted."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from natsproof.clock import wait_until
from natsproof.cluster.binaries import nats_cli, nats_server
from natsproof.contract.loader import load
from natsproof.contract.rules.shell import script_of
from tests.loopback import free_ports

MANIFESTS = Path(__file__).parent.parent / "manifests"
SYSTEM_PASSWORD = "only-for-this-test"


class Platform:
    """`size` servers with `size` routes. `edits` of nats.conf are (find, replace), each found once."""

    def __init__(self, size: int = 3, edits: Sequence[tuple[str, str]] = ()) -> None:
        self.contract = load(MANIFESTS)
        self.binary = nats_server("2.12.8").path
        self.folder = Path(tempfile.mkdtemp(prefix="readme-"))
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "nats").symlink_to(nats_cli().path)
        ports = free_ports(3 * size)
        self.client, self.cluster, self.monitor = ports[:size], ports[size : 2 * size], ports[2 * size :]
        self.conf = self.contract.config_map.data["nats.conf"]
        for find, replace in edits:
            assert self.conf.count(find) == 1, find
            self.conf = self.conf.replace(find, replace)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Platform:
        try:
            for i in range(len(self.client)):
                self.start(i)
            for i in range(len(self.client)):
                wait_until(f"server {i} healthy", lambda i=i: self.get(i, "/healthz")[0] == 200, within_s=20)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return ",".join(f"nats://127.0.0.1:{port}" for port in self.client)

    def name(self, i: int) -> str:
        return f"nats-platform-{i}"

    def store(self, i: int) -> Path:
        return self.folder / f"data-{i}"

    def write_config(self, i: int) -> Path:
        """nats.conf of server `i` with addresses, store and pid file of this test."""
        routes = ", ".join(f"nats://127.0.0.1:{port}" for port in self.cluster)
        text = self.conf.replace("http_port: 8222", f"http: 127.0.0.1:{self.monitor[i]}")
        text = text.replace("port: 4222", f"host: 127.0.0.1, port: {self.client[i]}")
        text = text.replace("port: 6222\n", f"host: 127.0.0.1, port: {self.cluster[i]}\n")
        text = re.sub(r"routes: \[.*?\]", f"routes: [ {routes} ]", text, flags=re.DOTALL)
        text = text.replace("/var/run/nats/nats.pid", str(self.folder / f"{i}.pid"))
        text = text.replace("/data/jetstream", str(self.store(i)))
        path = self.folder / f"{i}.conf"
        path.write_text(text)
        return path

    def start(self, i: int) -> None:
        with (self.folder / f"{i}.log").open("ab") as log:
            self.processes[i] = subprocess.Popen(
                [self.binary, "-c", self.write_config(i)],
                stdout=log,
                stderr=log,
                env={"POD_NAME": self.name(i), "SYS_PASSWORD": SYSTEM_PASSWORD},
            )

    def stop(self, i: int) -> None:
        self.processes[i].terminate()
        self.processes[i].wait(timeout=20)

    def get(self, i: int, path: str) -> tuple[int, Any]:
        """(status, body as JSON or text); status 0 if nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor[i]}{path}", timeout=20) as answer:
                status, body = answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, ""
        except OSError:
            return 0, ""
        return status, json.loads(body) if body.startswith("{") else body

    def run(self, *command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command with `nats` on PATH and NATS_URL set, as in nats-box; HOME is empty."""
        return subprocess.run(
            command,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            env={
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "NATS_URL": self.url,
                "HOME": str(self.folder),
                "NATS_TIMEOUT": "20s",
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def nats(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return self.run("nats", *arguments, given=given)

    def system(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.nats("--user=sys", f"--password={SYSTEM_PASSWORD}", *arguments)

    def job(self) -> subprocess.CompletedProcess[str]:
        """The set-up Job's script."""
        assert self.contract.job is not None
        script = script_of(self.contract.job.template.containers[0])
        assert script is not None
        return self.run("sh", "-c", script)
