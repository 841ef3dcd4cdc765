"""Pure judges: History to Verdict. Near-linear, vectorised, no clock, no I/O, no randomness."""

from __future__ import annotations

from typing import Protocol

from natsproof.history import History
from natsproof.verdict import Verdict


class Checker(Protocol):
    def __call__(self, history: History) -> Verdict: ...


class Guard(Protocol):
    """An evidence guard: None if there is enough evidence, else the sentence that makes it UNKNOWN."""

    def __call__(self, history: History) -> str | None: ...
