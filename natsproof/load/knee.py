"""Finds the highest rate that a platform keeps up with: ramp, staircase, fit.

A step is noisy, so no single one is believed. The ramp ends at a rate that failed twice; from then on each
step that is kept up with raises the rate a little and each other one lowers it, so that most steps lie
where they tell most. The knee is the rate of which half the steps are kept up with, by a logistic curve
fitted to all steps, with its 95 % interval. A step that failed while the generator was behind says nothing
about the platform; if the knee would lie higher without such steps, it is a lower bound and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from natsproof.load.rig import Step

RAMP = 1.6
#: By so much the staircase moves, first and after it has turned twice.
WIDE, NARROW = 1.15, 1.06
STAIRS = 16
#: Fewer stairs than this are no fit.
ENOUGH_STAIRS = 6
MAX_STEPS = 60
#: Widths of the curve that are weighed against each other, in logarithms of the rate.
WIDTHS = (0.003, 0.01, 0.03, 0.1)
#: Part of the steps that end as they do for reasons that have nothing to do with the rate.
LAPSES = 0.03


@dataclass(frozen=True, slots=True)
class Knee:
    """`rate_hz` with its 95 % interval from `low_hz` to `too_high_hz` (None: no rate was too high).
    `limited_by` is "platform", "generator" (then `rate_hz` is a lower bound and nothing was too high for
    the platform), or "time" (then the truth lies in the interval)."""

    rate_hz: float
    low_hz: float
    too_high_hz: float | None
    limited_by: str
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def certain_to(self) -> float:
        """Half the interval, as a part of the rate; 1 where no rate was too high."""
        if not self.too_high_hz or not self.rate_hz:
            return 1.0
        return (self.too_high_hz - self.low_hz) / (2 * self.rate_hz)

    def as_dict(self) -> dict[str, Any]:
        return {
            "rate_hz": self.rate_hz,
            "low_hz": self.low_hz,
            "too_high_hz": self.too_high_hz,
            "limited_by": self.limited_by,
            "certain_to": self.certain_to,
        }


class _Search:
    def __init__(self, run: Callable[[float], Step], over: Callable[[], bool], max_steps: int) -> None:
        self._run, self._over, self._left = run, over, max_steps
        self.steps: list[Step] = []
        self.rates: list[float] = []

    @property
    def over(self) -> bool:
        return self._left <= 0 or self._over()

    def one(self, rate_hz: float) -> bool:
        step = self._run(rate_hz)
        self.steps.append(step)
        self.rates.append(rate_hz)
        self._left -= 1
        return step.kept_up

    def keeps_up(self, rate_hz: float) -> bool | None:
        """Two failures in a row make a rate too high; None: time was over after one."""
        if self.one(rate_hz):
            return True
        return None if self.over else self.one(rate_hz)

    @property
    def generator_failed(self) -> bool:
        """Whether every failure at the lowest rate that failed may be the generator's."""
        lowest_hz = min((step_hz for step_hz, step in self._each() if not step.kept_up), default=0.0)
        failed = [step for hz, step in self._each() if hz == lowest_hz and not step.kept_up]
        return bool(failed) and all(step.not_valid for step in failed)

    def fitted(self, *, valid: bool = False) -> tuple[float, float, float]:
        """Of all steps; `valid`: without the failures that may be the generator's."""
        own = [
            (hz, step.kept_up) for hz, step in self._each() if step.kept_up or not (valid and step.not_valid)
        ]
        return fitted([hz for hz, _ in own], [kept for _, kept in own])

    def _each(self) -> Iterator[tuple[float, Step]]:
        return zip(self.rates, self.steps, strict=True)

    def ramp(self, rate_hz: float, ceiling_hz: float) -> tuple[float, float | None]:
        """(highest rate that was kept up with, lowest that was not): at most RAMP apart."""
        low, high, start_hz = 0.0, None, rate_hz
        while not self.over and start_hz / 100 <= rate_hz <= ceiling_hz:
            kept = self.keeps_up(rate_hz)
            if kept is None:
                break
            if kept:
                low = rate_hz
                if high is not None:
                    break
                rate_hz *= RAMP
            else:
                high = rate_hz
                if low:
                    break
                rate_hz /= RAMP  # even the start was too much: look below it
        return low, high

    def stairs(self, rate_hz: float) -> int:
        """Up after each step that was kept up with, down after each other one; how many were made."""
        factor, turns, before = WIDE, 0, None
        for number in range(STAIRS):
            if self.over:
                return number
            good = self.one(rate_hz)
            turns += before is not None and good is not before
            before, factor = good, NARROW if turns >= 2 else factor
            rate_hz = rate_hz * factor if good else rate_hz / factor
        return STAIRS


def fitted(rates_hz: Sequence[float], kept_up: Sequence[bool]) -> tuple[float, float, float]:
    """(2.5 %, 50 %, 97.5 %) of the rate at which half the steps are kept up with.

    Logistic in the logarithm of the rate, with some lapses; the posterior of its middle under a flat prior,
    from half the lowest rate to twice the highest, averaged over WIDTHS. O(steps x grid).
    """
    at, good = np.log(np.asarray(rates_hz)), np.asarray(kept_up, dtype=bool)
    middle = np.linspace(at.min() - np.log(2), at.max() + np.log(2), 2000)
    weight = np.zeros_like(middle)
    for width in WIDTHS:
        distance = (at[:, None] - middle[None, :]) / width
        kept = np.exp(-np.logaddexp(0.0, distance))
        chance = LAPSES + (1 - 2 * LAPSES) * np.where(good[:, None], kept, 1 - kept)
        weight += np.exp(np.log(chance).sum(axis=0))
    share = np.cumsum(weight) / weight.sum()
    low, half, high = np.exp(np.interp([0.025, 0.5, 0.975], share, middle))
    return float(low), float(half), float(high)


def find_knee(
    run: Callable[[float], Step],
    *,
    start_hz: float,
    ceiling_hz: float = 1e6,
    over: Callable[[], bool] = lambda: False,
    max_steps: int = MAX_STEPS,
) -> Knee:
    """`run(rate)` does one step. `over()` ends the search early with what is known."""
    search = _Search(run, over, max_steps)
    low, high = search.ramp(start_hz, ceiling_hz)
    if not low or high is None:
        limited = "generator" if search.generator_failed else "time" if search.over else "platform"
        return Knee(low, low, high, limited, tuple(search.steps))
    made = search.stairs((low * high) ** 0.5)
    least_hz, rate_hz, most_hz = search.fitted()
    limited = "platform" if made >= ENOUGH_STAIRS else "time"
    if search.fitted(valid=True)[1] > most_hz:
        limited = "generator"
    return Knee(rate_hz, least_hz, most_hz, limited, tuple(search.steps))
