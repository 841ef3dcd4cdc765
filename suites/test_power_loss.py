"""Power loss: an acknowledged write is on disk, not only in the page cache.

Promise    manifests/promises.yaml: survives power-loss-one, power-loss-all; recovery power-restored
Fault      the volumes are copied as the disk has them: what was never fsynced is absent
Not here   the disk's own volatile cache, which no test on a virtual machine can empty
"""

from __future__ import annotations

import pytest

from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.checkers.guards import (
    acknowledged_puts,
    at_least,
    every_fault_landed,
    every_server_was_read,
    settled,
)
from natsproof.checkers.recovery import writes_resume_within
from natsproof.checkers.replicas import every_replica_holds_what_was_acknowledged
from suites.trials import ALL_POWERLESS, BUCKETS, LEADER_POWERLESS, POWERLESS, on

pytestmark = pytest.mark.needs("PowerCuttable")


@pytest.mark.parametrize("bucket", BUCKETS)
@on(ALL_POWERLESS)
def test_an_acknowledged_put_survives_power_loss_of_all_servers(certify, contract, trial, bucket):
    """Every put acknowledged before a power cut of all three servers at once is read back."""
    certify.that(
        certify.run(trial).of_bucket(bucket),
        no_acknowledged_put_is_lost,
        given=[every_fault_landed, at_least(40, acknowledged_puts, when="before")],
        promise=certify.survives("power-loss-all"),
    )


@pytest.mark.parametrize("bucket", BUCKETS)
@on(LEADER_POWERLESS)
def test_an_acknowledged_put_survives_power_loss_of_the_leader(certify, contract, trial, bucket):
    """Every put acknowledged before, during or after a power cut of the leader is read back."""
    certify.that(
        certify.run(trial).of_bucket(bucket),
        no_acknowledged_put_is_lost,
        given=[every_fault_landed, at_least(40, acknowledged_puts, when="before")],
        promise=certify.survives("power-loss-one"),
    )


@on(ALL_POWERLESS)
def test_writes_resume_within_the_budget_after_power_returned(certify, contract, trial):
    """After all servers lost power and were started again, writes are acknowledged within the budget."""
    certify.that(
        certify.run(trial),
        writes_resume_within(certify.recovery_s("power-restored"), since="healed"),
        given=[every_fault_landed, at_least(20, acknowledged_puts, when="after")],
    )


@on(*POWERLESS)
def test_every_replica_holds_what_was_acknowledged_after_power_loss(certify, contract, trial):
    """After power returned, the store of each server by itself holds every acknowledged put."""
    certify.that(
        certify.run(trial),
        every_replica_holds_what_was_acknowledged,
        given=[settled, every_server_was_read, every_fault_landed],
        promise=certify.survives("power-loss-one"),
    )
