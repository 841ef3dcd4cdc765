"""Judges of loaded histories: each holds on good evidence, breaks on bad, and is silent without enough."""

from __future__ import annotations

import pytest

from natsproof.checkers.capacity import CapacityAtLeast, CertifiedAtLeast, ModelMatchesFill, SizesHold
from natsproof.checkers.loaded import (
    AnswersWithin,
    ServesAgainWithin,
    SharesFairly,
    SustainsRate,
    the_load_was_offered,
)
from natsproof.history import History, Injection, Key, Kind, Observation, Operations, Outcome
from natsproof.verdict import Status

NS = 1_000_000_000
SECONDS = 40


def puts(moments_s, *, key=0, failed=()):
    rows = []
    for n, at in enumerate(moments_s):
        call = int(at * NS)
        bad = any(a <= at < b for a, b in failed)
        outcome, revision = (int(Outcome.FAILED), -1) if bad else (int(Outcome.OK), n + 1)
        value = key * 1_000_000 + n
        rows.append((int(Kind.PUT), 0, 0, key, call, call + 1000, outcome, revision, -1, value, -1, -1))
    return rows


def load(*, p99_ms=20.0, failed=0, not_valid="", lag_ms=1.0, refused=0, actions=None, short=()):
    rows = [
        {"at_s": s, "due": 100, "answered": 50 if s in short else 100, "errors": {}} for s in range(SECONDS)
    ]
    of = {"due": 2000, "errors": {"timeout": failed} if failed else {}, "p99_ms": p99_ms}
    return {
        "began_ns": 0,
        "due": 4000,
        "answered": 4000,
        "errors": of["errors"],
        "latency": {"p99_ms": p99_ms},
        "actions": actions or {"integration_locks.acquire": of, "message_state.put": of},
        "seconds": rows,
        "lag": {"p50_ms": 0.1, "p99_ms": lag_ms, "max_ms": lag_ms},
        "refused": refused,
        "not_valid": not_valid,
    }


def history(rows, told, *kills):
    injections = tuple(
        Injection("Kill('leader')", ("n0",), "leader", int(a * NS), int(a * NS), int(b * NS), True, "gone")
        for a, b in kills
    )
    return History(
        {"began_ns": 0},
        Operations.from_rows(rows),
        (Key("message_state", "a"), Key("integration_locks", "b")),
        injections=injections,
        observations=(Observation("load", 0, told),),
    )


def at(hz, until_s=SECONDS, from_s=0.0):
    return [from_s + n / hz for n in range(int((until_s - from_s) * hz))]


def test_a_rate_above_the_floor_holds():
    verdict = SustainsRate(80)(history(puts(at(100)), load()))
    assert verdict.status is Status.HOLDS
    assert verdict.evidence["acknowledged_writes_hz"] == pytest.approx(100, abs=1)


def test_refused_writes_break_the_rate():
    verdict = SustainsRate(80)(history(puts(at(100), failed=[(5, 25)]), load()))
    assert verdict.status is Status.BROKEN
    assert "of 100 offered" in verdict.reason


def test_a_load_below_the_floor_decides_nothing():
    assert SustainsRate(200)(history(puts(at(100)), load())).status is Status.UNKNOWN


def test_a_late_generator_is_not_the_platforms_fault():
    bad = history(puts(at(100), failed=[(5, 25)]), load(not_valid="the generator fell behind"))
    assert SustainsRate(80)(bad).status is Status.UNKNOWN


def test_the_rate_while_down_begins_after_the_budget():
    gap = puts(at(100), failed=[(5, 12)])
    assert SustainsRate(80, "down", 10.0)(history(gap, load(), (5, 30))).status is Status.HOLDS
    gap = puts(at(100), failed=[(5, 30)])
    assert SustainsRate(80, "down", 10.0)(history(gap, load(), (5, 30))).status is Status.BROKEN


def test_a_latency_within_the_promise_holds():
    assert AnswersWithin(0.5)(history([], load())).status is Status.HOLDS
    assert AnswersWithin(0.01)(history([], load())).status is Status.BROKEN
    assert AnswersWithin(0.5, "integration_locks")(history([], load(failed=100))).status is Status.BROKEN
    assert AnswersWithin(0.01)(history([], load(not_valid="late"))).status is Status.UNKNOWN


def test_a_pause_within_the_budget_holds():
    rows = puts(at(100), failed=[(5, 11)]) + puts(at(100), key=1)
    verdict = ServesAgainWithin(15)(history(rows, load(short=(5, 6, 10)), (5, 9)))
    assert verdict.status is Status.HOLDS
    assert verdict.evidence["pause_max_s"] == pytest.approx(6, abs=0.1)
    assert verdict.evidence["full_rate_max_s"] == pytest.approx(6)


def test_latencies_inside_and_outside_the_faults_are_told():
    rows = puts(at(100)) + puts(at(100), key=1)
    parts = {
        "inside": {"p50_ms": 4.0, "p99_ms": 901.26, "errors": {"timeout": 3, "no_leader": 4}},
        "outside": {"p50_ms": 1.0, "p99_ms": 9.0, "errors": {}},
    }
    verdict = ServesAgainWithin(15)(history(rows, {**load(), "windows": parts}, (5, 9)))
    assert (verdict.evidence["inside_p99_ms"], verdict.evidence["outside_p99_ms"]) == (901.3, 9.0)
    assert (verdict.evidence["inside_failed"], verdict.evidence["outside_failed"]) == (7, 0)


