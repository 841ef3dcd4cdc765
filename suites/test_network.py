"""Bad links: lost packets and a narrow link cost time and no acknowledged write.

Promise    manifests/promises.yaml: survives packet-loss, narrow-link-one
Not here   links that are cut: test_partitions.py
"""

from __future__ import annotations

import pytest

from natsproof.checkers.durability import no_acknowledged_put_is_lost_by_two_leaders
from natsproof.checkers.guards import (
    acknowledged_puts,
    at_least,
    every_fault_landed,
    every_server_was_read,
    settled,
)
from natsproof.checkers.recovery import writes_resume_within
from natsproof.checkers.replicas import every_replica_holds_what_was_acknowledged, replicas_are_equal
from suites.trials import LEADER_LOSSY, LOSSY, NARROW, on

pytestmark = pytest.mark.needs("Impairable")

STANDARD = pytest.mark.depth("standard")
ENOUGH = (
    every_fault_landed,
    at_least(100, acknowledged_puts),
    at_least(20, acknowledged_puts, when="during"),
)
EACH_READ = (settled, every_server_was_read, every_fault_landed)


@on(LOSSY)
def test_an_acknowledged_put_survives_packet_loss(certify, contract, trial):
    """Every put acknowledged while one packet in ten is lost on every link is read back afterwards."""
    promise = certify.survives("packet-loss")
    certify.that(
        certify.run(trial), no_acknowledged_put_is_lost_by_two_leaders, given=ENOUGH, promise=promise
    )


@on(LOSSY)
def test_writes_go_on_through_packet_loss(certify, contract, trial):
    """While packets are lost, writes are acknowledged again within the budget for a dead server."""
    certify.that(
        certify.run(trial),
        writes_resume_within(certify.recovery_s("one-server-killed")),
        given=ENOUGH,
        promise=certify.survives("packet-loss"),
    )


@on(LOSSY)
def test_replicas_agree_after_packet_loss(certify, contract, trial):
    """After packets were lost, the three stores hold the same messages."""
    promise = certify.survives("packet-loss")
    certify.that(certify.run(trial), replicas_are_equal, given=EACH_READ, promise=promise)


@STANDARD
@on(LEADER_LOSSY)
def test_an_acknowledged_put_survives_packet_loss_at_the_leader(certify, contract, trial):
    """Every put acknowledged while a fifth of the leader's packets is lost is read back afterwards."""
    promise = certify.survives("packet-loss")
    certify.that(
        certify.run(trial), no_acknowledged_put_is_lost_by_two_leaders, given=ENOUGH, promise=promise
    )


@STANDARD
@on(NARROW)
def test_writes_go_on_with_one_narrow_link(certify, contract, trial):
    """A server with a narrow link costs writes no more time than a dead one."""
    certify.that(
        certify.run(trial),
        writes_resume_within(certify.recovery_s("one-server-killed")),
        given=ENOUGH,
        promise=certify.survives("narrow-link-one"),
    )


@STANDARD
@on(NARROW)
def test_a_server_behind_a_narrow_link_catches_up(certify, contract, trial):
    """Once its link is wide again, the server's own store holds every acknowledged put."""
    promise = certify.survives("narrow-link-one")
    certify.that(
        certify.run(trial), every_replica_holds_what_was_acknowledged, given=EACH_READ, promise=promise
    )
