"""Consistency: every key is one register, whatever fails.

Promise    manifests/promises.yaml: linearizable, direct_get_late
Not here   the order of direct gets: any replica answers them, stale by design; reads through a leader that
           was paused or cut off: it answers from its own store until it hears of the next one
           (docs/findings.md)
"""

from __future__ import annotations

import pytest

from natsproof.checkers.guards import (
    acknowledged_writes,
    answered_direct_gets,
    answered_reads,
    at_least,
    clients_not_overlapping,
    every_fault_landed,
)
from natsproof.checkers.registers import registers_are_linearizable, writes_are_linearizable
from natsproof.checkers.staleness import direct_gets_are_bounded
from suites.trials import ALL_KILLED, BUCKETS, CRASHED, ONE_KILLED, ONE_PAUSED, RESTARTED, TWO_KILLED, on

ENOUGH = (every_fault_landed, clients_not_overlapping, at_least(50, acknowledged_writes))


@pytest.mark.parametrize("bucket", BUCKETS)
@on(*ONE_KILLED, TWO_KILLED)
def test_a_key_is_one_register_through_kills(certify, contract, trial, bucket):
    """With one or two servers killed, writes, conditional writes and leader reads of a key have one order."""
    certify.that(
        certify.run(trial).of_bucket(bucket),
        registers_are_linearizable,
        given=[*ENOUGH, at_least(20, answered_reads)],
        promise=certify.linearizable("process-kill-one"),
    )


@pytest.mark.parametrize("bucket", BUCKETS)
@on(ALL_KILLED)
def test_a_key_is_one_register_through_the_death_of_all_servers(certify, contract, trial, bucket):
    """With all servers killed at once, writes, conditional writes and leader reads have one order."""
    certify.that(
        certify.run(trial).of_bucket(bucket),
        registers_are_linearizable,
        given=[*ENOUGH, at_least(20, answered_reads)],
        promise=certify.linearizable("process-kill-all"),
    )


@pytest.mark.parametrize("bucket", BUCKETS)
@on(RESTARTED)
def test_a_key_is_one_register_through_a_rolling_restart(certify, contract, trial, bucket):
    """During a rolling restart, writes, conditional writes and leader reads of a key have one order."""
    certify.that(
        certify.run(trial).of_bucket(bucket),
        registers_are_linearizable,
        given=[*ENOUGH, at_least(20, answered_reads)],
        promise=certify.linearizable("rolling-restart"),
    )


@pytest.mark.parametrize("bucket", BUCKETS)
@on(*ONE_PAUSED)
def test_writes_are_linearizable_through_pauses(certify, contract, trial, bucket):
    """With a server paused, writes, conditional writes and the reads after healing have one order."""
    certify.that(
        certify.run(trial).of_bucket(bucket),
        writes_are_linearizable,
        given=ENOUGH,
        promise=certify.linearizable("pause"),
    )


@on(*CRASHED)
def test_a_direct_get_shows_nothing_overwritten_longer_ago_than_promised(certify, contract, trial):
    """Direct gets, which any replica answers, show written values only, none overwritten longer ago than
    promised; how many were stale, went backward or missed their client's own write is told."""
    certify.that(
        certify.run(trial),
        direct_gets_are_bounded(staleness_most_s=certify.direct_get_late_s()),
        given=[every_fault_landed, at_least(20, answered_direct_gets)],
    )
