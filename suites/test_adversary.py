"""An adversary's order of events: those who know of a write are away when the others decide.

Promise    manifests/promises.yaml: survives
Fault      a minority starves (asleep or cut off) while the others write; the follower that carries the
           writes dies and comes back; the leader sleeps, so that the starved one and the one that died are a
           majority; then the sides are swapped. Or: two servers lose each other, and leadership goes from
           one to the other and back before they meet again
Not here   orders that nobody thought of: test_schedules.py
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
from natsproof.checkers.replicas import every_replica_holds_what_was_acknowledged
from natsproof.faults.leadership import HandOver
from natsproof.faults.network import PartialPartition, Partition
from natsproof.faults.process import Kill, Pause
from natsproof.faults.storage import PowerCut, WriteBack
from natsproof.trial import Trial
from natsproof.workloads.register import Register
from suites.trials import CLIENTS, STATE, on

#: Sleep, and its mirror image: who starved carries the writes the second time.
STARVED = Trial(
    "starved minority, sides swapped",
    CLIENTS,
    (
        Pause("first-follower", at_s=1.5, down_s=4.0),
        Kill("last-follower", at_s=5.0, down_s=0.5),
        Pause("leader", at_s=5.2, down_s=10.0),
        Pause("last-follower", at_s=19.0, down_s=4.0),
        Kill("first-follower", at_s=22.5, down_s=0.5),
        Pause("leader", at_s=22.7, down_s=10.0),
    ),
    36.0,
    60.0,
    evidence=25,
)
CUT_OFF = Trial(
    "cut-off minority, the carrier dies",
    CLIENTS,
    (
        Partition("first-follower", at_s=1.5, down_s=6.0),
        Kill("last-follower", at_s=7.0, down_s=0.5),
        Pause("leader", at_s=7.2, down_s=10.0),
    ),
    24.0,
    60.0,
    evidence=25,
)
#: Written back first: a server that lost the bucket itself has no vote about it, and nobody is outvoted.
POWERLESS_CARRIER = Trial(
    "starved minority, the carrier loses power",
    CLIENTS,
    (
        WriteBack(at_s=1.5),
        Pause("first-follower", at_s=2.5, down_s=6.0),
        PowerCut("last-follower", at_s=7.5, down_s=0.5),
        Pause("leader", at_s=7.7, down_s=20.0),
    ),
    32.0,
    60.0,
    evidence=25,
)

#: Each server has clients that write the same few keys, and soon go on where an answer is lost.
ON_EACH_SERVER = (
    Register((STATE,), clients=9, keys=150, rate_hz=150.0, read_share=0.1, update_share=0.1, timeout_s=1.0),
)


@pytest.mark.needs("Killable", "Pausable", "Partitionable")
@on(STARVED, standard=(CUT_OFF,))
def test_a_put_survives_the_absence_of_all_but_one_that_know_of_it(certify, contract, trial):
    """A put acknowledged while a minority starved is read back, though the minority had a part in the next
    majority."""
    certify.with_servers(3)
    certify.that(
        certify.run(trial),
        no_acknowledged_put_is_lost_by_two_leaders,
        given=[every_fault_landed, at_least(100, acknowledged_puts)],
        promise=[certify.survives("process-kill-one"), certify.survives("partition")],
    )


@pytest.mark.needs("Killable", "Pausable", "Partitionable")
@on(STARVED, standard=(CUT_OFF,))
def test_a_starved_replica_catches_up(certify, contract, trial):
    """After that the store of each server by itself holds every acknowledged put."""
    certify.with_servers(3)
    certify.that(
        certify.run(trial),
        every_replica_holds_what_was_acknowledged,
        given=[settled, every_server_was_read, every_fault_landed],
        promise=contract.promises.bucket(STATE).at("replicas"),
    )


@pytest.mark.needs("Pausable", "PowerCuttable")
@on(POWERLESS_CARRIER)
def test_a_put_survives_power_loss_of_the_one_that_carries_it(certify, contract, trial):
    """A put acknowledged while a minority starved is read back, though the one that carried it into the next
    majority lost power."""
    certify.with_servers(3)
    certify.that(
        certify.run(trial),
        no_acknowledged_put_is_lost_by_two_leaders,
        given=[every_fault_landed, at_least(50, acknowledged_puts)],
        promise=certify.survives("power-loss-one"),
    )


@pytest.fixture
def leader_returns(certify, contract):
    """The trial: who led before leads again while what was sent to it the first time is still on the way."""
    certify.with_servers(3)
    back, away, between = contract.statefulset.pod_names()
    turns = ((back, 1.0), (between, 3.1), (away, 3.7), (between, 5.6), (back, 6.1), (back, 8.5))
    faults = (
        PartialPartition(back, at_s=3.0, down_s=3.6, other=away),
        *(HandOver(to, STATE, at_s=at_s, through=between) for to, at_s in turns),
    )
    return Trial("a leader returns", ON_EACH_SERVER, faults, 9.5, 60.0, evidence=25)


@pytest.mark.needs("Partitionable")
def test_an_acknowledged_put_survives_the_return_of_a_leader(certify, contract, leader_returns):
    """With a leader that loses a server, leadership, and wins both back, every acknowledged put is read
    back."""
    promise = certify.survives("partition-flapping")
    certify.that(
        certify.run(leader_returns),
        no_acknowledged_put_is_lost_by_two_leaders,
        given=[every_fault_landed, at_least(100, acknowledged_puts)],
        promise=promise,
    )
