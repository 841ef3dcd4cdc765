"""Evidence guards, recovery times, gaps, rates, replicas and stale reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natsproof.checkers import guards
from natsproof.checkers.guards import (
    acknowledged_puts,
    at_least,
    fault_landed,
    in_flight_at_the_fault,
    judged,
)
from natsproof.checkers.meta import the_meta_leader_was_hit
from natsproof.checkers.rate import acknowledged_rate_is_at_least
from natsproof.checkers.recovery import no_gap_is_longer_than, writes_resume_within
from natsproof.checkers.replicas import every_replica_holds_what_was_acknowledged, replicas_are_equal
from natsproof.checkers.segments import first_at_least, pack, running_max, running_min_from_end
from natsproof.checkers.staleness import direct_gets_are_bounded
from natsproof.history import History, Kind, Observation, Outcome
from natsproof.verdict import Status, broken, holds
from tests.checking.small import MS, Row, fault, history, op

QUICK = settings(max_examples=150, derandomize=True, deadline=None, database=None)


def puts(*moments: float, first: int = 1, outcome: Outcome = Outcome.OK, last_s: float = 1) -> list[Row]:
    return [
        op(Kind.PUT, at, at + last_s, value=first + i, revision=first + i, outcome=outcome)
        for i, at in enumerate(moments)
    ]


# guards


def test_too_little_evidence_is_told_in_numbers() -> None:
    it = history(puts(0, 10, 50, 60), injections=[fault(40, 55)])
    assert at_least(4, acknowledged_puts)(it) is None
    assert at_least(5, acknowledged_puts)(it) == "only 4 acknowledged puts, 5 needed"
    assert at_least(2, acknowledged_puts, when="before")(it) is None
    missing = at_least(2, acknowledged_puts, when="during", fault="kill")(it)
    assert missing is not None and missing.startswith("only 1 acknowledged puts during kill of nats-0")
    assert at_least(2, acknowledged_puts, when="after")(it) is not None
    assert at_least(1, acknowledged_puts, when="after", fault="Pause")(it) == (
        "no Pause landed, so nothing is after it"
    )
    with pytest.raises(ValueError, match="valid: ever, before, during, after"):
        at_least(1, acknowledged_puts, when="later")


def test_a_fault_counts_only_if_its_witness_confirms_it() -> None:
    landed = fault(1, 2, name="Kill(victim='leader')")
    missed = fault(1, 2, name="Kill(victim='leader')", landed=False)
    assert fault_landed("Kill")(history([], injections=[landed])) is None
    assert guards.every_fault_landed(history([], injections=[landed])) is None
    for injections in ([], [missed], [landed, missed]):
        assert fault_landed("Kill")(history([], injections=injections))
        assert guards.every_fault_landed(history([], injections=injections))


def test_something_must_be_in_flight_when_the_fault_begins() -> None:
    it = history(puts(0, 39.5), injections=[fault(40, 55)])
    assert in_flight_at_the_fault(1)(it) is None
    assert in_flight_at_the_fault(2)(it)
    assert in_flight_at_the_fault(1)(history(puts(0)))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ([(30, "nats-0")], None),
        ([(30, "nats-0"), (35, "nats-1")], "the meta leader was nats-1"),
        ([(30, None)], "the meta leader was unknown"),
        ([(60, "nats-0")], "the meta leader was unknown"),
    ],
    ids=["hit", "it had moved", "nobody led", "seen too late"],
)
def test_a_fault_on_somebody_else_is_no_death_of_the_meta_leader(
    told: list[tuple[float, str | None]], said: str | None
) -> None:
    it = history([], injections=[fault(40, 55)])
    seen = tuple(Observation("leaders", int(at * MS), {"meta": leader}) for at, leader in told)
    it = History(it.meta, it.operations, it.keys, injections=it.injections, observations=seen)
    answer = the_meta_leader_was_hit(it)
    assert answer is None if said is None else said in str(answer)


def test_a_look_while_the_meta_leader_dies_is_not_the_one_before() -> None:
    killed = replace(fault(40, 55), began_ns=int(38 * MS))
    told = ((30, "nats-0"), (39, None))
    seen = tuple(Observation("leaders", int(at * MS), {"meta": leader}) for at, leader in told)
    it = replace(history([], injections=[killed]), observations=seen)
    assert the_meta_leader_was_hit(it) is None


def test_a_client_does_one_thing_at_a_time() -> None:
    assert guards.clients_not_overlapping(history(puts(0, 1, 2))) is None
    assert guards.clients_not_overlapping(history(puts(0, 0.5)))
    two = [*puts(0), op(Kind.GET, 0.5, 0.6, client=1)]
    assert guards.clients_not_overlapping(history(two)) is None
    gave_up = [op(Kind.PUT, 0, None, value=1), *puts(5, first=2)]
    assert guards.clients_not_overlapping(history(gave_up)) is None


def test_a_guard_never_hides_a_broken_promise() -> None:
    def no(_: History) -> str | None:
        return "only 3, 5 needed"

    it = history([])
    assert judged(lambda _: holds("fine", n=3), [no])(it).status is Status.UNKNOWN
    assert judged(lambda _: holds("fine", n=3), [no])(it).reason == "only 3, 5 needed"
    assert judged(lambda _: broken("lost"), [no])(it).status is Status.BROKEN
    assert judged(lambda _: holds("fine"), [])(it).status is Status.HOLDS


def test_completeness_and_settling_are_evidence() -> None:
    assert guards.history_complete(history([])) is None
    assert guards.history_complete(history([], complete=False))
    assert guards.settled(history([], marks={"settled": 1})) is None
    assert guards.settled(history([], marks={"not_settled": 1}))
    assert guards.settled(history([]))


# recovery, gaps, rates


def test_recovery_is_the_longest_time_without_service_after_the_fault() -> None:
    failing = puts(103, 113, 123, first=50, outcome=Outcome.FAILED)
    rows = [*puts(0, 90), *failing, *puts(133, 140, first=10)]
    it = history(rows, injections=[fault(100, 135)])
    verdict = writes_resume_within(0.04)(it)
    assert verdict.status is Status.HOLDS
    assert verdict.evidence["recovery_max_s"] == pytest.approx(0.134 - 0.103)
    assert writes_resume_within(0.02)(it).status is Status.BROKEN
    healed = writes_resume_within(0.02, since="healed")(it)
    assert healed.status is Status.HOLDS


@pytest.mark.parametrize(("heals", "wanted"), [(125, Status.BROKEN), (60, Status.HOLDS)])
def test_an_outage_that_healing_brings_is_not_the_faults(heals: float, wanted: Status) -> None:
    """What the fault itself interrupts is measured until its healing begins."""
    failing = puts(80, 90, 100, 110, 120, first=50, outcome=Outcome.FAILED)
    it = history([*puts(0, 40, 70), *failing, *puts(130, first=10)], injections=[fault(10, heals)])
    assert writes_resume_within(0.03, until="healing")(it).status is wanted
    assert writes_resume_within(0.03)(it).status is Status.BROKEN


def test_an_outage_that_lasts_until_healing_is_judged_whole() -> None:
    failing = puts(11, 20, 30, 40, 90, first=50, outcome=Outcome.FAILED)
    it = history([*puts(0), *failing, *puts(100, first=10)], injections=[fault(10, 50)])
    verdict = writes_resume_within(0.06, until="healing")(it)
    assert (verdict.status, verdict.evidence["recovery_max_s"]) == (Status.BROKEN, pytest.approx(0.09))
    silent = history([*puts(0), *failing[:2]], injections=[fault(10, 50)])
    assert writes_resume_within(0.06, until="healing")(silent).status is Status.UNKNOWN


def test_an_outage_that_never_ended_is_broken_or_undecided() -> None:
    it = history([*puts(0), *puts(20, 200, first=50, outcome=Outcome.FAILED)], injections=[fault(10, 20)])
    assert writes_resume_within(0.1)(it).status is Status.BROKEN
    assert writes_resume_within(1.0)(it).status is Status.UNKNOWN


def test_nobody_wrote_after_the_fault_is_not_a_recovery() -> None:
    it = history(puts(0, 5), injections=[fault(10, 20)])
    assert writes_resume_within(1.0)(it).status is Status.UNKNOWN
    assert writes_resume_within(1.0)(history(puts(0, 5))).status is Status.UNKNOWN
    assert writes_resume_within(1.0, fault="Pause")(it).status is Status.UNKNOWN


@QUICK
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9), st.booleans()), max_size=8))
def test_gaps_are_those_of_a_clock_that_ticks(drawn: list[tuple[int, int, bool]]) -> None:
    """Against a simulation in half milliseconds: no service while someone waits and nothing is answered."""
    rows = [
        op(Kind.PUT, at, at + took, value=i, revision=i, client=i,
           outcome=Outcome.OK if ok else Outcome.FAILED)
        for i, (at, took, ok) in enumerate(drawn)
    ]  # fmt: skip
    verdict = no_gap_is_longer_than(1.0, begin="a", end="b")(history(rows, marks={"a": 0, "b": 100}))
    if not rows:
        assert verdict.status is Status.UNKNOWN
        return
    longest, since = 0.0, None
    ends = sorted({float(a + t) for a, t, ok in drawn if ok})
    over = max(a + t for a, t, _ in drawn)
    for begin, end in zip([-1.0, *ends], [*ends, over + 0.0], strict=True):
        waiting = [a for a, t, _ in drawn if a + t > begin]
        if waiting and end > begin:
            since = max(begin, min(waiting))
            longest = max(longest, end - since)
    assert verdict.evidence["longest_gap_s"] == pytest.approx(longest / 1000)


def test_rates_fall_short_only_if_the_load_did_not() -> None:
    marks = {"drive": 0, "healed": 4000}
    steady = puts(*range(0, 4000, 100))
    checker = acknowledged_rate_is_at_least(9)
    assert checker(history(steady, marks=marks)).status is Status.HOLDS
    idle = history([r for r in steady if not 1000 * MS <= r[4] < 2000 * MS], marks=marks)
    assert checker(idle).status is Status.UNKNOWN
    refused = [
        op(Kind.PUT, at, at + 1, value=at, revision=at, outcome=Outcome.FAILED if at < 1000 else Outcome.OK)
        for at in range(0, 4000, 100)
    ]
    assert checker(history(refused, marks=marks)).status is Status.BROKEN
    assert acknowledged_rate_is_at_least(9, spare=0.3)(history(refused, marks=marks)).status is Status.HOLDS
    assert checker(history(steady)).status is Status.UNKNOWN


# replicas


def stored(server: int, revision: int, value: int, *, key: int = 0) -> Row:
    return op(Kind.REPLICA_ROW, 90, 90, server=server, revision=revision, value=value, key=key)


SERVERS = {"servers": ["nats-0", "nats-1", "nats-2"]}


def audited(*rows: Row, **more: Any) -> History:
    return history([*puts(0, 10), *rows], **SERVERS, **more)


def test_replicas_with_one_content_are_equal() -> None:
    same = [stored(s, 2, 2) for s in range(3)]
    assert replicas_are_equal(audited(*same)).status is Status.HOLDS
    assert every_replica_holds_what_was_acknowledged(audited(*same)).status is Status.HOLDS


@pytest.mark.parametrize(
    ("rows", "equal", "held"),
    [
        ([stored(0, 2, 2), stored(1, 2, 2), stored(2, 1, 1)], Status.BROKEN, Status.BROKEN),
        ([stored(0, 2, 2), stored(1, 2, 2), stored(2, 2, 1)], Status.BROKEN, Status.HOLDS),
        ([stored(s, 1, 1) for s in range(3)], Status.HOLDS, Status.BROKEN),
        ([stored(s, 3, 9) for s in range(3)], Status.HOLDS, Status.BROKEN),
        ([stored(0, 2, 2), stored(1, 2, 2)], Status.UNKNOWN, Status.UNKNOWN),
        ([], Status.UNKNOWN, Status.UNKNOWN),
    ],
    ids=[
        "one is behind",
        "one differs",
        "all lost it",
        "all hold a phantom",
        "one was not read",
        "none was read",
    ],
)
def test_replicas_that_differ_are_found(rows: list[Row], equal: Status, held: Status) -> None:
    assert replicas_are_equal(audited(*rows)).status is equal
    assert every_replica_holds_what_was_acknowledged(audited(*rows)).status is held


@pytest.mark.parametrize(
    ("name", "error", "wanted"),
    [
        ("Partition()", "400/10164 wrong last sequence", Status.HOLDS),
        ("Partition()", "400/10071 wrong last sequence", Status.BROKEN),
        ("Kill()", "400/10164 wrong last sequence", Status.BROKEN),
    ],
)
def test_what_a_deposed_leader_refused_may_be_stored(name: str, error: str, wanted: Status) -> None:
    refused = op(Kind.UPDATE, 20, 21, value=3, expected=2, outcome=Outcome.FAILED, error=0)
    rows = [refused, *(stored(s, 3, 3) for s in range(3))]
    it = audited(*rows, injections=[fault(15, 16, name=name)], errors=(error,))
    assert every_replica_holds_what_was_acknowledged(it).status is wanted


def test_an_audit_that_names_an_unread_server_is_no_evidence() -> None:
    it = audited(*[stored(s, 2, 2) for s in range(3)])
    told = Observation("replica_audit", 0, {"read": ["nats-0", "nats-1"], "unread": ["nats-2"]})
    it = History(it.meta, it.operations, it.keys, observations=(told,))
    assert replicas_are_equal(it).status is Status.UNKNOWN
    assert guards.every_server_was_read(it) == "the store of nats-2 was not read"


# direct gets


def test_stale_direct_gets_are_counted_and_bounded() -> None:
    rows = [
        *puts(0, 10),
        op(Kind.DIRECT_GET, 20, 21, value=2, revision=2),
        op(Kind.DIRECT_GET, 30, 31, value=1, revision=1),
        op(Kind.DIRECT_GET, 40, 41, value=1, revision=1, client=1),
    ]
    verdict = direct_gets_are_bounded()(history(rows))
    assert verdict.status is Status.HOLDS
    counts = dict(verdict.evidence)
    assert (counts["stale"], counts["backward"], counts["own_write_missed"]) == (2, 1, 1)
    assert counts["staleness_max_s"] == pytest.approx(0.029)
    for bound in ({"backward_most": 0}, {"own_write_missed_most": 0}, {"staleness_most_s": 0.02}):
        assert direct_gets_are_bounded(**bound)(history(rows)).status is Status.BROKEN
    wide = direct_gets_are_bounded(backward_most=1, own_write_missed_most=1, staleness_most_s=0.03)
    assert wide(history(rows)).status is Status.HOLDS


def test_a_direct_get_never_shows_what_was_not_yet_written() -> None:
    rows = [op(Kind.DIRECT_GET, 0, 1, value=1, revision=1), *puts(10)]
    assert direct_gets_are_bounded()(history(rows)).status is Status.BROKEN
    assert direct_gets_are_bounded()(history(puts(10))).status is Status.UNKNOWN


# segments


@QUICK
@given(st.lists(st.lists(st.integers(-(2**62), 2**61), min_size=1, max_size=5), min_size=1, max_size=6))
def test_segment_scans_are_those_of_plain_loops(parts: list[list[int]]) -> None:
    values = np.array([v for part in parts for v in part], dtype=np.int64) // 4
    starts = np.cumsum([0] + [len(part) for part in parts[:-1]])
    highest, lowest, at = [], [], 0
    for part in parts:
        own = values[at : at + len(part)].tolist()
        highest += [max(own[: i + 1]) for i in range(len(own))]
        lowest += [min(own[i:]) for i in range(len(own))]
        at += len(part)
    assert running_max(values, starts).tolist() == highest
    assert running_min_from_end(values, starts).tolist() == lowest


@QUICK
@given(st.lists(st.integers(0, 20), min_size=1, max_size=9), st.integers(0, 22))
def test_bisection_finds_the_first_place(values: list[int], wanted: int) -> None:
    rising = np.array(sorted(values), dtype=np.int64)
    whole = np.array([0]), np.array([len(values)]), np.array([wanted])
    assert first_at_least(rising, *whole).tolist() == [int(np.searchsorted(rising, wanted))]


@QUICK
@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), min_size=2, max_size=8))
def test_packed_pairs_sort_as_pairs(pairs: list[tuple[int, int]]) -> None:
    packed = pack(np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])).tolist()
    order = sorted(range(len(pairs)), key=lambda i: packed[i])
    assert [pairs[i] for i in order] == sorted(pairs)
    assert len(set(packed)) == len(set(pairs))
