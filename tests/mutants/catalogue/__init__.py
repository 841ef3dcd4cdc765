"""All mutants, and for every claim that one of them names a control: the same without anything wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from tests.mutants.catalogue import contract, expiry, facts, harness, limits, operations, rules, server
from tests.mutants.claims import claims
from tests.mutants.mutant import Mutant, parted
from tests.mutants.short import QUICK


@cache
def mutants() -> tuple[Mutant, ...]:
    groups = (rules, facts, contract, server, expiry, operations, limits, harness)
    found = tuple(mutant for group in groups for mutant in group.MUTANTS)
    names = [mutant.name for mutant in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise LookupError(f"mutants of one name: {', '.join(sorted(twice))}")
    return found


def controls(chosen: Sequence[Mutant]) -> tuple[Mutant, ...]:
    """One for each trial that the chosen mutants run: their claims, with nothing wrong."""
    groups: dict[tuple[str, object], dict[str, None]] = {}
    for mutant in chosen:
        if not mutant.controlled:
            continue
        for text in mutant.claims:
            name, wanted = parted(text)
            trial = claims()[name].example(wanted, QUICK).get("trial")
            what = getattr(trial, "name", claims()[name].module)
            groups.setdefault((what, mutant.setting), {})[text] = None
    made: list[Mutant] = []
    for (what, setting), texts in groups.items():
        name = f"control: {what}" + (f", {setting[0].replace.split()[-1]}" if setting else "")  # type: ignore[index]
        made.append(Mutant(name, "control", tuple(texts), "HOLDS", setting=setting))  # type: ignore[arg-type]
    return tuple(made)


def everything() -> tuple[Mutant, ...]:
    return (*mutants(), *controls(mutants()))
