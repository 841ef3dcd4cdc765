"""Operations: what an operator does on purpose costs no acknowledged write.

Promise    the platform's readme (scaling, upgrade, backup and recovery) and docs/runbook.md
Not here   operations of a real Kubernetes (rollout, drain, moved pods): test_kubernetes.py
"""

from __future__ import annotations

import pytest

from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.checkers.guards import (
    acknowledged_puts,
    answered_reads,
    at_least,
    clients_not_overlapping,
    every_fault_landed,
    every_server_was_read,
    final_reads,
    settled,
)
from natsproof.checkers.operations import (
    DriftIsFound,
    ScaledOutAndBack,
    StaleConfigurationIsFound,
    a_full_bucket_refuses_cleanly,
    at_least_while,
    every_write_before_the_backup_is_restored,
    never_two_servers_are_away,
)
from natsproof.checkers.recovery import no_gap_is_longer_than, writes_resume_within
from natsproof.checkers.registers import registers_are_linearizable
from natsproof.checkers.replicas import replicas_are_equal
from suites import operations
from suites.operations import DRAINED_TWICE, FILLED, RESIZED, RESTORED, SCALED, UPGRADED
from suites.trials import STATE, on

ENOUGH = (
    every_fault_landed,
    at_least(100, acknowledged_puts),
    at_least_while(50, acknowledged_puts),
    at_least(100, final_reads),
)
CHANGES = ("Stoppable", "Changeable")
ROLLED = [
    pytest.param(trial, id=name, marks=marks)
    for trial, name, marks in (
        (UPGRADED, "upgrade", [pytest.mark.xdist_group(UPGRADED.name)]),
        (RESIZED, "resources", [pytest.mark.xdist_group(RESIZED.name), pytest.mark.depth("standard")]),
        (
            SCALED,
            "five-and-back",
            [
                pytest.mark.xdist_group(SCALED.name),
                pytest.mark.depth("standard"),
                pytest.mark.needs("Scalable", "Administrable"),
            ],
        ),
    )
]


@pytest.mark.needs(*CHANGES)
@pytest.mark.parametrize("trial", ROLLED)
def test_an_acknowledged_put_survives_an_operation(certify, contract, trial):
    """Every put acknowledged before, during or after an upgrade, a resize or a scaling is read back."""
    certify.that(
        certify.run(trial),
        no_acknowledged_put_is_lost,
        given=ENOUGH,
        promise=contract.statefulset.at("template"),
    )


@pytest.mark.needs(*CHANGES)
@pytest.mark.parametrize("trial", ROLLED)
def test_registers_stay_linearizable_through_an_operation(certify, contract, trial):
    """Writes and leader reads of each key have one order, with old and new servers side by side too."""
    certify.that(
        certify.run(trial),
        registers_are_linearizable,
        given=[every_fault_landed, clients_not_overlapping, at_least(100, answered_reads)],
        promise=contract.statefulset.at("template"),
    )


@pytest.mark.needs(*CHANGES)
@pytest.mark.parametrize("trial", ROLLED)
def test_an_operation_interrupts_writes_no_longer_than_the_budget(certify, contract, trial):
    """During an operation the longest time without an acknowledged write stays within the budget."""
    certify.that(
        certify.run(trial),
        no_gap_is_longer_than(certify.recovery_s("rolling-restart")),
        given=[every_fault_landed, at_least_while(50, acknowledged_puts)],
    )


@pytest.mark.needs(*CHANGES)
@pytest.mark.parametrize("trial", ROLLED)
def test_replicas_are_equal_after_an_operation(certify, contract, trial):
    """After an operation the stores of the three servers hold the same messages."""
    certify.that(
        certify.run(trial),
        replicas_are_equal,
        given=[settled, every_server_was_read, every_fault_landed],
        promise=contract.statefulset.at("replicas"),
    )


@pytest.mark.needs("Stoppable", "Changeable", "Scalable", "Administrable")
def test_five_servers_agree_and_three_again(certify, contract):
    """With five servers all are routed, counted and agree on a leader; after peer-remove three do again."""
    certify.that(
        certify.observe("scaling", operations.scaling, fresh=True),
        ScaledOutAndBack(contract, operations.five(contract)),
        promise=contract.statefulset.at("replicas"),
    )


