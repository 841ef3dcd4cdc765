"""The rules of the lock machine: what Hypothesis may do next."""

from __future__ import annotations

import time
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from natsproof.parsing import undisturbed
from natsproof.trial.lock_machine import NAMES, Step, Table, Way
from natsproof.trial.lock_model import Contender, WrongAnswer, believers

WHO = st.integers(0, len(NAMES) - 1)
# A new leader takes a second: most of the time goes to what takes milliseconds.
MOVES = ["", "step down", "kill"]
LOSE = st.sampled_from(["", "", "", "answer", "request", "answer and reads"])


class TimeUp(BaseException):
    """Ends Hypothesis at once, in the midst of generating or of shrinking: it catches Exceptions only."""


class LockRules(RuleBasedStateMachine):
    """One play on one key. Its subclass has the `table` that all plays share."""

    table: Table

    def __init__(self) -> None:
        super().__init__()
        self.table.plays += 1
        self.way = Way()
        self.contenders = self.table.contenders(f"lock{time.monotonic_ns()}")
        self.lapsed = self.moved = False

    def step(self, one: Contender, verb: str, *arguments: str) -> None:
        """Do it, and keep what was seen."""
        step = Step(verb, one.name, arguments)
        try:
            seen = self.table.do(step, self.contenders)
        except WrongAnswer as wrong:
            self.fail(step, wrong)
        self.way.steps.append(step)
        self.way.seen.append(str(seen))

    def fail(self, step: Step, wrong: WrongAnswer) -> None:
        self.table.found(Way([*self.way.steps, step], list(self.way.seen), str(wrong)))
        raise wrong

    def pick(self, who: int, able: Callable[[Contender], object]) -> Contender | None:
        """The contender, or the next of those that can; None if none can. Rules have no preconditions on
        leases: they end by the clock, and Hypothesis wants the same choices again."""
        found = [one for one in self.contenders if able(one)]
        return found[who % len(found)] if found else None

    @rule(who=WHO, lose=LOSE)
    def acquire(self, who: int, lose: str) -> None:
        one = self.pick(who, lambda one: not one.lock.held())
        if one is not None:
            self.step(one, "acquire", lose)

    @rule(who=WHO, lose=LOSE)
    def renew(self, who: int, lose: str) -> None:
        one = self.pick(who, lambda one: one.lock.held())
        if one is None:
            return self.acquire(who, lose)
        return self.step(one, "renew", lose)

    @rule(who=WHO)
    def release(self, who: int) -> None:
        one = self.pick(who, lambda one: one.lock.revision)
        if one is None:
            return self.acquire(who, "")
        return self.step(one, "release")

    @rule(who=WHO, verb=st.sampled_from(["renew", "release"]))
    def use_an_old_revision(self, who: int, verb: str) -> None:
        one = self.pick(who, lambda one: one.revisions and not one.lock.held())
        if one is None:
            return self.acquire(who, "")
        return self.step(one, "use_old", verb)

    @rule(who=WHO, rather_not=st.booleans())
    def let_it_lapse(self, who: int, rather_not: bool) -> None:
        one = self.contenders[0]
        if rather_not or self.lapsed or not one.model.alive(time.monotonic()):
            return self.acquire(who, "")
        self.lapsed = True
        return self.step(one, "lapse")

    @rule(how=st.sampled_from(MOVES))
    def move_the_leader(self, how: str) -> None:
        how = how if self.table.kills else how.replace("kill", "step down")
        if how and not self.moved:
            self.moved = True
            self.step(self.contenders[0], "move", how)

    @invariant()
    def one_believes(self) -> None:
        if self.table.deadline.passed:
            raise TimeUp
        if wrong := believers(self.contenders):
            self.fail(Step("believe", ""), WrongAnswer(wrong))


def explore(table: Table, *, seed: int, plays: int, steps: int) -> None:
    """Play until the time or the plays are used up, or the shortest way to a wrong answer was found."""
    machine = type("LockMachine", (LockRules,), {"table": table})
    how = settings(
        max_examples=plays,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        print_blob=False,
        report_multiple_bugs=False,
    )
    turn = 0
    while not table.deadline.passed and table.shortest is None:
        try:
            with undisturbed():
                run_state_machine_as_test(seeded(seed + turn)(machine), settings=how)
        except TimeUp:
            return
        except FlakyStrategyDefinition:
            turn += 1  # a lease ended by the clock between two equal plays, and another rule was taken
        except Exception:
            if table.shortest is None:  # else this is the wrong answer that is kept already
                raise
        else:
            return
