"""What a soak says about those who ran it: a runner that grows would end a longer soak before its time.

No promise of the platform is broken by that, so it is UNKNOWN, as everything that a harness does wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natsproof.history import History
from natsproof.verdict import Exhibit, Verdict, holds, unknown

NS = 1_000_000_000
MIB = 1 << 20
#: Fewer looks than this have no slope.
ENOUGH_LOOKS = 10
#: Caches and pools fill in the first part; only the rest is judged.
WARM_PART = 0.25


@dataclass(frozen=True)
class StaysFlat:
    """Resident memory of runner, Locust and generators (observations `memory`) does not grow.

    Growth is the Theil-Sen slope (median of the slopes of all pairs) after the first quarter, times its
    length. Each process may grow by `part` of its median, or by `least_bytes` if that is more.
    """

    part: float = 0.1
    least_bytes: int = 8 * MIB

    def __call__(self, history: History) -> Verdict:
        looks = list(history.observed("memory"))
        looks = looks[int(len(looks) * WARM_PART) :]
        if len(looks) < ENOUGH_LOOKS:
            return unknown(f"only {len(looks)} looks at the memory, {ENOUGH_LOOKS} needed")
        moments = np.array([look.at_ns for look in looks], dtype=np.float64) / NS
        evidence: dict[str, int | float | str] = {"looks": len(looks)}
        evidence["window_s"] = round(float(moments[-1] - moments[0]), 1)
        grown: list[Exhibit] = []
        for name in looks[0].data:
            resident = np.array([look.data[name] for look in looks], dtype=np.float64)
            growth = slope(moments, resident) * float(moments[-1] - moments[0])
            allowed = max(self.least_bytes, self.part * float(np.median(resident)))
            evidence[f"{name}_median_mib"] = round(float(np.median(resident)) / MIB, 1)
            evidence[f"{name}_growth_mib"] = round(growth / MIB, 2)
            if growth > allowed:
                grown.append(
                    Exhibit(
                        f"{name} grew by {growth / MIB:.1f} MiB in {evidence['window_s']} s, "
                        f"{allowed / MIB:.1f} MiB allowed"
                    )
                )
        if grown:
            return unknown("; ".join(exhibit.text for exhibit in grown), grown, **evidence)
        return holds(f"no process grew in {evidence['window_s']} s of load", **evidence)


def slope(at: NDArray[np.float64], value: NDArray[np.float64], most: int = 600) -> float:
    """Median of the slopes of all pairs, of at most `most` points evenly chosen."""
    chosen = np.unique(np.linspace(0, len(at) - 1, min(most, len(at))).astype(int))
    x, y = at[chosen], value[chosen]
    first, second = np.triu_indices(len(x), 1)
    run = x[second] - x[first]
    return float(np.median((y[second] - y[first])[run > 0] / run[run > 0]))
