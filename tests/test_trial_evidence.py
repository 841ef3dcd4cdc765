"""A trial waits for its evidence: a slow machine takes longer instead of proving less."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from natsproof.checkers.guards import in_flight_at_the_fault
from natsproof.clock import NS_PER_S
from natsproof.faults.process import Kill
from natsproof.history import Kind, Outcome
from natsproof.trial import Trial, run
from natsproof.workloads.ledger import Ledger
from natsproof.workloads.locks import Locks
from natsproof.workloads.pacing import Pace
from tests.loopback import LoopbackCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[LoopbackCluster]:
    with LoopbackCluster() as running:
        yield running


class Rested:
    """A scene whose drive has been put off: its end has passed, and it goes on."""

    left_s = 0.0

    def __init__(self) -> None:
        self.rests: list[float] = []

    async def rest(self, seconds: float) -> bool:
        self.rests.append(seconds)
        return True


def test_clients_keep_their_pace_while_drive_is_put_off() -> None:
    scene = Rested()
    pace = Pace(scene, 0.01, random.Random(1))  # type: ignore[arg-type]
    assert asyncio.run(pace.turn()) and scene.rests[0] > 1


@pytest.mark.cluster
def test_writers_that_end_with_the_fault_have_puts_in_flight_when_it_comes(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    busy = Ledger(("message_state",), writers=3, rate_hz=5000.0, keys=4, until_fault=True)
    kill = Kill("all", at_s=0.2, down_s=0.2)
    history = run(Trial("busy", (busy,), (kill,), 2.5), cluster, seed=1, path=tmp_path / "h.jsonl")
    assert in_flight_at_the_fault(1)(history) is None
    ops = history.operations
    own = [index for index, key in enumerate(history.keys) if ".w0." in key.name]
    last_ns = ops.call_ns[(ops.kind == Kind.PUT) & np.isin(ops.key, own)].max()
    assert last_ns < history.injections[0].injected_ns + 4 * NS_PER_S


@pytest.mark.cluster
def test_a_fault_waits_for_evidence_and_drive_goes_on_until_there_is_more(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    slow = Ledger(("message_state",), writers=1, rate_hz=8.0)
    kill = Kill("follower", at_s=0.1, down_s=0.5)
    trial = Trial("slow", (slow,), (kill,), 0.7, warm_up_s=0.1, evidence=8, puts=30)
    history = run(trial, cluster, seed=1, path=tmp_path / "h.jsonl")
    ops = history.operations
    puts = (ops.kind == Kind.PUT) & (ops.outcome == Outcome.OK)
    assert np.count_nonzero(puts) >= 30
    injection = history.injections[0]
    assert np.count_nonzero(puts & (ops.return_ns < injection.began_ns)) >= 8
    assert np.count_nonzero(puts & (ops.return_ns > injection.healed_ns)) >= 8


@pytest.mark.cluster
def test_a_fault_stays_on_until_writes_went_on_through_it(cluster: LoopbackCluster, tmp_path: Path) -> None:
    slow = Ledger(("message_state",), writers=1, rate_hz=8.0)
    kill = Kill("follower", at_s=0.1, down_s=0.1)
    trial = Trial("slow", (slow,), (kill,), 0.7, warm_up_s=0.1, during=6)
    history = run(trial, cluster, seed=1, path=tmp_path / "h.jsonl")
    ops, injection = history.operations, history.injections[0]
    assert injection.heal_began_ns is not None
    puts = (ops.kind == Kind.PUT) & (ops.outcome == Outcome.OK)
    while_on = (ops.return_ns > injection.injected_ns) & (ops.return_ns <= injection.heal_began_ns)
    assert np.count_nonzero(puts & while_on) >= 6


@pytest.mark.cluster
def test_a_fault_waits_for_writes_of_the_twin_that_stands_for_a_bucket(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    """Locks are held in twins: nobody ever writes to the bucket that the trial names."""
    locks = Locks(("integration_locks",), contenders=2, locks=1, ttl_s=2.0, stall_share=0.0)
    kill = Kill("follower", at_s=0.1, down_s=0.1)
    trial = Trial("locked", (locks,), (kill,), 0.7, warm_up_s=0.1, evidence=3, during=6, patience_s=8.0)
    history = run(trial, cluster, seed=1, path=tmp_path / "h.jsonl")
    ops, injection = history.operations, history.injections[0]
    assert injection.heal_began_ns is not None
    written = np.isin(ops.kind, (Kind.CREATE, Kind.UPDATE)) & (ops.outcome == Outcome.OK)
    while_on = (ops.return_ns > injection.injected_ns) & (ops.return_ns <= injection.heal_began_ns)
    assert 6 <= np.count_nonzero(written & while_on) < 12  # and no longer
    assert np.count_nonzero(written & (ops.return_ns < injection.began_ns)) >= 3
    assert not list(history.observed("little_evidence"))
