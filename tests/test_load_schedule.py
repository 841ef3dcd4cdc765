"""The open-loop schedule: repeatable, at the wanted rate, indifferent to when it is asked."""

from __future__ import annotations

import numpy as np
import pytest

from natsproof.clock import NS_PER_S
from natsproof.errors import UsageError
from natsproof.load.schedule import NEVER, Pacer, Stage, moments, rate_at, spike, steady, steps


def test_even_arrivals_are_evenly_spaced():
    due = moments(steady(100, 2), seed=1, arrivals="even")
    assert len(due) == 200
    assert set(np.diff(due).tolist()) == {NS_PER_S // 100}


@pytest.mark.parametrize("seed", range(3))
def test_poisson_arrivals_keep_the_rate_and_the_spread(seed):
    due = moments(steady(2000, 10), seed=seed)
    assert abs(len(due) - 20_000) < 5 * 20_000**0.5
    gaps = np.diff(due) / NS_PER_S
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.05)


def test_the_same_seed_gives_the_same_moments():
    assert (moments(steady(50, 5), seed=7) == moments(steady(50, 5), seed=7)).all()
    assert len(moments(steady(50, 5), seed=7)) != len(moments(steady(50, 5), seed=8))


def test_taking_in_pieces_gives_the_moments_of_taking_at_once():
    whole = moments(steps(100, 900, 3, 1.0), seed=3)
    pacer, pieces, at = Pacer(0, seed=3), [], 0
    for stage in steps(100, 900, 3, 1.0):
        pacer.set_rate(stage.rate_hz, at)
        for _ in range(10):
            at += NS_PER_S // 10
            pieces += pacer.take(at)
    assert pieces == whole.tolist()


def test_a_changed_rate_rescales_only_what_is_left_of_the_gap():
    pacer = Pacer(0, seed=1, arrivals="even")
    pacer.set_rate(1.0, 0)
    pacer.set_rate(10.0, NS_PER_S // 2)  # half the gap is over, the other half passes ten times faster
    assert pacer.next_ns == pytest.approx(0.55 * NS_PER_S, abs=2)


def test_nothing_is_due_at_rate_zero_and_the_gap_is_kept():
    pacer = Pacer(0, seed=1, arrivals="even")
    pacer.set_rate(1.0, 0)
    pacer.set_rate(0.0, NS_PER_S // 2)
    assert pacer.next_ns == NEVER
    assert list(pacer.take(10 * NS_PER_S)) == []
    pacer.set_rate(1.0, 20 * NS_PER_S)
    assert pacer.next_ns == pytest.approx(20.5 * NS_PER_S, abs=2)


def test_shapes_give_their_rates_over_time():
    assert [s.rate_hz for s in steps(100, 500, 5, 1)] == [100, 200, 300, 400, 500]
    shape = spike(10, 90, 5, 2, 5)
    assert [rate_at(shape, t) for t in (0, 4.9, 5.0, 6.9, 7.0, 12.0)] == [10, 10, 90, 90, 10, None]


def test_a_stage_without_length_is_refused():
    with pytest.raises(UsageError, match="duration must be positive"):
        Stage(10, 0)


def test_unknown_arrivals_are_refused_with_the_valid_ones():
    with pytest.raises(UsageError, match="Valid: poisson, even"):
        Pacer(0, seed=1, arrivals="bursty")  # type: ignore[arg-type]
