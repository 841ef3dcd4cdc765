"""Faults drawn from a seed: the sequences that nobody thought of.

    Trial("random schedule", clients, random_schedule(seed, servers, for_s=16), duration_s=25)

What is drawn is data: named servers wherever a role may not exist at that moment, so that a schedule means
the same in every run and can be shrunk (shrink.py). Every fault has the calm that its witness needs, or a run
would end UNKNOWN instead of saying something.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

from natsproof.errors import UsageError
from natsproof.faults import Fault
from natsproof.faults.network import OneWay, Partition
from natsproof.faults.process import Kill, Pause
from natsproof.faults.storage import PowerCut

#: A server that was started again has its ports open, its store read, and its peers met.
CALM_S = 2.5
#: A cut is witnessed by the silence of a leader, so there must have been one: elections take up to 9 s.
ELECTED_S = 10.0
CUTS = ("Partition", "OneWay")
PROCESS = ("Kill", "Pause", "Partition", "OneWay")
POWER = ("Kill", "Pause", "PowerCut")


def random_schedule(
    seed: object,
    servers: Sequence[str],
    *,
    kinds: Sequence[str] = PROCESS,
    always: str = "",
    for_s: float = 16.0,
    first_at_s: float = 1.5,
) -> tuple[Fault, ...]:
    """Faults that begin within `for_s` after `first_at_s`; equal seeds draw alike. A kind that is `always`
    wanted is among them: it is drawn again until it is.

    At most one server is away at a time, but for two kinds of moments: all die together, or a server dies
    while another sleeps. Promises about lost writes cover both; promises of availability do not.
    After a cut all is calm for as long as it lasted and `CALM_S`: so long may a route stay silent, and who
    leads again meanwhile is the death `partition-flapping`, a promise of its own (docs/findings.md, 39).
    """
    if unknown := sorted(set(kinds) - {*_DRAW}):
        raise UsageError(f"no faults to draw: {', '.join(unknown)}. Valid: {', '.join(_DRAW)}")
    if always and always not in kinds:
        raise UsageError(f"{always!r} cannot always be drawn, it is none of {', '.join(kinds)}")
    if len(servers) < 3:
        raise UsageError(f"a schedule is drawn for three servers or more, not {len(servers)}")
    for turn in itertools.count():
        rng = random.Random(f"schedule/{seed}/{turn}")
        drawn = _draw(rng, servers, kinds, for_s, first_at_s)
        if not always or any(type(fault).__name__ == always for fault in drawn):
            return drawn
    raise AssertionError("itertools.count ended")


def _draw(
    rng: random.Random, servers: Sequence[str], kinds: Sequence[str], for_s: float, first_at_s: float
) -> tuple[Fault, ...]:
    drawn: list[Any] = []
    at_s, calm_since_s = first_at_s, -ELECTED_S
    while at_s < first_at_s + for_s:
        calm = at_s - calm_since_s >= ELECTED_S
        able = [kind for kind in kinds if calm or kind not in CUTS]
        step = _DRAW[rng.choice(able or list(kinds))](rng, servers, round(at_s, 1))
        drawn += step
        calm_since_s = max(fault.at_s + fault.down_s for fault in step)
        silent_s = sum(fault.down_s for fault in step if type(fault).__name__ in CUTS)
        at_s = calm_since_s + silent_s + CALM_S + rng.choice((0.0, 0.5, 1.0, 2.0))
    return tuple(drawn)


def _kill(rng: random.Random, servers: Sequence[str], at_s: float) -> list[Any]:
    victim = rng.choice([*servers, *servers, "all"])
    return [Kill(victim, at_s=at_s, down_s=rng.choice((0.3, 0.5, 1.0, 2.0)))]


def _pause(rng: random.Random, servers: Sequence[str], at_s: float) -> list[Any]:
    """Half of the time another server dies meanwhile: two are away, and the third has no majority."""
    sleeper, other = rng.sample(list(servers), 2)
    down_s = rng.choice((2.0, 3.0, 5.0))
    pause: list[Any] = [Pause(sleeper, at_s=at_s, down_s=down_s)]
    dies = Kill(other, at_s=round(at_s + down_s / 2, 1), down_s=0.5)
    return [*pause, dies] if rng.random() < 0.5 else pause


def _partition(rng: random.Random, servers: Sequence[str], at_s: float) -> list[Any]:
    return [Partition(rng.choice(list(servers)), at_s=at_s, down_s=rng.choice((4.0, 6.0)))]


def _one_way(rng: random.Random, servers: Sequence[str], at_s: float) -> list[Any]:
    victim, direction = rng.choice(list(servers)), rng.choice(("out", "in"))
    return [OneWay(victim, at_s=at_s, down_s=rng.choice((4.0, 6.0)), direction=direction)]


def _power_cut(rng: random.Random, servers: Sequence[str], at_s: float) -> list[Any]:
    victim = rng.choice([*servers, "all", "all"])
    return [PowerCut(victim, at_s=at_s, down_s=rng.choice((0.5, 1.0)))]


_DRAW: dict[str, Callable[[random.Random, Sequence[str], float], list[Any]]] = {
    "Kill": _kill,
    "Pause": _pause,
    "Partition": _partition,
    "OneWay": _one_way,
    "PowerCut": _power_cut,
}
