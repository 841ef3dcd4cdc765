"""Restarts that do not end: a kill storm, and a server in a crash loop.

Promise    manifests/promises.yaml: survives process-kill-one
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
from natsproof.checkers.replicas import replicas_are_equal
from suites.trials import CRASH_LOOP, STORM, on

pytestmark = pytest.mark.needs("Killable")

ENOUGH = (every_fault_landed, at_least(100, acknowledged_puts))
EACH_READ = (settled, every_server_was_read, every_fault_landed)


@on(STORM)
def test_an_acknowledged_put_survives_a_kill_storm(certify, contract, trial):
    """Every put acknowledged while servers are killed one after the other is read back afterwards."""
    promise = certify.survives("process-kill-one")
    certify.that(certify.run(trial), no_acknowledged_put_is_lost, given=ENOUGH, promise=promise)


@on(STORM)
def test_replicas_agree_after_a_kill_storm(certify, contract, trial):
    """After a kill storm, the three stores hold the same messages."""
    promise = certify.survives("process-kill-one")
    certify.that(certify.run(trial), replicas_are_equal, given=EACH_READ, promise=promise)


@pytest.mark.depth("standard")
@on(CRASH_LOOP)
def test_an_acknowledged_put_survives_a_crash_loop(certify, contract, trial):
    """Every put acknowledged while a follower dies and comes back, ever more slowly, is read back."""
    promise = certify.survives("process-kill-one")
    certify.that(certify.run(trial), no_acknowledged_put_is_lost, given=ENOUGH, promise=promise)
