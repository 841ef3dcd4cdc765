"""A false wall clock for one process: Go, as most programs, asks the vDSO, code in its own memory.

    clock = WallClock(pid)
    clock.shift(-300)       # CLOCK_REALTIME is 300 s slow from here on; other clocks are true
    clock.restore()

The vDSO's pages are private to a process as soon as they are written, through /proc/PID/mem. There
`clock_gettime` becomes a routine that makes the system call and adds the shift. Timers and deadlines of
the process keep true time: they use CLOCK_MONOTONIC. A process started anew has a true clock.
x86-64 only; on other machines `problem()` says so.
"""

from __future__ import annotations

import functools
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from natsproof.clock import wall_ns
from natsproof.cluster.embedded.runtime import freeze, is_stopped
from natsproof.errors import ClusterError, DeadlineExceeded

SYMBOL = "__vdso_clock_gettime"
STOP_S = 5.0
PT_LOAD, PT_DYNAMIC, DT_STRTAB, DT_SYMTAB = 1, 2, 5, 6
#: mov eax, 228 (clock_gettime); syscall; test edi, edi (CLOCK_REALTIME is 0); jnz end;
#: test rax, rax; jnz end; mov rcx, SHIFT; add [rsi], rcx; end: ret
BEFORE, AFTER = bytes.fromhex("b8e4000000 0f05 85ff 7512 4885c0 750d 48b9"), bytes.fromhex("48010e c3")


def problem() -> str:
    """Why no process of this host can be given another clock, "" if it can: tried on one."""
    machine = os.uname().machine
    if machine != "x86_64":
        return f"a clock can be shifted on x86_64 only, this is {machine}"
    return _tried()


@functools.cache
def _tried() -> str:
    tell = "import sys, time\nfor _ in sys.stdin: print(time.time(), flush=True)"
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", tell], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        with child:
            assert child.stdin and child.stdout
            WallClock(child.pid).shift(-1000)
            child.stdin.write("\n")
            child.stdin.flush()
            told = float(child.stdout.readline() or "inf")
            child.kill()
    except (ClusterError, OSError, ValueError) as refusal:
        return f"the kernel does not let a clock be shifted: {refusal}"
    return "" if told < wall_ns() / 1e9 - 900 else "a process does not ask the vDSO for the time here"


class WallClock:
    """The wall clock of the process `pid`. Not thread-safe."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._place: tuple[int, int] | None = None  # address, length of the function
        self._original = b""

    def shift(self, seconds: float) -> None:
        """From now on `seconds` (whole ones) off the machine's clock. Raises ClusterError."""
        if seconds != int(seconds):
            raise ClusterError(f"a clock is shifted by whole seconds, not by {seconds:g}")
        code = BEFORE + struct.pack("<q", int(seconds)) + AFTER
        try:
            with self._stopped():
                if self._place is None:
                    self._place = self._find()
                    self._original = self._read(self._place[0], len(code))
                self._write(self._place[0], code)
        except OSError as problem:
            raise ClusterError(f"the clock of process {self.pid}: {problem}") from problem

    def restore(self) -> None:
        """The vDSO as it was; nothing if the process is gone. Raises ClusterError."""
        if self._place is None:
            return
        try:
            with self._stopped():
                self._write(self._place[0], self._original)
        except (FileNotFoundError, ProcessLookupError):
            return
        except OSError as problem:
            raise ClusterError(f"the clock of process {self.pid}: {problem}") from problem

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        """With no thread inside the function: it would go on in the middle of other code."""
        for _ in range(50):
            was_stopped = is_stopped(self.pid)
            try:
                freeze(self.pid, STOP_S)
                if not self._inside():
                    yield
                    return
            except DeadlineExceeded as late:
                raise ClusterError(str(late)) from late
            finally:
                if not was_stopped:
                    os.kill(self.pid, signal.SIGCONT)
        raise ClusterError(f"process {self.pid} does nothing but ask the time")

    def _inside(self) -> bool:
        address, length = self._place or self._find()
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            counter = (task / "syscall").read_text().split()[-1]
            if counter.startswith("0x") and address <= int(counter, 16) < address + length:
                return True
        return False

    def _find(self) -> tuple[int, int]:
        for line in Path(f"/proc/{self.pid}/maps").read_text().splitlines():
            if line.endswith("[vdso]"):
                low, high = (int(part, 16) for part in line.split()[0].split("-"))
                offset, length = symbols(self._read(low, high - low)).get(SYMBOL, (0, 0))
                if length < len(BEFORE) + 8 + len(AFTER):
                    raise ClusterError(f"the vDSO of this kernel has no {SYMBOL} of the expected make")
                return low + offset, length
        raise ClusterError(f"process {self.pid} has no vDSO")

    def _read(self, address: int, length: int) -> bytes:
        with Path(f"/proc/{self.pid}/mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(length)

    def _write(self, address: int, data: bytes) -> None:
        with Path(f"/proc/{self.pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(address)
            memory.write(data)


def symbols(image: bytes) -> dict[str, tuple[int, int]]:
    """Offset and length of each symbol that a 64-bit little-endian ELF image exports."""
    (headers,) = struct.unpack_from("<Q", image, 32)
    size, number = struct.unpack_from("<HH", image, 54)
    dynamic, base = (0, 0), 0
    for position in range(headers, headers + size * number, size):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", image, position)
        if kind == PT_DYNAMIC:
            dynamic = offset, length
        elif kind == PT_LOAD:
            base = address - offset
    tags = dict(struct.iter_unpack("<QQ", image[dynamic[0] : sum(dynamic)]))
    table, names = tags[DT_SYMTAB] - base, tags[DT_STRTAB] - base
    found = {}
    # the dynamic symbols end where their names begin: so do vDSOs lay them out, and no header counts them
    for position in range(table, names - 23, 24):
        name, _, _, _, address, length = struct.unpack_from("<IBBHQQ", image, position)
        text = image[names + name : image.index(b"\0", names + name)].decode(errors="replace")
        found[text] = (address - base, length)
    return found
