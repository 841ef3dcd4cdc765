"""A release that the deposed leader refused and its successor stored is no theft of the lock."""

from __future__ import annotations

import pytest

from natsproof.checkers.locks import no_lock_is_taken_early, one_holder_at_a_time, stale_holders_are_refused
from natsproof.checkers.two_leaders import refusals_in_doubt
from natsproof.history import Kind, Outcome
from natsproof.verdict import Status
from tests.checking.small import Row, fault, history, op

IN_FLIGHT, LAST = "400/10164 wrong last sequence", "400/10071 wrong last sequence: 3"


def refused(kind: Kind, call: float, expected: int, error: int = 0, client: int = 0) -> Row:
    return op(
        kind, call, call + 1, value=9, expected=expected, outcome=Outcome.FAILED, error=error, client=client
    )


#: Taken at 1 ms, renewed at 3; the release at 5 is refused; another takes it over its marker, revision 3.
ROWS = [
    op(Kind.CREATE, 1, 2, value=1, revision=1, client=0),
    op(Kind.UPDATE, 3, 4, value=2, revision=2, expected=1, client=0),
    refused(Kind.DELETE, 5, 2),
    op(Kind.CREATE, 9, 10, value=3, revision=4, expected=3, client=1),
]
CHECKERS = (one_holder_at_a_time, no_lock_is_taken_early)


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize(
    ("injections", "error", "wanted"),
    [
        ([fault(0, 2, name="Partition(victim='leader')")], IN_FLIGHT, Status.HOLDS),
        ([fault(0, 2, name="Pause(victim='leader')")], IN_FLIGHT, Status.HOLDS),
        ([fault(0, 2, name="Partition(victim='leader')")], LAST, Status.BROKEN),
        ([fault(7, 8, name="Partition(victim='leader')")], IN_FLIGHT, Status.BROKEN),  # refused before it
        ([fault(0, 2, name="Partition()", landed=False)], IN_FLIGHT, Status.BROKEN),
        ([fault(0, 2, name="Kill(victim='leader')")], IN_FLIGHT, Status.BROKEN),
        ([], IN_FLIGHT, Status.BROKEN),
    ],
)  # fmt: skip
def test_a_refusal_is_doubted_only_where_two_may_lead(checker, injections, error, wanted) -> None:  # type: ignore[no-untyped-def]
    it = history(ROWS, ttl_s=5.0, injections=injections, errors=(error,))
    assert checker(it).status is wanted


def test_a_theft_stays_one_though_refusals_are_in_doubt() -> None:
    """The holder never tried to release it."""
    rows = [row for row in ROWS if row[0] != Kind.DELETE]
    rows.append(refused(Kind.UPDATE, 5, 2))
    it = history(rows, ttl_s=5.0, injections=[fault(0, 2, name="Partition()")], errors=(IN_FLIGHT,))
    assert one_holder_at_a_time(it).status is Status.BROKEN


def test_what_is_in_doubt_is_no_stale_attempt_and_the_rest_is_left() -> None:
    partition = [fault(0, 2, name="Partition()")]
    it = history(ROWS, ttl_s=5.0, injections=partition, errors=(IN_FLIGHT,))
    seen = refusals_in_doubt(it).operations
    assert [Outcome(o) for o in seen.outcome] == [Outcome.OK, Outcome.OK, Outcome.UNKNOWN, Outcome.OK]
    assert refusals_in_doubt(refusals_in_doubt(it)).operations.outcome.tolist() == seen.outcome.tolist()
    assert stale_holders_are_refused(it).evidence["stale_refused"] == 0
