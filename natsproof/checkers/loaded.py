"""What a load says about a platform: rates, latencies, pauses, fairness.

The load leaves one observation `load` (natsproof.load.timeline): what was due and answered, by second
and by action, and whether the generator kept its schedule. Rates of acknowledged writes and pauses are
counted in the operations themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers.windows import Window, windows
from natsproof.history import WRITES, History, Outcome
from natsproof.verdict import Exhibit, Status, Verdict, broken, holds, unknown

NS = 1_000_000_000
#: Below this many acknowledged writes in a window a rate is no statement.
ENOUGH_WRITES = 100
#: Arrivals this late still belong to the second they were meant for, or the next. The tighter rule, which a
#: broken promise must pass to be the platform's, is `not_valid` (natsproof.load.lag).
MOST_LAG_S = 1.0


def load_of(history: History) -> Mapping[str, Any] | None:
    """The observation `load`; None if nothing was loaded."""
    found = list(history.observed("load"))
    return found[0].data if found else None


def the_load_was_offered(history: History) -> str | None:
    """A guard: every arrival of the schedule was started, and within a second of its moment.

    A smaller lag of the generator cannot make a verdict better: latencies count from the intended start.
    It can make one worse, so the checkers here answer UNKNOWN where they would blame the platform.
    """
    load = load_of(history)
    if load is None:
        return "no load was observed"
    if load["refused"]:
        return str(load["not_valid"])
    late_s = float(load["lag"]["p99_ms"]) / 1e3
    if late_s > MOST_LAG_S:
        return (
            f"the generator fell behind its schedule: 1 % of operations started {late_s:.1f} s late or "
            f"later, allowed is {MOST_LAG_S:g} s; use more workers or a quieter machine"
        )
    return None


def _not_the_generator(load: Mapping[str, Any], verdict: Verdict) -> Verdict:
    """A broken promise is the platform's only if the generator kept its schedule well enough."""
    if verdict.status is Status.BROKEN and load["not_valid"]:
        reason = f"{verdict.reason}; but {load['not_valid']}"
        return Verdict(Status.UNKNOWN, reason, verdict.evidence, verdict.exhibits)
    return verdict


def acknowledged_writes(history: History) -> NDArray[np.int64]:
    """Moments of call of all acknowledged writes, sorted."""
    ops = history.operations
    mask = np.isin(ops.kind, [int(k) for k in WRITES]) & (ops.outcome == Outcome.OK)
    return np.sort(ops.call_ns[mask])


def load_window(history: History, load: Mapping[str, Any]) -> tuple[int, int]:
    """From the first full second of the load to its last arrival's second, exclusive."""
    began, seconds = int(load["began_ns"]), load["seconds"]
    last = int(seconds[-1]["at_s"]) if seconds else 0
    return began + NS, began + last * NS


@dataclass(frozen=True)
class SustainsRate:
    """At least `floor_hz` acknowledged writes a second, all buckets together.

    `when`: "all" of the load; "down": while a fault lasts, from `budget_s` after it landed to the
    beginning of its healing. UNKNOWN if less was offered, or for too short to say.
    """

    floor_hz: float
    when: str = "all"
    budget_s: float = 0.0

    def __call__(self, history: History) -> Verdict:
        load = load_of(history)
        if load is None:
            return unknown("no load was observed")
        began, ended = load_window(history, load)
        spans = [(began, ended)]
        if self.when == "down":
            budget = int(self.budget_s * NS)
            spans = [
                (max(w.injected_ns + budget, began), min(w.heal_began_ns, ended))
                for w in windows(history)
                if w.injected_ns + budget < w.heal_began_ns
            ]
        calls, tried = acknowledged_writes(history), _tried_writes(history)
        length_s = sum(max(0, end - start) for start, end in spans) / NS
        writes = sum(_count(calls, start, end) for start, end in spans)
        offered = sum(_count(tried, start, end) for start, end in spans)
        if length_s <= 0 or offered < ENOUGH_WRITES:
            return unknown(f"only {offered} writes were offered in {length_s:.1f} s of the wanted window")
        rate_hz, offered_hz = writes / length_s, offered / length_s
        evidence: dict[str, int | float | str] = {
            "acknowledged_writes_hz": round(rate_hz, 1),
            "offered_writes_hz": round(offered_hz, 1),
            "floor_hz": self.floor_hz,
            "window_s": round(length_s, 1),
            "acknowledged": writes,
        }
        if rate_hz >= self.floor_hz:
            return holds(
                f"{rate_hz:.0f} acknowledged writes a second, {self.floor_hz:g} promised", **evidence
            )
        if offered_hz < self.floor_hz:
            return unknown(
                f"only {offered_hz:.0f} writes a second were offered, {self.floor_hz:g} are promised",
                (),
                **evidence,
            )
        verdict = broken(
            f"{rate_hz:.0f} acknowledged writes a second of {offered_hz:.0f} offered, "
            f"{self.floor_hz:g} are promised",
            [Exhibit(f"errors by class: {dict(load['errors'])}", at_ns=spans[0][0])],
            **evidence,
        )
        return _not_the_generator(load, verdict)


