"""Limits: what is too large, too many or too slow is refused cleanly, and everybody else is served.

Promise    manifests/configmap.yaml (max_payload), manifests/promises.yaml (all-restarted)
Not here   full buckets: test_operations.py; full volumes: test_volumes.py; rates: test_capacity.py
"""

from __future__ import annotations

import functools

import pytest

from natsproof.checkers.guards import acknowledged_puts, acknowledged_writes, at_least, every_fault_landed
from natsproof.checkers.limits import (
    ConnectionsServed,
    a_slow_consumer_is_cut_and_others_go_on,
    every_client_is_served_again_within,
    keys_are_stored_or_refused,
    payloads_end_exactly_at_the_limit,
    values_end_exactly_at_the_limit,
)
from natsproof.checkers.watch import watchers_see_every_write
from natsproof.faults.process import Kill
from natsproof.trial import Trial
from natsproof.workloads import limits_looks as look
from natsproof.workloads.limits import Crowd
from natsproof.workloads.watch import Watch
from suites.trials import BUCKETS, STATE, on

#: Connections that the claim wants at --depth quick, standard and deep; the file limit may allow fewer.
CONNECTIONS = (2000, 5000, 10000)
STORM = Trial(
    "reconnect storm after a restart of all",
    (Crowd(BUCKETS, clients=300, rate_hz=150.0),),
    (Kill("all", at_s=4.0, down_s=1.0),),
    24.0,
    40.0,
    replica_audit=False,
)
CROWD_OF_WATCHERS = Trial(
    "many watchers",
    (Watch((STATE,), writers=2, watchers=150, rate_hz=30.0),),
    (),
    6.0,
    replica_audit=False,
    puts=110,
)


def test_a_payload_is_refused_exactly_beyond_the_limit(certify, contract):
    """A value of max_payload bytes is stored; one of a byte more is refused and leaves nothing."""
    certify.that(
        certify.observe("sizes", look.sizes, fresh=True),
        payloads_end_exactly_at_the_limit,
        promise=contract.config.at("max_payload"),
    )


def test_a_value_is_refused_exactly_beyond_the_buckets_limit(certify, contract):
    """In a bucket with a largest value, a value of that size is stored and one of a byte more refused."""
    certify.that(
        certify.observe("sizes", look.sizes, fresh=True),
        values_end_exactly_at_the_limit,
        promise=contract.promises.bucket(STATE).place,
    )


def test_a_key_is_stored_as_it_is_or_refused(certify, contract):
    """Keys of all allowed characters and of the longest length are stored; others never are."""
    certify.that(
        certify.observe("keys", look.keys, fresh=True),
        keys_are_stored_or_refused,
        promise=contract.promises.bucket(STATE).place,
    )


def test_thousands_of_connections_are_served(certify, contract):
    """Thousands of clients are connected at once, and a put of each is acknowledged."""
    number = certify.scaled(**dict(zip(("quick", "standard", "deep"), CONNECTIONS, strict=True)))
    seen = certify.observe(
        f"{number} connections", functools.partial(look.connections, most=number), fresh=True
    )
    certify.that(seen, ConnectionsServed(1000), promise=contract.client_service.place)


def test_a_slow_consumer_is_cut_and_others_go_on(certify, contract):
    """A client that does not read is cut off; others on its server get everything and write on."""
    certify.that(
        certify.observe("slow consumer", look.slow_consumer, fresh=True),
        a_slow_consumer_is_cut_and_others_go_on,
        promise=contract.client_service.place,
    )


@on(CROWD_OF_WATCHERS)
def test_many_watchers_see_every_write(certify, contract, trial):
    """150 watchers of one bucket get each acknowledged write exactly once and in order."""
    certify.that(
        certify.run(trial),
        watchers_see_every_write,
        given=[at_least(100, acknowledged_writes)],
        promise=contract.promises.bucket(STATE).place,
    )


@pytest.mark.needs("Killable")
@on(STORM)
def test_every_client_is_served_again_after_a_restart_of_all(certify, contract, trial):
    """Clients that all lost their server come back at once (300; 60 where each is a port-forward), and each
    is served within the budget."""
    certify.that(
        certify.run(trial),
        every_client_is_served_again_within(certify.recovery_s("all-restarted"), at_least=50),
        given=[every_fault_landed, at_least(300, acknowledged_puts, when="before")],
    )
