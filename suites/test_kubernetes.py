"""Kubernetes: what only a real cluster shows of the same manifests.

Promise    manifests/statefulset.yaml, pdb.yaml, kv-setup-job.yaml; promises.yaml: monitoring, recovery
Not here   what embedded decides too: test_quorum.py, test_durability.py. Longhorn's own replication
"""

from __future__ import annotations

import pytest

from natsproof.checkers import kubernetes as judge
from natsproof.checkers import outages
from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.checkers.guards import acknowledged_puts, at_least, every_fault_landed, final_reads
from natsproof.checkers.recovery import no_gap_is_longer_than, writes_resume_within
from natsproof.cluster.kubernetes import manual, names, operations, stuck, volumes
from natsproof.faults.kubernetes import ConfigurationRollout, NodeLoss, RolloutRestart
from natsproof.trial import Trial
from natsproof.workloads.ledger import Ledger
from suites.trials import BUCKETS

CLIENTS = (Ledger(BUCKETS, writers=8, rate_hz=100.0),)

ROLLOUT = Trial("rollout restart", CLIENTS, (RolloutRestart(at_s=2.0),), duration_s=90.0, settle_s=60.0)
CONFIGURED = Trial(
    "change of the configuration", CLIENTS, (ConfigurationRollout(at_s=2.0),), duration_s=12.0, settle_s=60.0
)
STUCK = {"finalizer": stuck.held_by_a_finalizer, "silent-node": stuck.on_a_silent_node}
NODE_LOST = Trial(
    "loss of the leader's node",
    CLIENTS,
    (NodeLoss("leader", at_s=3.0, down_s=20.0),),
    duration_s=30.0,
    settle_s=60.0,
)


@pytest.mark.needs("Evictable")
def test_servers_are_spread_over_nodes(certify, contract):
    """Every server runs on a node of its own."""
    spread = contract.statefulset.template.place
    certify.that(
        certify.observe("placement", operations.placement), judge.SpreadOverNodes(contract), promise=spread
    )


@pytest.mark.needs("Evictable")
def test_every_volume_claim_is_bound(certify, contract):
    """Every server has a bound volume of its own."""
    place = contract.statefulset.at("claims")
    certify.that(certify.observe("claims", operations.claims), judge.ClaimsBound(contract), promise=place)


@pytest.mark.needs("Evictable")
def test_the_live_objects_are_the_contract(certify, contract):
    """What the API server holds equals what was applied, field by field."""
    certify.that(certify.observe("drift", operations.compared), judge.the_live_objects_are_the_contract)


@pytest.mark.needs("Evictable")
def test_every_port_answers_inside_the_cluster(certify, contract):
    """Monitoring paths and client ports answer a pod inside the cluster by the names that clients use."""
    certify.that(
        certify.observe("inside", operations.from_inside),
        judge.all_ports_answer_inside,
        promise=contract.promises.at("monitoring"),
    )


@pytest.mark.needs("NodeLosable")
def test_a_drain_takes_one_server_and_no_second(certify, contract):
    """One eviction is granted, a second refused while the first server is away, and the rest has a leader."""
    certify.that(
        certify.observe("drain", operations.drain),
        judge.a_drain_takes_one_server_and_no_second,
        promise=[budget.place for budget in contract.budgets],
    )


@pytest.mark.needs("NodeLosable")
def test_the_setup_job_may_run_again(certify, contract):
    """A second run of the set-up Job completes and leaves every bucket as it was."""
    certify.that(
        certify.observe("job again", operations.job_again),
        judge.the_job_may_run_again,
        promise=contract.job.place,
    )


@pytest.mark.needs("NodeLosable")
def test_a_volume_survives_the_deletion_of_its_pod(certify, contract):
    """After its pod is deleted a server comes back in another pod with the same volume and streams."""
    certify.that(
        certify.observe("pod replaced", operations.pod_replaced),
        judge.a_new_pod_has_the_old_volume,
        promise=contract.statefulset.at("claims"),
    )


@pytest.mark.needs("Rollable")
def test_no_put_is_lost_in_a_rollout_restart(certify, contract):
    """Every put acknowledged before, during or after `kubectl rollout restart` is read back."""
    certify.that(
        certify.run(ROLLOUT),
        no_acknowledged_put_is_lost,
        given=[at_least(500, acknowledged_puts), at_least(500, final_reads), every_fault_landed],
        promise=certify.survives("pod-moved"),
    )


