"""How much a platform takes: the knee, its law of scaling, what drives it, and the rate under pod kills.

The certified number is the last one: a sunny day is no promise. Every part has a share of the time
budget and reports what it found when that is used up.

    python -m natsproof.load.capacity --url nats://127.0.0.1:4222     any platform, without kills
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from natsproof.clock import Deadline, as_seconds, now_ns
from natsproof.errors import EvidenceMissing, NatsproofError
from natsproof.load.knee import Knee, find_knee
from natsproof.load.mix import PLATFORM, WRITING_VERBS, Action
from natsproof.load.rig import Rig, Step
from natsproof.load.server_side import Reading, between
from natsproof.load.spec import GeneratorSpec
from natsproof.load.usl import fit
from natsproof.load.variations import IN_FLIGHT, measuring_mix, variations, weights

CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128)
#: One measurement of an axis takes so long at least and at most, and needs so long beside to begin and end.
AXIS_S, BESIDE_S = (0.4, 3.0), 0.4
#: The rates tried under kills, as parts of the knee with one pod down.
KILL_PARTS = (1.0, 0.85, 0.7, 0.5, 0.3)


@dataclass
class Results:
    """What was found so far; `as_dict` is the observation `capacity` and the file capacity.json."""

    objective_s: float
    knee: Knee | None = None
    one_down: Knee | None = None
    kills: list[dict[str, Any]] = field(default_factory=list)
    certified_hz: float = 0.0
    usl: dict[str, Any] = field(default_factory=dict)
    axes: list[dict[str, Any]] = field(default_factory=list)
    fill: list[dict[str, Any]] = field(default_factory=list)
    sizing: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    not_measured: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    took_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "objective_s": self.objective_s,
            "knee": self.knee.as_dict() if self.knee else None,
            "one_down": self.one_down.as_dict() if self.one_down else None,
            "kills": self.kills,
            "certified_hz": self.certified_hz,
            "usl": self.usl,
            "axes": self.axes,
            "fill": self.fill,
            "sizing": self.sizing,
            "context": self.context,
            "not_measured": self.not_measured,
            "steps": [step.as_dict() for step in self.steps],
            "took_s": round(self.took_s, 1),
        }


class Measuring:
    """The parts of a capacity run on one rig. `look` reads the servers' side, None where it cannot."""

    def __init__(
        self,
        rig: Rig,
        *,
        step_s: float,
        look: Callable[[], Reading] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.rig, self.step_s, self._look, self.say = rig, step_s, look, say
        self.results = Results(rig.objective_s)
        self._mix = rig.spec.mix
        self._weights = [a.weight for a in self._mix]
        self._began_ns = now_ns()

    def step(self, rate_hz: float, label: str, seconds: float | None = None, **more: Any) -> Step:
        """One step with the servers' side beside it, kept in the results."""
        before = self._look() if self._look else None
        at_s = as_seconds(now_ns() - self._began_ns)
        step, samples = self.rig.step(
            rate_hz, seconds or self.step_s, label=label, weights=self._weights, **more
        )
        costs: dict[str, float] = {}
        if before and self._look:
            took_s = as_seconds(now_ns() - self._began_ns) - at_s
            puts = [a.value_bytes if a.verb in WRITING_VERBS else 0 for a in self._mix]
            sizes = np.array(puts)[samples["action"]]
            count, written = int(np.count_nonzero(sizes)), int(sizes.sum())
            costs = between(before, self._look(), count, written, took_s)
        step = replace(step, at_s=round(at_s, 3), servers=costs)
        self.results.steps.append(step)
        self.say(
            f"{label}: {step.offered_hz:.0f}/s offered, {step.achieved_hz:.0f}/s in time, "
            f"p99 {step.p99_ms:.1f} ms{'  ' + step.why if step.why else ''}"
        )
        return step

    def knee(self, label: str, start_hz: float, within_s: float) -> Knee:
        deadline = Deadline.within(within_s)
        return find_knee(lambda hz: self.step(hz, label), start_hz=start_hz, over=lambda: deadline.passed)

    def scaling(self, within_s: float, seconds: float = 1.5) -> None:
        """Throughput by clients in flight and the law fitted to it."""
        deadline, points = Deadline.within(within_s), []
        for clients in CLIENTS:
            if deadline.passed:
                break
            points.append((clients, self.rig.closed(clients, seconds, self._weights)))
        told: dict[str, Any] = {"points": points}
        try:
            law = fit([p[0] for p in points], [p[1] for p in points])
            told |= asdict(law) | {"best_clients": law.best_clients, "peak_hz": law.peak_hz}
            told = {k: (None if v in (float("inf"),) else v) for k, v in told.items()}
        except EvidenceMissing as problem:
            told["problem"] = str(problem)
        self.results.usl = told

    def axes(self, mix: Sequence[Action], within_s: float) -> None:
        """Throughput with 64 in flight by value size, number of keys, number of buckets and operation."""
        deadline, wanted = Deadline.within(within_s), variations(mix)
        least_s, most_s = AXIS_S
        seconds = min(most_s, max(least_s, within_s / len(wanted) - BESIDE_S))
        for variation in wanted:
            if deadline.passed:
                self.results.not_measured.append(f"{variation.name}: no time was left")
                continue
            rate = self.rig.closed(IN_FLIGHT, seconds, weights(self._mix, variation.actions))
            self.say(f"{variation.name}: {rate:.0f}/s with {IN_FLIGHT} in flight")
            self.results.axes.append(variation.row(rate))

    def under_kills(
        self,
        base_hz: float,
        kill: Callable[[], None],
        *,
        floor_hz: float,
        recovery_s: float,
        measured_s: float,
        within_s: float,
    ) -> None:
        """The highest part of `base_hz` that is kept up with again once the recovery budget is over.

        The promised rate `floor_hz` (0: none) is tried too, after that time at the latest, and twice if it
        is not kept up with: what fails above it breaks no promise. `kill` begins a kill and returns at
        once; the pod comes back by itself.
        """
        deadline = Deadline.within(within_s)
        rates_hz = sorted({base_hz * part for part in KILL_PARTS} | ({floor_hz} if floor_hz else set()))
        while rates_hz:
            rate_hz = rates_hz.pop()
            if deadline.passed and self.results.kills:
                if rate_hz < floor_hz or not floor_hz:
                    return
                rates_hz, rate_hz = [], floor_hz
            for _ in range(2 if rate_hz == floor_hz else 1):
                step = self.step(rate_hz, "under kills", measured_s, meanwhile=kill, skip_s=1.0 + recovery_s)
                self.results.kills.append({"rate_hz": rate_hz, "why": step.why, "not_valid": step.not_valid})
                if step.kept_up:
                    self.results.certified_hz = rate_hz
                    return


def main(arguments: Sequence[str] | None = None) -> int:
    """A capacity run against servers that stand already; buckets of the platform's mix must exist."""
    parser = argparse.ArgumentParser(prog="python -m natsproof.load.capacity")
    parser.add_argument("--url", required=True, help="servers, comma-separated")
    parser.add_argument("--budget-s", type=float, default=90.0)
    parser.add_argument("--step-s", type=float, default=3.0)
    parser.add_argument("--start-hz", type=float, default=200.0)
    parser.add_argument("--objective-s", type=float, default=0.5, help="99th percentile to keep")
    parser.add_argument("--workers", type=int, default=1, help="generator processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write capacity.json")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="natsproof-capacity-") as folder:
        spec = GeneratorSpec(
            urls=tuple(given.url.split(",")),
            seed=given.seed,
            mix=measuring_mix(PLATFORM),
            record=f"{folder}/load-{{worker}}.jsonl",
        )
        try:
            rig = Rig(spec, workers=given.workers, objective_s=given.objective_s)
        except NatsproofError as problem:
            print(problem, file=sys.stderr)
            return 3
        try:
            measuring = Measuring(rig, step_s=given.step_s, say=lambda text: print(text, flush=True))
            results = measuring.results
            results.knee = measuring.knee("all pods", given.start_hz, 0.6 * given.budget_s)
            measuring.scaling(0.2 * given.budget_s)
            measuring.axes(PLATFORM, 0.2 * given.budget_s)
        finally:
            rig.close()
    knee = results.knee
    bound = (
        "" if knee.limited_by == "platform" else f" (a lower bound: the {knee.limited_by} ended the search)"
    )
    print(f"knee: {knee.rate_hz:.0f} operations a second, +- {knee.certain_to:.0%}{bound}")
    if given.json:
        given.json.write_bytes(orjson.dumps(results.as_dict(), option=orjson.OPT_INDENT_2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
