"""Random schedules: faults in orders that nobody thought of, drawn from the run's seed.

Promise    manifests/promises.yaml: survives
Fault      kills, pauses and partitions, one after the other or one into the other; power cuts
Not here   availability while they last; recovery: test_quorum.py

One schedule with `--depth quick`, 4 with standard, 30 with deep, or `--schedules N`. A broken one is made as
small as can be with `--shrink SECONDS`, and printed as a test.
"""

from __future__ import annotations

import pytest

from natsproof.checkers.durability import no_acknowledged_put_is_lost_by_two_leaders
from natsproof.checkers.guards import (
    acknowledged_puts,
    at_least,
    every_fault_landed,
    every_server_was_read,
    settled,
)
from natsproof.checkers.replicas import every_replica_holds_what_was_acknowledged
from natsproof.trial import Trial
from natsproof.trial.random_schedule import POWER, PROCESS, random_schedule
from suites.trials import CLIENTS


@pytest.fixture
def schedule():
    """Which of the run's random schedules; the plugin makes a claim of each."""
    return 1


@pytest.fixture
def drawn(certify, contract, schedule):
    """The trial of this schedule: its faults follow from the run's seed and its number."""
    return _trial("random schedule", certify, contract, schedule, PROCESS, 14.0)


@pytest.fixture
def drawn_with_power_cuts(certify, contract, schedule):
    """The same, with power cuts."""
    return _trial(
        "random schedule with power cuts", certify, contract, schedule, POWER, 22.0, always="PowerCut"
    )


def _trial(name, certify, contract, schedule, kinds, for_s, always=""):
    certify.with_servers(3)
    servers = contract.statefulset.pod_names()
    faults = random_schedule(f"{certify.seed}/{schedule}", servers, kinds=kinds, for_s=for_s, always=always)
    ends_s = max(fault.at_s + fault.down_s for fault in faults)
    return Trial(f"{name} {schedule}", CLIENTS, faults, ends_s + 8.0, 60.0, evidence=25)


@pytest.mark.needs("Killable", "Pausable", "Partitionable")
def test_an_acknowledged_put_survives_a_random_schedule(certify, contract, drawn):
    """Every put acknowledged at any time of a random schedule of kills, pauses, partitions is read back."""
    certify.that(
        certify.run(drawn),
        no_acknowledged_put_is_lost_by_two_leaders,
        given=[every_fault_landed, at_least(200, acknowledged_puts)],
        promise=_survives(certify, "process-kill-one", "process-kill-all", "partition"),
    )


@pytest.mark.needs("Killable", "Pausable", "Partitionable")
def test_every_replica_holds_what_was_acknowledged_in_a_random_schedule(certify, contract, drawn):
    """After a random schedule the store of each server by itself holds every acknowledged put."""
    certify.that(
        certify.run(drawn),
        every_replica_holds_what_was_acknowledged,
        given=[settled, every_server_was_read, every_fault_landed],
        promise=_survives(certify, "process-kill-one", "process-kill-all", "partition"),
    )


@pytest.mark.depth("standard")
@pytest.mark.needs("Killable", "Pausable", "PowerCuttable")
def test_an_acknowledged_put_survives_a_random_schedule_of_power_cuts(
    certify, contract, drawn_with_power_cuts
):
    """Every put acknowledged at any time of a random schedule with power cuts is read back."""
    certify.that(
        certify.run(drawn_with_power_cuts),
        no_acknowledged_put_is_lost_by_two_leaders,
        given=[every_fault_landed, at_least(200, acknowledged_puts)],
        promise=_survives(certify, "process-kill-one", "power-loss-one", "power-loss-all"),
    )


def _survives(certify, *deaths):
    return [certify.survives(death) for death in deaths]
