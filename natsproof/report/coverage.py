"""Which faults really landed on whom, and when: the fault × role × phase matrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from natsproof.history import History, Injection


@dataclass
class Cell:
    landed: int = 0
    missed: int = 0


@dataclass
class Coverage:
    """`cells[fault][(role, phase)]`; roles and phases in the order they were first seen."""

    cells: dict[str, dict[tuple[str, str], Cell]] = field(default_factory=dict)
    columns: list[tuple[str, str]] = field(default_factory=list)

    def add(self, history: History) -> None:
        for injection in history.injections:
            column = (injection.role or "unknown", phase(injection, history))
            if column not in self.columns:
                self.columns.append(column)
            cell = self.cells.setdefault(kind(injection.fault), {}).setdefault(column, Cell())
            if injection.landed:
                cell.landed += 1
            else:
                cell.missed += 1

    def table(self) -> dict[str, Any]:
        """Rows for a page: roles and phases as columns, `3 landed, 1 missed` as cells."""
        columns = sorted(self.columns)
        rows = []
        for fault, cells in sorted(self.cells.items()):
            found = [cells.get(column) for column in columns]
            rows.append({"fault": fault, "cells": [_words(cell) for cell in found]})
        return {"columns": [{"role": role, "phase": name} for role, name in columns], "rows": rows}


def _words(cell: Cell | None) -> dict[str, Any]:
    if cell is None:
        return {"text": "never", "landed": 0, "missed": 0}
    text = f"{cell.landed} landed" + (f", {cell.missed} missed" if cell.missed else "")
    return {"text": text, "landed": cell.landed, "missed": cell.missed}


def kind(fault: str) -> str:
    """`Kill(victim='leader', at_s=5)` is a Kill."""
    return fault.split("(", 1)[0].strip() or "unknown"


def phase(injection: Injection, history: History) -> str:
    """What else was going on when the fault was injected: another fault, or the trial's own phase."""
    others = [
        kind(other.fault)
        for other in history.injections
        if other is not injection
        and other.injected_ns <= injection.injected_ns
        and (other.healed_ns is None or other.healed_ns > injection.injected_ns)
        and other.landed
    ]
    if others:
        return f"during {others[0]}"
    before = [
        (at_ns, name)
        for name, at_ns in history.marks.items()
        if at_ns <= injection.injected_ns and name != "first_fault"
    ]
    return max(before)[1] if before else "steady"


def coverage(histories: Iterable[History]) -> Coverage:
    found = Coverage()
    for history in histories:
        found.add(history)
    return found
