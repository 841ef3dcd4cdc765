"""Volumes: rot, loss of space and an old copy on one server's volume cost no acknowledged write.

Promise    manifests/promises.yaml: replicas 3; survives pod-moved
Not here   the same on a majority: no cluster can survive that
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
from natsproof.checkers.replicas import every_replica_holds_what_was_acknowledged
from suites.trials import SPOILT, on

pytestmark = pytest.mark.needs("VolumeAccess", "DiskFillable")


@on(*SPOILT)
def test_an_acknowledged_put_survives_a_spoilt_volume(certify, contract, trial):
    """With one volume damaged, full or set back, every acknowledged put is read back through the leader."""
    certify.that(
        certify.run(trial),
        no_acknowledged_put_is_lost,
        given=[every_fault_landed, at_least(300, acknowledged_puts)],
        promise=contract.promises.bucket("message_state").at("replicas"),
    )


@on(*SPOILT)
def test_a_spoilt_volume_is_mended_from_the_others(certify, contract, trial):
    """After the server came back, its own store again holds every acknowledged put."""
    certify.that(
        certify.run(trial),
        every_replica_holds_what_was_acknowledged,
        given=[settled, every_server_was_read, every_fault_landed],
        promise=contract.promises.bucket("message_state").at("replicas"),
    )
