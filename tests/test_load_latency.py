"""HDR histograms of whole batches equal those of single values; lag is told apart from latency."""

from __future__ import annotations

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from natsproof.load.engine import SAMPLE
from natsproof.load.lag import LagWatch, measure
from natsproof.load.latency import DIGITS, HIGHEST_US, LOWEST_US, PERCENTILES, Latencies, of_ns
from natsproof.load.rig import judge_step
from natsproof.load.timeline import errors, inside_and_outside, seconds, summary

NS = 1_000_000_000


def samples(rows):
    return np.array(rows, dtype=SAMPLE)


def evenly(count, *, took_ms=1.0, lag_ms=0.0, hz=100, outcome=0):
    """`count` operations, one each 1/hz s from second 0 on."""
    rows = []
    for n in range(count):
        due = n * NS // hz
        sent = due + int(lag_ms * 1e6)
        rows.append((0, outcome, due, sent, sent + int(took_ms * 1e6)))
    return samples(rows)


def test_a_batch_counts_like_single_values():
    values = np.random.default_rng(5).lognormal(13, 2.5, 5000).astype(np.int64)
    single = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    for value in values.tolist():
        single.record_value(min(max(value // 1000, LOWEST_US), HIGHEST_US))
    batch = of_ns(values).percentiles_s()
    for percentile in PERCENTILES[:-1]:
        expected = min(single.get_value_at_percentile(percentile), single.get_max_value())
        assert batch[percentile] == pytest.approx(expected / 1e6, rel=1e-3)
    assert of_ns(values).count == single.get_total_count()


def test_percentiles_are_exact_to_three_digits():
    values = np.arange(1, 100_001, dtype=np.int64) * 10_000  # 10 us to 1 s
    for percentile, second in of_ns(values).percentiles_s((50, 99, 99.9)).items():
        assert second == pytest.approx(percentile / 100, rel=2e-3)


def test_histograms_travel_and_add_up():
    one, two = of_ns(np.full(10, 5_000_000)), of_ns(np.full(30, 9_000_000))
    total = Latencies(one.encode())
    total.add(Latencies(two.encode()))
    assert total.count == 40
    assert total.at_s(20) == pytest.approx(0.005, rel=2e-3)
    assert total.at_s(90) == pytest.approx(0.009, rel=2e-3)


def test_an_empty_histogram_answers_zero():
    assert Latencies().percentiles_s((50, 99)) == {50: 0.0, 99: 0.0}


def test_a_stall_counts_from_the_intended_start():
    """One second of stall at 100 a second: the waits are 1.00, 0.99, ... s, though each send took 1 ms."""
    stalled = evenly(1000)
    hit = stalled["intended_ns"] < NS
    stalled["done_ns"][hit] = NS
    assert of_ns(stalled["done_ns"] - stalled["intended_ns"]).at_s(99.9) == pytest.approx(0.99, abs=0.02)


def test_a_generator_in_time_is_valid():
    assert measure(evenly(500, lag_ms=1)).why_not == ""


def test_a_generator_that_falls_behind_says_so():
    assert "fell behind its schedule" in measure(evenly(500, lag_ms=25)).why_not
    assert measure(evenly(500, lag_ms=25), objective_s=0.5).why_not == ""
    assert "did not start 3" in measure(evenly(500), refused=3).why_not


def test_a_lag_is_seen_in_a_load_whose_batches_are_small():
    watch = LagWatch()
    said = [watch.add(evenly(10, lag_ms=25 if n in (50, 51) else 0)) for n in range(100)]
    assert not any(said[:99]) and "fell behind its schedule" in said[99]
    assert watch.end() == ""


def test_one_late_batch_of_a_window_is_no_lag_and_a_short_rest_is_judged_too():
    watch = LagWatch()
    assert watch.add(evenly(990)) == "" == watch.add(evenly(10, lag_ms=25))
    assert watch.add(evenly(100, lag_ms=25)) == "" and "fell behind" in watch.end()


def test_a_refused_operation_is_never_forgotten():
    watch = LagWatch()
    watch.add(evenly(10), refused=3)
    assert "did not start 3" in watch.end()


def test_a_step_that_keeps_up_has_no_reason():
    step = judge_step(evenly(1000), NS, 9 * NS, label="s", objective_s=0.1)
    assert step.kept_up and step.not_valid == ""
    assert step.achieved_hz == pytest.approx(100)
    assert step.p99_ms == pytest.approx(1, rel=0.01)


def test_a_slow_step_names_what_it_missed():
    step = judge_step(evenly(1000, took_ms=300), NS, 9 * NS, label="s", objective_s=0.1)
    assert "p99 300 ms, objective 100 ms" in step.why


def test_a_growing_backlog_is_not_kept_up_with():
    rows = evenly(1000)
    rows["done_ns"] = rows["intended_ns"] + rows["intended_ns"] // 20  # 5 % slower than the arrivals
    step = judge_step(rows, NS, 9 * NS, label="s", objective_s=10.0)
    assert "the backlog grew by" in step.why


def test_unanswered_operations_count_against_the_step():
    rows = evenly(1000)
    rows["outcome"][::20] = 3
    step = judge_step(rows, NS, 9 * NS, label="s", objective_s=0.1)
    assert step.errors == {"timeout": 40}
    assert "95.0% of what was due was answered in time" in step.why


def test_an_arrival_belongs_to_the_second_it_was_due_in():
    rows = evenly(300)
    rows["done_ns"][100] = 5 * NS
    told = seconds(rows, 0)
    assert [row["due"] for row in told] == [100, 100, 100]
    assert told[1]["max_ms"] == pytest.approx(4000)
    assert errors(rows) == {}


def test_the_summary_leaves_the_first_second_out_of_the_lag():
    from natsproof.load.mix import Action

    rows = evenly(300)
    rows["sent_ns"][:100] += 900_000_000
    told = summary(rows, (Action("b", "put", 1.0),), began_ns=0)
    assert told["not_valid"] == "" and told["due"] == 300


def test_latencies_inside_and_outside_the_windows_of_faults_are_told_apart():
    rows = evenly(1000)  # ten seconds
    hit = (rows["intended_ns"] >= 2 * NS) & (rows["intended_ns"] < 4 * NS)
    rows["done_ns"][hit] += 500_000_000
    rows["done_ns"][100] = 3 * NS  # due before the kill, answered after it
    told = inside_and_outside(rows, [(2 * NS, 4 * NS - 1)])
    assert (told["inside"]["due"], told["outside"]["due"]) == (201, 799)
    assert told["inside"]["errors"] == {} == told["outside"]["errors"]
    assert told["inside"]["p50_ms"] == pytest.approx(501, rel=0.01)
    assert told["inside"]["p100_ms"] == pytest.approx(2000, rel=0.01)
    assert told["outside"]["p99_ms"] == pytest.approx(1, rel=0.01)


def test_a_window_lasts_until_nothing_fails_any_more_and_failures_have_no_latency():
    """Refused at once, for two seconds after the server was back: that is no fast answer, and no calm."""
    rows = evenly(1000)
    down = (rows["intended_ns"] >= 2 * NS) & (rows["intended_ns"] < 5 * NS)
    rows["outcome"][down & (rows["intended_ns"] % 20_000_000 == 0)] = 4
    rows["done_ns"][down & (rows["outcome"] == 0)] += 99_000_000
    told = inside_and_outside(rows, [(2 * NS, 3 * NS), (8 * NS, 9 * NS - 1)])
    assert told["inside"]["due"] == 299 + 100 and told["inside"]["errors"] == {"no_leader": 150}
    assert told["inside"]["p99_ms"] == pytest.approx(100, rel=0.01)
    assert told["outside"]["errors"] == {} and told["outside"]["p99_ms"] == pytest.approx(1, rel=0.01)


def test_a_fault_that_is_not_healed_lasts_to_the_end():
    told = inside_and_outside(evenly(1000), [(6 * NS, None)])
    assert (told["inside"]["due"], told["outside"]["due"]) == (400, 600)
    assert inside_and_outside(evenly(10), []) == {}
