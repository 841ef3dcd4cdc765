"""Stored histories keep their verdicts; the checkers keep their promises about themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.histories import concurrent, stale_read
from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.checkers.registers import registers_are_linearizable
from natsproof.history import DTYPES, History, Kind, Operations
from natsproof.history_file import read
from natsproof.verdict import Status
from tests.checking.corpus import CLAIMS, FOLDER

FILES = sorted(FOLDER.glob("*.jsonl"))


def test_each_claim_has_its_three_histories() -> None:
    wanted = {f"{claim}-{verdict}" for claim in CLAIMS for verdict in ("holds", "broken", "unknown")}
    assert {path.stem for path in FILES} == wanted


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_stored_history_keeps_its_verdict(path: Path) -> None:
    claim, wanted = path.stem.rsplit("-", 1)
    verdict = CLAIMS[claim](read(path))
    assert verdict.status is Status[wanted.upper()], verdict.reason
    assert verdict.exhibits or verdict.status is not Status.BROKEN


@pytest.mark.parametrize("keys", [1, 20])
def test_a_large_good_history_holds_and_one_stale_read_breaks_it(keys: int) -> None:
    good = concurrent(4000, keys=keys, clients=16, unknown=0.02, seed=keys)
    assert registers_are_linearizable(good).status is Status.HOLDS
    assert no_acknowledged_put_is_lost(good).status is Status.HOLDS
    bad = registers_are_linearizable(stale_read(good))
    assert bad.status is Status.BROKEN
    assert len(bad.exhibits) == 1


def changed(it: History, column: str, row: int, value: int) -> History:
    table = {name: getattr(it.operations, name).copy() for name in DTYPES}
    table[column][row] = value
    return it.with_operations(Operations(**table))


def test_a_large_history_with_one_final_read_gone_has_lost_that_write() -> None:
    good = concurrent(2000, keys=40, clients=8, unknown=0.0, seed=5)
    ops = good.operations
    row = int(np.flatnonzero((ops.kind == Kind.FINAL_GET) & (ops.value >= 0))[3])
    bad = changed(changed(good, "value", row, -1), "revision", row, -1)
    verdict = no_acknowledged_put_is_lost(bad)
    assert verdict.status is Status.BROKEN
    assert verdict.exhibits[0].rows[-1] == row


def test_judging_changes_nothing() -> None:
    it = concurrent(500, keys=5, clients=4, seed=9)
    before = {name: getattr(it.operations, name).copy() for name in DTYPES}
    registers_are_linearizable(it)
    no_acknowledged_put_is_lost(it)
    assert all(np.array_equal(getattr(it.operations, name), before[name]) for name in DTYPES)
