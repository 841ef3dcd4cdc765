"""What a wrong call or a wrong value in a trial is told: which value it was, and what is valid."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from natsproof.cluster import runbook
from natsproof.cluster.embedded.vdso import WallClock
from natsproof.cluster.kubernetes.platform import Platform
from natsproof.contract import load
from natsproof.contract.change import with_resources
from natsproof.errors import ClusterError, NotAvailableHere, UsageError
from natsproof.faults.clocks import ClockShift
from natsproof.faults.impairment import Bandwidth, Loss
from natsproof.faults.kubernetes import ConfigurationRollout
from natsproof.faults.network import OneWay, PartialPartition, Partition
from natsproof.faults.process import CrashLoop, Kill, kill_storm
from natsproof.faults.sight import server_of
from natsproof.faults.storage import FlipBits
from natsproof.faults.upgrade import image_of
from natsproof.load.actions import Actions
from natsproof.load.locust_settings import Settings
from natsproof.load.mix import PLATFORM, only
from natsproof.load.workload import OpenLoop
from natsproof.trial import Trial, run, trial_from_dict
from natsproof.trial.random_schedule import random_schedule
from natsproof.workloads.expiry import Expiry
from natsproof.workloads.ledger import Ledger
from natsproof.workloads.limits import Crowd
from natsproof.workloads.locks import Locks
from natsproof.workloads.register import Register
from natsproof.workloads.watch import Watch
from tests.sessions import ROOT

THREE = ("nats-0", "nats-1", "nats-2")
CLUSTER: Any = SimpleNamespace(kind="a test", servers=tuple(SimpleNamespace(name=name) for name in THREE))
POOL: Any = None  # never asked
LEDGER = Ledger(("message_state",))

WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: Kill("leader", at_s=-1.0, down_s=1.0), "at_s and down_s are seconds from 0 up"),
    (lambda: ClockShift("leader", at_s=1.0, down_s=1.0, seconds=0.5), "0.5: whole seconds, "),
    (
        lambda: Loss("leader", at_s=1.0, down_s=1.0, percent=100),
        "percent=100 is no loss: above 0 and below 100",
    ),
    (
        lambda: Bandwidth("leader", at_s=1.0, down_s=1.0, kbytes_per_s=1),
        "8 at least, or heartbeats do not fit",
    ),
    (
        lambda: Partition("leader", at_s=1.0, down_s=1.0, clients="none"),
        "clients='none' is no side of a partition",
    ),
    (
        lambda: PartialPartition("nats-0", other="nats-0").inject(CLUSTER, ["nats-0"]),
        "other='nats-0' is none of the servers to lose. Valid: nats-1, nats-2",
    ),
    (
        lambda: OneWay("leader", at_s=1.0, down_s=1.0, direction="up"),
        "direction='up' is none. Valid: out, in",
    ),
    (lambda: kill_storm(for_s=9, every_s=1, down_s=1, seed=1), "leaves no time between kills of down_s=1"),
    (lambda: CrashLoop("leader", at_s=1.0, down_s=1.0, times=1), "a loop has two deaths or more"),
    (
        lambda: FlipBits("follower", at_s=1.0, down_s=1.0, files="logs"),
        "files='logs' is no class of files. Valid: ",
    ),
    (lambda: server_of(CLUSTER, "nats-7"), "no server is called 'nats-7'. Servers: nats-0, nats-1, nats-2"),
    (lambda: image_of("nats@sha256:00", "2.12.9"), "names no exact version to step up from"),
    (
        lambda: Actions(only(PLATFORM, "message_state.get"), POOL, prefix="p", worker=0),
        "needs message_state.put in the mix",
    ),
    (
        lambda: Settings.from_environment({"NATSPROOF_SHAPE": "wave"}),
        "NATSPROOF_SHAPE='wave' is no shape. Valid: ",
    ),
    (lambda: only(PLATFORM, "letters"), "no action is named letters. The mix has: "),
    (
        lambda: OpenLoop(("message_state",), rate_hz=0),
        "wants a rate above 0, a connection, arrivals poisson or even",
    ),
    (lambda: Trial("idle", (), ()), "trial idle: no workload, nothing would be recorded"),
    (
        lambda: trial_from_dict({"name": "x", "workloads": [{"type": "Chatter"}]}),
        "'Chatter' is no workload. Valid: ",
    ),
    (
        lambda: random_schedule(1, THREE, kinds=("Kill",), always="Pause"),
        "'Pause' cannot always be drawn, it is none of Kill",
    ),
    (lambda: Expiry((), canaries=1), "wants a bucket, a canary and a poll_s above 0"),
    (lambda: Expiry(("b",), ttl_s=2.0, rewrite_after_s=-1), "rewrite_after_s is a time after planting"),
    (lambda: Expiry(("b",), ttl_s=None, marker_ttl_s=5.0), "markers are a twin's; give ttl_s"),
    (lambda: Ledger(()), "wants a bucket, a writer and a rate above 0"),
    (lambda: Register((), clients=1), "wants a bucket, a client, a key and a rate above 0"),
    (lambda: Watch((), writers=1), "wants a bucket, a writer, a watcher and a rate above 0"),
    (lambda: Crowd((), clients=1), "wants a bucket, a client and a rate above 0"),
    (lambda: Locks(()), "wants a bucket, a contender and a lock"),
    (lambda: Locks(("b",), ttl_s=1.0, timeout_s=1.0), "a lease must outlast an operation's timeout"),
]


@pytest.mark.parametrize(("call", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_value_is_named_with_what_is_valid(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(UsageError) as told:
        call()
    assert said in str(told.value)


def test_a_trial_that_the_cluster_cannot_run_names_what_it_lacks(tmp_path: Any) -> None:
    trial = Trial("cut", (LEDGER,), (Partition("leader", at_s=1.0, down_s=1.0),), 5.0)
    with pytest.raises(
        NotAvailableHere, match="cluster a test is not Partitionable; choose another with --cluster"
    ):
        run(trial, CLUSTER, seed=1, path=tmp_path / "history.jsonl")


def test_a_quantity_that_is_none_is_quoted() -> None:
    contract = load(ROOT / "manifests")
    servers = contract.statefulset
    raw = copy.deepcopy(servers.raw)
    raw["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] = "much"
    objects = tuple(replace(thing, raw=raw) if thing is servers else thing for thing in contract.objects)
    with pytest.raises(UsageError, match="'much' is no quantity such as 4Gi, 500m or 2"):
        with_resources(replace(contract, objects=objects), 2)


def test_a_configuration_without_the_limit_that_is_to_change_is_refused() -> None:
    with pytest.raises(UsageError, match=r"nats\.conf has no max_mem to change"):
        ConfigurationRollout()._changed("port: 4222\n")


def test_a_name_that_is_no_pod_of_the_platform_is_told_with_those_there_are(tmp_path: Any) -> None:
    platform = Platform(load(ROOT / "manifests"), workdir=tmp_path, context="none")
    with pytest.raises(UsageError, match="'nats-7' is no server; servers: nats-platform-0, nats-platform-1"):
        platform.pod("nats-7")


def test_procedures_need_the_runbook_of_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(runbook, "RUNBOOK", tmp_path / "runbook.md")
    with pytest.raises(NotAvailableHere, match="is not here: procedures are run from a checkout"):
        runbook.blocks("Backup")


def test_a_clock_is_shifted_by_whole_seconds() -> None:
    with pytest.raises(ClusterError, match="a clock is shifted by whole seconds, not by"):
        WallClock(1).shift(0.5)
