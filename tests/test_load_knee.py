"""The knee search finds the knee of a simulated platform, and does not believe single failures."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from natsproof.load.knee import find_knee, fitted
from natsproof.load.rig import Step


def step(rate_hz, why="", not_valid=""):
    return Step("t", rate_hz, rate_hz, 2.0, 1, 1, 1, 1, 1, 1, 0, {}, 0.0, why, not_valid)


def platform(knee_hz, *, noise=0.0, seed=1):
    draw = random.Random(seed)

    def run(rate_hz):
        limit = knee_hz * (1 + noise * (2 * draw.random() - 1))
        return step(rate_hz, "" if rate_hz <= limit else "p99 too high")

    return run


@pytest.mark.parametrize("knee_hz", [40, 137, 1000, 9_999])
def test_the_knee_is_found_to_its_precision(knee_hz):
    found = find_knee(platform(knee_hz), start_hz=150)
    assert found.rate_hz == pytest.approx(knee_hz, rel=0.04)
    assert 0.99 * found.low_hz <= knee_hz <= 1.01 * found.too_high_hz  # without noise it may lie at an edge
    assert found.certain_to < 0.1
    assert found.limited_by == "platform"


def test_two_noisy_runs_agree_within_ten_per_cent():
    found = [find_knee(platform(1000, noise=0.08, seed=s), start_hz=150).rate_hz for s in range(40)]
    apart = [abs(a - b) / max(a, b) for a, b in pairwise(found)]
    assert sorted(apart)[-3] < 0.1, "19 of 20 pairs"
    assert sorted(found)[20] == pytest.approx(1000, rel=0.03)


def test_one_bad_step_does_not_end_the_ramp():
    failed = []

    def run(rate_hz):
        if not failed:
            failed.append(rate_hz)
            return step(rate_hz, "a hiccup")
        return step(rate_hz, "" if rate_hz <= 1000 else "too much")

    assert find_knee(run, start_hz=150).rate_hz == pytest.approx(1000, rel=0.05)


def test_a_generator_that_falls_behind_gives_a_lower_bound():
    def run(rate_hz):
        return step(rate_hz, *(("slow", "the generator fell behind") if rate_hz > 500 else ("", "")))

    found = find_knee(run, start_hz=150)
    assert found.limited_by == "generator"
    assert found.rate_hz == pytest.approx(500, rel=0.05)


def test_a_generator_that_was_late_now_and_then_changes_nothing():
    late = random.Random(1)

    def run(rate_hz):
        return step(
            rate_hz, "too slow" if rate_hz > 500 else "", "it fell behind" if late.random() < 0.3 else ""
        )

    found = find_knee(run, start_hz=150)
    assert any(s.why and s.not_valid for s in found.steps)
    assert found.limited_by == "platform"
    assert found.rate_hz == pytest.approx(500, rel=0.05)


def test_a_generator_that_was_late_at_every_failure_gives_a_lower_bound_wherever_the_search_began():
    found = find_knee(lambda rate: step(rate, "slow", "it fell behind"), start_hz=100)
    assert (found.rate_hz, found.limited_by) == (0, "generator")


def test_one_failure_as_time_runs_out_makes_no_rate_too_high():
    left = iter([False] * 3 + [True] * 100)
    found = find_knee(lambda rate: step(rate, "slow"), start_hz=160, over=lambda: next(left))
    assert [s.offered_hz for s in found.steps] == [160, 160, 100]
    assert (found.rate_hz, found.too_high_hz, found.limited_by) == (0, 160, "time")


def test_the_search_ends_when_time_is_up():
    left = iter([False] * 3 + [True] * 100)
    found = find_knee(platform(1e5), start_hz=100, over=lambda: next(left))
    assert found.limited_by == "time"
    assert found.rate_hz > 0 and found.too_high_hz is None


def test_a_dead_platform_has_no_knee():
    found = find_knee(lambda rate: step(rate, "nothing was answered"), start_hz=100)
    assert found.rate_hz == 0


def test_the_interval_of_the_fit_covers_the_truth():
    covered = sum(
        found.low_hz <= 1000 <= found.too_high_hz
        for found in (find_knee(platform(1000, noise=0.15, seed=s), start_hz=300) for s in range(60))
    )
    assert covered >= 54


def test_one_sided_evidence_has_an_open_interval():
    low, half, high = fitted([100.0, 200.0], [True, True])
    assert low > 150 and half > 200 and high > 300
