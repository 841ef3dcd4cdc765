"""Expiry: nothing is gone before its time, nothing is there after it.

Promise    manifests/promises.yaml: buckets.ttl, expiry_late
How        scaled twins: buckets of the same configuration with a TTL of 3 s, seen on each server's replica
"""

from __future__ import annotations

from natsproof.checkers.expiry import values_expire_on_time
from natsproof.checkers.guards import every_fault_landed
from suites.trials import EXPIRY_CALM, EXPIRY_LEADER_KILLED, EXPIRY_PAUSED, on


@on(EXPIRY_CALM)
def test_values_expire_on_time_on_every_replica(certify, contract, trial):
    """No value is gone before its TTL, and none is left later than the TTL and the promised bound."""
    certify.that(
        certify.run(trial),
        values_expire_on_time(contract.promises.expiry_late_s),
        promise=contract.promises.at("expiry_late_s"),
    )


@on(EXPIRY_LEADER_KILLED, EXPIRY_PAUSED)
def test_values_expire_on_time_through_a_fault(certify, contract, trial):
    """Through the death of the leader and a pause values expire on time, counted from healing where later."""
    certify.that(
        certify.run(trial),
        values_expire_on_time(contract.promises.expiry_late_s, after_faults=True),
        given=[every_fault_landed],
        promise=contract.promises.at("expiry_late_s"),
    )
