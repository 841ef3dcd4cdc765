"""Whether the generator kept its own schedule. If it did not, its figures are about itself.

One rule everywhere: the 99th percentile of the send lag is at most 10 ms or a tenth of the latency
objective, and nothing due was refused. A capacity step is judged over the step, a trial's load over the
load, a Locust run that goes on over windows of `WINDOW` operations (`LagWatch`). What was kept up with in
spite of a lag stands: a lag only makes latencies longer. Above 1 s even rates by the second are of no
use (natsproof.checkers.loaded.MOST_LAG_S).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from natsproof.clock import NS_PER_S
from natsproof.load.engine import Samples

#: A generator may be this late at the 99th percentile, or this part of the latency objective.
LAG_P99_S = 0.010
LAG_OF_OBJECTIVE = 0.1
#: Operations of a window of a running load; of fewer than FEWEST the 99th percentile says nothing.
WINDOW, FEWEST = 1000, 100


@dataclass(frozen=True, slots=True)
class Lag:
    """How late operations were started, seconds; `refused` were due and never started."""

    p50_s: float
    p99_s: float
    max_s: float
    refused: int
    limit_s: float

    @property
    def why_not(self) -> str:
        """Empty if the schedule was kept, else the sentence that makes the step not valid."""
        if self.refused:
            return (
                f"the generator had too many operations in flight and did not start {self.refused} "
                "that were due; use more workers or a lower rate"
            )
        if self.p99_s > self.limit_s:
            return (
                f"the generator fell behind its schedule: 1 % of operations started {self.p99_s * 1e3:.1f} "
                f"ms late or later, allowed are {self.limit_s * 1e3:.1f} ms; use more workers or a lower rate"
            )
        return ""


def measure(samples: Samples, *, refused: int = 0, objective_s: float | None = None) -> Lag:
    """The send lag of `samples`; `objective_s` is the latency that the step must tell apart."""
    late_s = np.maximum(samples["sent_ns"] - samples["intended_ns"], 0) / NS_PER_S
    limit_s = max(LAG_P99_S, LAG_OF_OBJECTIVE * (objective_s or 0.0))
    if not len(late_s):
        return Lag(0.0, 0.0, 0.0, refused, limit_s)
    # no histogram: Locust's bridge asks for every batch, and reading one costs 2 us an operation
    p50_s, p99_s, max_s = np.percentile(late_s, (50, 99, 100), method="inverted_cdf").tolist()
    return Lag(p50_s, p99_s, max_s, refused, limit_s)


class LagWatch:
    """Judges a load while it runs, window by window; a batch alone may be of ten operations."""

    def __init__(self, *, objective_s: float | None = None) -> None:
        self._objective_s = objective_s
        self._parts: list[Samples] = []
        self._count = self._refused = 0

    def add(self, samples: Samples, *, refused: int = 0) -> str:
        """Why the window that `samples` fill was not kept up with; `refused` counts from the beginning."""
        self._parts.append(samples)
        self._count += len(samples)
        self._refused = max(self._refused, refused)
        return self._judge() if self._count >= WINDOW else ""

    def end(self) -> str:
        """The same of what is left over."""
        return self._judge() if self._refused or self._count >= FEWEST else ""

    def _judge(self) -> str:
        if not self._parts:
            return ""
        rows, self._parts, self._count = np.concatenate(self._parts), [], 0
        return measure(rows, refused=self._refused, objective_s=self._objective_s).why_not