def _tried_writes(history: History) -> NDArray[np.int64]:
    ops = history.operations
    return np.sort(ops.call_ns[np.isin(ops.kind, [int(k) for k in WRITES])])


def _count(sorted_ns: NDArray[np.int64], start: int, end: int) -> int:
    return int(np.searchsorted(sorted_ns, end) - np.searchsorted(sorted_ns, start))


@dataclass(frozen=True)
class AnswersWithin:
    """The 99th percentile of the latency from the intended start, for all or for one bucket's actions."""

    p99_s: float
    bucket: str = ""

    def __call__(self, history: History) -> Verdict:
        load = load_of(history)
        if load is None:
            return unknown("no load was observed")
        chosen = {n: a for n, a in load["actions"].items() if n.startswith(self.bucket) and a["due"]}
        if not self.bucket:
            chosen = {"all": {"due": load["due"], "errors": load["errors"], **load["latency"]}}
        due = sum(int(a["due"]) for a in chosen.values())
        if due < ENOUGH_WRITES:
            return unknown(f"only {due} operations on {self.bucket or 'all buckets'} were due")
        failed = sum(sum(a["errors"].values()) for a in chosen.values())
        worst = max(chosen, key=lambda n: float(chosen[n]["p99_ms"]))
        p99_ms = float(chosen[worst]["p99_ms"])
        evidence: dict[str, int | float | str] = {"p99_ms": p99_ms, "promised_p99_ms": self.p99_s * 1e3}
        evidence |= {"due": due, "failed": failed, "send_lag_p99_ms": round(load["lag"]["p99_ms"], 1)}
        text = f"p99 of {worst} is {p99_ms:.1f} ms from the intended start, {self.p99_s * 1e3:g} ms promised"
        if failed > 0.01 * due:
            return broken(
                f"{failed} of {due} operations were not answered, so p99 is no latency", (), **evidence
            )
        if p99_ms <= self.p99_s * 1e3:
            return holds(text, **evidence)
        return _not_the_generator(load, broken(text, (), **evidence))


@dataclass(frozen=True)
class ServesAgainWithin:
    """After each fault, no bucket goes without an acknowledged write for longer than `budget_s`.

    The pause is the longest stretch without one between the calls of acknowledged writes, from the
    injection to the next one's (or the load's end). Also told: seconds until a second had its full rate, and
    latencies while a fault lasted (`inside`) and otherwise.
    """

    budget_s: float

    def __call__(self, history: History) -> Verdict:
        load, own = load_of(history), windows(history)
        if load is None or not own:
            return unknown("no load was observed" if load is None else "no fault landed")
        _, ended = load_window(history, load)
        pauses, full, exhibits = [], [], []
        served = _moments_by_bucket(history)
        for index, window in enumerate(own):
            until = own[index + 1].injected_ns if index + 1 < len(own) else ended
            pause_s, bucket = _longest_pause(served, window, until)
            pauses.append(pause_s)
            full.append(_full_rate_s(load, window, until))
            if pause_s > self.budget_s:
                text = (
                    f"{bucket}: {pause_s:.1f} s without an acknowledged write after {window.injection.fault} "
                    f"on {', '.join(window.injection.targets)}"
                )
                exhibits.append(Exhibit(text, at_ns=window.injected_ns))
        evidence: dict[str, int | float | str] = {
            "faults": len(own),
            "pause_p50_s": round(float(np.median(pauses)), 2),
            "pause_p90_s": round(float(np.percentile(pauses, 90)), 2),
            "pause_max_s": round(max(pauses), 2),
            "full_rate_p50_s": round(float(np.median(full)), 1),
            "full_rate_max_s": round(max(full), 1),
            "budget_s": self.budget_s,
            **_by_window(load),
        }
        reason = f"longest of {len(own)} pauses {max(pauses):.1f} s, {self.budget_s:g} s allowed"
        return broken(reason, exhibits, **evidence) if exhibits else holds(reason, **evidence)


