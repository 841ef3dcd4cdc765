"""A harness made wrong: what it then shows must decide nothing, so every claim on it ends UNKNOWN."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

from natsproof.client import RecordingClient
from natsproof.client.watch import Watcher
from natsproof.faults import storage
from natsproof.faults.clocks import ClockShift
from natsproof.faults.impairment import Bandwidth, Loss
from natsproof.faults.leadership import HandOver
from natsproof.faults.network import PartialPartition, Partition
from natsproof.faults.operations import RollingRestart
from natsproof.faults.process import CrashLoop, Kill, Pause
from natsproof.recorder import Recorder
from natsproof.trial import audit
from natsproof.trial.observer import Observer
from natsproof.workloads.expiry import Expiry
from natsproof.workloads.locks import Locks
from natsproof.workloads.pacing import Pace
from suites import loads
from tests.mutants.catalogue.contract import (
    FLAPPING_PROMISED,
    FULL_CLAIMS,
    FULL_PROMISED,
    RETURNED,
    ROT_PROMISED,
)
from tests.mutants.catalogue.server import (
    BELIEVED,
    CLOCKS,
    CRASH_LOOP,
    CUT_PROMISED,
    DIRECT,
    EQUAL,
    HELD,
    LEADER_LOSSY,
    LINEAR,
    LINEAR_CUT,
    LOSSY,
    NARROW,
    ONE,
    SOON_RESTARTED,
    STORM,
    VALUES,
    WATCH,
)
from tests.mutants.mutant import Mutant


def _nothing(*_: Any, **__: Any) -> None:
    return None


async def _at_once(*_: Any, **__: Any) -> None:
    return None


Sabotage = Callable[[], AbstractContextManager[Any]]


def instead(where: Any, name: str, new: Any) -> Sabotage:
    return partial(mock.patch.object, where, name, new)


def all_of(*sabotages: Sabotage) -> Sabotage:
    @contextmanager
    def together() -> Any:
        with ExitStack() as stack:
            for sabotage in sabotages:
                stack.enter_context(sabotage())
            yield

    return together


def _few(pace: Any, scene: Any, rate_hz: float, rng: Any) -> None:
    """Pace.__init__ of a client that stops after some turns."""
    _PACE_INIT(pace, scene, rate_hz, rng)
    pace.left = 3


async def _turn_of_few(pace: Any) -> bool:
    pace.left -= 1
    return await _PACE_TURN(pace) and pace.left > 0


async def _turn_until_the_fault(pace: Any) -> bool:
    return await _PACE_TURN(pace) and "first_fault" not in pace._scene.recorder.marks


_PACE_INIT, _PACE_TURN = Pace.__init__, Pace.turn


async def _audit_of_two(stage: Any, client: Any, bucket: str) -> None:
    """audit.replica_rows that does not know of the last server."""
    two = stage.cluster.servers[:2]
    with mock.patch.object(type(stage.cluster), "servers", property(lambda _: two)):
        await _REPLICA_ROWS(stage, client, bucket)


_REPLICA_ROWS = audit.replica_rows


async def _never_settles(stage: Any, client: Any, within_s: float) -> bool:
    stage.recorder.mark("not_settled")
    return True


def _caught_up_but_deaf(watcher: Watcher) -> None:
    watcher.caught_up.set()


def _without_end(recorder: Recorder, reason: str = "") -> None:
    """Recorder.close that loses the last line of the file, the record `end`."""
    _CLOSE(recorder, reason)
    path = recorder.path
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b'"record":"end"' not in line))


_CLOSE = Recorder.close


@contextmanager
def _leaking_observer() -> Any:
    """Observer._write that keeps 8 MiB a look, until the claim is judged."""
    kept: list[bytes] = []

    def write(observer: Observer, view: Any) -> None:
        kept.append(b"x" * (8 << 20))
        _OBSERVER_WRITE(observer, view)

    with mock.patch.object(Observer, "_write", write):
        yield


_OBSERVER_WRITE = Observer._write


async def _canary_nobody_watches(canaries: Any, *_: Any) -> None:
    await asyncio.sleep(0)


FEW_WRITES = all_of(instead(Pace, "__init__", _few), instead(Pace, "turn", _turn_of_few))
GO_ON = "test_writes_go_on_with_one_server_dead"
GO_ON_PAUSED = "test_writes_go_on_with_one_server_paused"
META = "test_a_meta_leader_is_elected_again"
LOCK_CLAIMS = (
    "test_a_lock_has_one_holder_at_a_time[locks]",
    "test_a_lock_does_not_expire_early[locks]",
    "test_fencing_tokens_rise[locks]",
    "test_a_renewal_succeeds_only_on_its_own_lease[locks]",
    "test_a_stale_holder_is_refused[locks]",
    "test_a_free_lock_can_be_taken[locks]",
    "test_a_lock_does_not_outlive_its_ttl",
)


def _harness(name: str, sabotage: Sabotage, *claims: str, **more: Any) -> Mutant:
    return Mutant(name, "harness", claims, "UNKNOWN", sabotage=sabotage, **more)


FAULTS = (
    _harness(
        "a kill that does nothing",
        instead(Kill, "inject", _nothing),
        *(ONE, HELD, EQUAL, LINEAR, GO_ON, META),
        fast=True,
    ),
    _harness(
        "a fault on Kubernetes' stand-in that does nothing",
        instead(Kill, "inject", _nothing),
        "test_no_put_is_lost_in_a_rollout_restart",
        "test_no_put_is_lost_when_the_configuration_is_changed",
        "test_a_rollout_restart_interrupts_writes_no_longer_than_the_budget",
        "test_no_put_is_lost_when_the_leaders_node_is_lost",
        "test_writes_go_on_when_the_leaders_node_is_lost",
    ),
    _harness(
        "a fault on Chaos Mesh's stand-in that does nothing",
        instead(Kill, "inject", _nothing),
        "test_no_put_is_lost_when_chaos_mesh_strikes_the_leader",
        "test_no_put_is_lost_when_chaos_mesh_hurts_a_link_a_disk_or_a_host",
        "test_writes_go_on_when_chaos_mesh_kills_the_leader",
    ),
    _harness(
        "a kill of two that does nothing",
        instead(Kill, "inject", _nothing),
        "test_no_write_is_acknowledged_with_two_servers_dead",
        "test_writes_resume_within_the_budget_after_quorum_returns",
    ),
    _harness(
        "a kill of all that does nothing",
        instead(Kill, "inject", _nothing),
        "test_an_acknowledged_put_survives_sigkill_of_all_servers_at_once",
        "test_writes_were_in_flight_when_all_servers_died",
        "test_writes_resume_within_the_budget_after_all_servers_died",
    ),
    _harness(
        "a kill under load that does nothing",
        instead(Kill, "inject", _nothing),
        "test_no_acknowledged_write_is_lost_under_load_and_kills",
        "test_service_returns_within_the_budget_after_each_kill",
    ),
    _harness(
        "a kill in a soak that does nothing",
        instead(Kill, "inject", _nothing),
        "test_no_acknowledged_write_is_lost_in_a_soak_of_leader_kills",
        "test_service_returns_within_the_budget_after_each_kill_of_a_soak",
        "test_the_runner_stays_flat_in_a_soak",
    ),
    _harness("a pause that does nothing", instead(Pause, "inject", _nothing), GO_ON_PAUSED, VALUES[1]),
    _harness(
        "a restart that restarts nobody",
        instead(RollingRestart, "inject", _nothing),
        "test_an_acknowledged_put_survives_a_rolling_restart",
        "test_a_rolling_restart_interrupts_writes_no_longer_than_the_budget",
    ),
    _harness(
        "a partition that does nothing",
        instead(Partition, "inject", _nothing),
        "test_an_acknowledged_put_survives_a_partition[leader cut off from the others]",
        "test_an_acknowledged_put_survives_a_flapping_partition",
        LINEAR_CUT,
        "test_replicas_agree_after_a_partition[flapping partition]",
        "test_every_replica_holds_what_was_acknowledged_through_a_partition[flapping partition]",
        setting=(*CUT_PROMISED, *FLAPPING_PROMISED),
    ),
    _harness(
        "a partial partition that does nothing",
        instead(PartialPartition, "inject", _nothing),
        RETURNED,
        setting=FLAPPING_PROMISED,
        controlled=False,
    ),
    _harness(
        "a hand-over that does nothing",
        instead(HandOver, "inject", _nothing),
        RETURNED,
        setting=FLAPPING_PROMISED,
        controlled=False,
    ),
    _harness("a loss that loses nothing", instead(Loss, "inject", _nothing), *LOSSY, *LEADER_LOSSY),
    _harness("a narrow link that is wide", instead(Bandwidth, "inject", _nothing), *NARROW),
    _harness("a clock that is not shifted", instead(ClockShift, "inject", _nothing), *CLOCKS),
    _harness("a kill storm that kills nobody", instead(Kill, "inject", _nothing), *STORM),
    _harness("a crash loop without a crash", instead(CrashLoop, "inject", _nothing), CRASH_LOOP),
    _harness(
        "a power cut that does nothing",
        instead(storage.PowerCut, "inject", _nothing),
        "test_writes_resume_within_the_budget_after_power_returned",
        "test_an_acknowledged_put_survives_power_loss_of_all_servers",
        "test_every_replica_holds_what_was_acknowledged_after_power_loss[power cut of all servers]",
    ),
    _harness(
        "a power cut of the leader that does nothing",
        instead(storage.PowerCut, "inject", _nothing),
        "test_an_acknowledged_put_survives_power_loss_of_the_leader",
    ),
    _harness(
        "a volume that is not set back",
        instead(storage.RestoreSnapshot, "inject", _nothing),
        "test_an_acknowledged_put_survives_an_old_copy_of_one_volume",
        "test_a_volume_that_was_set_back_catches_up",
    ),
    _harness(
        "a volume that is not filled",
        instead(storage.FillDisk, "inject", _nothing),
        "test_an_acknowledged_put_survives_a_full_volume",
        "test_a_server_whose_volume_was_full_catches_up",
        setting=SOON_RESTARTED,
    ),
    _harness(
        "volumes of all servers that are not filled",
        instead(storage.FillDisk, "inject", _nothing),
        *FULL_CLAIMS,
        setting=FULL_PROMISED,
        controlled=False,
    ),
    _harness(
        "bits that are not flipped",
        instead(storage.FlipBits, "_spoil", _nothing),
        "test_an_acknowledged_put_survives_rot_on_one_volume",
        "test_rot_on_one_volume_leaves_replicas_equal",
        setting=ROT_PROMISED,
        controlled=False,
    ),
)

CLIENTS = (
    _harness("clients that stop at once", FEW_WRITES, ONE, HELD, LINEAR, GO_ON, fast=True),
    _harness(
        "clients that stop at the fault",
        instead(Pace, "turn", _turn_until_the_fault),
        *(GO_ON, "test_no_write_is_acknowledged_with_two_servers_dead"),
        "test_writes_resume_within_the_budget_after_quorum_returns",
    ),
    _harness(
        "clients that stop when the minority is cut off",
        instead(Pace, "turn", _turn_until_the_fault),
        "test_a_minority_acknowledges_nothing",
        "test_the_majority_goes_on_without_a_leader_that_is_cut_off",
        "test_writes_resume_within_the_budget_after_a_partition_has_healed",
    ),
    _harness("nobody asks the replicas", instead(RecordingClient, "direct_get", _at_once), DIRECT),
    _harness("canaries that nobody plants", instead(Expiry, "_canary", _canary_nobody_watches), *VALUES),
    _harness("canaries that nobody watches", instead(Expiry, "_until_gone", _at_once), VALUES[0]),
    _harness("contenders that never try", instead(Locks, "_contend", _at_once), *LOCK_CLAIMS),
    _harness(
        "an operator who purges nothing",
        instead(Locks, "_purge", _at_once),
        "test_a_purged_lock_can_be_taken_again",
    ),
    _harness(
        "holders that know when they are stale",
        instead(Locks, "_try_though_stale", _at_once),
        "test_a_holder_that_was_cut_off_is_refused",
    ),
    _harness(
        "contenders that never try under the fault",
        instead(Locks, "_contend", _at_once),
        "test_locks_were_tried_under_the_fault",
        BELIEVED,
    ),
    _harness("a watcher that never starts", instead(Watcher, "start", _caught_up_but_deaf), WATCH, fast=True),
    _harness(
        "a load of a tenth",
        instead(loads, "ABOVE", 0.1),
        "test_the_promised_rate_holds_with_all_pods",
        "test_a_put_at_the_promised_rate_is_answered_in_time",
    ),
)

RECORDS = (
    _harness(
        "a recorder that loses its end",
        instead(Recorder, "close", _without_end),
        ONE,
        HELD,
        EQUAL,
        LINEAR,
        GO_ON,
    ),
    _harness("a final sweep that reads nothing", instead(audit, "final_reads", _at_once), ONE),
    _harness("a replica audit that reads nothing", instead(audit, "replica_rows", _at_once), HELD, EQUAL),
    _harness(
        "a replica audit that skips a server", instead(audit, "replica_rows", _audit_of_two), HELD, EQUAL
    ),
    _harness("a platform that never settles", instead(audit, "settle", _never_settles), HELD, EQUAL),
    _harness("an observer that keeps all it sees", _leaking_observer, "test_the_runner_stays_flat_in_a_soak"),
    _harness("an observer that sees nothing", instead(Observer, "_write", _nothing), META),
)

MUTANTS = (*FAULTS, *CLIENTS, *RECORDS)
