"""Quorum: writes go on with one server gone, are never acknowledged with two gone, and resume in time.

Promise    manifests/promises.yaml: recovery
Not here   partitions: test_partitions.py
"""

from __future__ import annotations

import pytest

from natsproof.checkers.durability import no_write_is_acknowledged_during
from natsproof.checkers.guards import acknowledged_puts, at_least, every_fault_landed, tried_writes
from natsproof.checkers.meta import a_meta_leader_is_named_within, the_meta_leader_was_hit
from natsproof.checkers.recovery import no_gap_is_longer_than, writes_resume_within
from suites.trials import (
    ALL_KILLED,
    BUCKETS,
    META_LEADER_KILLED,
    ONE_KILLED,
    ONE_PAUSED,
    RESTARTED,
    TWO_KILLED,
    on,
)

BEFORE = at_least(20, acknowledged_puts, when="before")


@pytest.mark.parametrize("bucket", BUCKETS)
@on(*ONE_KILLED)
def test_writes_go_on_with_one_server_dead(certify, contract, trial, bucket):
    """With the leader or a follower killed, writes are acknowledged again in time, while it is still dead."""
    history = certify.run(trial)
    certify.that(
        history.of_bucket(bucket),
        writes_resume_within(certify.recovery_s("one-server-killed")),
        given=[BEFORE, every_fault_landed, at_least(1, acknowledged_puts, when="during")],
    )


@pytest.mark.parametrize("bucket", BUCKETS)
@on(*ONE_PAUSED)
def test_writes_go_on_with_one_server_paused(certify, contract, trial, bucket):
    """With the leader or a follower paused, writes are acknowledged again in time, while it still is."""
    history = certify.run(trial)
    certify.that(
        history.of_bucket(bucket),
        writes_resume_within(certify.recovery_s("leader-paused")),
        given=[BEFORE, every_fault_landed, at_least(1, acknowledged_puts, when="during")],
    )


@pytest.mark.parametrize("bucket", BUCKETS)
@on(TWO_KILLED)
def test_no_write_is_acknowledged_with_two_servers_dead(certify, contract, trial, bucket):
    """With two of three servers dead, every write is refused or unanswered; none is falsely acknowledged."""
    certify.with_servers(3)
    history = certify.run(trial)
    certify.that(
        history.of_bucket(bucket),
        no_write_is_acknowledged_during("Kill"),
        given=[BEFORE, every_fault_landed, at_least(10, tried_writes, when="during")],
        promise=contract.promises.bucket(bucket).at("replicas"),
    )


@pytest.mark.parametrize("bucket", BUCKETS)
@on(TWO_KILLED)
def test_writes_resume_within_the_budget_after_quorum_returns(certify, contract, trial, bucket):
    """After two dead servers are started again, writes are acknowledged within the budget."""
    certify.with_servers(3)
    history = certify.run(trial)
    certify.that(
        history.of_bucket(bucket),
        writes_resume_within(certify.recovery_s("quorum-restored"), since="healed"),
        given=[every_fault_landed, at_least(20, acknowledged_puts, when="after")],
    )


@pytest.mark.parametrize("bucket", BUCKETS)
@on(ALL_KILLED)
def test_writes_resume_within_the_budget_after_all_servers_died(certify, contract, trial, bucket):
    """After all servers were killed at once and started again, writes are acknowledged within the budget."""
    history = certify.run(trial)
    certify.that(
        history.of_bucket(bucket),
        writes_resume_within(certify.recovery_s("all-restarted"), since="healed"),
        given=[every_fault_landed, at_least(20, acknowledged_puts, when="after")],
    )


@pytest.mark.parametrize("bucket", BUCKETS)
@on(RESTARTED)
def test_a_rolling_restart_interrupts_writes_no_longer_than_the_budget(certify, contract, trial, bucket):
    """During a rolling restart the longest time without an acknowledged write stays within the budget."""
    history = certify.run(trial)
    certify.that(
        history.of_bucket(bucket),
        no_gap_is_longer_than(certify.recovery_s("rolling-restart")),
        given=[every_fault_landed, at_least(150, acknowledged_puts)],
    )


@on(META_LEADER_KILLED)
def test_a_meta_leader_is_elected_again(certify, contract, trial):
    """After the death of the meta leader, the others name one live meta leader within the budget."""
    certify.that(
        certify.run(trial),
        a_meta_leader_is_named_within(certify.recovery_s("one-server-killed")),
        given=[every_fault_landed, the_meta_leader_was_hit],
    )
