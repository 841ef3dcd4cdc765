"""What a trial of locks must have seen: purged locks taken again, holders cut off and refused afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from natsproof.checkers.lock_evidence import (
    acquisitions_after_a_purge,
    acquisitions_after_an_expiry,
    holders_that_were_cut_off_and_came_back,
)
from natsproof.history import Injection, Kind, Outcome
from tests.checking.small import MS, Row, history, op
from tests.test_checkers_locks import ERRORS, refused, release, renew, take

#: The fault is on from 20 to 200 ms; the TTL is 100 ms.
CUT = (
    Injection(
        "Partition('leader')", ("n0",), "leader", 19 * MS, 20 * MS, 201 * MS, True, "silent", "", 200 * MS
    ),
)

TAKEN = take(0, 1)
SILENT = op(Kind.UPDATE, 30, None, value=2, expected=1)
OVER = take(140, 5, client=1)
LATE = refused(Kind.UPDATE, 210, on=1, client=0)


def cut_off(rows: list[Row]) -> list[int]:
    mask = holders_that_were_cut_off_and_came_back(history(rows, ttl_s=0.1, injections=CUT, errors=ERRORS))
    return [int(row) for row in np.flatnonzero(mask)]


def test_a_holder_that_was_silent_lost_its_lock_and_was_refused_counts() -> None:
    assert cut_off([TAKEN, SILENT, OVER, LATE]) == [0]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([TAKEN, renew(30, 2, on=1), OVER, LATE], "its renewal was answered"),
        ([TAKEN, SILENT, LATE], "nobody took the lock over"),
        ([TAKEN, SILENT, take(140, 5), LATE], "it took the lock again itself"),
        ([TAKEN, SILENT, OVER], "it never came back"),
        ([TAKEN, SILENT, OVER, refused(Kind.UPDATE, 150, on=1, client=0)], "it was refused during the fault"),
        ([TAKEN, SILENT, OVER, refused(Kind.UPDATE, 210, on=1, client=0, error=2)], "no server decided"),
        ([TAKEN, release(10, 3, on=1), SILENT, OVER, LATE], "it had released"),
        ([take(25, 1), SILENT, OVER, LATE], "it took the lock while the fault was on"),
    ],
)
def test_no_other_holder_counts(rows: list[Row], why: str) -> None:
    assert cut_off(rows) == [], why


def test_without_a_fault_nobody_was_cut_off() -> None:
    rows = [TAKEN, SILENT, OVER, LATE]
    assert not holders_that_were_cut_off_and_came_back(history(rows, ttl_s=0.1, errors=ERRORS)).any()


def test_only_what_follows_a_write_that_nobody_took_back_is_after_an_expiry() -> None:
    rows = [TAKEN, OVER, release(150, 6, on=5, client=1), take(160, 7)]
    assert np.flatnonzero(acquisitions_after_an_expiry(history(rows, ttl_s=0.1))).tolist() == [1]


def test_only_what_follows_an_acknowledged_purge_counts() -> None:
    purge = op(Kind.PURGE, 10, 11, revision=2, client=3)
    rows = [TAKEN, purge, take(20, 3, client=1), release(30, 4, on=3, client=1), take(40, 5)]
    assert np.flatnonzero(acquisitions_after_a_purge(history(rows, ttl_s=0.1))).tolist() == [2]
    failed = op(Kind.PURGE, 35, 36, client=3, outcome=Outcome.FAILED)
    rows = [TAKEN, release(30, 4, on=1), failed, take(40, 5)]
    assert not acquisitions_after_a_purge(history(rows, ttl_s=0.1)).any()
