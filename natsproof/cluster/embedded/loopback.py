"""The fallback where namespaces are refused: pods are plain processes with addresses 127.77.B.x.

What a pod would see of its own is rewritten instead: mount paths in configurations, commands and
environments become folders of ours, names of pods and services become addresses, listeners get the pod's
address. There is no DNS and no partition; a process dies with this one by PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from natsproof.cluster.embedded.pid1 import Launch
from natsproof.cluster.embedded.podplan import CLUSTER_DOMAIN
from natsproof.cluster.embedded.runtime import Running
from natsproof.contract.model import Contract
from natsproof.errors import ClusterError, NotAvailableHere

STUB = Path(__file__).with_name("stub.py")
ANSWER_S = 0.2
SCAN_PODS = 5  # scaling up to five servers is what the platform's readme describes


class PlainProcess:
    """A process group of this machine. `exited` resolves to its exit code, negative for a signal."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.exited: Future[int] = Future()
        self.pid = child.pid
        self._child = child
        threading.Thread(target=self._wait, name=f"wait {child.pid}", daemon=True).start()

    @property
    def alive(self) -> bool:
        return not self.exited.done() and self._child.poll() is None

    def signal(self, number: int) -> bool:
        if not self.alive:
            return False
        self._child.send_signal(number)
        return True

    def signal_all(self, number: int) -> None:
        if self.alive:
            os.killpg(self.pid, number)

    def _wait(self) -> None:
        self.exited.set_result(self._child.wait())


class LoopbackRuntime:
    """See runtime.Runtime."""

    nameserver = ""  # names are rewritten
    changes_user = False

    def __init__(self, workdir: Path, contract: Contract) -> None:
        if sys.platform != "linux":
            raise NotAvailableHere("the embedded cluster needs Linux; use --cluster kind here")
        self._workdir, self._contract = workdir, contract
        self._block, self._claimed = _take_block(contract)
        self.node_address = f"127.77.{self._block}.2"
        self._addresses: dict[str, str] = {}
        self._running: dict[str, list[PlainProcess]] = {}
        self._lock = threading.Lock()

    def pod_address(self, number: int) -> str:
        return f"127.77.{self._block}.{10 + number}"

    def sandbox(self, name: str, hostname: str, address: str) -> None:
        self._addresses[name] = address

    def spawn(self, name: str, launch: Launch, log: Path, gate: int | None) -> Running:
        plain = self._translate(name, launch, renew=True)
        process = self._start(plain, log, gate)
        with self._lock:
            self._running.setdefault(name, []).append(process)
        return process

    def execute(self, inside: Running, name: str, launch: Launch, log: Path) -> Running:
        return self._start(self._translate(name, launch, renew=False), log, None)

    def remove(self, name: str) -> None:
        with self._lock:
            for process in self._running.pop(name, []):
                process.signal_all(signal.SIGKILL)

    def close(self) -> None:
        for name in list(self._running):
            self.remove(name)
        self._claimed.close()

    def _start(self, launch: Launch, log: Path, gate: int | None) -> PlainProcess:
        number = -1 if gate is None else gate
        command = [sys.executable, "-I", "-S", str(STUB), str(os.getpid()), str(number), *launch.argv]
        try:
            with log.open("ab") as output:
                child = subprocess.Popen(
                    command,
                    env=dict(launch.env),
                    cwd=launch.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[] if gate is None else [gate],
                    start_new_session=True,
                )
        except OSError as problem:
            raise ClusterError(f"cannot start {launch.argv[0]}: {problem}") from problem
        return PlainProcess(child)

    def _translate(self, name: str, launch: Launch, *, renew: bool) -> Launch:
        """The same program with this machine's paths and addresses."""
        address = self._addresses[name]
        home = self._workdir / "pods" / name
        programs = home / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        paths: dict[str, str] = {}
        for source, target, read_only in launch.mounts:
            if Path(source).is_file():
                link = programs / Path(target).name
                if not link.exists():
                    link.symlink_to(source)
                paths[target] = str(link)
            else:
                paths[target] = str(self._rewritten(Path(source), target, home)) if read_only else source
        names = self._names()
        if renew:
            for source, target, read_only in launch.mounts:
                if read_only and Path(source).is_dir():
                    _rewrite_folder(Path(source), Path(paths[target]), paths, names, address)
        env = {key: translate(value, paths, names) for key, value in launch.env.items() if key != "PATH"}
        env["PATH"] = f"{programs}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        if not Path(env.get("HOME", "/")).is_dir() or env["HOME"] == "/root":
            env["HOME"] = str(home)
        argv = [translate(word, paths, names) for word in launch.argv]
        found = shutil.which(argv[0], path=env["PATH"])
        cwd = launch.cwd if Path(launch.cwd).is_dir() and launch.cwd != "/root" else str(home)
        return replace(launch, argv=[found or argv[0], *argv[1:]], env=env, cwd=cwd)

    def _rewritten(self, source: Path, target: str, home: Path) -> Path:
        folder = home / "rewritten" / target.strip("/").replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _names(self) -> dict[str, str]:
        """Names of pods under their governing service, and of services (their first pod), → address."""
        desired, space = self._contract.statefulset, self._contract.namespace
        tails = (f".{space}.svc.{CLUSTER_DOMAIN}", f".{space}.svc", f".{space}", "")
        names = {
            f"{desired.name}-{n}.{desired.service_name}{tail}": self.pod_address(n)
            for n in range(max(desired.replicas, SCAN_PODS))
            for tail in tails
        }
        for service in self._contract.services:
            names |= {f"{service.name}{tail}": self.pod_address(0) for tail in tails[:3]}
        return names


