"""A load second by second, and in total: what reports draw and what the checkers of rates read.

Everything counts by intended start: an arrival that was due in second 3 and answered in second 9
belongs to second 3 with its six seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from natsproof.clock import NS_PER_S
from natsproof.history import NEVER_NS
from natsproof.load.engine import SAMPLE, Samples
from natsproof.load.lag import Lag, measure
from natsproof.load.latency import of_ns
from natsproof.load.mix import Action
from natsproof.load.outcome import ANSWERED, Ended


def answered(samples: Samples) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.isin(samples["outcome"], [int(e) for e in ANSWERED])


def between(samples: Samples, from_ns: int, to_ns: int) -> Samples:
    """Those whose intended start is in [from, to)."""
    due = samples["intended_ns"]
    return samples[(due >= from_ns) & (due < to_ns)]


def errors(samples: Samples) -> dict[str, int]:
    """Counts by class of what was not answered as it should."""
    counts = np.bincount(samples["outcome"], minlength=len(Ended))
    return {e.name.lower(): int(counts[e]) for e in Ended if e not in ANSWERED and counts[e]}


def milliseconds(samples: Samples) -> dict[str, float]:
    """Percentiles of the latency from the intended start, and the service time's median beside it."""
    response = of_ns(samples["done_ns"] - samples["intended_ns"])
    told = {f"p{p:g}_ms": round(s * 1e3, 3) for p, s in response.percentiles_s().items()}
    told["service_p50_ms"] = round(of_ns(samples["done_ns"] - samples["sent_ns"]).at_s(50) * 1e3, 3)
    return told


def seconds(samples: Samples, began_ns: int) -> list[dict[str, Any]]:
    """One row a second since `began_ns`: due, answered, errors, p50, p99 and max in milliseconds."""
    if not len(samples):
        return []
    index = (samples["intended_ns"] - began_ns) // NS_PER_S
    rows = []
    for second in range(int(index.min()), int(index.max()) + 1):
        chosen = samples[index == second]
        took = (chosen["done_ns"] - chosen["intended_ns"]) / 1e6
        p50, p99, most = np.percentile(took, [50, 99, 100]) if len(took) else (0.0, 0.0, 0.0)
        rows.append(
            {
                "at_s": second,
                "due": len(chosen),
                "answered": int(np.count_nonzero(answered(chosen))),
                "errors": errors(chosen),
                "p50_ms": round(float(p50), 3),
                "p99_ms": round(float(p99), 3),
                "max_ms": round(float(most), 3),
            }
        )
    return rows


def in_flight(samples: Samples, at_ns: int) -> int:
    """Operations due by then and not answered by then: the backlog as users feel it."""
    due = int(np.count_nonzero(samples["intended_ns"] <= at_ns))
    return due - int(np.count_nonzero(samples["done_ns"] <= at_ns))


def summary(
    samples: Samples,
    mix: Sequence[Action],
    *,
    began_ns: int,
    refused: int = 0,
    objective_s: float | None = None,
    faults: Sequence[tuple[int, int | None]] = (),
) -> dict[str, Any]:
    """All of it as JSON-able data: the observation `load` of a history. `faults` are (injected, healed) in
    ns; with them latencies inside and outside these windows are told apart."""
    settled = samples[samples["intended_ns"] >= began_ns + NS_PER_S]  # the first second starts processes
    lag: Lag = measure(settled, refused=refused, objective_s=objective_s)
    by_action = {
        action.name: {"due": len(chosen), "errors": errors(chosen), **milliseconds(chosen)}
        for index, action in enumerate(mix)
        if len(chosen := samples[samples["action"] == index])
    }
    return {
        "began_ns": began_ns,
        "due": len(samples),
        "answered": int(np.count_nonzero(answered(samples))),
        "errors": errors(samples),
        "latency": milliseconds(samples),
        "actions": by_action,
        "seconds": seconds(samples, began_ns),
        "windows": inside_and_outside(samples, faults),
        "lag": {"p50_ms": lag.p50_s * 1e3, "p99_ms": lag.p99_s * 1e3, "max_ms": lag.max_s * 1e3},
        "refused": refused,
        "not_valid": lag.why_not,
    }


def inside_and_outside(
    samples: Samples, faults: Sequence[tuple[int, int | None]]
) -> dict[str, dict[str, Any]]:
    """Latencies of what was answered while a fault's window lasted, and of all else; empty without faults.

    A window ends with the healing, or with the last failure before the next fault where that is later: a
    server that is back does not lead yet. Due before the kill and answered after it is inside.
    """
    if not faults:
        return {}
    ok, inside = answered(samples), np.zeros(len(samples), dtype=np.bool_)
    begins = [injected_ns for injected_ns, _ in faults]
    for (injected_ns, healed_ns), next_ns in zip(faults, [*begins[1:], NEVER_NS], strict=True):
        failed = ~ok & (samples["done_ns"] >= injected_ns) & (samples["intended_ns"] < next_ns)
        ends_ns = NEVER_NS if healed_ns is None else samples["done_ns"][failed].max(initial=healed_ns)
        inside |= (samples["done_ns"] >= injected_ns) & (samples["intended_ns"] <= ends_ns)
    parts = {"inside": inside, "outside": ~inside}
    return {
        name: {"due": int(part.sum()), "errors": errors(samples[part]), **milliseconds(samples[part & ok])}
        for name, part in parts.items()
        if part.any()
    }


def joined(parts: Sequence[Samples]) -> Samples:
    return np.concatenate([np.empty(0, dtype=SAMPLE), *parts])
