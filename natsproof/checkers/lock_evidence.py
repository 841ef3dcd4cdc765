"""What a trial of locks must have seen before it says anything: for the guards, as masks over operations."""

from __future__ import annotations

import numpy as np

from natsproof.checkers.guards import Mask
from natsproof.checkers.lock_liveness import CONFLICTS
from natsproof.checkers.locks import Chains
from natsproof.checkers.windows import Window, windows
from natsproof.history import NONE, History, Kind, Outcome


def acquisitions_after_a_purge(history: History) -> Mask:
    """Creates that took a lock whose last write was an acknowledged purge."""
    chains = Chains.of(history, 0.0)
    takes = np.flatnonzero(chains.takes)
    rows = [chains.row(cluster) for cluster in takes[chains.kind[takes - 1] == Kind.PURGE].tolist()]
    return _mask(history, rows)


def acquisitions_after_an_expiry(history: History) -> Mask:
    """Creates that took a lock which nobody had released or purged."""
    chains = Chains.of(history, 0.0)
    return _mask(history, [chains.row(cluster) for cluster in chains.takes_after_an_expiry.tolist()])


def holders_that_were_cut_off_and_came_back(history: History) -> Mask:
    """Acquisitions whose holder got no answer to a write while a fault was on, lost the lock to another
    without having released it, and was refused after the healing."""
    chains = Chains.of(history, 0.0)
    own = windows(history)
    found = []
    for later in chains.takes_after_an_expiry.tolist():
        first = int(chains.root[later - 1])
        if first == NONE or chains.client[first] == chains.client[later]:
            continue
        row = chains.row(first)
        if any(_cut_off_and_refused(history, row, window) for window in own):
            found.append(row)
    return _mask(history, found)


def _cut_off_and_refused(history: History, row: int, window: Window) -> bool:
    ops = history.operations
    if ops.call_ns[row] > window.injected_ns:
        return False
    mine = (ops.client == ops.client[row]) & (ops.key == ops.key[row]) & (ops.expected > 0)
    mine &= ops.kind <= Kind.PURGE
    during = mine & (ops.call_ns >= window.began_ns) & (ops.call_ns < window.heal_began_ns)
    silent = during & (ops.outcome != Outcome.OK)
    refused = mine & (ops.return_ns > window.heal_began_ns) & (ops.outcome == Outcome.FAILED)
    refused &= np.isin(ops.error, history.errors_with(*CONFLICTS))
    return bool(silent.any() and refused.any())


def _mask(history: History, rows: list[int]) -> Mask:
    mask = np.zeros(len(history.operations), dtype=np.bool_)
    mask[[row for row in rows if row != NONE]] = True
    return mask
