"""What the lock machine saw: facts, judged without servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from natsproof.verdict import Exhibit, Verdict, broken, holds


def no_wrong_answer_about_a_lock(facts: Mapping[str, Any]) -> Verdict:
    """The model found no answer that it forbids. `facts`: see natsproof.trial.lock_machine.play."""
    counts = {name: int(facts[name]) for name in ("plays", "steps", "lapses", "leader_moves")}
    if facts["wrong"]:
        return broken(str(facts["wrong"]), [Exhibit(f"the shortest way to it:\n{facts['script']}")], **counts)
    return holds(f"{counts['steps']:,} steps in {counts['plays']:,} plays, no wrong answer", **counts)


def played(*, steps: int, lapses: int, leader_moves: int) -> Callable[[Mapping[str, Any]], str | None]:
    """A guard: so many steps, lapsed leases and changes of the leader were seen."""

    def guard(facts: Mapping[str, Any]) -> str | None:
        wanted = {"steps": steps, "lapses": lapses, "leader_moves": leader_moves}
        short = [f"{facts[n]} {n} (of {least})" for n, least in wanted.items() if facts[n] < least]
        return f"too little was played: {', '.join(short)}" if short else None

    guard.__name__ = f"played({steps}, {lapses}, {leader_moves})"
    return guard
