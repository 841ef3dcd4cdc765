"""Which rates a capacity run tries under pod kills."""

from __future__ import annotations

import pytest

from natsproof.load.capacity import KILL_PARTS, Measuring, Results
from natsproof.load.rig import Step


class Simulated(Measuring):
    """Keeps up with `limit_hz`, but for the steps numbered in `hiccups`."""

    def __init__(self, limit_hz, hiccups=()):
        self.results, self.tried_hz = Results(0.5), []
        self.limit_hz, self.hiccups = limit_hz, hiccups

    def step(self, rate_hz, label, seconds=None, **more):
        self.tried_hz.append(rate_hz)
        more["meanwhile"]()
        failed = rate_hz > self.limit_hz or len(self.tried_hz) in self.hiccups
        why = "slow" if failed else ""
        return Step(label, rate_hz, rate_hz, 5.0, 1, 1, 1, 1, 1, 1, 0, {}, 0.0, why, "")


def tried(limit_hz, *, base_hz=1000.0, floor_hz=125.0, within_s=60.0, hiccups=()):
    measuring, kills = Simulated(limit_hz, hiccups), []
    measuring.under_kills(
        base_hz,
        lambda: kills.append(1),
        floor_hz=floor_hz,
        recovery_s=15.0,
        measured_s=5.0,
        within_s=within_s,
    )
    assert len(kills) == len(measuring.results.kills) == len(measuring.tried_hz)
    return measuring.tried_hz, measuring.results.certified_hz


def test_the_first_part_that_is_kept_up_with_is_certified():
    assert tried(750.0) == ([1000.0, 850.0, 700.0], 700.0)


def test_the_promised_rate_is_the_last_and_tried_twice():
    assert tried(0.0) == ([1000.0, 850.0, 700.0, 500.0, 300.0, 125.0, 125.0], 0.0)
    assert tried(200.0, hiccups=[6]) == ([1000.0, 850.0, 700.0, 500.0, 300.0, 125.0, 125.0], 125.0)


def test_without_time_the_promised_rate_is_what_remains_to_be_tried():
    assert tried(200.0, within_s=0.0) == ([1000.0, 125.0], 125.0)
    assert tried(0.0, within_s=0.0) == ([1000.0, 125.0, 125.0], 0.0)


def test_without_a_promise_time_ends_it():
    assert tried(0.0, floor_hz=0.0, within_s=0.0) == ([1000.0], 0.0)
    assert tried(0.0, floor_hz=0.0) == ([1000.0 * part for part in KILL_PARTS], 0.0)


def test_a_platform_below_its_promise_is_tried_at_that_rate_first():
    assert tried(90.0, base_hz=100.0) == ([125.0, 125.0, 100.0, 85.0], 85.0)
    assert tried(0.0, base_hz=100.0, within_s=0.0) == ([125.0, 125.0], 0.0)


@pytest.mark.parametrize("base_hz", [125.0, 250.0])
def test_a_part_that_is_the_promised_rate_is_tried_as_that(base_hz):
    assert tried(0.0, base_hz=base_hz)[0].count(125.0) == 2
