"""A trial on real servers: what it records, and that it heals whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from natsproof.clock import wait_until
from natsproof.errors import ClusterError, NotAvailableHere, UsageError
from natsproof.faults.network import Partition
from natsproof.faults.operations import RollingRestart
from natsproof.faults.process import Kill, Pause, kill_storm
from natsproof.faults.registry import FAULTS
from natsproof.faults.storage import FlipBits, RestoreSnapshot, TruncateBlock
from natsproof.history import History, Kind, Operations, Outcome
from natsproof.history_file import read
from natsproof.trial import Scene, Trial, run, trial_as_dict, trial_from_dict
from natsproof.workloads.expiry import Expiry
from natsproof.workloads.ledger import Ledger
from natsproof.workloads.locks import Locks
from natsproof.workloads.register import Register
from natsproof.workloads.registry import WORKLOADS
from natsproof.workloads.watch import Watch
from tests.loopback import LoopbackCluster

LEDGER = Ledger(("message_state",), writers=2, rate_hz=60)


# data -------------------------------------------------------------------------------------------


def _made(kind: Any) -> Any:
    """Some workloads use a bucket of their own and take none."""
    takes = {field.name for field in fields(kind)}
    given = {"buckets": ("message_state", "retry_queue"), "of": "message_state"}
    return kind(**{name: value for name, value in given.items() if name in takes})


def test_a_trial_comes_back_from_json() -> None:
    trial = Trial(
        "all of them",
        tuple(_made(WORKLOADS[name]) for name in sorted(WORKLOADS)),
        tuple(FAULTS[name](victim="nats-1", at_s=2) for name in sorted(FAULTS)),
        duration_s=12,
    )
    assert trial_from_dict(json.loads(json.dumps(trial_as_dict(trial)))) == trial
    assert trial.buckets == ("message_state", "retry_queue")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"faults": [{"type": "Kil"}]}, r"'Kil' is no fault\. Valid: .*Kill"),
        ({"faults": [{"type": "Kill", "victm": "leader"}]}, r"Kill has no field victm\. Valid: .*victim"),
        ({"faults": [{"type": "Kill", "victim": "leeder"}]}, r"'leeder' is no victim\. Valid: .*leader"),
        ({"workloads": [{"type": "Leger"}]}, r"'Leger' is no workload\. Valid: .*Ledger"),
        ({"durations": 3}, r"trial has no field durations\. Valid: .*duration_s"),
        ({"workloads": []}, "no workload"),
        ({"faults": [{"type": "Kill", "at_s": 99}]}, "begins after drive ends"),
    ],
)
def test_a_misspelt_trial_is_refused_with_the_valid_names(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        trial_from_dict({**trial_as_dict(Trial("t", (LEDGER,))), **change})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Ledger(()),
        lambda: Ledger(("b",), rate_hz=0),
        lambda: Register(("b",), read_share=0.9, update_share=0.9),
        lambda: Watch(("b",), watchers=0),
        lambda: Locks(ttl_s=0.5),
        lambda: Expiry(("b",), ttl_s=0.01),
        lambda: Partition(clients="nobody"),
        lambda: Partition("all"),
        lambda: FlipBits(files="everything"),
        lambda: Kill(at_s=-1),
        lambda: kill_storm(1, every_s=1, for_s=5, down_s=1),
    ],
)
def test_senseless_values_are_refused(wrong: Any) -> None:
    with pytest.raises(UsageError):
        wrong()


def test_a_kill_storm_is_the_same_for_the_same_seed_and_never_overlaps() -> None:
    storm = kill_storm(7, every_s=3, for_s=60, down_s=1.5)
    assert (
        storm
        == kill_storm(7, every_s=3, for_s=60, down_s=1.5)
        != kill_storm(8, every_s=3, for_s=60, down_s=1.5)
    )
    assert 15 <= len(storm) <= 25
    assert all(b.at_s - a.at_s > 1.5 for a, b in pairwise(storm))


# runs -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoKill(Kill):
    """A harness mutant: it does nothing."""

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        return None


@dataclass(frozen=True)
class Unhealed(Kill):
    """A harness mutant: it never starts what it killed."""

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        return None


@dataclass(frozen=True)
class Failing(Kill):
    """Its verb is refused after it took effect."""

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        super().inject(cluster, targets)
        raise ClusterError("the verb was refused")


@dataclass(frozen=True)
class Breaking:
    """A workload that ends the run after a while, as `how` says."""

    how: str
    buckets: ClassVar[tuple[str, ...]] = ("message_state",)

    async def prepare(self, scene: Scene) -> None:
        await scene.client("breaking")

    async def drive(self, scene: Scene) -> None:
        while await scene.rest(0.05):
            await scene.clients[0].put("message_state", scene.key("k"))
            if "first_fault" in scene.recorder.marks and not scene.cluster.running("nats-1"):
                if self.how == "interrupt":
                    os.kill(os.getpid(), signal.SIGINT)
                    await asyncio.sleep(5)
                raise ZeroDivisionError(self.how)

    async def finish(self, scene: Scene) -> None:
        raise AssertionError("a broken run has no finish")


@pytest.fixture(scope="module")
def shared() -> Iterator[LoopbackCluster]:
    with LoopbackCluster() as running:
        yield running


@pytest.fixture
def hearing() -> Iterator[None]:
    """SIGINT raises, also where a script's background began us deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def cluster(shared: LoopbackCluster) -> Iterator[LoopbackCluster]:
    """The cluster, whole again after the test."""
    yield shared
    for server in shared.servers:
        if not shared.running(server.name):
            shared.start(server.name)
    for server in shared.servers:
        wait_until(f"{server.name} ready", lambda name=server.name: shared.ready(name), within_s=20)


