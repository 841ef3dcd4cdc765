"""A partition that follows another one waits until that is over; one that never is over decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from natsproof.faults import network
from natsproof.faults.network import OneWay, PartialPartition, Partition
from natsproof.faults.sight import PlatformView, ServerView

ALREADY = "nats-0, leader of KV_b, has not heard nats-1 for 3.0 s"


def told(monkeypatch: pytest.MonkeyPatch, answers: Iterator[str]) -> None:
    monkeypatch.setattr(network, "apart", lambda cluster, targets, others=(): next(answers))
    monkeypatch.setattr(network, "CALM_S", 0.5)


class Three:
    """Servers of which only the names are asked."""

    servers = tuple(type("Server", (), {"name": f"nats-{number}"}) for number in range(3))


def seen_by(leader: str, **heard_s: float) -> PlatformView:
    """What one leader of the meta group says; the others answer nothing."""
    replicas = {name.replace("_", "-"): (True, s, 0) for name, s in heard_s.items()}
    return PlatformView({leader: ServerView("ID", leader, replicas, {})})


@pytest.mark.parametrize(
    ("leader", "heard_s", "is_apart"),
    [
        ("nats-0", {"nats_1": 3.0, "nats_2": 0.1}, True),
        ("nats-1", {"nats_0": 3.0, "nats_2": 0.1}, True),
        ("nats-0", {"nats_1": 0.1, "nats_2": 3.0}, False),  # another one is lost
        ("nats-0", {"nats_1": 3.0, "nats_2": 3.0}, False),  # all are
        ("nats-2", {"nats_0": 3.0, "nats_1": 0.1}, False),  # who hears both has no say
    ],
)  # fmt: skip
def test_two_servers_are_apart_if_one_leads_and_misses_the_other_alone(
    leader: str, heard_s: dict[str, float], is_apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "look", lambda cluster: seen_by(leader, **heard_s))
    monkeypatch.setattr(network, "WITNESS_S", 0.2)
    fault = PartialPartition("nats-0", other="nats-1")
    assert bool(fault.witness(Three, ["nats-0"])) is is_apart


@pytest.mark.parametrize("kind", [Partition, PartialPartition, OneWay])
def test_what_the_partition_before_left_is_waited_for(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, iter([ALREADY, ALREADY, "", "cut"]))
    fault = kind("leader", at_s=1.0, down_s=1.0)
    before = fault.sight(Three, ["nats-0"])
    assert before == ""
    assert "cut" in fault.witness_change(Three, ["nats-0"], before)


def test_sides_that_were_apart_all_along_show_no_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, iter([ALREADY] * 1000))
    fault = Partition("leader", at_s=1.0, down_s=1.0)
    before = fault.sight(None, ["nats-0"])
    assert before == ALREADY
    assert fault.witness_change(None, ["nats-0"], before) == ""
