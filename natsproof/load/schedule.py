"""When each operation is meant to start: an open-loop schedule, decided before the platform answers.

Arrivals are a unit-rate process (Poisson or even) stretched by the rate, so a change of rate in the middle
of a gap only rescales what is left of that gap. The same seed and the same stages give the same moments.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from natsproof.clock import NS_PER_S
from natsproof.errors import UsageError

Arrivals = Literal["poisson", "even"]
#: No arrival is ever due: the rate is zero.
NEVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Stage:
    """A constant offered rate, operations a second, for a while."""

    rate_hz: float
    duration_s: float

    def __post_init__(self) -> None:
        if self.rate_hz < 0 or self.duration_s <= 0:
            raise UsageError(f"{self}: the rate must not be negative and the duration must be positive")


def steady(rate_hz: float, duration_s: float) -> tuple[Stage, ...]:
    return (Stage(rate_hz, duration_s),)


def steps(from_hz: float, to_hz: float, count: int, step_s: float) -> tuple[Stage, ...]:
    """`count` stages of equal length, rates equally far apart, both ends included."""
    return tuple(Stage(float(rate), step_s) for rate in np.linspace(from_hz, to_hz, count))


def spike(
    base_hz: float, peak_hz: float, before_s: float, peak_s: float, after_s: float
) -> tuple[Stage, ...]:
    return (Stage(base_hz, before_s), Stage(peak_hz, peak_s), Stage(base_hz, after_s))


def rate_at(stages: Sequence[Stage], elapsed_s: float) -> float | None:
    """The offered rate at a moment after the start; None once the last stage is over."""
    for stage in stages:
        if elapsed_s < stage.duration_s:
            return stage.rate_hz
        elapsed_s -= stage.duration_s
    return None


class Pacer:
    """The next intended moments, nanoseconds on the monotonic clock, under a rate that may change."""

    def __init__(self, began_ns: int, *, seed: int, arrivals: Arrivals = "poisson") -> None:
        if arrivals not in ("poisson", "even"):
            raise UsageError(f"{arrivals!r} are no arrivals. Valid: poisson, even.")
        self._random = random.Random(seed)
        self._even = arrivals == "even"
        self._rate_hz = 0.0
        self._since_ns = float(began_ns)  # the moment from which `_left` units remain
        self._left = self._gap()
        self.next_ns = NEVER

    def _gap(self) -> float:
        return 1.0 if self._even else self._random.expovariate(1.0)

    def _plan(self) -> None:
        gap_ns = self._left * NS_PER_S / self._rate_hz if self._rate_hz else float(NEVER)
        self.next_ns = int(min(self._since_ns + gap_ns, NEVER))

    def set_rate(self, rate_hz: float, at_ns: int) -> None:
        """From `at_ns` on the offered rate is `rate_hz`. Moments due before then must have been taken."""
        at = max(float(at_ns), self._since_ns)
        self._left = max(0.0, self._left - (at - self._since_ns) * self._rate_hz / NS_PER_S)
        self._since_ns, self._rate_hz = at, rate_hz
        self._plan()

    def take(self, until_ns: int) -> Iterator[int]:
        """The intended moments up to and including `until_ns`, in order; each is handed out once."""
        while self.next_ns <= until_ns:
            due = self.next_ns
            self._since_ns += self._left * NS_PER_S / self._rate_hz
            self._left = self._gap()
            self._plan()
            yield due


def moments(
    stages: Sequence[Stage], *, began_ns: int = 0, seed: int, arrivals: Arrivals = "poisson"
) -> NDArray[np.int64]:
    """All intended moments of `stages`: what a Pacer hands out if its rate follows them exactly."""
    pacer, at_ns = Pacer(began_ns, seed=seed, arrivals=arrivals), began_ns
    due: list[int] = []
    for stage in stages:
        pacer.set_rate(stage.rate_hz, at_ns)
        at_ns += round(stage.duration_s * NS_PER_S)
        due.extend(pacer.take(at_ns))
    return np.array(due, dtype=np.int64)