def carry_out(
    cluster: LoopbackCluster, path: Path, *faults: Any, workload: Any = LEDGER, **times: Any
) -> History:
    times = {"duration_s": 2.0, "warm_up_s": 0.2, "settle_s": 20.0, **times}
    trial = Trial("test", (workload,), faults, **times)
    return run(trial, cluster, seed=3, path=path / "history.jsonl")


@pytest.mark.cluster
def test_a_killed_follower_is_recorded_from_prepare_to_end(cluster: LoopbackCluster, tmp_path: Path) -> None:
    history = carry_out(cluster, tmp_path, Kill("follower", at_s=0.4, down_s=0.6), evidence=10, puts=41)
    (kill,) = history.injections
    assert kill.landed and "refused" in kill.witness and kill.role == "follower" and not kill.error
    assert kill.healed_ns and kill.heal_began_ns and kill.injected_ns < kill.heal_began_ns < kill.healed_ns
    marks = ["prepare", "warm_up", "drive", "first_fault", "healed", "settled", "finish", "end"]
    assert sorted(history.marks, key=history.marks.__getitem__) == marks
    assert history.complete
    assert history.meta["seed"] == 3 and history.meta["server_version"] == "2.12.8"
    assert trial_from_dict(history.meta["trial"]).faults == (Kill("follower", at_s=0.4, down_s=0.6),)

    ops = history.operations
    written = ops.where((ops.kind == Kind.PUT) & (ops.outcome == Outcome.OK))
    assert len(written) > 40
    assert written.call_ns.max() > kill.healed_ns > kill.injected_ns > written.return_ns.min()
    unsure = set(ops.key[(ops.kind == Kind.PUT) & (ops.outcome != Outcome.OK)].tolist())

    def sure(rows: Operations) -> dict[int, int]:  # without an answer it may be there
        found = {int(k): int(v) for k, v in zip(rows.key, rows.value, strict=True)}
        return {key: value for key, value in found.items() if key not in unsure}

    last = sure(written)
    assert sure(history.of_kinds(Kind.FINAL_GET)) == last
    rows = history.of_kinds(Kind.REPLICA_ROW)
    for server in range(3):
        own = rows.where(rows.server == server)
        assert sure(own) == last
    assert {o.name for o in history.observations} >= {"leaders", "replicas", "settled", "replica_audit"}


