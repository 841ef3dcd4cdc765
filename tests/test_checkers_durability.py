"""Durability: what was acknowledged is found, what was refused is not; against a plain-Python oracle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natsproof.checkers.durability import (
    no_acknowledged_put_is_lost,
    no_acknowledged_put_is_lost_by_two_leaders,
    no_write_is_acknowledged_between,
    no_write_is_acknowledged_during,
)
from natsproof.history import ABSENT, FOREIGN, History, Kind, Outcome
from natsproof.verdict import Status
from tests.checking.small import Row, fault, history, op

PUT_1 = op(Kind.PUT, 0, 1, value=1, revision=1)
PUT_2 = op(Kind.PUT, 2, 3, value=2, revision=2)


def final(value: int = ABSENT, revision: int = -1, *, at: float = 50, key: int = 0) -> Row:
    return op(Kind.FINAL_GET, at, at + 1, value=value, revision=revision, key=key)


CASES: dict[str, tuple[Status, list[Row]]] = {
    "the last write is found": (Status.HOLDS, [PUT_1, PUT_2, final(2, 2)]),
    "an older write is found": (Status.BROKEN, [PUT_1, PUT_2, final(1, 1)]),
    "an older write was stored again": (Status.BROKEN, [PUT_1, PUT_2, final(1, 3)]),
    "the last write was stored again": (Status.HOLDS, [PUT_1, PUT_2, final(2, 3)]),
    "nothing is found": (Status.BROKEN, [PUT_1, final()]),
    "a later unknown write is found": (
        Status.HOLDS,
        [PUT_1, op(Kind.PUT, 2, None, value=2), final(2, 7)],
    ),
    "a refused write is found": (
        Status.BROKEN,
        [PUT_1, op(Kind.PUT, 2, 3, value=2, outcome=Outcome.FAILED), final(2, 7)],
    ),
    "a value that nobody wrote is found": (Status.BROKEN, [PUT_1, final(9, 2)]),
    "foreign bytes are found": (Status.BROKEN, [PUT_1, final(FOREIGN, 2)]),
    "the key was deleted": (Status.HOLDS, [PUT_1, op(Kind.DELETE, 2, 3, revision=2), final()]),
    "a deletion is undone": (Status.BROKEN, [PUT_1, op(Kind.DELETE, 2, 3, revision=2), final(1, 1)]),
    "the key may have been deleted": (
        Status.UNKNOWN,
        [PUT_1, op(Kind.DELETE, 2, None), final()],
    ),
    "the key was not read": (
        Status.UNKNOWN,
        [PUT_1, op(Kind.PUT, 0, 1, value=2, revision=2, key=1), final(1, 1)],
    ),
    "the write came after the final read": (
        Status.UNKNOWN,
        [PUT_1, final(1, 1), op(Kind.PUT, 60, 61, value=2, revision=2)],
    ),
    "the final read failed": (
        Status.UNKNOWN,
        [PUT_1, op(Kind.FINAL_GET, 50, 51, outcome=Outcome.FAILED)],
    ),
    "the last of two sweeps counts": (Status.HOLDS, [PUT_1, final(at=10, value=1, revision=1), final(1, 1)]),
    "nothing was acknowledged": (Status.UNKNOWN, [op(Kind.PUT, 0, None, value=1), final()]),
    "nothing": (Status.UNKNOWN, []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_evidence_has_its_verdict(name: str) -> None:
    wanted, rows = CASES[name]
    verdict = no_acknowledged_put_is_lost(history(rows, keys=2))
    assert verdict.status is wanted, verdict.reason
    assert bool(verdict.exhibits) >= (wanted is Status.BROKEN)


def test_writes_that_were_stored_again_are_counted_and_told() -> None:
    """nats-server does that after partitions that follow one another: docs/findings.md, 39."""
    other = op(Kind.PUT, 4, 5, value=3, revision=3, key=1)
    verdict = no_acknowledged_put_is_lost(
        history([PUT_1, PUT_2, other, final(1, 4), final(3, 3, key=1)], keys=2)
    )
    assert verdict.status is Status.BROKEN
    assert verdict.evidence["stored_again"] == 1
    assert verdict.reason == "1 acknowledged write of 3 lost; 1 acknowledged write stored again later"
    again = [str(shown) for shown in verdict.exhibits if "again as revision 4" in str(shown)]
    assert again, verdict.exhibits
    assert "acknowledged as revision 1" in again[0]


def test_a_write_stored_again_over_nothing_later_is_counted_only() -> None:
    verdict = no_acknowledged_put_is_lost(history([PUT_1, PUT_2, final(2, 3)]))
    assert (verdict.status, verdict.evidence["stored_again"]) == (Status.HOLDS, 1)


def test_an_expired_key_is_no_loss_and_no_evidence() -> None:
    other = op(Kind.PUT, 90, 91, value=2, revision=2, key=1)
    rows = [PUT_1, other, final(at=120), final(2, 2, at=121, key=1)]
    verdict = no_acknowledged_put_is_lost(history(rows, keys=2, ttl_s=0.1))
    assert verdict.status is Status.HOLDS
    assert verdict.evidence["expired"] == 1
    assert verdict.evidence["acknowledged"] == 1
    assert no_acknowledged_put_is_lost(history(rows, keys=2, ttl_s=0.3)).status is Status.BROKEN


def test_losses_are_told_by_their_place_in_each_writers_sequence() -> None:
    puts = [op(Kind.PUT, k, k + 0.5, value=k, revision=k + 1, key=k) for k in range(7)]
    kept = {1, 2, 4}
    reads = [final(k, k + 1, key=k) if k in kept else final(key=k) for k in range(7)]
    evidence = no_acknowledged_put_is_lost(history([*puts, *reads], keys=7)).evidence
    assert (evidence["lost_prefix"], evidence["lost_middle"], evidence["lost_postfix"]) == (1, 1, 2)
    assert (evidence["acknowledged"], evidence["lost"]) == (7, 4)


def test_losses_are_told_by_phase_of_the_fault_and_in_the_vendors_words() -> None:
    puts = [op(Kind.PUT, k * 10, k * 10 + 1, value=k, revision=k + 1, key=k) for k in range(3)]
    reads = [final(0, 1, key=0), final(key=1), final(2, 3, key=2)]
    verdict = no_acknowledged_put_is_lost(history([*puts, *reads], keys=3, injections=[fault(9, 15)]))
    assert verdict.evidence["lost_during"] == 1
    assert verdict.evidence["acknowledged_before"] == verdict.evidence["acknowledged_after"] == 1
    assert "put b/k1 = #1 was acknowledged at 0.011 s as revision 2 and is absent" in verdict.exhibits[0].text
    assert "kill of nats-0" in verdict.exhibits[0].text


def test_the_bound_is_three_over_the_number_judged() -> None:
    verdict = no_acknowledged_put_is_lost(history([PUT_1, PUT_2, final(2, 2)]))
    assert verdict.evidence["loss_bound_95"] == 1.0


def plain(it: History) -> Status:
    """The same judgement key by key in plain Python, without TTL and unknown deletions."""
    ops = it.operations
    verdict, judged = Status.HOLDS, 0
    writer = {int(ops.value[i]): i for i in range(len(ops)) if ops.kind[i] == Kind.PUT}
    for key in range(len(it.keys)):
        rows = [i for i in range(len(ops)) if ops.key[i] == key]
        acked = [i for i in rows if ops.kind[i] <= Kind.PURGE and ops.outcome[i] == Outcome.OK]
        reads = [i for i in rows if ops.kind[i] == Kind.FINAL_GET]
        if not reads:
            verdict = Status.UNKNOWN if acked and verdict is Status.HOLDS else verdict
            continue
        value = int(ops.value[reads[-1]])
        judged += len(acked)
        newest = max(acked, key=lambda i: int(ops.revision[i]), default=None)
        if value != ABSENT and ops.outcome[writer[value]] == Outcome.FAILED:
            return Status.BROKEN
        if newest is None:
            continue
        if value == ABSENT:
            if ops.kind[newest] == Kind.PUT:
                return Status.BROKEN
        elif int(ops.revision[reads[-1]]) < int(ops.revision[newest]):
            return Status.BROKEN
    return verdict if judged or verdict is Status.UNKNOWN else Status.UNKNOWN


@st.composite
def sweeps(draw: Any) -> History:
    rows: list[Row] = []
    keys, revision = 3, 0
    by_key: dict[int, list[tuple[int, int]]] = {k: [] for k in range(keys)}
    for number in range(draw(st.integers(1, 9))):
        key = draw(st.integers(0, keys - 1))
        outcome = draw(st.sampled_from([Outcome.OK, Outcome.OK, Outcome.OK, Outcome.UNKNOWN, Outcome.FAILED]))
        kind = draw(st.sampled_from([Kind.PUT, Kind.PUT, Kind.PUT, Kind.DELETE]))
        revision += 1
        if kind == Kind.DELETE:
            rows.append(op(kind, number, number + 0.5, revision=revision, key=key))
            continue
        by_key[key].append((number, revision))
        told = revision if outcome == Outcome.OK else -1
        back = None if outcome == Outcome.UNKNOWN else number + 0.5
        rows.append(op(kind, number, back, value=number, revision=told, key=key, outcome=outcome))
    for key in range(keys):
        choice = draw(st.integers(-1, len(by_key[key])))
        if choice == len(by_key[key]):
            rows.append(final(key=key))
        elif choice >= 0:
            rows.append(final(*by_key[key][-1 - choice], key=key))
    return history(rows, keys=keys)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(sweeps())
def test_the_verdict_is_that_of_plain_python(it: History) -> None:
    assert no_acknowledged_put_is_lost(it).status is plain(it)


def test_a_write_called_without_a_quorum_is_not_acknowledged() -> None:
    refused = op(Kind.PUT, 20, 21, value=3, outcome=Outcome.FAILED)
    unanswered = op(Kind.PUT, 22, None, value=4)
    early = op(Kind.PUT, 5, 12, value=5, revision=5)
    late = op(Kind.PUT, 29, 40, value=6, revision=6)
    inside = op(Kind.PUT, 15, 16, value=7, revision=7)
    legal = [PUT_1, refused, unanswered, early, late]
    for checker, more in (
        (no_write_is_acknowledged_between("a", "b"), {"marks": {"a": 10, "b": 30}}),
        (no_write_is_acknowledged_during("Kill"), {"injections": [fault(10, 30, name="Kill(victim='two')")]}),
    ):
        verdict = checker(history(legal, **more))
        assert verdict.status is Status.HOLDS
        assert verdict.evidence["tried"] == 2
        assert checker(history([*legal, inside], **more)).status is Status.BROKEN
        assert checker(history([PUT_1], **more)).status is Status.UNKNOWN
        assert checker(history(legal)).status is Status.UNKNOWN


def test_a_bucket_that_is_gone_has_lost_everything() -> None:
    refused = op(Kind.FINAL_GET, 50, 51, outcome=Outcome.FAILED, error=0)
    gone = history([PUT_1, refused], errors=("404/10059 stream not found",))
    assert no_acknowledged_put_is_lost(gone).status is Status.BROKEN
    silent = history([PUT_1, refused], errors=("no responders",))
    assert no_acknowledged_put_is_lost(silent).status is Status.UNKNOWN


@pytest.mark.parametrize(("name", "wanted"), [("Partition()", Status.HOLDS), ("Kill()", Status.BROKEN)])
def test_a_deletion_that_a_deposed_leader_refused_may_have_been_stored(name: str, wanted: Status) -> None:
    refused = op(Kind.DELETE, 4, 5, value=8, expected=1, outcome=Outcome.FAILED, error=0)
    rows = [PUT_1, refused, final(), op(Kind.PUT, 2, 3, value=2, revision=2, key=1), final(2, 2, key=1)]
    it = history(rows, keys=2, injections=[fault(1, 2, name=name)], errors=("400/10164 wrong last sequence",))
    verdict = no_acknowledged_put_is_lost_by_two_leaders(it)
    assert verdict.status is wanted, verdict.reason
