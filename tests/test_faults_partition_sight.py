"""A partition that follows another one waits until that is over; one that never is over decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from natsproof.faults import network
from natsproof.faults.network import OneWay, Partition

ALREADY = "nats-0, leader of KV_b, has not heard nats-1 for 3.0 s"


def told(monkeypatch: pytest.MonkeyPatch, answers: Iterator[str]) -> None:
    monkeypatch.setattr(network, "apart", lambda cluster, targets: next(answers))
    monkeypatch.setattr(network, "CALM_S", 0.5)


@pytest.mark.parametrize("kind", [Partition, OneWay])
def test_what_the_partition_before_left_is_waited_for(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, iter([ALREADY, ALREADY, "", "cut"]))
    fault = kind("leader", at_s=1.0, down_s=1.0)
    before = fault.sight(None, ["nats-0"])
    assert before == ""
    assert "cut" in fault.witness_change(None, ["nats-0"], before)


def test_sides_that_were_apart_all_along_show_no_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, iter([ALREADY] * 1000))
    fault = Partition("leader", at_s=1.0, down_s=1.0)
    before = fault.sight(None, ["nats-0"])
    assert before == ALREADY
    assert fault.witness_change(None, ["nats-0"], before) == ""
