"""Runs single steps of load against a platform and says what each of them showed."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from natsproof.clock import NS_PER_S, Deadline, now_ns
from natsproof.load import lag
from natsproof.load.engine import Samples
from natsproof.load.latency import of_ns
from natsproof.load.spec import GeneratorSpec
from natsproof.load.steering import Generator, set_rates, start_generators
from natsproof.load.timeline import answered, between, errors, in_flight, joined

#: Part of the arrivals that must be answered, and part of them by which the backlog may grow.
ANSWERED_PART = 0.99
BACKLOG_PART = 0.02
BACKLOG_SLACK = 20
#: The backlog at a moment is mostly chance, so its mean over so many moments of each third is compared.
BACKLOG_LOOKS = 10
SETTLE_S = 0.5
COLLECT_S = 0.05


@dataclass(frozen=True, slots=True)
class Step:
    """One constant rate for some seconds. `why` is empty if the platform kept up; `not_valid` is empty if
    the generator did. Milliseconds count from the intended start."""

    label: str
    offered_hz: float
    achieved_hz: float
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    service_p50_ms: float
    backlog_growth: int
    errors: dict[str, int]
    lag_p99_ms: float
    why: str
    not_valid: str
    at_s: float = 0.0
    servers: dict[str, float] = field(default_factory=dict)

    @property
    def kept_up(self) -> bool:
        return not self.why

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge_step(
    samples: Samples,
    from_ns: int,
    to_ns: int,
    *,
    label: str,
    objective_s: float,
    refused: int = 0,
    rate_hz: float | None = None,
) -> Step:
    """What the arrivals of a window showed. In time means answered by the window's end and the objective."""
    own = between(samples, from_ns, to_ns)
    seconds = (to_ns - from_ns) / NS_PER_S
    in_time = answered(own) & (own["done_ns"] <= to_ns + int(objective_s * NS_PER_S))
    due = max(1, len(own) + refused)
    part = float(np.count_nonzero(in_time)) / due
    response = of_ns(own["done_ns"] - own["intended_ns"])
    p = response.percentiles_s((50, 90, 99, 99.9, 100))
    growth = _backlog_growth(samples, from_ns, to_ns)
    behind = lag.measure(own, refused=refused, objective_s=objective_s)
    reasons = []
    if part < ANSWERED_PART:
        reasons.append(f"{part:.1%} of what was due was answered in time")
    if p[99] > objective_s:
        reasons.append(f"p99 {p[99] * 1e3:.0f} ms, objective {objective_s * 1e3:g} ms")
    if growth > max(BACKLOG_SLACK, BACKLOG_PART * due):
        reasons.append(f"the backlog grew by {growth}")
    if rate_hz is not None and len(own) < 0.5 * rate_hz * seconds:
        reasons.append(f"only {len(own)} of about {rate_hz * seconds:.0f} arrivals were started")
    return Step(
        label=label,
        offered_hz=due / seconds,
        achieved_hz=float(np.count_nonzero(in_time)) / seconds,
        seconds=seconds,
        p50_ms=p[50] * 1e3,
        p90_ms=p[90] * 1e3,
        p99_ms=p[99] * 1e3,
        p999_ms=p[99.9] * 1e3,
        max_ms=p[100] * 1e3,
        service_p50_ms=of_ns(own["done_ns"] - own["sent_ns"]).at_s(50) * 1e3,
        backlog_growth=growth,
        errors=errors(own),
        lag_p99_ms=behind.p99_s * 1e3,
        why="; ".join(reasons),
        not_valid=behind.why_not,
    )


def _backlog_growth(samples: Samples, from_ns: int, to_ns: int) -> int:
    """Mean number in flight in the last third of a window less that in its first third."""
    moments = np.linspace(from_ns, to_ns, 3 * BACKLOG_LOOKS).astype(np.int64).tolist()
    looks = [in_flight(samples, at_ns) for at_ns in moments]
    return round(float(np.mean(looks[-BACKLOG_LOOKS:]) - np.mean(looks[:BACKLOG_LOOKS])))


class Rig:
    """Generator processes that stay connected from step to step. Close it."""

    def __init__(self, spec: GeneratorSpec, *, workers: int = 1, objective_s: float = 0.5) -> None:
        self.spec, self.objective_s = spec, objective_s
        self._generators: list[Generator] = start_generators(spec, workers, sockets=socket)
        self._refused = 0
        self.began_ns = now_ns()

    def _collect(self, seconds: float, *, until_idle: bool = False) -> Samples:
        """What finishes within that time; `until_idle` returns as soon as nothing is in flight."""
        parts, deadline = [], Deadline.within(seconds)
        idle: dict[int, bool] = {}
        while not deadline.passed:
            for generator in self._generators:
                for batch in generator.batches(min(COLLECT_S, deadline.left_s)):
                    parts.append(batch.samples)
                    idle[batch.worker] = batch.started == batch.finished
                    self._refused = max(self._refused, batch.refused)
            if until_idle and len(idle) == len(self._generators) and all(idle.values()):
                break
        return joined(parts)

    def step(
        self,
        rate_hz: float,
        seconds: float,
        *,
        label: str = "step",
        weights: Sequence[float] | None = None,
        meanwhile: Callable[[], None] | None = None,
        skip_s: float = SETTLE_S,
    ) -> tuple[Step, Samples]:
        """Offer `rate_hz` for `skip_s` (not judged) and then `seconds`; wait until all of it has ended."""
        if weights is not None:
            for generator in self._generators:
                generator.set_rate(0.0, weights=weights)
        refused = self._refused
        began_ns = set_rates(self._generators, rate_hz)
        if meanwhile:
            meanwhile()
        from_ns = began_ns + int(skip_s * NS_PER_S)
        to_ns = from_ns + int(seconds * NS_PER_S)
        parts = [self._collect(max(0.0, (to_ns - now_ns()) / NS_PER_S))]
        set_rates(self._generators, 0.0, now_ns())
        parts.append(self._collect(self.spec.timeout_s + 1.0, until_idle=True))
        samples = joined(parts)
        step = judge_step(
            samples,
            from_ns,
            to_ns,
            label=label,
            objective_s=self.objective_s,
            refused=self._refused - refused,
            rate_hz=rate_hz,
        )
        return step, samples

    def closed(self, clients: int, seconds: float, weights: Sequence[float] | None = None) -> float:
        """Answered operations a second with that many clients, each waiting for its answer."""
        for generator in self._generators:
            if weights is not None:
                generator.set_rate(0.0, weights=weights)
        share, rest = divmod(clients, len(self._generators))
        for number, generator in enumerate(self._generators):
            generator.saturate(share + (number < rest))
        began_ns = now_ns() + int(0.2 * NS_PER_S)
        parts = [self._collect(seconds + 0.2)]
        ended_ns = now_ns()
        for generator in self._generators:
            generator.saturate(0)
        parts.append(self._collect(self.spec.timeout_s + 1.0, until_idle=True))
        samples = joined(parts)
        done = samples["done_ns"][answered(samples)]
        count = int(np.count_nonzero((done >= began_ns) & (done < ended_ns)))
        return count / ((ended_ns - began_ns) / NS_PER_S)

    def close(self) -> None:
        for generator in self._generators:
            generator.stop()
        deadline = Deadline.within(self.spec.timeout_s + 5.0)
        while any(g.summary is None for g in self._generators) and not deadline.passed:
            self._collect(0.2)
        for generator in self._generators:
            generator.close()
