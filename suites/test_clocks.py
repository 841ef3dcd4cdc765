"""Clocks: a server whose wall clock is off by less than the shortest TTL loses no acknowledged write.

Promise    manifests/promises.yaml: survives clock-shift-one, clock-shift-one-expiry
"""

from __future__ import annotations

import pytest

from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.checkers.expiry import values_expire_on_time
from natsproof.checkers.guards import (
    acknowledged_puts,
    at_least,
    every_fault_landed,
    every_server_was_read,
    settled,
)
from natsproof.checkers.replicas import replicas_are_equal
from suites.trials import CLOCK_AHEAD, CLOCK_BEHIND, EXPIRY_CLOCK_AHEAD, on

pytestmark = pytest.mark.needs("ClockShiftable")

ENOUGH = (
    every_fault_landed,
    at_least(100, acknowledged_puts),
    at_least(20, acknowledged_puts, when="during"),
)
EACH_READ = (settled, every_server_was_read, every_fault_landed)


@on(CLOCK_BEHIND)
def test_an_acknowledged_put_survives_a_clock_that_is_behind(certify, contract, trial):
    """Every put acknowledged while the leader's clock is two minutes behind is read back afterwards."""
    promise = certify.survives("clock-shift-one")
    certify.that(certify.run(trial), no_acknowledged_put_is_lost, given=ENOUGH, promise=promise)


@on(CLOCK_BEHIND)
def test_replicas_agree_after_a_clock_was_off(certify, contract, trial):
    """After the leader's clock was off, the three stores hold the same messages."""
    promise = certify.survives("clock-shift-one")
    certify.that(certify.run(trial), replicas_are_equal, given=EACH_READ, promise=promise)


@pytest.mark.depth("standard")
@on(CLOCK_AHEAD)
def test_an_acknowledged_put_survives_a_clock_that_is_ahead(certify, contract, trial):
    """Every put acknowledged while the leader's clock is two minutes ahead is read back afterwards."""
    promise = certify.survives("clock-shift-one")
    certify.that(certify.run(trial), no_acknowledged_put_is_lost, given=ENOUGH, promise=promise)


@pytest.mark.depth("standard")
@on(EXPIRY_CLOCK_AHEAD)
def test_values_expire_on_time_by_a_clock_that_jumps_ahead(certify, contract, trial):
    """When one server's clock jumps ahead, no value is gone before its TTL."""
    certify.that(
        certify.run(trial),
        values_expire_on_time(certify.expiry_late_s(), after_faults=True),
        given=[every_fault_landed],
        promise=certify.survives("clock-shift-one-expiry"),
    )
