"""What a capacity run (the observation `capacity`) says about the promised rates and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from natsproof.history import History
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown

Evidence = dict[str, int | float | str]


def capacity_of(history: History) -> Mapping[str, Any] | None:
    """The observation `capacity`; None if no capacity run was made."""
    found = list(history.observed("capacity"))
    return found[0].data if found else None


@dataclass(frozen=True)
class CapacityAtLeast:
    """A measured rate of all operations, of which `writing_part` write, is no lower than promised.

    `which`: "knee" (all pods), "one_down", or "certified_hz" (under pod kills). A search that the
    generator or the time ended gives a lower bound: enough for HOLDS, never for BROKEN.
    """

    writes_hz: float
    which: str
    writing_part: float

    def __call__(self, history: History) -> Verdict:
        capacity = capacity_of(history)
        if capacity is None:
            return unknown("no capacity was measured")
        told = capacity[self.which]
        if told is None:
            return unknown(f"the run did not come to {self.which}")
        rate_hz = float(told["rate_hz"] if isinstance(told, Mapping) else told)
        writes_hz = rate_hz * self.writing_part
        evidence: Evidence = {
            "operations_hz": round(rate_hz, 1),
            "writes_hz": round(writes_hz, 1),
            "promised_writes_hz": self.writes_hz,
            "steps": len(capacity["steps"]),
        }
        if isinstance(told, Mapping):
            evidence["certain_to"] = round(float(told["certain_to"]), 3)
            evidence["limited_by"] = str(told["limited_by"])
        text = f"{writes_hz:.0f} writes a second ({rate_hz:.0f} operations), {self.writes_hz:g} are promised"
        if writes_hz >= self.writes_hz:
            return holds(text, **evidence)
        behind = [s["not_valid"] for s in capacity["steps"] if s["why"] and s["not_valid"]]
        if behind or (isinstance(told, Mapping) and told["limited_by"] != "platform"):
            return unknown(
                f"{text}; but {behind[0] if behind else 'the search ran out of time'}", (), **evidence
            )
        failed = [s for s in capacity["steps"] if s["why"]]
        shown = [Exhibit(f"{s['offered_hz']:.0f} a second: {s['why']}") for s in failed[:3]]
        return broken(text, shown, **evidence)


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
