"""Partitions: a server that others cannot reach neither loses nor forges a write.

Promise    manifests/promises.yaml: survives partition, partition-flapping; recovery, replicas
Not here   dead and paused servers: test_quorum.py
"""

from __future__ import annotations

import pytest

from natsproof.checkers.durability import (
    no_acknowledged_put_is_lost_by_two_leaders,
    no_write_is_acknowledged_during,
)
from natsproof.checkers.guards import (
    acknowledged_puts,
    acknowledged_writes,
    answered_reads,
    at_least,
    every_fault_landed,
    every_server_was_read,
    settled,
    tried_writes,
)
from natsproof.checkers.recovery import writes_resume_within
from natsproof.checkers.registers import registers_are_linearizable
from natsproof.checkers.replicas import every_replica_holds_what_was_acknowledged, replicas_are_equal
from suites.trials import BUCKETS, CLIENTS_WITH_MINORITY, FLAPPING, LEADER_ISOLATED, PARTITIONED, STATE, on

pytestmark = pytest.mark.needs("Partitionable")


@on(*(trial for trial in PARTITIONED if trial is not FLAPPING))
def test_an_acknowledged_put_survives_a_partition(certify, contract, trial):
    """Every put acknowledged on either side of a partition, at any time, is read back after it heals."""
    certify.that(
        certify.run(trial),
        no_acknowledged_put_is_lost_by_two_leaders,
        given=[every_fault_landed, at_least(300, acknowledged_puts)],
        promise=certify.survives("partition"),
    )


@on(FLAPPING)
def test_an_acknowledged_put_survives_a_flapping_partition(certify, contract, trial):
    """With the leader of then cut off again and again, every acknowledged put is read back."""
    promise = certify.survives("partition-flapping")
    certify.that(
        certify.run(trial),
        no_acknowledged_put_is_lost_by_two_leaders,
        given=[every_fault_landed, at_least(300, acknowledged_puts)],
        promise=promise,
    )


@pytest.mark.parametrize("bucket", BUCKETS)
@on(*PARTITIONED)
def test_reads_and_registers_are_linearizable_through_a_partition(certify, contract, trial, bucket):
    """With clients on both sides of a partition, each key still has one order that respects time."""
    certify.that(
        certify.run(trial).of_bucket(bucket),
        registers_are_linearizable,
        given=[every_fault_landed, at_least(50, acknowledged_writes), at_least(20, answered_reads)],
        promise=certify.linearizable("partition"),
    )


@on(LEADER_ISOLATED)
def test_the_majority_goes_on_without_a_leader_that_is_cut_off(certify, contract, trial):
    """With the leader cut off, the other two acknowledge writes again within the budget."""
    certify.that(
        certify.run(trial),
        writes_resume_within(certify.recovery_s("one-server-killed"), until="healing"),
        given=[every_fault_landed, at_least(1, acknowledged_puts, when="during")],
    )


@on(CLIENTS_WITH_MINORITY)
def test_writes_resume_within_the_budget_after_a_partition_has_healed(certify, contract, trial):
    """Clients that were left with the minority are served again within the budget once it has healed."""
    certify.that(
        certify.run(trial),
        writes_resume_within(certify.recovery_s("partition-healed"), since="healed"),
        given=[every_fault_landed, at_least(20, acknowledged_puts, when="after")],
    )


@on(CLIENTS_WITH_MINORITY)
def test_a_minority_acknowledges_nothing(certify, contract, trial):
    """Clients that reach only the server on the minority side get no write acknowledged."""
    certify.that(
        certify.run(trial),
        no_write_is_acknowledged_during("Partition"),
        given=[every_fault_landed, at_least(10, tried_writes, when="during")],
        promise=contract.promises.bucket(STATE).at("replicas"),
    )


@on(*PARTITIONED)
def test_replicas_agree_after_a_partition(certify, contract, trial):
    """After healing, the three stores hold the same messages."""
    certify.that(
        certify.run(trial),
        replicas_are_equal,
        given=[settled, every_server_was_read, every_fault_landed],
        promise=contract.promises.bucket(STATE).at("replicas"),
    )


@on(*PARTITIONED)
def test_every_replica_holds_what_was_acknowledged_through_a_partition(certify, contract, trial):
    """After healing, the store of each server by itself holds every acknowledged put."""
    certify.that(
        certify.run(trial),
        every_replica_holds_what_was_acknowledged,
        given=[settled, every_server_was_read, every_fault_landed],
        promise=contract.promises.bucket(STATE).at("replicas"),
    )
