"""What a capacity run (the observation `capacity`) says about the promised rates and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from natsproof.checkers.exhibits import MOST
from natsproof.history import History
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown

Evidence = dict[str, int | float | str]
#: A rate divided and multiplied by the writing part again is the same rate.
EVEN = 1 + 1e-9


def capacity_of(history: History) -> Mapping[str, Any] | None:
    """The observation `capacity`; None if no capacity run was made."""
    found = list(history.observed("capacity"))
    return found[0].data if found else None


@dataclass(frozen=True)
class CapacityAtLeast:
    """A measured rate of all operations, of which `writing_part` write, is no lower than promised.

    `which`: "knee" (all pods) or "one_down". A search that the generator ended gives a lower bound: enough
    for HOLDS, never for BROKEN. One that the time ended is BROKEN if the rate that was too high is too low.
    """

    writes_hz: float
    which: str
    writing_part: float

    def __call__(self, history: History) -> Verdict:
        capacity = capacity_of(history)
        if capacity is None:
            return unknown("no capacity was measured")
        knee = capacity[self.which]
        if knee is None:
            return unknown(f"the run did not come to {self.which}")
        evidence = _rates(capacity, float(knee["rate_hz"]), self.writing_part, self.writes_hz)
        evidence |= {"certain_to": round(float(knee["certain_to"]), 3), "limited_by": str(knee["limited_by"])}
        text = _told(evidence)
        if _enough(knee["rate_hz"], self):
            return holds(text, **evidence)
        if knee["limited_by"] == "generator":
            return unknown(f"{text}; but the generator was behind where it ended", (), **evidence)
        too_high_hz = knee["too_high_hz"]
        if knee["limited_by"] == "time" and (too_high_hz is None or _enough(too_high_hz, self)):
            return unknown(f"{text}; but the search ran out of time", (), **evidence)
        failed = [s for s in capacity["steps"] if s["why"] and not s["not_valid"]]
        shown = [Exhibit(f"{s['offered_hz']:.0f} a second: {s['why']}") for s in failed[:MOST]]
        return broken(text, shown, **evidence)


@dataclass(frozen=True)
class CertifiedAtLeast:
    """The rate kept up with under kills is no lower than promised; BROKEN needs two failures at the promised
    rate or below in which the generator kept its schedule."""

    writes_hz: float
    writing_part: float

    def __call__(self, history: History) -> Verdict:
        capacity = capacity_of(history)
        if capacity is None:
            return unknown("no capacity was measured")
        rate_hz = float(capacity["certified_hz"])
        evidence = _rates(capacity, rate_hz, self.writing_part, self.writes_hz)
        evidence["steps_under_kills"] = len(capacity["kills"])
        text = _told(evidence)
        if _enough(rate_hz, self):
            return holds(text, **evidence)
        tried = [k for k in capacity["kills"] if k["rate_hz"] * self.writing_part <= self.writes_hz * EVEN]
        failed = [k for k in tried if k["why"] and not k["not_valid"]]
        if len(failed) >= 2:
            shown = [Exhibit(f"{k['rate_hz']:.0f} a second: {k['why']}") for k in failed[:MOST]]
            return broken(text, shown, **evidence)
        behind = [k["not_valid"] for k in tried if k["not_valid"]]
        return unknown(
            f"{text}; but {behind[0] if behind else 'that rate was not tried twice'}", (), **evidence
        )


def _enough(rate_hz: float, judge: CapacityAtLeast | CertifiedAtLeast) -> bool:
    return float(rate_hz) * judge.writing_part * EVEN >= judge.writes_hz


def _rates(capacity: Mapping[str, Any], rate_hz: float, writing_part: float, promised_hz: float) -> Evidence:
    return {
        "operations_hz": round(rate_hz, 1),
        "writes_hz": round(rate_hz * writing_part, 1),
        "promised_writes_hz": promised_hz,
        "steps": len(capacity["steps"]),
    }


def _told(rates: Evidence) -> str:
    return (
        f"{rates['writes_hz']:.0f} writes a second ({rates['operations_hz']:.0f} operations), "
        f"{rates['promised_writes_hz']:g} are promised"
    )


@dataclass(frozen=True)
class SizesHold:
    """At the planned rate no bucket fills, and buckets and volumes fit; `scenario` is one of `sizing`."""

    scenario: str = "now"

    def __call__(self, history: History) -> Verdict:
        capacity = capacity_of(history)
        if capacity is None or not capacity["sizing"]:
            return unknown("no sizing was made")
        size = capacity["sizing"][self.scenario]
        evidence: Evidence = {
            "planned_hz": capacity["sizing"]["planned_hz"],
            "servers": size["servers"],
            "reserved_bytes": round(size["reserved_bytes"]),
            "used_disk_bytes": round(size["used_disk_bytes"]),
            "volume_bytes": size["volume_bytes"],
        }
        if size["findings"]:
            return broken(str(size["findings"][0]), [Exhibit(text) for text in size["findings"]], **evidence)
        worst = max(size["buckets"], key=lambda b: b["steady_bytes"] / (b["max_bytes"] or float("inf")))
        return holds(str(worst["says"]), **evidence)


@dataclass(frozen=True)
class ModelMatchesFill:
    """What an entry cost in the stream differs from the sizing model by at most `apart`."""

    apart: float = 0.05

    def __call__(self, history: History) -> Verdict:
        capacity = capacity_of(history)
        if capacity is None or not capacity["fill"]:
            return unknown("no fill was measured")
        row = capacity["fill"][0]
        off = abs(row["bytes_per_entry"] - row["model_bytes_per_entry"]) / row["bytes_per_entry"]
        evidence: Evidence = {k: v for k, v in row.items() if v is not None} | {"off": round(off, 4)}
        text = (
            f"{row['bytes_per_entry']:g} bytes an entry measured, {row['model_bytes_per_entry']} in the model"
        )
        return holds(text, **evidence) if off <= self.apart else broken(text, (), **evidence)
