"""Refusals that prove nothing: a deposed leader that does not know it refuses what its successor stores.

After a partition, or a pause, two servers may answer one conditional write: the old leader with
`10164 wrong last sequence`, for its own last proposal on that subject is still in flight, the new one with
an acknowledgement. The client takes the first answer (docs/findings.md, 1 and 34).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from natsproof.checkers.windows import fault_name
from natsproof.history import NEVER_NS, History, Kind, Outcome

#: Faults that can leave a leader which has not heard of its successor.
DEPOSING = frozenset(
    {"Partition", "PartialPartition", "OneWay", "Pause", "ChaosPartition", "Loss", "ChaosLoss", "NodeLoss"}
)
#: Its error code, as it stands in the texts of errors.
IN_FLIGHT = "10164"


def refusals_in_doubt(history: History) -> History:
    """The history with each such refusal, from the first of these faults on, as an unknown outcome.

    The same history where no such fault landed: there a refusal is a refusal. Idempotent.
    """
    begins = _begins(history)
    if not begins:
        return history
    ops = history.operations
    doubt = (ops.outcome == Outcome.FAILED) & (ops.kind <= Kind.PURGE) & (ops.call_ns >= min(begins))
    doubt &= np.isin(ops.error, history.errors_with(IN_FLIGHT))
    if not doubt.any():
        return history
    outcome, return_ns = ops.outcome.copy(), ops.return_ns.copy()
    outcome[doubt], return_ns[doubt] = Outcome.UNKNOWN, NEVER_NS
    return history.with_operations(replace(ops, outcome=outcome, return_ns=return_ns))


def two_may_lead(history: History, at_ns: int) -> bool:
    """Whether such a fault has begun by then: a deposed leader may answer reads until it learns of it."""
    return any(began <= at_ns for began in _begins(history))


def _begins(history: History) -> list[int]:
    return [i.began_ns for i in history.injections if i.landed and fault_name(i.fault) in DEPOSING]