@pytest.mark.needs("Killable", "VolumeAccess", "Administrable")
@on(RESTORED)
def test_a_restore_gives_back_what_was_acknowledged_before_the_backup(certify, contract, trial):
    """The runbook's backup, restored into an empty platform, holds every write acknowledged before it."""
    certify.that(
        certify.run(trial),
        every_write_before_the_backup_is_restored,
        given=[
            every_fault_landed,
            at_least(100, acknowledged_puts, when="before"),
            at_least(100, final_reads),
        ],
        promise="docs/runbook.md: Backup, Restore into an empty platform",
    )


@pytest.mark.needs("Killable", "VolumeAccess", "Administrable")
@on(RESTORED)
def test_a_restored_platform_takes_writes(certify, contract, trial):
    """After the restore, and the set-up Job that found nothing to object to, each bucket takes puts again."""
    history = certify.run(trial)
    certify.that(
        history,
        writes_resume_within(certify.recovery_s("all-restarted"), since="healed"),
        given=[every_fault_landed],
        promise="docs/runbook.md: Restore into an empty platform",
    )
    certify.that(
        history,
        replicas_are_equal,
        given=[settled, every_fault_landed, at_least(50, acknowledged_puts, when="after")],
        promise="docs/runbook.md: Restore into an empty platform",
    )


@on(FILLED)
def test_a_full_bucket_refuses_cleanly_and_works_again_with_room(certify, contract, trial):
    """A full bucket refuses puts and updates with 10077, and takes them again after keys were purged."""
    certify.that(
        certify.run(trial),
        a_full_bucket_refuses_cleanly,
        promise=contract.promises.bucket(STATE).at("max_bytes"),
    )


@on(FILLED)
def test_a_full_bucket_keeps_what_it_had(certify, contract, trial):
    """Every write that a bucket acknowledged before it was full is read back, and its neighbours' too."""
    certify.that(
        certify.run(trial),
        no_acknowledged_put_is_lost,
        given=[at_least(100, acknowledged_puts), at_least(100, final_reads)],
        promise=contract.promises.bucket(STATE).at("max_bytes"),
    )


@pytest.mark.needs("Stoppable")
@pytest.mark.depth("standard")
@on(DRAINED_TWICE)
def test_two_drains_at_once_never_take_two_servers(certify, contract, trial):
    """Two operators restart all servers at once and obey the disruption budget: two are never away."""
    certify.that(
        certify.run(trial),
        never_two_servers_are_away,
        given=[every_fault_landed],
        promise=[budget.place for budget in contract.budgets],
    )


@pytest.mark.needs("Stoppable")
@pytest.mark.depth("standard")
@on(DRAINED_TWICE)
def test_two_drains_at_once_never_lose_the_quorum(certify, contract, trial):
    """Meanwhile writes are never interrupted for longer than one rolling restart may."""
    certify.that(
        certify.run(trial),
        no_gap_is_longer_than(certify.recovery_s("rolling-restart")),
        given=[every_fault_landed, at_least_while(50, acknowledged_puts)],
        promise=[budget.place for budget in contract.budgets],
    )


@pytest.mark.needs("Administrable")
def test_a_bucket_edited_by_hand_is_found(certify, contract):
    """A bucket whose size was edited live is told by the comparison with the promises and by the Job."""
    certify.that(
        certify.observe("drift of a bucket", operations.drift_of_a_bucket, fresh=True),
        DriftIsFound(contract, operations.EDITED),
        promise=contract.promises.bucket(operations.EDITED).place,
    )


@pytest.mark.needs("Changeable", "Stoppable")
def test_a_configuration_that_is_not_rolled_out_is_found(certify, contract):
    """Servers that still run the configuration of before an apply are told from the applied manifests."""
    certify.that(
        certify.observe("stale configuration", operations.stale_configuration, fresh=True),
        StaleConfigurationIsFound(contract, operations.more_memory(contract)),
        promise=contract.config_map.place,
    )
