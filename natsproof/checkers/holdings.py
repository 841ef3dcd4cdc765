"""L8: what lock clients believe. HELD rows are the intervals in which a client acted as holder."""

from __future__ import annotations

import numpy as np

from natsproof.checkers import Checker
from natsproof.checkers.exhibits import MOST, count, exhibit
from natsproof.checkers.segments import running_max, shifted
from natsproof.history import History, Kind
from natsproof.verdict import Verdict, broken, holds, unknown


def believed_holdings_do_not_overlap(margin_s: float = 0.0) -> Checker:
    """No two clients believe to hold one lock within `margin_s` seconds of each other.

    Leases cannot promise this in wall time: it rests on the client's own clock and margin, and is a
    statement about lock client and platform together. Intervals of one client may touch or overlap.
    """

    def checker(history: History) -> Verdict:
        ops = history.operations
        rows = np.flatnonzero(ops.kind == Kind.HELD)
        if len(rows) < 2:
            return unknown("fewer than two intervals of holding were recorded", (), held=len(rows))
        rows = rows[np.lexsort((ops.return_ns[rows], ops.call_ns[rows], ops.key[rows]))]
        key, client = ops.key[rows], ops.client[rows]
        begin, end = ops.call_ns[rows], ops.return_ns[rows]
        starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
        low = int(begin.min())
        longest = running_max(end - low, starts)
        # Who holds longest so far, and how long anyone else does.
        until = shifted(longest, starts, -1)
        rival_end, rival = _others(client, end - low, starts)
        known = rival_end >= 0
        apart = np.where(known, (begin - low) - rival_end, np.iinfo(np.int64).max)
        bad = np.flatnonzero(known & (apart < margin_s * 1e9))
        evidence: dict[str, int | float | str] = {
            "held": len(rows),
            "locks": len(starts),
            "clients": len(np.unique(client)),
            "handovers": int(np.count_nonzero(known & (until >= 0))),
            "overlaps": len(bad),
        }
        if known.any():
            evidence["margin_min_s"] = round(float(apart[known].min()) / 1e9, 6)
        if len(bad):
            worst = bad[np.argsort(apart[bad], kind="stable")[:MOST]]
            shown = [
                exhibit(history, f"{-apart[i] / 1e9:.3f} s held by two:", (int(rows[rival[i]]), int(rows[i])))
                for i in worst.tolist()
            ]
            return broken(f"{count(len(bad), 'holding')} overlap another client's", shown, **evidence)
        if not known.any():
            return unknown("no lock was held by two clients in turn", (), **evidence)
        return holds(f"{count(len(rows), 'holding')}, none overlapping another client's", **evidence)

    checker.__name__ = checker.__qualname__ = f"believed_holdings_do_not_overlap({margin_s:g} s)"
    checker.__doc__ = "No two clients believe to hold one lock at the same time."
    return checker


def _others(client: np.ndarray, end: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each interval: the latest end among earlier ones of the key by other clients, and whose it is.

    Keeps, per key, the best two ends of different clients; one pass over intervals, which are as few as
    the acquisitions.
    """
    out, who = np.full(len(end), -1, dtype=np.int64), np.full(len(end), -1, dtype=np.int64)
    first = second = -1
    begins = set(starts.tolist())
    ends, clients = end.tolist(), client.tolist()
    for i, mine in enumerate(clients):
        if i in begins:
            first = second = -1
        best = second if first >= 0 and clients[first] == mine else first
        if best >= 0:
            out[i], who[i] = ends[best], best
        if first < 0 or ends[i] > ends[first]:
            if first >= 0 and clients[first] != mine:
                second = first
            first = i
        elif clients[first] != mine and (second < 0 or ends[i] > ends[second]):
            second = i
    return out, who
