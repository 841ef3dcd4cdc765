"""The one clock, and the only places that wait.

All times in histories are nanoseconds of CLOCK_MONOTONIC of the recording host.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from natsproof.errors import ClusterError, DeadlineExceeded

T = TypeVar("T")

NS_PER_S = 1_000_000_000


def now_ns() -> int:
    """Nanoseconds on the monotonic clock (comparable between processes of one host)."""
    return time.monotonic_ns()


def wall_ns() -> int:
    """Nanoseconds since 1970 UTC, only to relate server timestamps and to print dates."""
    return time.time_ns()


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock after which waiting is over."""

    at_ns: int

    @classmethod
    def within(cls, seconds: float) -> Deadline:
        return cls(now_ns() + int(seconds * NS_PER_S))

    @property
    def left_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, (self.at_ns - now_ns()) / NS_PER_S)

    @property
    def passed(self) -> bool:
        return now_ns() >= self.at_ns


def _late(what: str, within_s: float, polls: int, last: object) -> DeadlineExceeded:
    return DeadlineExceeded(f"waited {within_s:g} s for {what}; polled {polls} times, last seen: {last!r}")


def wait_until(what: str, probe: Callable[[], T], *, within_s: float, every_s: float = 0.05) -> T:
    """Poll `probe` until it returns something true and return that.

    ClusterError and OSError from `probe` mean "not yet"; any other exception ends the wait at once,
    so that a typo never looks like a slow cluster. Raises DeadlineExceeded with the last value.
    """
    deadline, polls = Deadline.within(within_s), 0
    last: object = None
    while True:
        polls += 1
        try:
            value = probe()
            if value:
                return value
            last = value
        except (ClusterError, OSError) as problem:
            last = problem
        if deadline.passed:
            raise _late(what, within_s, polls, last)
        time.sleep(min(every_s, deadline.left_s))


async def until(what: str, probe: Callable[[], Awaitable[T]], *, within_s: float, every_s: float = 0.05) -> T:
    """`wait_until` for coroutines."""
    deadline, polls = Deadline.within(within_s), 0
    last: object = None
    while True:
        polls += 1
        try:
            value = await probe()
            if value:
                return value
            last = value
        except (ClusterError, OSError) as problem:
            last = problem
        if deadline.passed:
            raise _late(what, within_s, polls, last)
        await asyncio.sleep(min(every_s, deadline.left_s))


async def sleep_until_ns(at_ns: int) -> None:
    """Sleep to a moment on the monotonic clock; returns at once if it has passed."""
    await asyncio.sleep(max(0.0, (at_ns - now_ns()) / NS_PER_S))


def as_seconds(ns: int) -> float:
    return ns / NS_PER_S
