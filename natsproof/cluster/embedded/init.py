"""Process 1 of all pods, a program of its own: `python -I -S init.py FD PARENT`, standard library only.

It unshares a PID namespace, so that its end ends every pod: the kernel kills a namespace whose first process
died. It dies with the process that started it by PR_SET_PDEATHSIG, and when the socket closes.

Messages are JSON on a SOCK_SEQPACKET socket, file descriptors beside them:
    sandbox hostname           → fds: network namespace, a socket inside it (for ioctl)
    forget  sandbox
    spawn   sandbox, launch    + fds: output[, gate], → pid, fds: pidfd
            with a gate all is made ready, but the program starts when the gate's writing end is closed
    exec    of (pid), launch   + fds: output, → pid, fds: pidfd
    then, unasked: {"exit": pid, "status": code, negative for a signal}
Every request is answered with its `id`, or with `error`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
MNT_DETACH, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 2, -100, 0x8000, 1
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
SYS_MOUNT_SETATTR = 442  # the same on every architecture
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
#: What of the host's file system a pod sees, read-only; an image's own files are laid over it.
HOST_FOLDERS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "etc/ssl", "etc/pki")
HOST_FILES = ("etc/ld.so.cache", "etc/alternatives", "etc/localtime", "etc/ca-certificates")
AT_GATE = b"\0"  # what a container says when it only waits for its gate
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind)]
    result = libc.mount(*encoded, ctypes.c_ulong(flags), None if data is None else data.encode())
    checked(result, f"mount {source} on {target}")


def make_read_only(path: str, *, recursive: bool) -> None:
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY, 0, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    result = libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), flags, attributes, 32)
    checked(result, f"make {path} read-only")


def unshare(flags: int) -> None:
    checked(libc.unshare(flags), f"unshare {flags:#x}")


def setns(fd: int, flags: int = 0) -> None:
    checked(libc.setns(fd, flags), "setns")


def die_with_parent(parent: int) -> None:
    checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:  # it died before the call
        os._exit(1)


def bind(source: str, target: str, *, read_only: bool) -> None:
    """Bind a file or folder, making the mount point."""
    if os.path.isdir(source):  # noqa: PTH112
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        if not os.path.lexists(target):
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    mount(source, target, None, MS_BIND | MS_REC)
    if read_only:
        make_read_only(target, recursive=True)


def build_root(stage: str, launch: dict[str, Any]) -> None:
    """A file system for one container on a tmpfs: the host's programs, the image's, the pod's volumes."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("pod", stage, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    os.chdir(stage)
    for folder in ("proc", "dev/shm", "etc", "tmp", "run", "root", "home", "var/tmp", "sys"):
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    os.symlink("../run", "var/run")  # noqa: PTH211
    for folder in ("tmp", "var/tmp"):
        os.chmod(folder, 0o1777)  # noqa: PTH101
    for name in () if launch["bare"] else (*HOST_FOLDERS, *HOST_FILES):
        host = f"/{name}"
        if os.path.islink(host) and "/" not in name:  # noqa: PTH114
            os.symlink(os.readlink(host), name)  # noqa: PTH115, PTH211
        elif os.path.exists(host):  # noqa: PTH110
            bind(host, name, read_only=True)
    for device in DEVICES:
        bind(f"/dev/{device}", f"dev/{device}", read_only=False)
    mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"dev/{name}")  # noqa: PTH211
    os.symlink("/proc/self/fd", "dev/fd")  # noqa: PTH211
    mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    os.makedirs("usr/local/bin", exist_ok=True)  # noqa: PTH103
    mount("tmpfs", "usr/local/bin", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for path, text in launch["files"].items():
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)  # noqa: PTH103, PTH120
        with open(path, "w") as file:  # noqa: PTH123
            file.write(text)
    for source, target, read_only in launch["mounts"]:
        bind(source, target.lstrip("/"), read_only=read_only)
    checked(libc.syscall(SYS_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    checked(libc.umount2(b".", MNT_DETACH), "leave the host's root")
    os.chdir("/")
    if launch["read_only_root"]:
        make_read_only("/", recursive=False)


def become(launch: dict[str, Any], output: int) -> NoReturn:
    """Drop to the container's user and run its program; never returns."""
    null = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    with contextlib.suppress(FileNotFoundError):
        os.chdir(launch["cwd"])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    if launch["uid"] is not None:
        os.setgroups(launch["groups"])
        os.setgid(launch["gid"])
        os.setuid(launch["uid"])
    if launch["no_new_privileges"]:
        checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    os.umask(0o022)
    os.execvpe(launch["argv"][0], launch["argv"], launch["env"])


def forked(body: Callable[[int], None], limit_s: float = 20) -> int:
    """Run `body(report)` in a child of a child, in the namespaces which the child entered.

    `body` is told a pipe; what it writes there is the error, closing it by exec is success. Returns the
    grandchild's pid (it becomes our own child when the child between ends).
    """
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        os.close(reader)
        try:
            body(writer)
        except BaseException as problem:
            os.write(writer, f"E{problem}"[:4000].encode())
        os._exit(127)
    os.close(writer)
    os.waitpid(between, 0)
    text, poll = b"", select.poll()
    poll.register(reader, select.POLLIN | select.POLLHUP)
    while poll.poll(limit_s * 1000):
        chunk = os.read(reader, 65536)
        text += chunk
        if not chunk or text.endswith(AT_GATE):
            break
    os.close(reader)
    said = text.removesuffix(AT_GATE).decode(errors="replace")
    number, _, error = said.partition(" ")
    if not number.startswith("P") or error:
        raise OSError(error or said[1:] or "the process did not start in time")
    return int(number[1:])


def second(report: int, body: Callable[[], None]) -> NoReturn:
    """Fork once more, so that the new PID namespace counts, and tell its pid."""
    hold_reader, hold_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(hold_writer)
        os.read(hold_reader, 1)  # the pid is reported before anything of ours
        os.close(hold_reader)
        try:
            body()
        except BaseException as problem:
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            for fd in (report, 2):  # nobody reads the report of who passed a gate
                with contextlib.suppress(OSError):
                    os.write(fd, f"{problem}"[:4000].encode())
        os._exit(127)
    os.write(report, f"P{pid} ".encode())
    os.write(hold_writer, b".")
    os._exit(0)


class Init:
    """The message loop."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.sandboxes: dict[str, tuple[int, ...]] = {}
        self.children: dict[int, int] = {}  # pid → pidfd

    def sandbox(self, request: dict[str, Any], _fds: Sequence[int]) -> tuple[dict[str, Any], list[int]]:
        """Namespaces without a process: file descriptors keep them."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = os.fork()
        if child == 0:
            try:
                unshare(CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC)
                socket.sethostname(request["hostname"])
                control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                opened = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in ("net", "uts", "ipc")]
                socket.send_fds(theirs, [b"ok"], [*opened, control.fileno()])
            except BaseException as problem:
                theirs.send(str(problem).encode())
            os._exit(0)
        theirs.close()
        with ours:
            text, fds, _, _ = socket.recv_fds(ours, 4096, 4)
            for fd in fds:
                os.set_inheritable(fd, False)
        os.waitpid(child, 0)
        if text != b"ok":
            raise OSError(f"no namespaces for a pod: {text.decode()}")
        *kept, ioctl_fd = fds
        self.sandboxes[request["sandbox"]] = tuple(kept)
        return {"close": [ioctl_fd]}, [kept[0], ioctl_fd]

    def forget(self, request: dict[str, Any], _fds: Sequence[int]) -> tuple[dict[str, Any], list[int]]:
        for fd in self.sandboxes.pop(request["sandbox"], ()):
            os.close(fd)
        return {}, []

    def spawn(self, request: dict[str, Any], fds: Sequence[int]) -> tuple[dict[str, Any], list[int]]:
        launch, namespaces = request["launch"], self.sandboxes[request["sandbox"]]

        def enter(report: int) -> None:
            for fd in namespaces:
                setns(fd)
            unshare(CLONE_NEWNS | CLONE_NEWPID)

            def run() -> None:
                build_root(request["stage"], launch)
                if len(fds) > 1:
                    os.write(report, AT_GATE)
                    os.read(fds[1], 1)
                become(launch, fds[0])

            second(report, run)

        return self._started(forked(enter))

    def exec(self, request: dict[str, Any], fds: Sequence[int]) -> tuple[dict[str, Any], list[int]]:
        launch, target = request["launch"], self.children[request["of"]]

        def enter(report: int) -> None:
            setns(target, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC)
            second(report, lambda: become(launch, fds[0]))

        return self._started(forked(enter))

    def _started(self, pid: int) -> tuple[dict[str, Any], list[int]]:
        self.children[pid] = os.pidfd_open(pid)
        return {"pid": pid}, [self.children[pid]]

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if (fd := self.children.pop(pid, None)) is not None:
                os.close(fd)
                self.send({"exit": pid, "status": os.waitstatus_to_exitcode(status)}, [])

    def send(self, message: dict[str, Any], fds: Sequence[int]) -> None:
        socket.send_fds(self.channel, [json.dumps(message).encode()], list(fds))

    def answer(self) -> bool:
        """Serve one request; False when the other side is gone."""
        data, fds, _, _ = socket.recv_fds(self.channel, 1 << 18, 4)
        if not data:
            return False
        for fd in fds:
            os.set_inheritable(fd, False)
        request = json.loads(data)
        close: list[int] = list(fds)
        try:
            verb = {"sandbox": self.sandbox, "forget": self.forget, "spawn": self.spawn, "exec": self.exec}
            reply, passed = verb[request["op"]](request, fds)
            close += reply.pop("close", [])
            self.send({"id": request["id"], **reply}, passed)
        except (OSError, KeyError) as problem:
            self.send({"id": request["id"], "error": f"{type(problem).__name__}: {problem}"}, [])
        for fd in close:
            os.close(fd)
        return True

    def serve(self) -> None:
        reader, writer = os.pipe()
        for fd in (reader, writer):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        poll = select.poll()
        for fd in (reader, self.channel.fileno()):
            poll.register(fd, select.POLLIN | select.POLLHUP)
        while True:
            ready = dict(poll.poll())
            if self.channel.fileno() in ready and not self.answer():
                return
            if reader in ready:
                os.read(reader, 65536)
            self.reap()


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(int(sys.argv[2]))
    unshare(CLONE_NEWPID)
    child = os.fork()
    if child:
        channel.close()
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    # Our parent's pid reads 0 from in here; the closed socket tells if it died before the call.
    checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    Init(channel).serve()


if __name__ == "__main__":
    main()
