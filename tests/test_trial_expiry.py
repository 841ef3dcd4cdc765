"""Canaries in a trial on real servers: read until they are gone, twins that have leaders of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from natsproof.checkers.expiry import values_expire_on_time
from natsproof.checkers.overwrites import puts_over_due_values
from natsproof.faults import sight
from natsproof.faults.process import Kill, Pause
from natsproof.history import History, Kind, Outcome
from natsproof.trial import Trial, run, schedule
from natsproof.verdict import Status
from natsproof.workloads.expiry import Expiry
from natsproof.workloads.overwrites import Overwrites
from tests.loopback import LoopbackCluster

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[LoopbackCluster]:
    with LoopbackCluster() as running:
        yield running


def carry_out(
    cluster: LoopbackCluster, path: Path, *faults: Any, workload: Expiry, duration_s: float
) -> History:
    trial = Trial("test", (workload,), faults, duration_s, settle_s=20.0, warm_up_s=0.2)
    return run(trial, cluster, seed=3, path=path / "history.jsonl")


def test_canaries_are_read_on_every_replica_until_they_are_gone(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    """It ends when the last one is gone: what is waited for at most costs nothing, so it is a minute."""
    workload = Expiry(
        ("message_state",),
        ttl_s=3.0,
        canaries=4,
        plant_s=0.3,
        rewrite_share=0.5,
        rewrite_after_s=0.2,
        late_s=60.0,
    )
    history = carry_out(cluster, tmp_path, workload=workload, duration_s=90.0)
    canaries = [i for i, key in enumerate(history.keys) if ".w0.c" in key.name]
    assert len(canaries) == 4
    direct = history.of_kinds(Kind.DIRECT_GET)
    for canary in canaries:
        for server in range(3):
            own = direct.where((direct.key == canary) & (direct.server == server))
            assert (own.value >= 0).any()
            assert own.outcome[-1] == Outcome.OK and own.value[-1] < 0


def test_a_leader_is_that_of_the_twin_which_a_workload_uses(
    cluster: LoopbackCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def resolve(victim: str, bucket: str, *rest: Any) -> tuple[tuple[str, ...], str]:
        asked.append(bucket)
        return sight.resolve(victim, bucket, *rest)

    monkeypatch.setattr(schedule, "resolve", resolve)
    workload = Expiry(("message_state",), ttl_s=1.0, canaries=2, plant_s=0.3)
    pause = Pause("leader", at_s=0.5, down_s=0.2)
    history = carry_out(cluster, tmp_path, pause, workload=workload, duration_s=3.0)
    assert asked == [o.data["bucket"] for o in history.observed("twin")]


def test_values_are_written_over_as_they_expire_and_read_in_mid_life(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    workload = Overwrites(("message_state",), ttl_s=0.8, keys=6)
    history = carry_out(cluster, tmp_path, workload=workload, duration_s=4.0)
    assert puts_over_due_values(history).sum() >= 12
    puts, gets = history.of_kinds(Kind.PUT), history.of_kinds(Kind.GET)
    assert (gets.value[gets.outcome == Outcome.OK] >= 0).sum() >= 0.5 * len(puts)
    verdict = values_expire_on_time(2.0)(history)
    assert verdict.status is Status.HOLDS
    # Looked for when the server's timer must have come by, not when it may have.
    assert verdict.evidence["first_seen_gone_s"] >= 0.9


def test_a_calm_trial_ends_when_its_workloads_have(cluster: LoopbackCluster, tmp_path: Path) -> None:
    workload = Expiry(("message_state",), ttl_s=0.5, canaries=1, plant_s=0.1)
    history = carry_out(cluster, tmp_path, workload=workload, duration_s=60.0)
    assert history.marks["healed"] - history.marks["drive"] < 50e9


def test_where_values_leave_markers_no_canary_is_written_over_one_that_may_be_expiring(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    """A marker removes what was acknowledged meanwhile (finding 61); the platform has none."""
    workload = Expiry(
        ("message_state",),
        ttl_s=2.0,
        canaries=8,
        plant_s=0.2,
        rewrite_share=1.0,
        rewrite_after_s=0.5,
        marker_ttl_s=2.0,
        late_s=1.0,
        timeout_s=0.5,
    )
    kill = Kill("leader", at_s=0.4, down_s=1.0)
    history = carry_out(cluster, tmp_path, kill, workload=workload, duration_s=14.0)
    puts = history.of_kinds(Kind.PUT)
    again = 0
    for canary in (i for i, key in enumerate(history.keys) if ".w0.c" in key.name):
        own = puts.where(puts.key == canary)
        stored = (own.outcome != Outcome.FAILED).nonzero()[0]
        if not len(stored):
            continue
        later = own.call_ns[stored[0] + 1 :]
        again += len(later)
        assert (later < own.call_ns[stored[0]] + 2.0e9 - 0.5e9).all()
    assert again > 0
