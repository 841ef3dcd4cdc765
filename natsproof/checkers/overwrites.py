"""How many puts went over values that were just due."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers.writes import ttl_ns_by_key
from natsproof.history import History, Kind, Outcome

#: The server looks for what is due every 0.25 s (facts.md), later if it is busy.
JUST_NS = 1_000_000_000


def puts_over_due_values(history: History) -> NDArray[np.bool_]:
    """Acknowledged puts that began when the key's acknowledged put before was due, at most 1 s ago."""
    ops = history.operations
    puts = np.flatnonzero((ops.kind == Kind.PUT) & (ops.outcome == Outcome.OK))
    puts = puts[np.lexsort((ops.call_ns[puts], ops.key[puts]))]
    before, after = puts[:-1], puts[1:]
    ttl_ns = ttl_ns_by_key(history)[ops.key[after]]
    overdue_ns = ops.call_ns[after] - ops.return_ns[before] - ttl_ns
    over = (ops.key[before] == ops.key[after]) & (ttl_ns > 0) & (overdue_ns >= 0) & (overdue_ns <= JUST_NS)
    mask = np.zeros(len(ops), dtype=bool)
    mask[after[over]] = True
    return mask
