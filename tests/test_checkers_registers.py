"""Registers against an exhaustive search, and the kinds of violation one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

from natsproof.checkers.registers import registers_are_linearizable
from natsproof.history import ABSENT, FOREIGN, History, Kind, Outcome
from natsproof.verdict import Status
from tests.checking.search import linearizable
from tests.checking.small import Row, history, op

QUICK = settings(
    max_examples=400,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

#: (kind, outcome is unknown) with weights by repetition.
STEPS = [
    (Kind.PUT, False),
    (Kind.PUT, True),
    (Kind.CREATE, False),
    (Kind.UPDATE, False),
    (Kind.UPDATE, True),
    (Kind.DELETE, False),
    (Kind.DELETE, True),
    (Kind.GET, False),
    (Kind.GET, False),
    (Kind.GET, False),
]


@st.composite
def simulated(draw: Any, *, ttl_ms: int | None = None) -> History:
    """Operations that took effect one after the other, each with call and return drawn around its
    moment; then up to two numbers are changed, so that good and bad histories both come up."""
    rows: list[dict[str, Any]] = []
    revision, value, owner_at = 0, ABSENT, 0
    at = 0
    for number in range(draw(st.integers(2, 7))):
        at += draw(st.integers(1, 60 if ttl_ms else 3))
        if ttl_ms and value != ABSENT and at - owner_at >= ttl_ms and draw(st.booleans()):
            value = ABSENT
        kind, in_doubt = draw(st.sampled_from(STEPS))
        row: dict[str, Any] = {"kind": kind, "at": at, "value": ABSENT, "revision": -1, "expected": -1}
        if kind == Kind.GET:
            row |= {"value": value, "revision": revision if value != ABSENT else -1}
        else:
            if kind == Kind.CREATE and value != ABSENT:
                kind = row["kind"] = Kind.PUT
            if kind in (Kind.UPDATE, Kind.DELETE) and revision and draw(st.booleans()):
                row["expected"] = revision
            elif kind == Kind.UPDATE:
                kind = row["kind"] = Kind.PUT
            lost = in_doubt and draw(st.booleans())
            if not lost:
                revision += draw(st.integers(1, 2))
                value = ABSENT if kind == Kind.DELETE else number
                owner_at = at
            row |= {"value": number, "revision": -1 if in_doubt else revision, "doubt": in_doubt}
        before, after = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        row |= {"call": max(0, at - before), "back": at + after}
        rows.append(row)
    for _ in range(draw(st.integers(0, 4))):
        row = draw(st.sampled_from(rows))
        change = draw(st.sampled_from(["call", "back", "value", "revision", "expected"]))
        if change == "call":
            row["call"] = draw(st.integers(0, row["back"]))
        elif change == "back":
            row["back"] = row["call"] + draw(st.integers(0, 12))
        elif change == "value" and row["kind"] == Kind.GET:
            other = draw(st.sampled_from(rows))
            row |= {"value": other["value"], "revision": other["revision"]}
            if other["kind"] in (Kind.DELETE, Kind.GET) and other["value"] == ABSENT:
                row["revision"] = -1
        elif change == "revision" and row["revision"] > 0:
            row["revision"] = draw(st.integers(1, 8))
        elif change == "expected" and row["kind"] in (Kind.UPDATE, Kind.DELETE):
            row["expected"] = draw(st.integers(0 if row["kind"] == Kind.UPDATE else 1, 8))
    return history(list(_rows(rows)), ttl_s=None if ttl_ms is None else ttl_ms / 1000)


def _rows(rows: list[dict[str, Any]]) -> list[Row]:
    return [
        op(
            row["kind"],
            row["call"],
            None if row.get("doubt") else row["back"],
            value=row["value"],
            revision=row["revision"],
            expected=row["expected"],
        )
        for row in rows
    ]


def compare(it: History) -> None:
    for row in range(len(it.operations)):
        note(it.describe(row))
    verdict = registers_are_linearizable(it)
    event(verdict.status.name)
    if verdict.status is Status.UNKNOWN:
        assert in_doubt(it), f"UNKNOWN without reason: {verdict.reason}"
        return
    assert (verdict.status is Status.HOLDS) == linearizable(it), verdict.reason


def in_doubt(it: History) -> bool:
    """Only what is really thin may end UNKNOWN."""
    ops, ttl = it.operations, it.meta["buckets"]["b"].get("ttl_s")
    nothing = bool((ops.kind == Kind.GET).all())
    return nothing or ttl is not None or bool((ops.outcome == Outcome.UNKNOWN).any())


@QUICK
@given(simulated())
def test_the_verdict_is_that_of_an_exhaustive_search(it: History) -> None:
    compare(it)


@QUICK
@given(simulated(ttl_ms=100))
def test_the_verdict_is_that_of_an_exhaustive_search_where_keys_expire(it: History) -> None:
    compare(it)


def status(rows: list[Row], **more: Any) -> Status:
    return registers_are_linearizable(history(rows, **more)).status


PUT_1 = op(Kind.PUT, 0, 1, value=1, revision=1)
PUT_2 = op(Kind.PUT, 2, 3, value=2, revision=2)
CASES: dict[str, tuple[Status, list[Row]]] = {
    "reads see the latest write": (
        Status.HOLDS,
        [PUT_1, PUT_2, op(Kind.GET, 4, 5, value=2, revision=2)],
    ),
    "a read goes back in time": (
        Status.BROKEN,
        [PUT_1, PUT_2, op(Kind.GET, 4, 5, value=1, revision=1)],
    ),
    "a read is older than an earlier read": (
        Status.BROKEN,
        [
            PUT_1,
            op(Kind.PUT, 2, 9, value=2, revision=2),
            op(Kind.GET, 3, 4, value=2, revision=2),
            op(Kind.GET, 5, 6, value=1, revision=1),
        ],
    ),
    "a read comes before its write": (
        Status.BROKEN,
        [op(Kind.GET, 0, 1, value=1, revision=1), op(Kind.PUT, 2, 3, value=1, revision=1)],
    ),
    "writes are acknowledged out of order": (
        Status.BROKEN,
        [op(Kind.PUT, 0, 1, value=1, revision=2), op(Kind.PUT, 2, 3, value=2, revision=1)],
    ),
    "two writes have one revision": (
        Status.BROKEN,
        [PUT_1, op(Kind.PUT, 2, 3, value=2, revision=1)],
    ),
    "a refused write is read": (
        Status.BROKEN,
        [
            op(Kind.PUT, 0, 1, value=1, outcome=Outcome.FAILED),
            op(Kind.GET, 2, 3, value=1, revision=1),
        ],
    ),
    "a foreign value is read": (Status.BROKEN, [PUT_1, op(Kind.GET, 2, 3, value=FOREIGN, revision=1)]),
    "a value is read at another revision": (
        Status.BROKEN,
        [PUT_1, op(Kind.GET, 2, 3, value=1, revision=3)],
    ),
    "a value is read under another key": (
        Status.BROKEN,
        [PUT_1, op(Kind.GET, 2, 3, value=1, revision=1, key=1)],
    ),
    "an unknown write is found late": (
        Status.HOLDS,
        [op(Kind.PUT, 0, None, value=1), PUT_2, op(Kind.GET, 6, 7, value=1, revision=5)],
    ),
    "an unknown write is found before an older one": (
        Status.BROKEN,
        [
            op(Kind.PUT, 0, None, value=1),
            PUT_2,
            op(Kind.GET, 6, 7, value=1, revision=5),
            op(Kind.GET, 8, 9, value=2, revision=2),
        ],
    ),
    "an update on a stale revision": (
        Status.BROKEN,
        [PUT_1, PUT_2, op(Kind.UPDATE, 4, 5, value=3, revision=3, expected=1)],
    ),
    "two winners for one revision": (
        Status.BROKEN,
        [
            PUT_1,
            op(Kind.UPDATE, 2, 3, value=2, revision=2, expected=1),
            op(Kind.UPDATE, 2, 3, value=3, revision=3, expected=1),
        ],
    ),
    "a condition only an unseen write can meet": (
        Status.UNKNOWN,
        [
            op(Kind.PUT, 0, None, value=1),
            op(Kind.UPDATE, 2, 3, value=2, revision=4, expected=3),
        ],
    ),
    "a create over a value": (Status.BROKEN, [PUT_1, op(Kind.CREATE, 2, 3, value=2, revision=2)]),
    "a create after a delete": (
        Status.HOLDS,
        [PUT_1, op(Kind.DELETE, 2, 3, revision=2), op(Kind.CREATE, 4, 5, value=2, revision=3)],
    ),
    "a create after a delete of unknown outcome": (
        Status.HOLDS,
        [PUT_1, op(Kind.DELETE, 2, None), op(Kind.CREATE, 4, 5, value=2, revision=3)],
    ),
    "two creates after one delete of unknown outcome": (
        Status.BROKEN,
        [
            PUT_1,
            op(Kind.DELETE, 2, None),
            op(Kind.CREATE, 4, 5, value=2, revision=3),
            op(Kind.CREATE, 6, 7, value=3, revision=4),
        ],
    ),
    "absent before the first write": (
        Status.HOLDS,
        [op(Kind.GET, 0, 1), op(Kind.PUT, 2, 3, value=1, revision=1)],
    ),
    "absent after a write": (Status.BROKEN, [PUT_1, op(Kind.GET, 2, 3)]),
    "absent after a purge": (Status.HOLDS, [PUT_1, op(Kind.PURGE, 2, 3, revision=2), op(Kind.GET, 4, 5)]),
    "a delete without a revision": (Status.UNKNOWN, [PUT_1, op(Kind.DELETE, 2, 3)]),
    "a stale direct get is not bound": (
        Status.HOLDS,
        [PUT_1, PUT_2, op(Kind.DIRECT_GET, 4, 5, value=1, revision=1)],
    ),
    "nothing": (Status.UNKNOWN, []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_evidence_has_its_verdict(name: str) -> None:
    wanted, rows = CASES[name]
    verdict = registers_are_linearizable(history(rows, keys=2))
    assert verdict.status is wanted, verdict.reason
    if wanted is Status.BROKEN:
        assert verdict.exhibits, "a broken promise shows its operations"
        assert all(1 <= len(e.rows) <= 3 for e in verdict.exhibits)


def test_a_value_may_be_gone_when_its_age_allows_it() -> None:
    rows = [PUT_1, op(Kind.GET, 101, 102)]
    assert status(rows, ttl_s=0.1) is Status.HOLDS
    assert status(rows, ttl_s=0.3) is Status.BROKEN
    assert status(rows) is Status.BROKEN


def test_a_rewrite_restarts_the_age() -> None:
    rows = [PUT_1, op(Kind.PUT, 90, 91, value=2, revision=2), op(Kind.GET, 101, 102)]
    assert status(rows, ttl_s=0.1) is Status.BROKEN


def test_an_expiry_marker_is_a_write_of_the_server() -> None:
    rows = [
        PUT_1,
        op(Kind.WATCH_EXPIRED, 101, 101, revision=2),
        op(Kind.CREATE, 102, 103, value=2, revision=3),
        op(Kind.GET, 104, 105, value=1, revision=1),
    ]
    assert status(rows[:3]) is Status.HOLDS
    assert status(rows) is Status.BROKEN


def test_an_interrupted_recording_is_not_blamed_on_the_platform() -> None:
    rows = [PUT_1, op(Kind.GET, 2, 3, value=77, revision=9)]
    assert status(rows) is Status.BROKEN
    assert status(rows, complete=False) is Status.UNKNOWN


RELEASED = [PUT_1, op(Kind.DELETE, 2, None, expected=1)]


@pytest.mark.parametrize(
    "witness",
    [
        [op(Kind.CREATE, 8, 9, value=3, revision=6, expected=4)],
        [op(Kind.GET, 8, 9, revision=4), op(Kind.CREATE, 10, 11, value=3, revision=6, expected=4)],
        [op(Kind.WATCH_DELETE, 8, 8, revision=4), op(Kind.CREATE, 10, 11, value=3, revision=6, expected=4)],
    ],
    ids=["a create on its marker", "a read told its revision", "a watcher"],
)
def test_a_deletion_in_doubt_is_resolved_by_whoever_saw_its_marker(witness: list[Row]) -> None:
    verdict = registers_are_linearizable(history([*RELEASED, *witness]))
    assert verdict.status is Status.HOLDS, verdict.reason
    assert verdict.evidence["unknown_resolved"] == 1
    stale = [*RELEASED, *witness[:-1], op(Kind.CREATE, 10, 11, value=3, revision=6, expected=4)]
    assert status([*stale, op(Kind.GET, 20, 21, value=1, revision=1)]) is Status.BROKEN


def test_a_create_in_doubt_that_was_seen_shows_the_marker_it_stood_on() -> None:
    rows = [
        *RELEASED,
        op(Kind.CREATE, 8, None, value=3, expected=4),
        op(Kind.GET, 12, 13, value=3, revision=6),
    ]
    verdict = registers_are_linearizable(history(rows))
    assert verdict.status is Status.HOLDS, verdict.reason
    assert status([*rows[:3], op(Kind.GET, 12, 13, value=1, revision=1)]) is Status.HOLDS


def test_a_read_that_was_told_a_marker_does_not_make_one() -> None:
    assert status([PUT_1, op(Kind.GET, 8, 9, revision=4)]) is Status.BROKEN


def test_an_unseen_put_may_have_taken_effect_late_and_expired() -> None:
    unseen = op(Kind.PUT, 4, None, value=3)
    rows = [PUT_1, op(Kind.PUT, 52, 53, value=4, revision=3), op(Kind.GET, 60, 61)]
    assert status([*rows, unseen], ttl_s=0.1) is Status.HOLDS
    assert status(rows, ttl_s=0.1) is Status.BROKEN
    assert status([*rows[:2], op(Kind.GET, 53.2, 53.4), unseen], ttl_s=0.1) is Status.BROKEN


def test_values_must_be_unique() -> None:
    assert status([PUT_1, op(Kind.PUT, 2, 3, value=1, revision=2)]) is Status.UNKNOWN


def test_a_counterexample_names_both_operations_and_the_nearest_fault() -> None:
    from tests.checking.small import fault

    verdict = registers_are_linearizable(
        history([PUT_1, PUT_2, op(Kind.GET, 4, 5, value=1, revision=1)], injections=[fault(1.5, 9)])
    )
    (shown,) = verdict.exhibits
    assert set(shown.rows) == {1, 2}
    assert "revision 2" in shown.text
    assert "kill of nats-0 (leader)" in shown.text
