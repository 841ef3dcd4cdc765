"""Deaths and absences of the server's process."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from natsproof.clock import wait_until
from natsproof.errors import DeadlineExceeded, UsageError
from natsproof.faults import Aimed
from natsproof.faults.operations import server_ids
from natsproof.faults.sight import closed, confirmed, each, knock_at, server_of

WITNESS_S = 3.0
#: A busy API server and kubelet take seconds to end a pod.
GONE_S = 8.0


def _gone(cluster: Any, targets: Sequence[str]) -> str:
    """Neither the client port nor the monitoring port of any target takes a connection. Nothing starts them
    before the fault is healed, so who was seen gone is not asked again."""
    seen: dict[str, str] = {}

    def one(name: str) -> str:
        seen[name] = seen.get(name) or closed(server_of(cluster, name))
        return seen[name]

    return confirmed("the ports to close", lambda: each(targets, one), within_s=GONE_S)


@dataclass(frozen=True)
class Kill(Aimed):
    """SIGKILL: the process is gone at once, what it wrote stays in the page cache. `victim="all"` is a
    death of the whole platform at one moment."""

    needs: ClassVar[tuple[str, ...]] = ("Killable",)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        if len(targets) > 1 and hasattr(cluster, "kill_together"):  # where one kill takes its time
            cluster.kill_together(targets)
            return
        for target in targets:
            cluster.kill(target)

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return _gone(cluster, targets)

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            if not cluster.running(target):
                cluster.start(target)


@dataclass(frozen=True)
class Stop(Kill):
    """As deleting the pod does: preStop, SIGTERM, grace period, SIGKILL."""

    needs: ClassVar[tuple[str, ...]] = ("Stoppable",)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.stop(target)


@dataclass(frozen=True)
class Pause(Aimed):
    """SIGSTOP: the process stays, its ports accept (the kernel answers), nobody speaks."""

    needs: ClassVar[tuple[str, ...]] = ("Pausable",)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.pause(target)

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        def one(name: str) -> str:
            met = knock_at(server_of(cluster, name), within_s=0.5)
            return f"{name}: both ports accept and say nothing" if set(met) == {"silent"} else ""

        return confirmed("the ports to fall silent", lambda: each(targets, one), within_s=WITNESS_S)

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        """A liveness probe may have killed it meanwhile; then it was started again and runs."""
        for target in targets:
            if cluster.running(target):
                cluster.resume(target)


@dataclass(frozen=True)
class CrashLoop(Aimed):
    """SIGKILL `times` times, each time away twice as long as before, as the kubelet backs off: `first_s`,
    2 x `first_s`, ...; up for `up_s` in between, counted from its first answer. Over when it is up for good.

    The witness is the servers' own random ids, which change with each start: one more than deaths.
    """

    victim: str = "follower"
    down_s: float | None = None
    times: int = 4
    first_s: float = 0.5
    up_s: float = 1.5
    answer_s: float = 15.0

    needs: ClassVar[tuple[str, ...]] = ("Killable",)
    one_shot: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.times < 2 or self.first_s < 0 or self.up_s < 0:
            raise UsageError(f"{self!r}: a loop has two deaths or more, and times from 0 up")

    def sight(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, list[str]]:
        return {target: [self._id(cluster, target)] for target in targets}

    def inject(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, list[str]] | None:
        """The ids that each server had, one after the other."""
        ids = {target: [self._id(cluster, target)] for target in targets}
        for number in range(self.times):
            for target in targets:
                cluster.kill(target)
            threading.Event().wait(self.first_s * 2**number)
            for target in targets:
                cluster.start(target)
            for target in targets:
                ids[target].append(self._id(cluster, target))
            threading.Event().wait(self.up_s)
        return ids

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return ""  # a loop that is over leaves no trace without the ids from before

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, list[str]]) -> str:
        wanted = self.times + 1
        whole = all(len(set(before[t]) - {""}) == wanted == len(before[t]) for t in targets)
        return f"{', '.join(targets)}: {wanted} servers, one after the other" if whole else ""

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            if not cluster.running(target):
                cluster.start(target)

    def _id(self, cluster: Any, target: str) -> str:
        """ "" if it does not answer in time."""
        probe = partial(server_ids, cluster, [target])
        try:
            found = wait_until(f"{target} to answer", probe, within_s=self.answer_s, every_s=0.1)
        except DeadlineExceeded:
            return ""
        return found[target] if found else ""


def kill_storm(
    seed: int,
    *,
    every_s: float,
    for_s: float,
    down_s: float = 1.0,
    victims: Sequence[str] = ("leader", "follower", "random"),
    of: str | None = None,
    first_at_s: float = 1.0,
) -> tuple[Kill, ...]:
    """A kill about every `every_s` for `for_s`, seeded: gaps vary by a third, victims are drawn.

    The next kill never begins before the last victim is started again.
    """
    if every_s * 2 / 3 <= down_s:
        raise UsageError(
            f"every_s={every_s:g} leaves no time between kills of down_s={down_s:g}; at most two thirds"
        )
    rng = random.Random(seed)
    kills, at_s = [], first_at_s
    while at_s < first_at_s + for_s:
        kills.append(Kill(rng.choice(list(victims)), of=of, at_s=round(at_s, 3), down_s=down_s))
        at_s += every_s * rng.uniform(2 / 3, 4 / 3)
    return tuple(kills)
