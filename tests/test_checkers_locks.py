"""Locks L1 to L8: the invariants one by one, and against pairwise comparison."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natsproof.checkers import Checker
from natsproof.checkers.holdings import believed_holdings_do_not_overlap
from natsproof.checkers.lock_liveness import a_free_lock_can_be_taken, no_lock_outlives_its_ttl
from natsproof.checkers.locks import (
    locks_are_safe,
    no_lock_expires_early,
    no_lock_is_taken_early,
    one_holder_at_a_time,
    renewals_stay_on_their_own_chain,
    stale_holders_are_refused,
    tokens_rise,
)
from natsproof.history import NONE, Kind, Outcome
from natsproof.verdict import Status
from tests.checking.small import Row, history, op

QUICK = settings(max_examples=200, derandomize=True, deadline=None, database=None)
ERRORS = ("400/10071 wrong last sequence", "400/10164 wrong last sequence", "503 no responders")


def take(at: float, revision: int, client: int = 0, **more: Any) -> Row:
    return op(Kind.CREATE, at, at + 1, value=revision, revision=revision, client=client, **more)


def renew(at: float, revision: int, on: int, client: int = 0, **more: Any) -> Row:
    return op(Kind.UPDATE, at, at + 1, value=revision, revision=revision, expected=on, client=client, **more)


def release(at: float, revision: int, on: int, client: int = 0) -> Row:
    return op(Kind.DELETE, at, at + 1, revision=revision, expected=on, client=client)


def refused(kind: Kind, at: float, *, on: int = -1, client: int = 1, error: int = 0, value: int = 90) -> Row:
    return op(kind, at, at + 1, value=value, expected=on, client=client, outcome=Outcome.FAILED, error=error)


GOOD = [
    take(0, 1),
    renew(30, 2, on=1),
    refused(Kind.CREATE, 40),
    release(50, 3, on=2),
    take(60, 4, client=1),
    refused(Kind.UPDATE, 70, on=2, client=0, value=91),
    take(170, 5, client=2),  # the second holder's TTL of 100 ms is over
]

#: checker -> rows that break it, with a TTL of 100 ms
BROKEN: list[tuple[str, Checker, list[Row]]] = [
    (
        "L1 taken while held",
        partial(one_holder_at_a_time, early_s=0.005),
        [take(0, 1), take(50, 2, client=1)],
    ),
    (
        "L1 taken too soon by the server's own times",
        one_holder_at_a_time,
        [
            op(Kind.CREATE, 0, 80, value=1, revision=1, created=60_000_000),
            take(101, 2, client=1, created=101_500_000),
        ],
    ),
    (
        "L2 renewed on another's chain",
        renewals_stay_on_their_own_chain,
        [take(0, 1), renew(5, 2, on=1, client=1)],
    ),
    (
        "L2 renewed on an old revision",
        renewals_stay_on_their_own_chain,
        [take(0, 1), renew(5, 2, on=1), renew(9, 3, on=1)],
    ),
    ("L3 found absent early", no_lock_expires_early, [take(0, 1), op(Kind.GET, 40, 41)]),
    (
        "L3 taken early after a renewal",
        partial(no_lock_expires_early, early_s=0.005),
        [take(0, 1), renew(60, 2, on=1), take(110, 3)],
    ),
    (
        "L4 read after its time",
        no_lock_outlives_its_ttl(0.02),
        [take(0, 1), op(Kind.GET, 130, 131, value=1, revision=1)],
    ),
    (
        "L4 refused after its time",
        a_free_lock_can_be_taken(0.02),
        [take(0, 1), refused(Kind.CREATE, 130), take(140, 2, client=1)],
    ),
    (
        "L5 a stale renewal is accepted",
        stale_holders_are_refused,
        [take(0, 1), release(5, 2, on=1), take(9, 3, client=1), renew(15, 4, on=1)],
    ),
    (
        "L5 a stale release is accepted",
        stale_holders_are_refused,
        [take(0, 1), renew(5, 2, on=1), release(9, 3, on=1)],
    ),
    ("L6 tokens fall", tokens_rise, [take(0, 5), release(2, 6, on=5), take(9, 3, client=1)]),
    (
        "L7 refused after a release",
        a_free_lock_can_be_taken(0.02),
        [take(0, 1), release(5, 2, on=1), refused(Kind.CREATE, 10), take(20, 3, client=1)],
    ),
    (
        "L7 refused after a purge, with nothing in flight",
        a_free_lock_can_be_taken(0.02),
        [take(0, 1), op(Kind.PURGE, 5, 6, revision=2), refused(Kind.CREATE, 10, error=1), take(20, 3)],
    ),
    (
        "L8 two believe to hold",
        believed_holdings_do_not_overlap(),
        [op(Kind.HELD, 0, 50, revision=1), op(Kind.HELD, 40, 90, revision=2, client=1)],
    ),
]
ALL: list[tuple[str, Checker]] = [
    ("L1", one_holder_at_a_time),
    ("L2", renewals_stay_on_their_own_chain),
    ("L3", no_lock_expires_early),
    ("L4", no_lock_outlives_its_ttl(0.02)),
    ("L5", stale_holders_are_refused),
    ("L6", tokens_rise),
    ("L7", a_free_lock_can_be_taken(0.02)),
    ("safe", locks_are_safe),
]


@pytest.mark.parametrize(("name", "checker"), ALL, ids=[name for name, _ in ALL])
def test_a_good_history_holds_and_nothing_is_no_evidence(name: str, checker: Checker) -> None:
    verdict = checker(history(GOOD, ttl_s=0.1, errors=ERRORS))
    assert verdict.status is Status.HOLDS, verdict.reason
    assert checker(history([], ttl_s=0.1)).status is Status.UNKNOWN


@pytest.mark.parametrize(("name", "checker", "rows"), BROKEN, ids=[name for name, *_ in BROKEN])
def test_each_invariant_is_broken_by_its_violation(name: str, checker: Checker, rows: list[Row]) -> None:
    verdict = checker(history(rows, ttl_s=0.1, errors=ERRORS))
    assert verdict.status is Status.BROKEN, verdict.reason
    assert verdict.exhibits and verdict.exhibits[0].rows


def test_a_read_from_a_deposed_leader_is_no_expiry_where_only_creates_count() -> None:
    rows = [take(0, 1), op(Kind.GET, 20, 21), release(30, 2, on=1), take(40, 3, client=1)]
    assert no_lock_expires_early(history(rows, ttl_s=0.1)).status is Status.BROKEN
    assert no_lock_expires_early(history(rows, ttl_s=0.1), reads=()).status is Status.HOLDS


def test_what_a_deposed_leader_reads_is_no_takeover_and_a_takeover_is() -> None:
    absent = op(Kind.GET, 40, 41, value=-1, client=1)
    rows = [take(0, 1), renew(30, 2, on=1), absent, release(50, 3, on=2)]
    assert no_lock_expires_early(history([*rows, take(60, 4)], ttl_s=0.1)).status is Status.BROKEN
    assert no_lock_is_taken_early(history([*rows, take(60, 4)], ttl_s=0.1)).status is Status.HOLDS
    stolen = [take(0, 1), renew(30, 2, on=1), take(60, 3, client=1)]
    assert no_lock_is_taken_early(history(stolen, ttl_s=0.1)).status is Status.BROKEN


def test_a_release_in_doubt_explains_one_takeover() -> None:
    doubt = op(Kind.DELETE, 5, None, expected=1)
    rows = [take(0, 1), doubt, take(30, 3, client=1)]
    assert one_holder_at_a_time(history(rows, ttl_s=0.1)).status is Status.HOLDS
    assert no_lock_expires_early(history(rows, ttl_s=0.1)).status is Status.HOLDS
    again = [*rows, take(60, 4, client=2)]
    assert one_holder_at_a_time(history(again, ttl_s=0.1)).status is Status.BROKEN


def test_a_conflict_is_legal_while_another_write_is_in_flight() -> None:
    rows = [
        take(0, 1),
        release(5, 2, on=1),
        op(Kind.CREATE, 10, 20, value=3, revision=3, client=1),
        op(Kind.CREATE, 11, 12, value=9, client=2, outcome=Outcome.FAILED, error=1),
    ]
    assert a_free_lock_can_be_taken(0.02)(history(rows, ttl_s=0.1, errors=ERRORS)).status is Status.HOLDS


@pytest.mark.parametrize(
    ("purged", "expected", "wanted"),
    [
        ((8, 20), 2, Status.HOLDS),  # the marker at 2 was purged away while the create asked for it
        ((8, 20), NONE, Status.BROKEN),  # a create that wants nothing there meets nothing there
        ((22, 25), 2, Status.BROKEN),  # purged later
        (None, 2, Status.BROKEN),
    ],
)
def test_a_create_over_a_marker_is_refused_if_a_purge_came_between(
    purged: tuple[int, int] | None, expected: int, wanted: Status
) -> None:
    rows = [
        take(0, 1),
        release(5, 2, on=1),
        op(Kind.CREATE, 10, 19, value=9, expected=expected, client=2, outcome=Outcome.FAILED, error=0),
        take(30, 4, client=1),
    ]
    if purged:
        rows.append(op(Kind.PURGE, *purged, value=8, revision=3, client=3))
    assert a_free_lock_can_be_taken(0.02)(history(rows, ttl_s=0.1, errors=ERRORS)).status is wanted


def test_a_refusal_for_want_of_a_leader_is_no_conflict() -> None:
    rows = [take(0, 1), release(5, 2, on=1), refused(Kind.CREATE, 10, error=2), take(20, 3, client=1)]
    assert a_free_lock_can_be_taken(0.02)(history(rows, ttl_s=0.1, errors=ERRORS)).status is Status.HOLDS


@QUICK
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=2, max_size=6), st.randoms())
def test_tokens_rise_as_pairwise_comparison_says(spans: list[tuple[int, int]], random: Any) -> None:
    revisions = random.sample(range(1, 20), len(spans))
    rows = [
        op(Kind.CREATE, at, at + took, value=r, revision=r)
        for (at, took), r in zip(spans, revisions, strict=True)
    ]
    falls = any(
        a[0] + a[1] < b[0] and ra > rb
        for a, ra in zip(spans, revisions, strict=True)
        for b, rb in zip(spans, revisions, strict=True)
    )
    assert (tokens_rise(history(rows)).status is Status.BROKEN) == falls


@QUICK
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 9), st.integers(0, 2), st.integers(0, 1)), max_size=7
    ),
    st.integers(0, 3),
)
def test_holdings_overlap_as_pairwise_comparison_says(
    drawn: list[tuple[int, int, int, int]], margin_ms: int
) -> None:
    rows = [op(Kind.HELD, at, at + took, client=client, key=key) for at, took, client, key in drawn]
    overlap = any(
        a[2] != b[2] and a[3] == b[3] and a[0] <= b[0] and b[0] - (a[0] + a[1]) < margin_ms
        for i, a in enumerate(drawn)
        for j, b in enumerate(drawn)
        if i != j
    )
    verdict = believed_holdings_do_not_overlap(margin_ms / 1000)(history(rows, keys=2))
    assert (verdict.status is Status.BROKEN) == overlap, verdict.reason


@pytest.mark.parametrize(
    ("at", "more", "wanted"),
    [
        (115, [], Status.HOLDS),  # the marker goes at 111 ms, or by the bound at 131
        (20, [], Status.BROKEN),
        (140, [], Status.BROKEN),
        (115, [take(90, 3, client=2), release(95, 4, on=3, client=2)], Status.BROKEN),  # a younger one stands
    ],
)
def test_a_marker_may_go_between_the_two_steps_of_a_create(
    at: float, more: list[Row], wanted: Status
) -> None:
    """It has refused the first; the second finds nothing, or something else (docs/findings.md, 54)."""
    rows = [take(0, 1), release(10, 2, on=1), *more, refused(Kind.CREATE, at), take(200, 9, client=2)]
    it = history(rows, ttl_s=0.1, errors=ERRORS)
    assert a_free_lock_can_be_taken(0.02)(it).status is wanted


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([take(0, 1), op(Kind.GET, 130, 131)], Status.HOLDS),
        ([take(0, 1), op(Kind.GET, 20, 21, value=1, revision=1), take(140, 2, client=1)], Status.HOLDS),
        ([take(0, 1), release(10, 2, on=1), op(Kind.GET, 130, 131)], Status.UNKNOWN),  # it was given back
        ([op(Kind.GET, 130, 131)], Status.UNKNOWN),
    ],
)
def test_an_expiry_is_seen_where_nobody_gave_the_lock_back(rows: list[Row], wanted: Status) -> None:
    assert no_lock_outlives_its_ttl(0.02)(history(rows, ttl_s=0.1, errors=ERRORS)).status is wanted
