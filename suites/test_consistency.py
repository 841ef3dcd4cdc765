"""Consistency: every key is one register, whatever fails.

Promise    manifests/promises.yaml: buckets, replicas 3 (a KV of one history); reads through the leader
Not here   direct gets, which may be stale by design; locks: test_locks.py
"""

from __future__ import annotations

import pytest

from natsproof.checkers.guards import (
    acknowledged_writes,
    answered_reads,
    at_least,
    clients_not_overlapping,
    every_fault_landed,
)
from natsproof.checkers.registers import registers_are_linearizable
from suites.trials import BUCKETS, DISTURBED, on


@pytest.mark.parametrize("bucket", BUCKETS)
@on(*DISTURBED)
def test_reads_and_conditional_writes_are_linearizable(certify, contract, trial, bucket):
    """Writes, conditional writes and leader reads of each key have one order that respects time."""
    history = certify.run(trial)
    certify.that(
        history.of_bucket(bucket),
        registers_are_linearizable,
        given=[
            every_fault_landed,
            clients_not_overlapping,
            at_least(50, acknowledged_writes),
            at_least(20, answered_reads),
        ],
        promise=contract.promises.bucket(bucket).place,
    )
