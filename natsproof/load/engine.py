"""The open-loop engine: starts each operation at its intended moment, whatever the platform does.

Nothing waits for an answer before the next operation starts, so a stalled platform meets the same
arrivals as a healthy one, and the latency of each counts from the moment it was meant to start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natsproof.clock import NS_PER_S, now_ns
from natsproof.load.alarm import Alarm
from natsproof.load.schedule import NEVER, Pacer

#: One finished operation as it travels between processes. `action` indexes the mix, `outcome` is an
#: error class (natsproof.load.outcome), times are nanoseconds on the monotonic clock.
SAMPLE = np.dtype(
    [
        ("action", np.uint8),
        ("outcome", np.uint8),
        ("intended_ns", np.int64),
        ("sent_ns", np.int64),
        ("done_ns", np.int64),
    ]
)
Samples = NDArray[np.void]
#: Most arrivals started in one turn of the loop, so that answers are read in between.
BURST = 64
#: Never sleep longer: rates change meanwhile.
LONGEST_SLEEP_NS = NS_PER_S // 20


@dataclass(slots=True)
class Progress:
    """Arrivals due so far, started, finished; `refused` were due while too many were in flight."""

    due: int = 0
    started: int = 0
    finished: int = 0
    refused: int = 0

    @property
    def in_flight(self) -> int:
        return self.started - self.finished


#: Does an action; answers which was really done and its outcome class.
Perform = Callable[[int], Awaitable[tuple[int, int]]]


class Engine:
    """`choose()` draws an action, `perform(action)` does it.

    `perform` must not raise; what it cannot classify it must answer as such. More than `max_in_flight`
    at once would only measure this process, so further arrivals are counted as refused and the step is
    not valid.
    """

    def __init__(
        self, pacer: Pacer, choose: Callable[[], int], perform: Perform, *, max_in_flight: int = 20_000
    ) -> None:
        self._pacer, self._choose, self._perform = pacer, choose, perform
        self._max_in_flight = max_in_flight
        self.progress = Progress()
        self._done: list[tuple[int, int, int, int, int]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._closed = 0

    async def _one(self, action: int, intended_ns: int) -> None:
        sent_ns = now_ns()
        try:
            done, outcome = await self._perform(action)
            self._done.append((done, outcome, intended_ns, sent_ns, now_ns()))
        finally:
            self.progress.finished += 1

    def _start_due(self, until_ns: int) -> bool:
        """Start what is due by now and `until_ns`; True if more is due than one turn may start."""
        progress, started = self.progress, 0
        for intended_ns in self._pacer.take(min(now_ns(), until_ns)):
            progress.due += 1
            if progress.in_flight >= self._max_in_flight:
                progress.refused += 1
                continue
            progress.started += 1
            task = asyncio.create_task(self._one(self._choose(), intended_ns))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            started += 1
            if started >= BURST:
                return True
        return False

    async def run(self, until_ns: Callable[[], int]) -> None:
        """Start arrivals until the moment `until_ns()` (asked each turn, so that it may move)."""
        alarm = Alarm(asyncio.get_running_loop(), self._wake.set)
        try:
            while True:
                end_ns = until_ns()
                if now_ns() >= end_ns and self._pacer.next_ns > end_ns:
                    return
                if self._start_due(end_ns):
                    await asyncio.sleep(0)
                    continue
                self._wake.clear()
                alarm.set(min(self._pacer.next_ns, end_ns, now_ns() + LONGEST_SLEEP_NS, NEVER))
                await self._wake.wait()
        finally:
            alarm.close()

    def saturate(self, in_flight: int) -> None:
        """Closed loop: from now on `in_flight` clients, each starts its next operation when the last is
        answered; 0 ends it. For comparison with closed-loop tools and for throughput by concurrency."""
        grown = range(self._closed, in_flight)
        self._closed = in_flight
        for number in grown:
            task = asyncio.create_task(self._closed_client(number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _closed_client(self, number: int) -> None:
        while number < self._closed:
            self.progress.due += 1
            self.progress.started += 1
            await self._one(self._choose(), now_ns())

    def set_rate(self, rate_hz: float, at_ns: int | None = None) -> None:
        """Change the offered rate; what is due already is started first, at the old rate."""
        at_ns = now_ns() if at_ns is None else at_ns
        while self._start_due(at_ns):
            pass
        self._pacer.set_rate(rate_hz, at_ns)
        self._wake.set()

    def take_samples(self) -> Samples:
        """What finished since the last call, in order of completion."""
        done = self._done[:]
        del self._done[: len(done)]
        return np.array(done, dtype=SAMPLE)

    async def drain(self, within_s: float) -> int:
        """Wait for what is in flight; the number still open when time ran out (they are cancelled)."""
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=within_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)
            return len(late)
        return 0