@pytest.mark.needs("Rollable")
def test_a_rollout_restart_interrupts_writes_no_longer_than_the_budget(certify, contract):
    """While the controller replaces one pod after the other no pause of writes exceeds the promise."""
    certify.that(
        certify.run(ROLLOUT),
        no_gap_is_longer_than(certify.recovery_s("rolling-restart")),
        given=[at_least(500, acknowledged_puts), every_fault_landed],
    )


@pytest.mark.needs("NodeLosable")
def test_writes_go_on_when_the_leaders_node_is_lost(certify, contract):
    """With the leader's whole node silent the next write is acknowledged within the promised time."""
    certify.that(
        certify.run(NODE_LOST),
        writes_resume_within(certify.recovery_s("one-server-killed")),
        given=[at_least(200, acknowledged_puts), every_fault_landed],
    )


@pytest.mark.needs("NodeLosable")
def test_no_put_is_lost_when_the_leaders_node_is_lost(certify, contract):
    """Every put acknowledged before, during or after the loss of the leader's node is read back."""
    certify.that(
        certify.run(NODE_LOST),
        no_acknowledged_put_is_lost,
        given=[at_least(200, acknowledged_puts), at_least(200, final_reads), every_fault_landed],
        promise=certify.survives("process-kill-one"),
    )


@pytest.mark.needs("NodeLosable")
@pytest.mark.parametrize("held_by", ["finalizer", "silent-node"])
def test_a_pod_stuck_in_terminating_costs_no_quorum(certify, contract, held_by):
    """With a pod stuck in Terminating writes go on, and once it is released or forced out it comes back."""
    certify.that(
        certify.observe(f"stuck by {held_by}", STUCK[held_by]),
        outages.a_stuck_pod_costs_no_quorum,
        promise=contract.promises.at("survives"),
    )


@pytest.mark.needs("NodeLosable")
def test_a_volume_outlives_the_outage_of_its_node(certify, contract):
    """A server whose node was silent and whose pod was forced out comes back with its volume and streams."""
    certify.that(
        certify.observe("stuck by silent-node", STUCK["silent-node"]),
        outages.the_volume_outlives_the_nodes_outage,
        promise=contract.statefulset.at("claims"),
    )


@pytest.mark.needs("NodeLosable")
def test_every_servers_name_leads_to_its_pod(certify, contract):
    """Inside the cluster each server's own name is its pod's address, while the server is not Ready too."""
    certify.that(
        certify.observe("names", names.resolved),
        outages.names_resolve_ready_or_not,
        promise=contract.statefulset.at("service_name"),
    )


@pytest.mark.needs("NodeLosable")
def test_a_volume_grows(certify, contract):
    """A volume claim that asks for more gets it, and its server stays Ready."""
    facts = certify.observe("growth of a volume", volumes.grown)
    certify.only_where(facts, outages.the_class_allows_expansion)
    certify.that(facts, outages.a_claim_grows, promise=contract.statefulset.at("claims"))


@pytest.mark.needs("NodeLosable")
def test_a_volume_that_cannot_grow_stays_as_it_is(certify, contract):
    """Where the class does not allow expansion, asking for more is refused and nothing changes."""
    facts = certify.observe("growth of a volume", volumes.grown)
    certify.only_where(facts, outages.the_class_forbids_expansion)
    certify.that(facts, outages.what_cannot_grow_is_refused, promise=contract.statefulset.at("claims"))


@pytest.mark.needs("Rollable", "NodeLosable")
def test_no_put_is_lost_when_the_configuration_is_changed(certify, contract):
    """A ConfigMap that is changed and rolled out reaches every server and costs no acknowledged write."""
    certify.that(
        certify.run(CONFIGURED),
        no_acknowledged_put_is_lost,
        given=[at_least(500, acknowledged_puts), at_least(500, final_reads), every_fault_landed],
        promise=[certify.survives("pod-moved"), contract.config_map.place],
    )


@pytest.mark.needs("NodeLosable")
@pytest.mark.depth("standard")
def test_every_command_of_the_runbook_runs(certify):
    """Each block of docs/runbook.md, executed as written with kubectl, ends without an error."""
    certify.that(
        certify.observe("runbook", manual.followed, fresh=True),
        outages.EveryCommandRuns(manual.number_of_blocks()),
        promise="docs/runbook.md",
    )


@pytest.mark.needs("Evictable")
def test_no_probe_kills_a_server(certify, contract):
    """Through all of this session's faults the kubelet kills no server because of a probe."""
    certify.that(
        certify.observe("probe kills", operations.probe_kills),
        judge.no_probe_kills_a_server,
        promise=contract.server_container.liveness_probe.place,
    )
