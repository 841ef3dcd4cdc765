"""Verbs that take their time, as Kubernetes' do, take none of what a trial is to see after them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from natsproof.faults.process import Kill
from natsproof.history import Kind, Outcome
from tests.loopback import LoopbackCluster
from tests.test_trial import carry_out, cluster, shared

__all__ = ["cluster", "shared"]


@dataclass(frozen=True)
class SlowToHeal(Kill):
    """As on Kubernetes, where a pod must be scheduled first."""

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        threading.Event().wait(1.5)
        super().heal(cluster, targets)


@pytest.mark.cluster
def test_drive_lasts_as_long_after_a_slow_heal_as_it_was_meant_to(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    history = carry_out(cluster, tmp_path, SlowToHeal("nats-2", at_s=0.1, down_s=0.2), duration_s=1.3)
    (kill,) = history.injections
    ops = history.operations
    last = ops.where((ops.kind == Kind.PUT) & (ops.outcome == Outcome.OK)).call_ns.max()
    assert kill.healed_ns is not None
    assert (last - kill.healed_ns) / 1e9 > 0.8
