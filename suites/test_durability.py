"""Durability: what the platform acknowledged, it keeps, through the death of processes.

Promise    manifests/promises.yaml: survives process-kill-one, process-kill-all
Not here   power loss: a SIGKILL leaves the page cache; see test_power_loss.py
"""

from __future__ import annotations

import pytest

from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.checkers.guards import (
    acknowledged_puts,
    at_least,
    every_fault_landed,
    every_server_was_read,
    final_reads,
    in_flight_at_the_fault,
    settled,
)
from natsproof.checkers.replicas import every_replica_holds_what_was_acknowledged, replicas_are_equal
from suites.trials import ALL_KILLED, BUCKETS, DISTURBED, ONE_KILLED, RESTARTED, STATE, on

# A bound of 3 in 150 on the loss rate, bucket by bucket.
ENOUGH = (at_least(150, acknowledged_puts), at_least(150, final_reads), every_fault_landed)


@pytest.mark.parametrize("bucket", BUCKETS)
@on(*ONE_KILLED)
def test_an_acknowledged_put_survives_sigkill_of_one_server(certify, contract, trial, bucket):
    """Every put acknowledged before, during or after SIGKILL of the leader or of a follower is read back."""
    history = certify.run(trial)
    certify.that(
        history.of_bucket(bucket),
        no_acknowledged_put_is_lost,
        given=[
            *ENOUGH,
            at_least(20, acknowledged_puts, when="before"),
            at_least(20, acknowledged_puts, when="after"),
        ],
        promise=certify.survives("process-kill-one"),
    )


@pytest.mark.parametrize("bucket", BUCKETS)
@on(ALL_KILLED)
def test_an_acknowledged_put_survives_sigkill_of_all_servers_at_once(certify, contract, trial, bucket):
    """Every put acknowledged before SIGKILL of all three servers at one moment is read back."""
    history = certify.run(trial)
    certify.that(
        history.of_bucket(bucket),
        no_acknowledged_put_is_lost,
        given=[
            at_least(150, acknowledged_puts),
            every_fault_landed,
            at_least(20, acknowledged_puts, when="before"),
        ],
        promise=certify.survives("process-kill-all"),
    )


@on(ALL_KILLED)
def test_writes_were_in_flight_when_all_servers_died(certify, contract, trial):
    """No put in flight at the moment of death is acknowledged and lost, and there were some in flight."""
    certify.that(
        certify.run(trial),
        no_acknowledged_put_is_lost,
        given=[in_flight_at_the_fault(2)],
        promise=certify.survives("process-kill-all"),
    )


@pytest.mark.parametrize("bucket", BUCKETS)
@on(RESTARTED)
def test_an_acknowledged_put_survives_a_rolling_restart(certify, contract, trial, bucket):
    """Every put acknowledged during a rolling restart (preStop, SIGTERM, grace) is read back."""
    history = certify.run(trial)
    certify.that(
        history.of_bucket(bucket),
        no_acknowledged_put_is_lost,
        given=ENOUGH,
        promise=[certify.survives("pod-moved"), contract.statefulset.at("template")],
    )


@on(*DISTURBED)
def test_every_replica_holds_every_acknowledged_put(certify, contract, trial):
    """After healing, the store of each server by itself holds every acknowledged put."""
    certify.that(
        certify.run(trial),
        every_replica_holds_what_was_acknowledged,
        given=[settled, every_server_was_read, every_fault_landed, at_least(600, acknowledged_puts)],
        promise=contract.promises.bucket(STATE).at("replicas"),
    )


@on(*DISTURBED)
def test_all_replicas_have_equal_contents(certify, contract, trial):
    """After healing, the three stores hold the same messages at the same revisions."""
    certify.that(
        certify.run(trial),
        replicas_are_equal,
        given=[settled, every_server_was_read, every_fault_landed],
        promise=contract.promises.bucket(STATE).at("replicas"),
    )
