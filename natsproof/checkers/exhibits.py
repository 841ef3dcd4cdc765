"""Evidence for readers: operations in words, the fault that was on at the time, counts with their unit."""

from __future__ import annotations

from collections.abc import Iterable

from natsproof.history import NEVER_NS, History, Injection
from natsproof.verdict import Exhibit

#: Exhibits given per kind of violation; the evidence counts all of them.
MOST = 3


def exhibit(history: History, text: str, rows: Iterable[int]) -> Exhibit:
    """`text`, then each operation in words, then the fault nearest to the first of them."""
    kept = tuple(int(r) for r in rows if r >= 0)
    lines = [text, *(f"  {history.describe(row)}" for row in kept)]
    at_ns = int(history.operations.call_ns[kept[0]]) if kept else None
    if at_ns is not None and (near := nearest_fault(history, at_ns)):
        lines.append(f"  {near}")
    return Exhibit("\n".join(lines), kept, at_ns=at_ns)


def nearest_fault(history: History, at_ns: int) -> str:
    """The fault whose beginning is nearest to a moment, in words; empty without faults."""
    if not history.injections:
        return ""
    nearest = min(history.injections, key=lambda i: abs(i.injected_ns - at_ns))
    return f"nearest fault: {describe_injection(history, nearest)}"


def describe_injection(history: History, injection: Injection) -> str:
    """`kill of nats-1 (leader) at 12.395 s, healed 22.401 s`."""
    began = history.since_start_s(injection.injected_ns)
    healed = (
        "" if injection.healed_ns is None else f", healed {history.since_start_s(injection.healed_ns):.3f} s"
    )
    landed = "" if injection.landed else ", NOT LANDED"
    targets = ", ".join(injection.targets) or "nothing"
    return f"{injection.fault} of {targets} ({injection.role}) at {began:.3f} s{healed}{landed}"


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 write`, `1,234 writes`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def end_ns(history: History) -> int:
    """The last moment that any operation of the history names."""
    ops = history.operations
    if not len(ops):
        return int(history.meta.get("began_ns", 0))
    returned = ops.return_ns[ops.return_ns != NEVER_NS]
    return max(int(ops.call_ns.max()), int(returned.max()) if len(returned) else 0)
