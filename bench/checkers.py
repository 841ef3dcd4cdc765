"""Registers and durability on a million operations: time, memory, growth.

python -m bench.checkers [largest power of ten, 7]
"""

from __future__ import annotations

import gc
import resource
import statistics
import sys
import time
import tracemalloc
from dataclasses import fields
from itertools import pairwise

import numpy as np

from bench.histories import concurrent
from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.checkers.registers import registers_are_linearizable
from natsproof.history import History
from natsproof.verdict import Status

MILLION = 1_000_000
CHECKERS = (registers_are_linearizable, no_acknowledged_put_is_lost)


def judge(history: History) -> tuple[float, float]:
    """Seconds that both take, by the clock and of the processor; both must hold."""
    began, worked = time.perf_counter(), time.process_time()
    for checker in CHECKERS:
        verdict = checker(history)
        if verdict.status is not Status.HOLDS:
            raise SystemExit(f"{checker.__name__}: {verdict.status.value}: {verdict.reason}")
    return time.perf_counter() - began, time.process_time() - worked


def repeated(history: History, times: int) -> tuple[float, float]:
    """Medians of both, after one run to warm up."""
    judge(history)
    taken = [judge(history) for _ in range(times)]
    return statistics.median(t[0] for t in taken), statistics.median(t[1] for t in taken)


def bytes_an_operation(history: History) -> tuple[float, float]:
    """(all, without the history itself), at the peak of the hungrier checker."""
    own = sum(getattr(history.operations, f.name).nbytes for f in fields(history.operations))
    peak = 0
    for checker in CHECKERS:
        gc.collect()
        tracemalloc.start()
        checker(history)
        peak = max(peak, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    n = len(history.operations)
    return (own + peak) / n, peak / n


def main(largest: int) -> None:
    sizes = [10**p for p in range(4, largest + 1)]
    times: dict[int, float] = {}  # of the processor: growth must not depend on what else runs
    for size in sizes:
        history = concurrent(size, keys=max(1, size // 20), seed=1)
        elapsed, times[size] = repeated(history, 7 if size <= MILLION else 2)
        print(f"# {size} operations: {elapsed:.4f} s, {times[size]:.4f} s of the processor", flush=True)
        if size == MILLION:
            million_s = elapsed
            total, extra = bytes_an_operation(history)
            hot = concurrent(size, keys=1, seed=2)
            hot_s = repeated(hot, 3)[0]
        del history
        gc.collect()
    print(f"checker: {million_s:.3f} s for {MILLION} operations")
    print(f"checker on one key: {hot_s:.3f} s for {MILLION} operations")
    print(f"checker memory: {total:.0f} B an operation, {extra:.0f} B of them beside the history")
    x = np.log(np.array(list(times)))
    slope = np.polyfit(x, np.log(np.array(list(times.values()))), 1)[0]
    print(f"checker exponent: {slope:.3f} from 10^4 to 10^{largest}")
    worst = max(np.log(times[b] / times[a]) / np.log(b / a) for a, b in pairwise(sizes))
    print(f"checker exponent of the steepest decade: {worst:.3f}")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"# peak of the whole process {peak_mib:.0f} MiB", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