def test_one_bucket_without_service_breaks_the_budget():
    rows = puts(at(100)) + puts(at(100), key=1, failed=[(5, 25)])
    verdict = ServesAgainWithin(15)(history(rows, load(), (5, 9)))
    assert verdict.status is Status.BROKEN
    assert "integration_locks: 20.0 s" in verdict.exhibits[0].text


def test_a_service_that_never_returns_breaks_the_budget():
    rows = puts(at(100), failed=[(10, SECONDS)]) + puts(at(100), key=1)
    assert ServesAgainWithin(15)(history(rows, load(), (10, 14))).status is Status.BROKEN


def test_without_a_fault_recovery_is_unknown():
    assert ServesAgainWithin(15)(history(puts(at(100)), load())).status is Status.UNKNOWN


def test_a_starved_bucket_is_unfair():
    fair = {"due": 500, "errors": {}, "p99_ms": 1.0}
    starved = {"due": 500, "errors": {"timeout": 50}, "p99_ms": 1.0}
    told = load(actions={"message_state.put": fair, "integration_locks.acquire": starved})
    assert SharesFairly()(history([], told)).status is Status.BROKEN
    assert SharesFairly()(history([], load())).status is Status.HOLDS


def test_the_guard_wants_a_load_that_was_offered():
    assert the_load_was_offered(history([], load())) is None
    assert "fell behind" in (the_load_was_offered(history([], load(lag_ms=2000))) or "")
    assert the_load_was_offered(history([], load(refused=5, not_valid="5 not started"))) == "5 not started"


def knee(rate_hz, too_high_hz=510.0, limited_by="platform"):
    return {
        "rate_hz": rate_hz,
        "too_high_hz": too_high_hz,
        "certain_to": 0.03,
        "limited_by": limited_by,
    }


def kill(rate_hz, why="", not_valid=""):
    return {"rate_hz": rate_hz, "why": why, "not_valid": not_valid}


def capacity(**more):
    told = {
        "knee": knee(500.0),
        "certified_hz": 200.0,
        "kills": [kill(400.0, "p99 too high"), kill(200.0)],
        "steps": [{"offered_hz": 600.0, "why": "p99 too high", "not_valid": ""}],
        "fill": [{"bytes_per_entry": 330.0, "model_bytes_per_entry": 328}],
        "sizing": {
            "planned_hz": 250,
            "now": {
                "servers": 3,
                "reserved_bytes": 1.0,
                "used_disk_bytes": 1.0,
                "volume_bytes": 2,
                "findings": [],
                "buckets": [{"steady_bytes": 1.0, "max_bytes": 2, "says": "b levels off at 50 %"}],
            },
        },
    } | more
    return History({"began_ns": 0}, Operations.empty(), observations=(Observation("capacity", 0, told),))


def test_a_knee_above_the_promise_holds():
    assert CapacityAtLeast(200, "knee", 0.8)(capacity()).status is Status.HOLDS
    assert CapacityAtLeast(500, "knee", 0.8)(capacity()).status is Status.BROKEN


def test_a_lower_bound_never_breaks_a_promise():
    bound = capacity(knee=knee(500.0, limited_by="generator"))
    assert CapacityAtLeast(500, "knee", 0.8)(bound).status is Status.UNKNOWN
    assert CapacityAtLeast(100, "one_down", 0.8)(capacity(one_down=None)).status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("too_high_hz", "status"), [(None, Status.UNKNOWN), (700.0, Status.UNKNOWN), (600.0, Status.BROKEN)]
)
def test_a_search_that_ran_out_of_time_breaks_a_promise_that_was_too_high_already(too_high_hz, status):
    ended = capacity(knee=knee(0.0, too_high_hz, "time"))
    assert CapacityAtLeast(500, "knee", 0.8)(ended).status is status


def test_another_part_whose_generator_was_late_does_not_excuse_the_knee():
    late = {"offered_hz": 9.0, "why": "slow", "not_valid": "the generator fell behind"}
    measured = capacity(knee=knee(500.0), steps=[*capacity().observations[0].data["steps"], late])
    assert CapacityAtLeast(500, "knee", 0.8)(measured).status is Status.BROKEN


SLOW = kill(250.0, "p99 too high")


@pytest.mark.parametrize(
    ("certified_hz", "kills", "status"),
    [
        (250.0, [kill(250.0)], Status.HOLDS),
        (0.0, [kill(400.0, "slow"), SLOW, SLOW], Status.BROKEN),
        (100.0, [SLOW, SLOW, kill(100.0)], Status.BROKEN),
        # what failed above the promised rate, or once, or beside a late generator breaks nothing
        (0.0, [kill(400.0, "slow"), kill(340.0, "slow")], Status.UNKNOWN),
        (0.0, [SLOW], Status.UNKNOWN),
        (0.0, [SLOW, kill(250.0, "slow", "it fell behind")], Status.UNKNOWN),
        (0.0, [], Status.UNKNOWN),
    ],
)
def test_a_rate_under_kills_is_broken_by_what_failed_at_the_promised_rate(certified_hz, kills, status):
    measured = capacity(certified_hz=certified_hz, kills=kills)
    assert CertifiedAtLeast(200, 0.8)(measured).status is status


def test_sizes_that_do_not_fit_are_broken():
    assert SizesHold()(capacity()).status is Status.HOLDS
    full = capacity()
    full.observations[0].data["sizing"]["now"]["findings"].append("b is full after 3 days")
    assert SizesHold()(full).status is Status.BROKEN


def test_a_model_far_from_the_measured_fill_is_broken():
    assert ModelMatchesFill()(capacity()).status is Status.HOLDS
    off = capacity(fill=[{"bytes_per_entry": 500.0, "model_bytes_per_entry": 328}])
    assert ModelMatchesFill()(off).status is Status.BROKEN
