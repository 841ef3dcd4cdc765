"""This side of the init process (init.py): requests, file descriptors, exits.

One per process of ours; it serves several clusters and dies with us.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from natsproof.errors import ClusterError, DeadlineExceeded

REQUEST_LIMIT_S = 30.0
SCRIPT = Path(__file__).with_name("init.py")


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A program as the container runtime would run it. `mounts`: (path here, path in the pod, read only)."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str = "/"
    uid: int | None = None  # None: as we are
    gid: int = 0
    groups: Sequence[int] = ()
    no_new_privileges: bool = False
    read_only_root: bool = False
    bare: bool = False  # without the host's programs, as an image made from scratch
    mounts: Sequence[tuple[str, str, bool]] = ()
    files: Mapping[str, str] = field(default_factory=dict)  # path in the pod, without leading /, → text


class Process:
    """A process in a pod. `exited` resolves to its exit code, negative for a signal."""

    def __init__(self, key: int, pidfd: int) -> None:
        self.key = key  # the pid in the namespace of init
        self.exited: Future[int] = Future()
        self._pidfd = pidfd
        self._lock = threading.Lock()
        self.pid = _outer_pid(pidfd)

    @property
    def alive(self) -> bool:
        """Asked of the kernel, not of our books."""
        with self._lock:
            if self._pidfd < 0:
                return False
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            return not poll.poll(0)

    def signal(self, number: int) -> bool:
        """Signal the process itself; False if it is gone."""
        with self._lock:
            try:
                if self._pidfd >= 0:
                    signal.pidfd_send_signal(self._pidfd, number)
                    return True
            except ProcessLookupError:
                pass
            return False

    def signal_all(self, number: int) -> None:
        """Signal every process of the container (SIGSTOP does not reach children by itself)."""
        for pid in _namespace_members(self.pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        self.signal(number)

    def ended(self, status: int) -> None:
        """Told by the reader thread."""
        with self._lock:
            if self._pidfd >= 0:
                fd, self._pidfd = self._pidfd, -1
                os.close(fd)
        if not self.exited.done():
            self.exited.set_result(status)


def _outer_pid(pidfd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    return -1


def _namespace_members(pid: int) -> list[int]:
    try:
        wanted = Path(f"/proc/{pid}/ns/pid").readlink()
    except OSError:
        return []
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "ns/pid").readlink() == wanted:
                    members.append(int(entry.name))
            except OSError:
                continue
    return members


class Pid1:
    """The client of one init process. Thread-safe."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._channel = ours
        self._lock = threading.Lock()
        self._next = 0
        self._waiting: dict[int, Future[tuple[dict[str, Any], list[int]]]] = {}
        self._processes: dict[int, Process] = {}
        self._child: Future[subprocess.Popen[bytes]] = Future()
        # PR_SET_PDEATHSIG means the thread that forked: it must be one that lives as long as we do.
        threading.Thread(target=self._serve, args=(theirs,), name="natsproof-init", daemon=True).start()
        self.process = self._child.result(REQUEST_LIMIT_S)
        atexit.register(self.close)

    def _serve(self, theirs: socket.socket) -> None:
        try:
            with theirs:
                child = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(SCRIPT), str(theirs.fileno()), str(os.getpid())],
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                    stdin=subprocess.DEVNULL,
                )
        except OSError as problem:
            self._child.set_exception(ClusterError(f"cannot start the init process: {problem}"))
            return
        self._child.set_result(child)
        self._read()

    def sandbox(self, name: str, hostname: str) -> tuple[int, int]:
        """Namespaces for a pod; file descriptors of its network and of a socket inside."""
        _, fds = self._request({"op": "sandbox", "sandbox": name, "hostname": hostname})
        network, control = fds
        return network, control

    def forget(self, name: str) -> None:
        self._request({"op": "forget", "sandbox": name})

    def spawn(
        self, name: str, launch: Launch, *, stage: Path, output: int, gate: int | None = None
    ) -> Process:
        """Run a container in a sandbox; `stage` is an empty folder to build its root on.

        With the reading end of a pipe as `gate`, the program waits until the writing end is closed.
        """
        fds = [output] if gate is None else [output, gate]
        return self._start({"op": "spawn", "sandbox": name, "stage": str(stage)}, launch, fds)

    def execute(self, inside: Process, launch: Launch, *, output: int) -> Process:
        """Run a program in a running container, as `kubectl exec` does."""
        return self._start({"op": "exec", "of": inside.key}, launch, [output])

    def close(self) -> None:
        self._channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def _start(self, request: dict[str, Any], launch: Launch, fds: Sequence[int]) -> Process:
        reply, _ = self._request({**request, "launch": asdict(launch)}, fds)
        process: Process = reply["process"]
        return process

    def _request(self, message: dict[str, Any], fds: Sequence[int] = ()) -> tuple[dict[str, Any], list[int]]:
        answer: Future[tuple[dict[str, Any], list[int]]] = Future()
        with self._lock:
            self._next += 1
            number = self._next
            self._waiting[number] = answer
            try:
                socket.send_fds(self._channel, [json.dumps({"id": number, **message}).encode()], list(fds))
            except OSError as problem:
                raise ClusterError(
                    f"the init process of the embedded cluster is gone: {problem}"
                ) from problem
        try:
            reply, received = answer.result(REQUEST_LIMIT_S)
        except TimeoutError as late:
            raise DeadlineExceeded(f"init did not answer {message['op']} in {REQUEST_LIMIT_S:g} s") from late
        if "error" in reply:
            raise ClusterError(f"{message['op']}: {reply['error']}")
        return reply, received

    def _read(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._channel, 1 << 18, 4)
            except OSError:
                data, fds = b"", []
            if not data:
                break
            for fd in fds:
                os.set_inheritable(fd, False)
            message = json.loads(data)
            if "exit" in message:
                if process := self._processes.pop(message["exit"], None):
                    process.ended(message["status"])
                continue
            if "pid" in message:
                message["process"] = self._processes[message["pid"]] = Process(message["pid"], fds[0])
            if answer := self._waiting.pop(message["id"], None):
                answer.set_result((message, fds))
        for answer in list(self._waiting.values()):
            answer.set_result(({"error": "the init process ended"}, []))
        for process in list(self._processes.values()):
            process.ended(-signal.SIGKILL)


_current: Pid1 | None = None
_starting = threading.Lock()


def pid1() -> Pid1:
    """The init process of this process, started now if it does not run yet."""
    global _current
    with _starting:
        if _current is None or _current.process.poll() is not None:
            _current = Pid1()
        return _current