def translate(text: str, paths: Mapping[str, str], names: Mapping[str, str]) -> str:
    """Replace container paths and cluster names, longest first, whole ones only."""
    for table, before, after in (
        (names, r"(?<![\w.-])", r"(?![\w-]|\.\w)"),
        (paths, r"(?<![\w.])", r"(?![\w-])"),
    ):
        if table:
            words = sorted(table, key=len, reverse=True)
            pattern = f"{before}({'|'.join(map(re.escape, words))}){after}"
            text = re.sub(pattern, lambda match, t=table: t[match.group(1)], text)  # type: ignore[misc]
    return text


def listen_on(text: str, address: str) -> str:
    """A nats.conf whose listeners are on the pod's address; of two equal keys the server takes the last."""
    text = text.replace("0.0.0.0", address)
    text = re.sub(r"(?m)^(\s*cluster\s*[:=]?\s*\{)", rf'\1\n  host: "{address}"', text, count=1)
    return f'{text}\nhost: "{address}"\n'


def _rewrite_folder(
    source: Path, target: Path, paths: Mapping[str, str], names: Mapping[str, str], address: str
) -> None:
    for file in source.iterdir():
        if file.is_file() and not file.name.startswith(".."):
            text = translate(file.read_text(), paths, names)
            (target / file.name).write_text(listen_on(text, address) if file.suffix == ".conf" else text)


def _take_block(contract: Contract) -> tuple[int, socket.socket]:
    """A number for the addresses that no other run holds and on which nobody answers."""
    ports = [
        contract.config.port or 4222,
        contract.config.http_port or 8222,
        contract.config.cluster_port or 6222,
    ]
    for block in range(1, 251):
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(f"\0natsproof-127.77.{block}")  # an abstract name: gone with its process, no file
        except OSError:
            lock.close()
            continue
        answering = [
            n for n in range(SCAN_PODS) for port in ports if _answers(f"127.77.{block}.{10 + n}", port)
        ]
        if not answering:
            return block, lock
        lock.close()
    raise ClusterError("250 blocks of loopback addresses are taken; end other runs")


def _answers(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(ANSWER_S)
        return probe.connect_ex((address, port)) == 0
