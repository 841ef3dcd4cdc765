"""The smallest trial that still fails: delta debugging on the faults, then what is left made simpler.

A verdict on a concurrent system is not the same each time, so a candidate is run up to `tries` times and
fails if one of them does. What was found is run `confirm` times more, to say how often it fails.

Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input, IEEE TSE 28 (2002).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from natsproof.clock import Deadline
from natsproof.faults import Fault
from natsproof.trial import Trial

#: Runs the candidate once, on a platform of its own. True: the claim is BROKEN.
Fails = Callable[[Trial], bool]

TRIES = 2
CONFIRM = 5
#: Part of the time that is kept for counting how often the result fails.
FOR_CONFIRMATION = 0.3
SHORTEST_S = 0.5
#: A platform that lost its streams never settles, and acknowledges nothing after the fault: every run would
#: wait for all of `settle_s` and `patience_s`.
SETTLE_S = PATIENCE_S = 8.0


@dataclass(frozen=True)
class Shrunk:
    """`trial` is the smallest that failed, `failed` of `runs` of its own runs did; `tried` counts all runs.

    `again` is False if the trial to shrink never failed again: then `trial` is that one. `in_time` is
    False if time ran out before nothing more could be taken away; `interrupted` says that Ctrl-C did.
    """

    trial: Trial
    failed: int
    runs: int
    tried: int
    again: bool = True
    in_time: bool = True
    interrupted: bool = False


class OutOfTime(Exception):
    """No further run may begin."""


class _Shrinker:
    """`found` is the smallest known to fail."""

    def __init__(self, trial: Trial, fails: Fails, deadline: Deadline, tries: int, max_runs: int) -> None:
        self.found, self.runs, self.again = trial, 0, False
        self._fails, self._deadline, self._tries, self._max_runs = fails, deadline, tries, max_runs
        self._known: set[str] = set()

    def run(self, trial: Trial) -> bool:
        if self._deadline.passed or self.runs >= self._max_runs:
            raise OutOfTime
        self.runs += 1
        return self._fails(trial)

    def fails(self, trial: Trial) -> bool:
        """Whether the candidate fails in one of its tries; then it is the smallest found."""
        if repr(trial) in self._known:
            return False
        self._known.add(repr(trial))
        for _ in range(self._tries):
            if self.run(trial):
                self.found = trial
                return True
        return False

    def all(self) -> None:
        sooner = replace(
            self.found,
            settle_s=min(self.found.settle_s, SETTLE_S),
            patience_s=min(self.found.patience_s, PATIENCE_S),
        )
        if not self.fails(sooner) and not self.fails(self.found):
            return
        self.again = True
        before = None
        while before != self.found:
            before = self.found
            self._drop_faults()
            self._first_that_fails(_without_any_fault)
            self._first_that_fails(_fewer_workloads)
            self._first_that_fails(_shorter)
            self._first_that_fails(_one_victim)

    def _drop_faults(self) -> None:
        """ddmin: of `parts` parts of the faults, one alone, or all but one."""
        parts = 2
        while len(self.found.faults) > 1:
            chunks = _chunks(self.found.faults, min(parts, len(self.found.faults)))
            subsets = chunks if parts == 2 else [*chunks, *_complements(chunks)]
            if any(self.fails(_with_faults(self.found, subset)) for subset in subsets):
                parts = 2
            elif parts >= len(self.found.faults):
                return
            else:
                parts *= 2

    def _first_that_fails(self, simpler: Callable[[Trial], Iterator[Trial]]) -> None:
        while any(self.fails(candidate) for candidate in simpler(self.found)):
            continue


def shrink(
    trial: Trial,
    fails: Fails,
    *,
    within_s: float,
    tries: int = TRIES,
    confirm: int = CONFIRM,
    max_runs: int = 200,
) -> Shrunk:
    """Make `trial`, which failed, as small as can be found in time. The run that is under way when time is up
    still counts. Interrupted, it gives what it has. What else `fails` raises passes through."""
    whole = Deadline.within(within_s)
    part = Deadline.within(within_s * (1 - FOR_CONFIRMATION))
    at_work = _Shrinker(trial, fails, part, tries, max_runs)
    in_time, interrupted, failed, runs = True, False, 0, 0
    try:
        try:
            at_work.all()
        except OutOfTime:
            in_time = False
        while at_work.again and runs < confirm and not whole.passed:
            failed += fails(at_work.found)
            runs += 1
    except KeyboardInterrupt:
        interrupted = True
    return Shrunk(at_work.found, failed, runs, at_work.runs + runs, at_work.again, in_time, interrupted)


# -- smaller trials


def _with_faults(trial: Trial, faults: Sequence[Fault]) -> Trial:
    """The trial with these of its faults, and without the time that the others took."""
    kept = _closed_up(trial.faults, faults)
    tail_s = trial.duration_s - max((_end_s(fault) for fault in trial.faults), default=0.0)
    ends_s = max((_end_s(fault) for fault in kept), default=1.0)
    return replace(trial, faults=kept, duration_s=round(max(ends_s + tail_s, ends_s + 0.1), 1))


def _closed_up(all_faults: Sequence[Fault], kept: Sequence[Fault]) -> tuple[Fault, ...]:
    """A fault keeps its distance to the one before; one that fell into another keeps its place in it."""
    moved: list[tuple[Fault, Any]] = []
    ends_s = old_ends_s = 0.0
    for fault in sorted(all_faults, key=lambda fault: fault.at_s):
        gap_s = fault.at_s - old_ends_s
        old_ends_s = max(old_ends_s, _end_s(fault))
        if not any(fault is one for one in kept):
            continue
        into = [(old, new) for old, new in moved if old.at_s <= fault.at_s < _end_s(old)]
        at_s = ends_s + max(gap_s, 0.5)
        if into:
            old, new = into[0]
            at_s = new.at_s + fault.at_s - old.at_s
        new = replace(fault, at_s=round(at_s, 2))  # type: ignore[type-var]
        moved.append((fault, new))
        ends_s = max(ends_s, _end_s(new))
    return tuple(new for _, new in moved)


def _end_s(fault: Fault) -> float:
    return fault.at_s + (fault.down_s or 0.0)


def _chunks(faults: Sequence[Fault], parts: int) -> list[tuple[Fault, ...]]:
    bounds = [round(n * len(faults) / parts) for n in range(parts + 1)]
    return [tuple(faults[a:b]) for a, b in pairwise(bounds) if b > a]


def _complements(chunks: Sequence[Sequence[Fault]]) -> list[tuple[Fault, ...]]:
    return [
        tuple(fault for other in chunks if other is not chunk for fault in other)
        for chunk in chunks
        if len(chunks) > 2
    ]


def _without_any_fault(trial: Trial) -> Iterator[Trial]:
    if len(trial.faults) == 1:
        yield _with_faults(trial, ())


def _fewer_workloads(trial: Trial) -> Iterator[Trial]:
    for left_out in trial.workloads if len(trial.workloads) > 1 else ():
        yield replace(trial, workloads=tuple(w for w in trial.workloads if w is not left_out))


def _shorter(trial: Trial) -> Iterator[Trial]:
    """Half the absence of a fault, half the time after the last."""
    for fault in trial.faults:
        if fault.down_s is not None and fault.down_s > SHORTEST_S:
            less = replace(fault, down_s=max(SHORTEST_S, round(fault.down_s / 2, 1)))  # type: ignore[type-var]
            yield replace(trial, faults=tuple(less if f is fault else f for f in trial.faults))
    ends_s = max((_end_s(fault) for fault in trial.faults), default=0.0)
    if trial.faults and trial.duration_s - ends_s > 4.0:
        yield replace(trial, duration_s=round((trial.duration_s + ends_s) / 2, 1))


def _one_victim(trial: Trial) -> Iterator[Trial]:
    """One server where several were struck; a role is already one."""
    for fault in trial.faults:
        if fault.victim in ("two", "all"):
            for fewer in ("two", "leader") if fault.victim == "all" else ("leader",):
                less = replace(fault, victim=fewer)  # type: ignore[type-var]
                yield replace(trial, faults=tuple(less if f is fault else f for f in trial.faults))
