"""Guards that count: was there enough of it, and how much more than enough?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from natsproof.history import History


@dataclass(frozen=True)
class Enough:
    """At least `needed` of `noun` in each place that `look` found, as (number, " where" or "").

    `nothing` is said where there is no such place. How much was there belongs into the certificate also
    when it was enough: what is only just enough will one day be too little.
    """

    name: str
    needed: int
    noun: str
    look: Callable[[History], Sequence[tuple[int, str]]]
    nothing: str = ""

    def asked(self, history: History) -> tuple[str | None, int | None]:
        """The guard's sentence, and of all places the smallest number; None if there is no place."""
        found = self.look(history)
        if not found:
            return self.nothing, None
        number, where = min(found, key=lambda one: one[0])
        if number >= self.needed:
            return None, number
        return f"only {number:,} {self.noun}{where}, {self.needed:,} needed", number

    def fewest(self, history: History) -> int | None:
        """Of all places the smallest number; None if there is no place."""
        return self.asked(history)[1]

    def __call__(self, history: History) -> str | None:
        return self.asked(history)[0]
