"""The judge of a soak's own memory, on literal looks."""

from __future__ import annotations

import numpy as np
import pytest

from natsproof.checkers.soak import MIB, StaysFlat, slope
from natsproof.history import History, Observation, Operations
from natsproof.verdict import Status

NS = 1_000_000_000


def looked(*runner_mib: float) -> History:
    """One look a second; Locust stays at 100 MiB."""
    looks = (
        Observation("memory", n * NS, {"runner": int(mib * MIB), "locust": 100 * MIB})
        for n, mib in enumerate(runner_mib)
    )
    return History({"began_ns": 0}, Operations.empty(), observations=tuple(looks))


def test_a_runner_that_fills_its_caches_first_is_flat() -> None:
    verdict = StaysFlat()(looked(*range(50, 80, 2), *[80.0] * 60))
    assert verdict.status is Status.HOLDS
    assert verdict.evidence["runner_growth_mib"] == pytest.approx(0.0, abs=0.5)
    assert verdict.evidence["locust_median_mib"] == 100


def test_one_peak_is_no_growth() -> None:
    assert StaysFlat()(looked(*[80.0] * 59, 200.0)).status is Status.HOLDS


def test_a_runner_that_grows_all_the_time_decides_nothing() -> None:
    verdict = StaysFlat()(looked(*(80 + n / 2 for n in range(60))))
    assert verdict.status is Status.UNKNOWN
    assert "runner grew by 22" in verdict.reason
    assert "locust" not in verdict.reason


def test_the_growth_allowed_is_a_part_or_a_least() -> None:
    grown = looked(*(80 + n / 10 for n in range(60)))
    assert StaysFlat()(grown).status is Status.HOLDS
    assert StaysFlat(part=0.01, least_bytes=MIB)(grown).status is Status.UNKNOWN


def test_a_few_looks_have_no_slope() -> None:
    assert StaysFlat()(looked(*[80.0] * 12)).status is Status.UNKNOWN
    assert StaysFlat()(looked()).status is Status.UNKNOWN


def test_the_slope_is_the_median_of_the_slopes_of_all_pairs() -> None:
    at = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    assert slope(at, np.array([0.0, 2.0, 4.0, 60.0, 8.0])) == pytest.approx(2.0)
