"""Throughput: the promised rate holds, also while pods die.

Promise    manifests/promises.yaml: rate_floor_hz, rate_floor_one_down_hz, p99, recovery
Load       real Locust (loadtests/locustfile.py), open loop, the platform's mix, recorded and judged
Not here   how much more it takes: test_capacity.py; power loss: test_durability.py
"""

from __future__ import annotations

import pytest

from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.checkers.guards import acknowledged_writes as acknowledged
from natsproof.checkers.guards import at_least, every_fault_landed
from natsproof.checkers.loaded import (
    AnswersWithin,
    ServesAgainWithin,
    SharesFairly,
    SustainsRate,
    the_load_was_offered,
)
from natsproof.checkers.soak import StaysFlat
from suites import loads

# Wants the machine for itself: `make certify` leaves it out, `make load` runs it alone.
pytestmark = pytest.mark.load

GIVEN = [the_load_was_offered, at_least(1000, acknowledged)]
GIVEN_FAULTS = [*GIVEN, every_fault_landed]


def test_the_promised_rate_holds_with_all_pods(certify, contract):
    """The promised number of writes a second is acknowledged while all pods are up."""
    promises = contract.promises
    history = certify.run(loads.all_pods(promises, certify.scaled(quick=12, standard=30, deep=120)))
    certify.that(
        history, SustainsRate(promises.rate_floor_hz), given=GIVEN, promise=promises.at("rate_floor_hz")
    )


def test_a_put_at_the_promised_rate_is_answered_in_time(certify, contract):
    """The 99th percentile of the latency at the promised rate, from the intended send, is as promised."""
    promises = contract.promises
    history = certify.run(loads.all_pods(promises, certify.scaled(quick=12, standard=30, deep=120)))
    certify.that(history, AnswersWithin(certify.p99_s()), given=GIVEN)


@pytest.mark.parametrize("victim", ["leader", "follower"])
def test_the_promised_rate_holds_with_one_pod_down(certify, contract, victim):
    """With one pod down, once the recovery budget is over, the promised lower rate is acknowledged."""
    promises = contract.promises
    history = certify.run(loads.one_pod_down(promises, victim, certify.scaled(quick=8, standard=20, deep=60)))
    budget_s = certify.recovery_s("one-server-killed")
    certify.that(
        history,
        SustainsRate(promises.rate_floor_one_down_hz, when="down", budget_s=budget_s),
        given=GIVEN_FAULTS,
        promise=promises.at("rate_floor_one_down_hz"),
    )


def test_no_acknowledged_write_is_lost_under_load_and_kills(certify, contract):
    """Every write acknowledged to the load is there at the end, though pods were killed again and again."""
    history = certify.run(loads.kills(contract.promises, certify.scaled(quick=3, standard=12, deep=200)))
    certify.that(
        history,
        no_acknowledged_put_is_lost,
        given=[at_least(1000, acknowledged), every_fault_landed],
        promise=contract.promises.at("survives"),
    )


def test_service_returns_within_the_budget_after_each_kill(certify, contract):
    """After each kill under load, every bucket acknowledges writes again within the recovery budget."""
    promises = contract.promises
    history = certify.run(loads.kills(promises, certify.scaled(quick=3, standard=12, deep=200)))
    certify.that(
        history,
        ServesAgainWithin(certify.recovery_s("one-server-killed")),
        given=GIVEN_FAULTS,
    )


@pytest.mark.depth("deep")
def test_no_acknowledged_write_is_lost_in_a_soak_of_leader_kills(certify, contract):
    """Of 200 leaders killed under load, each as soon as the last was back, no acknowledged write is lost."""
    history = certify.run(loads.soak(contract.promises, certify.scaled(quick=3, standard=20, deep=200)))
    certify.that(
        history,
        no_acknowledged_put_is_lost,
        given=[at_least(1000, acknowledged), every_fault_landed],
        promise=contract.promises.at("survives"),
    )


@pytest.mark.depth("deep")
def test_service_returns_within_the_budget_after_each_kill_of_a_soak(certify, contract):
    """After each of 200 leader kills every bucket acknowledges writes again within the recovery budget."""
    promises = contract.promises
    history = certify.run(loads.soak(promises, certify.scaled(quick=3, standard=20, deep=200)))
    certify.that(
        history,
        ServesAgainWithin(certify.recovery_s("one-server-killed")),
        given=GIVEN_FAULTS,
    )


@pytest.mark.depth("deep")
def test_the_runner_stays_flat_in_a_soak(certify, contract):
    """Through 200 kills the memory of the runner, of Locust and of its generators does not grow."""
    history = certify.run(loads.soak(contract.promises, certify.scaled(quick=3, standard=20, deep=200)))
    certify.that(history, StaysFlat(), given=[every_fault_landed], promise="docs/load.md: soak")


def test_a_noisy_bucket_does_not_starve_the_locks(certify, contract):
    """While message_state gets five times its share, locks are answered as promised."""
    history = certify.run(loads.noisy(contract.promises, certify.scaled(quick=10, standard=30, deep=120)))
    certify.that(history, AnswersWithin(certify.p99_s(), bucket="integration_locks"), given=GIVEN)


def test_all_buckets_are_served_alike(certify, contract):
    """No bucket has a smaller part of its operations answered than the others."""
    promises = contract.promises
    history = certify.run(loads.noisy(promises, certify.scaled(quick=10, standard=30, deep=120)))
    certify.that(history, SharesFairly(), given=GIVEN, promise=promises.at("rate_floor_hz"))
