"""When writes were served and when not: the gaps between acknowledged writes while there was demand.

A gap lasts from the later of the last acknowledgement and the first unserved write to the next
acknowledgement. Where nobody wrote there is no gap: an idle client proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natsproof.history import History, Kind, Outcome

Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gaps:
    """Ascending, one per acknowledged write and, last, one for demand that was never served.

    `end` of that last one is the last moment of demand and `open_end` is true; else it is false.
    """

    begin: Int
    end: Int
    open_end: bool

    def within(self, from_ns: int, until_ns: int) -> tuple[Int, bool]:
        """(seconds without service of each gap that overlaps the span, in ns, counted from `from_ns`;
        whether the last of them never ended)."""
        inside = (self.end > from_ns) & (self.begin < until_ns) & (self.end > self.begin)
        lasting = self.end[inside] - np.maximum(self.begin[inside], from_ns)
        ends_here = self.open_end and len(inside) > 0 and bool(inside[-1])
        return lasting, ends_here


def gaps(history: History, mask: NDArray[np.bool_]) -> Gaps:
    """The gaps of the writes in `mask`. A write of unknown outcome is demand at its call. O(n log n)."""
    ops = history.operations
    mask = mask & (ops.kind <= Kind.PURGE)
    call = ops.call_ns[mask]
    outcome = ops.outcome[mask]
    over = np.where(outcome == Outcome.UNKNOWN, call, ops.return_ns[mask])
    order = np.argsort(over, kind="stable")
    call, over, outcome = call[order], over[order], outcome[order]
    # Earliest call among the writes that are over at or after each position.
    demand = np.minimum.accumulate(call[::-1])[::-1] if len(call) else call
    acked = over[outcome == Outcome.OK]
    after = np.searchsorted(over, np.concatenate(([np.iinfo(np.int64).min], acked)), side="right")
    last_ack = np.concatenate((demand[:1], acked))
    has_demand = after < len(over)
    waiting = demand[np.minimum(after, max(0, len(over) - 1))] if len(over) else last_ack
    begin = np.maximum(last_ack, waiting)
    end = np.concatenate((acked, over[-1:] if len(over) else acked[:0]))
    open_end = bool(len(over)) and bool(has_demand[-1])
    if not open_end:
        begin, end = begin[: len(acked)], end[: len(acked)]
    return Gaps(begin[: len(end)], end, open_end)