@pytest.mark.cluster
def test_equal_seeds_choose_equal_victims_and_keys(cluster: LoopbackCluster, tmp_path: Path) -> None:
    workload = Ledger(("message_state",), writers=2, rate_hz=40, keys=9)
    first, second = (
        carry_out(cluster, tmp_path, Kill("random", at_s=0.2, down_s=0.2), workload=workload, duration_s=0.8)
        for _ in range(2)
    )
    assert first.injections[0].targets == second.injections[0].targets
    drawn = [[k.name.split(".", 1)[1] for k in h.keys if ".w0." in k.name] for h in (first, second)]
    assert drawn[0][:3] == drawn[1][:3]
    assert first.meta["prefix"] != second.meta["prefix"]


@pytest.mark.cluster
def test_a_fault_that_does_nothing_did_not_land(
    cluster: LoopbackCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("natsproof.faults.process.WITNESS_S", 0.2)
    (injection,) = carry_out(cluster, tmp_path, NoKill(at_s=0.1, down_s=0.1), duration_s=0.5).injections
    assert not injection.landed and injection.witness == ""


@pytest.mark.cluster
def test_a_verb_that_fails_is_written_down_and_healed(cluster: LoopbackCluster, tmp_path: Path) -> None:
    history = carry_out(cluster, tmp_path, Failing("nats-2", at_s=0.1, down_s=0.1), duration_s=1.0)
    (injection,) = history.injections
    assert injection.error == "ClusterError: the verb was refused"
    assert injection.healed_ns and cluster.running("nats-2")
    assert "settled" in history.marks


@pytest.mark.cluster
def test_an_unknown_server_is_no_victim(cluster: LoopbackCluster, tmp_path: Path) -> None:
    (injection,) = carry_out(cluster, tmp_path, Kill("nats-9", at_s=0.1), duration_s=0.3).injections
    assert not injection.landed and "Servers: nats-0, nats-1, nats-2" in injection.error


@pytest.mark.cluster
def test_a_paused_server_is_silent_and_resumed(cluster: LoopbackCluster, tmp_path: Path) -> None:
    (injection,) = carry_out(cluster, tmp_path, Pause("follower", at_s=0.1, down_s=0.3)).injections
    assert injection.landed and "say nothing" in injection.witness
    assert all(cluster.ready(server.name) for server in cluster.servers)


@pytest.mark.cluster
def test_what_is_not_healed_in_time_is_healed_at_the_end(cluster: LoopbackCluster, tmp_path: Path) -> None:
    history = carry_out(cluster, tmp_path, Kill("nats-1", at_s=0.1, down_s=None), duration_s=0.6)
    assert history.injections[0].healed_ns >= history.marks["drive"] + 600_000_000
    assert cluster.running("nats-1")


@pytest.mark.cluster
@pytest.mark.usefixtures("hearing")
@pytest.mark.parametrize(("how", "raised"), [("defect", ZeroDivisionError), ("interrupt", KeyboardInterrupt)])
def test_a_broken_run_is_healed_and_leaves_its_history(
    cluster: LoopbackCluster, tmp_path: Path, how: str, raised: type[BaseException]
) -> None:
    with pytest.raises(raised):
        carry_out(
            cluster, tmp_path, Kill("nats-1", at_s=0.1, down_s=30), workload=Breaking(how), duration_s=40
        )
    assert cluster.running("nats-1")
    history = read(tmp_path / "history.jsonl")
    assert not history.complete
    assert history.meta["ended_by"].startswith(raised.__name__)
    assert history.injections[0].landed and history.injections[0].healed_ns
    assert (history.operations.kind == Kind.PUT).any()


@pytest.mark.cluster
def test_a_platform_that_does_not_recover_still_gives_a_history(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    history = carry_out(cluster, tmp_path, Unhealed("nats-1", at_s=0.1), duration_s=0.5, settle_s=1.0)
    assert "not_settled" in history.marks and "settled" not in history.marks
    (settled,) = history.observed("settled")
    assert "nats-1 do not answer" in settled.data["behind"]
    assert history.complete and len(history.of_kinds(Kind.FINAL_GET))


@pytest.mark.cluster
def test_a_platform_without_quorum_is_not_healthy(
    cluster: LoopbackCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("natsproof.trial.HEALTHY_WITHIN_S", 0.5)
    cluster.kill("nats-1")
    cluster.kill("nats-2")
    history = carry_out(cluster, tmp_path, Kill("nats-0", at_s=0.1))
    assert "not_healthy" in history.marks and "drive" not in history.marks
    assert history.injections == () and history.complete


@pytest.mark.cluster
def test_a_fault_the_cluster_cannot_do_starts_nothing(cluster: LoopbackCluster, tmp_path: Path) -> None:
    with pytest.raises(NotAvailableHere, match="Partitionable"):
        carry_out(cluster, tmp_path, Partition())
    assert not (tmp_path / "history.jsonl").exists()


@pytest.mark.cluster
def test_a_rolling_restart_gives_every_server_a_new_life(cluster: LoopbackCluster, tmp_path: Path) -> None:
    (injection,) = carry_out(cluster, tmp_path, RollingRestart(at_s=0.1), duration_s=0.5).injections
    assert injection.landed and injection.healed_ns is None and not injection.error
    assert "nats-0, nats-1, nats-2" in injection.witness


@pytest.mark.cluster
@pytest.mark.parametrize(
    "fault",
    [
        FlipBits("nats-1", of="message_state", at_s=1.0, down_s=0.1),
        TruncateBlock("nats-1", of="message_state", at_s=1.0, down_s=0.1),
        RestoreSnapshot("nats-1", at_s=0.2, down_s=0.1, age_s=0.8),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_spoilt_volume_is_seen_on_disk(cluster: LoopbackCluster, tmp_path: Path, fault: Any) -> None:
    (injection,) = carry_out(cluster, tmp_path, fault).injections
    assert injection.landed and not injection.error
    assert cluster.running("nats-1")


@pytest.mark.cluster
def test_a_watch_reaches_its_end_on_every_server(cluster: LoopbackCluster, tmp_path: Path) -> None:
    history = carry_out(cluster, tmp_path, workload=Watch(("message_state",), rate_hz=60), duration_s=1.0)
    ends = list(history.observed("watch_end"))
    assert len(ends) == 3 and all(o.data["reached"] >= o.data["wanted"] > 0 for o in ends)
    seen = history.of_kinds(Kind.WATCH_PUT)
    assert set(np.unique(seen.server).tolist()) == {0, 1, 2}


@pytest.mark.cluster
def test_locks_are_held_one_at_a_time_and_lapse(cluster: LoopbackCluster, tmp_path: Path) -> None:
    workload = Locks(contenders=3, locks=1, ttl_s=1.5, hold_s=0.3, stall_share=0.5)
    history = carry_out(cluster, tmp_path, workload=workload, duration_s=4.0)
    held = history.of_kinds(Kind.HELD)
    order = np.argsort(held.call_ns)
    assert len(held) >= 3
    assert (held.return_ns[order][:-1] <= held.call_ns[order][1:]).all()
    assert (np.diff(held.revision[order]) > 0).all()
    stale = history.of_kinds(Kind.DELETE)
    assert (stale.outcome == Outcome.FAILED).any()
    (twin,) = history.observed("twin")
    assert history.meta["buckets"][twin.data["bucket"]]["ttl_s"] == 1.5
    assert twin.data["bucket"] not in str(cluster.monitor("nats-0", "/jsz?accounts=true&streams=true"))
