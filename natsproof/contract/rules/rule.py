"""A Rule: a claim that the manifests alone decide, no cluster needed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from natsproof.contract.model import Contract, Place
from natsproof.verdict import Exhibit, Verdict, broken, holds

Check = Callable[[Contract], Verdict]


@dataclass(frozen=True, slots=True)
class Rule:
    """`name` is the claim in the present tense, `title` the sentence of the certificate, `promise` what it
    guards.

    `check` is pure. It answers UNKNOWN where another rule's subject is missing: one mistake is one BROKEN.
    """

    name: str
    title: str
    promise: str
    check: Check

    def __call__(self, contract: Contract) -> Verdict:
        return self.check(contract)


def rule(promise: str) -> Callable[[Check], Rule]:
    """Make a Rule of a function: its name is the claim, the first paragraph of its docstring the title."""

    def make(check: Check) -> Rule:
        title = (inspect.getdoc(check) or "").split("\n\n")[0].replace("\n", " ")
        if not title:
            raise ValueError(f"rule {check.__name__} needs a docstring: it is printed in the certificate")
        return Rule(name=check.__name__, title=title, promise=promise, check=check)

    return make


def at(place: Place, text: str) -> Exhibit:
    """What is wrong at `place`: the wrong value, the right one, what to do."""
    return Exhibit(text, place=str(place))


def judged(wrong: Sequence[Exhibit], kept: str, **evidence: int | float | str) -> Verdict:
    """BROKEN with all that is wrong, the first of it as the reason; else HOLDS because `kept`."""
    if not wrong:
        return holds(kept, **evidence)
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return broken(f"{wrong[0].place}: {wrong[0].text}{more}", wrong, **evidence)


def shown_bytes(count: int) -> str:
    """`161 GiB`; exact, so that a message can be compared with the manifests."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    return f"{count} bytes"
