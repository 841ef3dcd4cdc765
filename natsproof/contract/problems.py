"""Collecting what is wrong with manifests, so that one run tells all of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from natsproof.contract.model import Place
from natsproof.errors import ContractError

MOST_SHOWN = 25


class Problems:
    """A list of `file:line: what is wrong` that becomes one ContractError."""

    def __init__(self) -> None:
        self._lines: list[tuple[Place, str]] = []

    def __bool__(self) -> bool:
        return bool(self._lines)

    @property
    def count(self) -> int:
        return len(self._lines)

    def add(self, place: Place, text: str) -> None:
        if (place, text) not in self._lines:
            self._lines.append((place, text))

    def add_text(self, text: str) -> None:
        """Add a message that begins with its own place."""
        for line in text.splitlines():
            file, _, rest = line.partition(": ")
            name, _, number = file.rpartition(":")
            if number.isdigit():
                self.add(Place(name, int(number)), rest)
            else:
                self.add(Place(file, 1), rest)

    def raise_if_any(self) -> None:
        """Raise ContractError with every problem, in file order."""
        if not self._lines:
            return
        ordered = sorted(self._lines, key=lambda entry: (entry[0].file, entry[0].line))
        lines = [f"{place}: {text}" for place, text in ordered[:MOST_SHOWN]]
        if len(ordered) > MOST_SHOWN:
            lines.append(f"… and {len(ordered) - MOST_SHOWN} more problems")
        raise ContractError("\n".join(lines))


def closest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for a misspelt word, or nothing."""
    options = list(known)
    by_lower = {option.lower(): option for option in options}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.65)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def shown(value: Any) -> str:
    """A found value, short enough for a message."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
