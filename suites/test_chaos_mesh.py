"""Chaos Mesh: the platform's promises while a controller of its cluster hurts servers, links, disks, hosts.

Promise    manifests/promises.yaml: survives, recovery_s
Not here   the same deaths without Chaos Mesh: test_quorum.py, test_durability.py, test_partitions.py
"""

from __future__ import annotations

import pytest

from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.checkers.guards import acknowledged_puts, at_least, every_fault_landed, final_reads
from natsproof.checkers.recovery import writes_resume_within
from natsproof.faults.chaos_mesh import ChaosContainerKill, ChaosPartition, ChaosPodFailure, ChaosPodKill
from natsproof.faults.chaos_mesh_hosts import ChaosBusyCpu, ChaosFailingDisk, ChaosFullMemory, ChaosSlowDisk
from natsproof.faults.chaos_mesh_links import ChaosBandwidth, ChaosDelay, ChaosLoss
from natsproof.trial import Trial
from natsproof.workloads.ledger import Ledger
from suites.trials import BUCKETS

CLIENTS = (Ledger(BUCKETS, writers=8, rate_hz=100.0),)

POD_KILL = Trial("chaos mesh: pod-kill", CLIENTS, (ChaosPodKill("leader", at_s=3.0),), duration_s=30.0)
CONTAINER_KILL = Trial(
    "chaos mesh: container-kill", CLIENTS, (ChaosContainerKill("leader", at_s=3.0),), duration_s=30.0
)
POD_FAILURE = Trial(
    "chaos mesh: pod-failure",
    CLIENTS,
    (ChaosPodFailure("leader", at_s=3.0, down_s=20.0),),
    duration_s=60.0,
    settle_s=120.0,
)
PARTITION = Trial(
    "chaos mesh: partition",
    CLIENTS,
    (ChaosPartition("leader", at_s=3.0, down_s=15.0),),
    duration_s=40.0,
    settle_s=60.0,
)


@pytest.mark.needs("ChaosInjectable")
@pytest.mark.parametrize("trial", [POD_KILL, CONTAINER_KILL, POD_FAILURE, PARTITION], ids=lambda t: t.name)
def test_no_put_is_lost_when_chaos_mesh_strikes_the_leader(certify, contract, trial):
    """Every put acknowledged before, during or after Chaos Mesh strikes the leader is read back."""
    certify.that(
        certify.run(trial),
        no_acknowledged_put_is_lost,
        given=[at_least(200, acknowledged_puts), at_least(200, final_reads), every_fault_landed],
        promise=contract.promises.at("survives"),
    )


#: Each on for 15 s. A server whose disk failed is out until its liveness probe restarts it.
HURT = tuple(
    Trial(f"chaos mesh: {name}", CLIENTS, (fault,), duration_s=40.0, settle_s=240.0)
    for name, fault in {
        "delay": ChaosDelay("leader", at_s=3.0, down_s=15.0),
        "loss": ChaosLoss("leader", at_s=3.0, down_s=15.0),
        "bandwidth": ChaosBandwidth("follower", at_s=3.0, down_s=15.0),
        "slow disk": ChaosSlowDisk("leader", at_s=3.0, down_s=15.0),
        "failing disk": ChaosFailingDisk("follower", at_s=3.0, down_s=15.0),
        "busy processor": ChaosBusyCpu("leader", at_s=3.0, down_s=15.0),
        "full memory": ChaosFullMemory("follower", at_s=3.0, down_s=15.0),
    }.items()
)


@pytest.mark.needs("ChaosInjectable")
@pytest.mark.parametrize("trial", HURT, ids=lambda t: t.name)
def test_no_put_is_lost_when_chaos_mesh_hurts_a_link_a_disk_or_a_host(certify, contract, trial):
    """Every put acknowledged while Chaos Mesh hurts a link, a disk or a host is there at the end."""
    certify.that(
        certify.run(trial),
        no_acknowledged_put_is_lost,
        given=[at_least(100, acknowledged_puts), at_least(100, final_reads), every_fault_landed],
        promise=contract.promises.at("survives"),
    )


@pytest.mark.needs("ChaosInjectable")
@pytest.mark.parametrize("trial", [POD_KILL, CONTAINER_KILL], ids=lambda t: t.name)
def test_writes_go_on_when_chaos_mesh_kills_the_leader(certify, contract, trial):
    """After Chaos Mesh kills the leader the next write is acknowledged within the promised time."""
    certify.that(
        certify.run(trial),
        writes_resume_within(certify.recovery_s("one-server-killed")),
        given=[at_least(200, acknowledged_puts), every_fault_landed],
    )
