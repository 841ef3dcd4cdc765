"""Faults in turn: the next one waits for a whole platform, and does not come if there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from natsproof.faults.process import Kill
from natsproof.history import History
from natsproof.trial import Trial, run
from natsproof.workloads.ledger import Ledger
from tests.loopback import LoopbackCluster


@pytest.fixture
def cluster() -> Iterator[LoopbackCluster]:
    with LoopbackCluster() as running:
        yield running


def carry_out(cluster: LoopbackCluster, path: Path, *faults: Any, **times: Any) -> History:
    ledger = Ledger(("message_state",), writers=2, rate_hz=40.0)
    trial = Trial("test", (ledger,), faults, **{"warm_up_s": 0.2, "settle_s": 20.0, **times})
    return run(trial, cluster, seed=3, path=path / "history.jsonl")


@pytest.mark.cluster
def test_faults_in_turn_wait_for_a_whole_platform_and_end_drive(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    faults = (Kill("follower", at_s=0.2, down_s=0.5),) * 2
    history = carry_out(cluster, tmp_path, *faults, duration_s=60.0, whole_within_s=20.0)
    first, second = history.injections
    assert first.landed and second.landed and first.healed_ns
    whole = list(history.observed("whole"))
    assert [it.data["lacking"] for it in whole] == ["", ""]
    assert first.healed_ns < whole[0].at_ns < second.began_ns - 0.2e9
    drive_s = (history.marks["healed"] - history.marks["drive"]) / 1e9
    assert drive_s < 40, "drive ends with the last of them"


@pytest.mark.cluster
def test_a_platform_that_is_not_whole_again_is_not_hurt_further(
    cluster: LoopbackCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kill, "heal", lambda *_: None)
    faults = (Kill("nats-1", at_s=0.1, down_s=0.2), Kill("nats-2", at_s=0.1, down_s=0.2))
    history = carry_out(cluster, tmp_path, *faults, duration_s=30.0, whole_within_s=1.0, settle_s=1.0)
    first, second = history.injections
    assert first.landed and not second.landed
    assert "not whole" in second.error
    (seen,) = history.observed("whole")
    assert seen.data["lacking"], "no bucket acknowledges yet, or nats-1 does not answer"
