"""The same histories of one key judged by Porcupine and by natsproof, side by side.

    python -m bench.porcupine

64 clients, 10^3 to 10^5 operations, with all of them waiting for answers at a time or only a few; each
history as it is and with one stale read. Porcupine's search grows with what is in flight: where it ends
the verdicts must be equal, where it does not the ratio is a lower bound.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.histories import concurrent, stale_read
from natsproof.checkers.registers import registers_are_linearizable
from natsproof.history import History
from natsproof.history_file import read, write
from natsproof.verdict import Status

MODULE = Path(__file__).parent / "porcupine"
CLIENTS = 64
LIMIT_S = 30.0
SAME = {"Ok": Status.HOLDS, "Illegal": Status.BROKEN}
BUSY, IDLE = 54.0, 4.0
#: (operations, clients waiting at a time on average, share of writes without an answer)
CASES = (
    (1_000, IDLE, 0.002),
    (1_000, 16.0, 0.002),
    (10_000, IDLE, 0.002),
    (100_000, IDLE, 0.0),
    (10_000, BUSY, 0.0),
    (100_000, BUSY, 0.0),
)


def build(folder: Path) -> Path:
    go = shutil.which("go")
    if go is None:
        raise SystemExit("porcupine needs a Go toolchain: no `go` on PATH")
    binary = folder / "porcupine"
    subprocess.run([go, "build", "-o", str(binary), "."], cwd=MODULE, check=True, timeout=200)
    return binary


def ours(history: History) -> tuple[Status, float]:
    """The verdict and the median seconds of five runs."""
    taken = []
    verdict = registers_are_linearizable(history)
    for _ in range(5):
        began = time.perf_counter()
        verdict = registers_are_linearizable(history)
        taken.append(time.perf_counter() - began)
    return verdict.status, statistics.median(taken)


def memory_gib() -> float:
    """Half of what is free: it took 24 GB of 24 once, and the kernel ended it before its time was over."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**31


def theirs(binary: Path, path: Path) -> tuple[str, float, str]:
    """Porcupine's own verdict, the seconds of its search (median of three, one if it takes long), and
    what it ran out of: "", "time" or "memory"."""
    taken: list[float] = []
    answer: dict[str, object] = {}
    memory = f"{memory_gib():.2f}"
    while len(taken) < 3:
        done = subprocess.run(
            [str(binary), "-timeout", f"{LIMIT_S:g}s", "-memory", memory, str(path)],
            capture_output=True, text=True, check=True, timeout=LIMIT_S + 120,
        )  # fmt: skip
        answer = json.loads(done.stdout)
        taken.append(float(str(answer["seconds"])))
        if taken[-1] > LIMIT_S / 4 or answer["lacking"]:
            break
    return str(answer["verdict"]), statistics.median(taken), str(answer["lacking"])


def main() -> int:
    differing, answered, ratios = 0, 0, {}
    with tempfile.TemporaryDirectory(prefix="natsproof-porcupine-") as name:
        folder = Path(name)
        binary = build(folder)
        for operations, in_flight, unknown in CASES:
            good = concurrent(
                operations,
                keys=1,
                clients=CLIENTS,
                busy=in_flight / CLIENTS,
                unknown=unknown,
                seed=3,
                sweep=False,
            )
            for label, history in (("good", good), ("one stale read", stale_read(good))):
                path = folder / "history.jsonl"
                write(history, path)
                status, our_s = ours(read(path))
                verdict, their_s, lacking = theirs(binary, path)
                silent = bool(lacking)
                answered += not silent
                differing += not silent and SAME[verdict] is not status
                times = f"{'more than ' if silent else ''}{their_s / our_s:.0f}"
                print(
                    f"# {operations} operations, {in_flight:g} in flight, {unknown:.1%} unanswered, {label}: "
                    f"natsproof {status.value} {our_s:.4f} s, Porcupine "
                    f"{f'out of {lacking} after' if silent else verdict} {their_s:.4f} s, {times} x",
                    flush=True,
                )
                ratios[operations, in_flight, label] = times
    print(f"porcupine: {ratios[100_000, BUSY, 'good']} x")
    print(f"porcupine with {IDLE:g} in flight: {ratios[100_000, IDLE, 'good']} x")
    print(f"porcupine verdicts that differ: {differing} of {answered}")
    return int(differing > 0)


if __name__ == "__main__":
    os.environ.setdefault("GOFLAGS", "-mod=readonly -buildvcs=false")
    sys.exit(main())
