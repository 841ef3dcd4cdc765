"""Acknowledged writes a second against a floor."""

from __future__ import annotations

import numpy as np

from natsproof.checkers import Checker
from natsproof.history import History, Kind, Outcome
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown


def acknowledged_rate_is_at_least(
    floor_hz: float, *, window_s: float = 1.0, begin: str = "drive", end: str = "healed", spare: float = 0.0
) -> Checker:
    """Between two marks every window of `window_s` seconds sees at least `floor_hz` acknowledged writes
    a second; a share `spare` of the windows may fall short.

    UNKNOWN if clients did not even try that many in some window that falls short (the load, not the
    platform, was too small), or if there is no whole window.
    """

    def checker(history: History) -> Verdict:
        missing = [name for name in (begin, end) if name not in history.marks]
        if missing:
            return unknown(f"the history has no mark {', '.join(missing)}")
        ops, from_ns = history.operations, history.marks[begin]
        width = int(window_s * 1e9)
        number = (history.marks[end] - from_ns) // width
        if number < 1:
            return unknown(f"no whole window of {window_s:g} s lies between {begin} and {end}")
        write = ops.kind <= Kind.PURGE
        acked = write & (ops.outcome == Outcome.OK)
        edges = from_ns + width * np.arange(number + 1)
        served = np.histogram(ops.return_ns[acked], edges)[0] / window_s
        tried = np.histogram(ops.call_ns[write], edges)[0] / window_s
        short = np.flatnonzero(served < floor_hz)
        evidence = {
            "windows": int(number),
            "windows_short": len(short),
            "floor_hz": floor_hz,
            "rate_min_hz": round(float(served.min()), 3),
            "rate_median_hz": round(float(np.median(served)), 3),
            "rate_mean_hz": round(float(served.mean()), 3),
        }
        if len(short) <= spare * number:
            return holds(
                f"at least {served.min():,.0f} acknowledged writes a second in every window, "
                f"{served.mean():,.0f} on average ({floor_hz:g} promised)",
                **evidence,
            )
        worst = short[np.argsort(served[short])[:3]]
        shown = [
            Exhibit(
                f"{served[w]:,.0f} acknowledged and {tried[w]:,.0f} tried a second, "
                f"{history.since_start_s(int(edges[w])):.1f} s after the start",
                at_ns=int(edges[w]),
            )
            for w in worst.tolist()
        ]
        idle = tried[short] < floor_hz
        if np.count_nonzero(~idle) <= spare * number:
            return unknown("the load was smaller than the floor it should prove", shown, **evidence)
        return broken(
            f"{len(short)} of {number} windows below {floor_hz:g} acknowledged writes a second",
            shown,
            **evidence,
        )

    checker.__name__ = checker.__qualname__ = f"acknowledged_rate_is_at_least({floor_hz:g} Hz)"
    checker.__doc__ = f"At least {floor_hz:g} writes a second are acknowledged in every {window_s:g} s."
    return checker
