"""Volumes: an old copy, loss of space or rot on one server's volume costs no acknowledged write.

Promise    manifests/promises.yaml: survives volume-set-back-one, volume-full-one, -all, bit-rot-one
Not here   old copies and rot on a majority: no cluster can survive that
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
    tried_writes,
)
from natsproof.checkers.recovery import writes_resume_within
from natsproof.checkers.replicas import every_replica_holds_what_was_acknowledged, replicas_are_equal
from natsproof.faults.leadership import HandOver
from natsproof.faults.storage import FlipBits
from natsproof.trial import Trial
from suites.trials import (
    BITS_FLIPPED,
    BLOCK_TRUNCATED,
    CLIENTS,
    DISK_FULL,
    DISK_FULL_MENDED,
    DISKS_FULL,
    STATE,
    VOLUME_SET_BACK,
    WAITING,
    on,
)

#: What it holds is asked of the follower: as the bucket's leader it answers the reads at the end.
ROTTEN_LEADER = Trial(
    "flipped bits on a follower that leads later",
    CLIENTS,
    (
        FlipBits("first-follower", STATE, at_s=6.0, down_s=1.0, flips=8, stopped=True),
        HandOver("first-follower", STATE, at_s=18.0),
    ),
    20.0,
    40.0,
    **WAITING,
)

pytestmark = pytest.mark.needs("VolumeAccess", "DiskFillable")

ENOUGH = (every_fault_landed, at_least(300, acknowledged_puts))
ALL_FULL = (
    every_fault_landed,
    at_least(100, acknowledged_puts, when="before"),
    at_least(10, tried_writes, when="during"),
)
EACH_READ = (settled, every_server_was_read, every_fault_landed)


@on(VOLUME_SET_BACK)
def test_an_acknowledged_put_survives_an_old_copy_of_one_volume(certify, contract, trial):
    """With one volume set back by five seconds, every acknowledged put is read back through the leader."""
    promise = certify.survives("volume-set-back-one")
    certify.that(certify.run(trial), no_acknowledged_put_is_lost, given=ENOUGH, promise=promise)


@on(VOLUME_SET_BACK)
def test_a_volume_that_was_set_back_catches_up(certify, contract, trial):
    """A server that came back with an old volume again holds every acknowledged put in its own store."""
    promise = certify.survives("volume-set-back-one")
    certify.that(
        certify.run(trial), every_replica_holds_what_was_acknowledged, given=EACH_READ, promise=promise
    )


@on(DISK_FULL)
def test_an_acknowledged_put_survives_a_full_volume(certify, contract, trial):
    """With one volume full, writes go on, and every acknowledged put is read back through the leader."""
    promise = certify.survives("volume-full-one")
    certify.that(
        certify.run(trial),
        no_acknowledged_put_is_lost,
        given=[*ENOUGH, at_least(1, acknowledged_puts, when="during")],
        promise=promise,
    )


@pytest.mark.depth("standard")
@on(DISK_FULL_MENDED)
def test_a_server_whose_volume_was_full_catches_up(certify, contract, trial):
    """After room was made and the liveness probe restarted it, its store holds every acknowledged put."""
    promise = certify.survives("volume-full-one")
    certify.that(
        certify.run(trial), every_replica_holds_what_was_acknowledged, given=EACH_READ, promise=promise
    )


@pytest.mark.depth("standard")
@on(DISKS_FULL)
def test_an_acknowledged_put_survives_full_volumes_on_all_servers(certify, contract, trial):
    """With all volumes full at once, every acknowledged put is there when room was made."""
    promise = certify.survives("volume-full-all")
    certify.that(certify.run(trial), no_acknowledged_put_is_lost, given=ALL_FULL, promise=promise)


@pytest.mark.depth("standard")
@on(DISKS_FULL)
def test_writes_are_taken_again_when_full_volumes_have_room(certify, contract, trial):
    """After room was made on all volumes, and probes restarted the servers, writes are acknowledged again."""
    certify.that(
        certify.run(trial),
        writes_resume_within(certify.recovery_s("volumes-freed"), since="healed"),
        given=ALL_FULL,
    )


@on(BITS_FLIPPED, BLOCK_TRUNCATED, ROTTEN_LEADER)
def test_an_acknowledged_put_survives_rot_on_one_volume(certify, contract, trial):
    """With flipped bits or lost block ends on one volume, every acknowledged put is read back."""
    promise = certify.survives("bit-rot-one")
    certify.that(certify.run(trial), no_acknowledged_put_is_lost, given=ENOUGH, promise=promise)


@on(BITS_FLIPPED, BLOCK_TRUNCATED)
def test_rot_on_one_volume_leaves_replicas_equal(certify, contract, trial):
    """After a server started on a damaged volume, the three stores hold the same messages."""
    promise = certify.survives("bit-rot-one")
    certify.that(certify.run(trial), replicas_are_equal, given=EACH_READ, promise=promise)
