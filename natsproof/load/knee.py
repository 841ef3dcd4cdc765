"""Finds the highest rate that a platform keeps up with: ramp, bisect, confirm.

A step is noisy, so one failure is not believed: a rate counts as too high only if it fails twice, and
the answer must be kept up again and again. Steps in which the generator fell behind say nothing about
the platform; if they are what ends the search, the knee is a lower bound and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from natsproof.load.rig import Step

RAMP = 1.6
PRECISION = 0.05
CONFIRMATIONS = 3
MAX_STEPS = 60


@dataclass(frozen=True, slots=True)
class Knee:
    """`rate_hz` was kept up with in at least two of three further tries; `too_high_hz` failed twice.
    `limited_by` is "platform", "generator" (then `rate_hz` is a lower bound), or "time"."""

    rate_hz: float
    too_high_hz: float | None
    limited_by: str
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def certain_to(self) -> float:
        """Half the bracket, as a part of the rate; 1 where no rate was too high."""
        if not self.too_high_hz or not self.rate_hz:
            return 1.0
        return (self.too_high_hz - self.rate_hz) / (2 * self.rate_hz)

    def as_dict(self) -> dict[str, Any]:
        return {
            "rate_hz": self.rate_hz,
            "too_high_hz": self.too_high_hz,
            "limited_by": self.limited_by,
            "certain_to": self.certain_to,
        }


class _Search:
    def __init__(self, run: Callable[[float], Step], over: Callable[[], bool], max_steps: int) -> None:
        self._run, self._over, self._left = run, over, max_steps
        self.steps: list[Step] = []
        self.generator_failed = False

    @property
    def over(self) -> bool:
        return self._left <= 0 or self._over()

    def _one(self, rate_hz: float) -> bool:
        step = self._run(rate_hz)
        self.steps.append(step)
        self._left -= 1
        if not step.kept_up and step.not_valid:
            self.generator_failed = True
        elif not step.kept_up:
            self.generator_failed = False
        return step.kept_up

    def keeps_up(self, rate_hz: float) -> bool:
        """Two failures in a row make a rate too high."""
        return self._one(rate_hz) or (not self.over and self._one(rate_hz))

    def confirmed(self, rate_hz: float) -> bool:
        """At least two of three tries, no more of them than needed."""
        good = bad = 0
        while good < 2 and bad < 2 and not self.over:
            if self._one(rate_hz):
                good += 1
            else:
                bad += 1
        return good >= 2 or (bad < 2 and good > 0)


def find_knee(
    run: Callable[[float], Step],
    *,
    start_hz: float,
    ceiling_hz: float = 1e6,
    precision: float = PRECISION,
    over: Callable[[], bool] = lambda: False,
    max_steps: int = MAX_STEPS,
) -> Knee:
    """`run(rate)` does one step. `over()` ends the search early with what is known."""
    search = _Search(run, over, max_steps)
    low, rate = 0.0, start_hz
    high: float | None = None
    while not search.over and start_hz / 100 <= rate <= ceiling_hz:
        if search.keeps_up(rate):
            low = rate
            if high is not None:
                break
            rate *= RAMP
        else:
            high = rate
            if low:
                break
            rate /= RAMP  # even the start was too much: look below it
    limited = "generator" if search.generator_failed else "platform"
    while high is not None and low and high / low > 1 + precision and not search.over:
        middle = (low * high) ** 0.5
        if search.keeps_up(middle):
            low = middle
        else:
            high = middle
            limited = "generator" if search.generator_failed else "platform"
    while low and not search.over and not search.confirmed(low):
        high, low = low, low * (1 - precision)
    if high is None or (search.over and low and high / low > 1 + 2 * precision):
        limited = "time" if search.over else limited
    return Knee(low, high, limited, tuple(search.steps))
