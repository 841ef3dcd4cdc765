"""Expiry: nothing is gone before its time, nothing is there after it.

Promise    manifests/promises.yaml: buckets.ttl, expiry_late
How        scaled twins: buckets of the same configuration with a TTL of 3 s, seen on each server's replica;
           canaries in the buckets themselves for 5 and 15 minutes (deep: 1 hour), beside the other claims
Not here   7 days in real time: by configuration and by twin
"""

from __future__ import annotations

import pytest

from natsproof.checkers.deployment import BucketAsPromised
from natsproof.checkers.expiry import values_expire_on_time
from natsproof.checkers.expiry_told import watchers_are_told_of_expiries
from natsproof.checkers.guards import (
    acknowledged_puts,
    at_least,
    every_fault_landed,
    settled,
    watch_events,
)
from natsproof.checkers.overwrites import puts_over_due_values
from natsproof.checkers.twins import TwinExpires
from natsproof.cluster import inspection
from natsproof.trial import Trial
from natsproof.workloads.overwrites import Overwrites
from suites.trials import (
    BUCKETS,
    CANARIES,
    EXPIRY_ALL_KILLED,
    EXPIRY_CALM,
    EXPIRY_LEADER_KILLED,
    EXPIRY_MARKED,
    EXPIRY_MARKED_LEADER_KILLED,
    EXPIRY_PAUSED,
    EXPIRY_TWO_KILLED,
    EXPIRY_WATCHED,
    MORTAL,
    REAL_TIME,
    clock_error_s,
    on,
)

OVERWRITTEN = Trial("values written as they expire", (Overwrites(BUCKETS),), (), 15.0)


@on(EXPIRY_CALM)
def test_values_expire_on_time_on_every_replica(certify, contract, trial):
    """No value is gone before its TTL, and none is left later than the TTL and the promised bound."""
    certify.that(certify.run(trial), values_expire_on_time(certify.expiry_late_s()))


@on(EXPIRY_LEADER_KILLED, EXPIRY_PAUSED, standard=(EXPIRY_TWO_KILLED, EXPIRY_ALL_KILLED))
def test_values_expire_on_time_through_a_fault(certify, contract, trial):
    """Through deaths, loss of quorum and a pause values expire on time, counted from healing where later."""
    certify.that(
        certify.run(trial),
        values_expire_on_time(certify.expiry_late_s(), after_faults=True),
        given=[every_fault_landed, at_least(10, acknowledged_puts, when="before")],
    )


@on(EXPIRY_MARKED_LEADER_KILLED, EXPIRY_WATCHED, standard=(EXPIRY_MARKED,))
def test_watchers_are_told_of_each_expiry_as_their_bucket_is_made(certify, contract, trial):
    """Watchers are told of each expiry once and on time if their bucket leaves markers, else nothing."""
    history = certify.run(trial)
    late_s = certify.expiry_late_s()
    certify.that(history, values_expire_on_time(late_s, after_faults=True), given=[settled])
    certify.that(
        history,
        watchers_are_told_of_expiries(late_s, after_faults=True),
        given=[at_least(30, watch_events), settled],
    )


@pytest.mark.depth("standard")
@on(OVERWRITTEN)
def test_a_value_written_as_its_key_expires_is_kept(certify, contract, trial):
    """A put over a value that is due, or is just being removed, lives its own time to the end."""
    certify.that(
        certify.run(trial),
        values_expire_on_time(certify.expiry_late_s()),
        given=[at_least(400 * len(BUCKETS), puts_over_due_values)],
    )


@pytest.mark.parametrize("bucket", MORTAL)
def test_a_ttl_is_configured_and_a_twin_of_its_bucket_expires(certify, contract, bucket):
    """The bucket has its promised TTL, and values of a bucket that differs in a short TTL expire on time."""
    promised = certify.bucket(bucket)
    certify.that(
        certify.observe("buckets", inspection.buckets),
        BucketAsPromised(promised),
        promise=promised.at("ttl_s"),
    )
    certify.that(certify.run(EXPIRY_CALM), TwinExpires(bucket, certify.expiry_late_s()))


@pytest.mark.parametrize("trial", REAL_TIME)
def test_values_expire_on_time_in_real_time(certify, contract, trial):
    """In the bucket itself no value is gone before the promised TTL or left later than it and the bound."""
    certify.that(
        certify.run(trial),
        values_expire_on_time(certify.expiry_late_s(), clock_error_s=clock_error_s(trial.duration_s)),
        given=[at_least(CANARIES, acknowledged_puts)],
        promise=contract.promises.bucket(trial.buckets[0]).at("ttl_s"),
    )