def _by_window(load: Mapping[str, Any]) -> dict[str, float]:
    """Latencies from the intended start while a fault lasted and otherwise, and what was not answered then;
    older histories have none."""
    told: dict[str, float] = {}
    for which, part in (load.get("windows") or {}).items():
        told |= {f"{which}_{p}_ms": round(part[f"{p}_ms"], 1) for p in ("p50", "p99")}
        told[f"{which}_failed"] = sum(part["errors"].values())
    return told


def _moments_by_bucket(history: History) -> dict[str, NDArray[np.int64]]:
    """Moments of call of the acknowledged writes of each bucket, sorted."""
    ops = history.operations
    mask = np.isin(ops.kind, [int(k) for k in WRITES]) & (ops.outcome == Outcome.OK)
    buckets = dict.fromkeys(key.bucket for key in history.keys)
    return {b: np.sort(ops.call_ns[mask & np.isin(ops.key, history.keys_of(b))]) for b in buckets}


def _longest_pause(
    served: Mapping[str, NDArray[np.int64]], window: Window, until_ns: int
) -> tuple[float, str]:
    """(seconds, bucket) of the longest stretch; the window's ends count as moments."""
    worst = (0.0, "")
    for bucket, moments in served.items():
        start, end = np.searchsorted(moments, [window.injected_ns, until_ns])
        edges = np.concatenate([[window.injected_ns], moments[start:end], [until_ns]])
        longest = float(np.max(np.diff(edges))) / NS
        worst = max(worst, (longest, bucket))
    return worst


def _full_rate_s(load: Mapping[str, Any], window: Window, until_ns: int) -> float:
    """Seconds from the fault to the last second in which fewer than 99 % were answered; 0 if none."""
    began = int(load["began_ns"])
    short = [
        began + (int(row["at_s"]) + 1) * NS
        for row in load["seconds"]
        if row["answered"] < 0.99 * row["due"]
        and window.injected_ns - NS < began + int(row["at_s"]) * NS < until_ns
    ]
    return max(0.0, (max(short) - window.injected_ns) / NS) if short else 0.0


@dataclass(frozen=True)
class SharesFairly:
    """No bucket's answered part of what was due lies more than `apart` below that of the best served."""

    apart: float = 0.01

    def __call__(self, history: History) -> Verdict:
        load = load_of(history)
        if load is None:
            return unknown("no load was observed")
        due: dict[str, int] = {}
        answered: dict[str, int] = {}
        for name, action in load["actions"].items():
            bucket = name.partition(".")[0]
            due[bucket] = due.get(bucket, 0) + int(action["due"])
            answered[bucket] = answered.get(bucket, 0) + int(action["due"]) - sum(action["errors"].values())
        parts = {bucket: answered[bucket] / due[bucket] for bucket in due if due[bucket]}
        if len(parts) < 2 or min(due.values()) < 50:
            return unknown(f"too few operations on some bucket to compare: {due}")
        low, high = min(parts, key=parts.__getitem__), max(parts, key=parts.__getitem__)
        evidence: dict[str, int | float | str] = {}
        evidence |= {f"answered_{bucket}": round(part, 4) for bucket, part in parts.items()}
        text = f"{low} had {parts[low]:.2%} of its operations answered, {high} {parts[high]:.2%}"
        if parts[high] - parts[low] > self.apart:
            return broken(text, (), **evidence)
        return holds(text, **evidence)
