"""Servers with a false clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from natsproof.clock import wall_ns
from natsproof.errors import ClusterError, UsageError
from natsproof.faults import Aimed
from natsproof.faults.sight import confirmed, each

WITNESS_S = 3.0
NEAR_S = 1.0


@dataclass(frozen=True)
class ClockShift(Aimed):
    """The victims' wall clocks jump by `seconds` (whole ones; negative is into the past) and jump back.

    Timers keep running true. The witness is each server's own `now` of /varz against the clock here. A
    server that is started anew meanwhile has a true clock: for it the fault is over.
    """

    victim: str = "follower"
    seconds: float = 120.0

    needs: ClassVar[tuple[str, ...]] = ("ClockShiftable",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seconds != int(self.seconds) or abs(self.seconds) < 4 * NEAR_S:
            raise UsageError(f"seconds={self.seconds:g}: whole seconds, {4 * NEAR_S:g} or more either way")

    def sight(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, float]:
        return {target: ahead_s(cluster, target) for target in targets}

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.shift_clock(target, self.seconds)

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return ""  # a clock that was wrong before is not this fault's doing

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, float]) -> str:
        def one(name: str) -> str:
            try:
                now = ahead_s(cluster, name)
            except ClusterError:
                return ""
            moved = abs(now - before[name] - self.seconds) < NEAR_S
            return f"{name} says it is {now:+.1f} s, {before[name]:+.1f} s before" if moved else ""

        return confirmed("the servers' own time to jump", lambda: each(targets, one), within_s=WITNESS_S)

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.restore_clock(target)


def ahead_s(cluster: Any, server: str) -> float:
    """How far the time that a server tells is ahead of the clock here. Raises ClusterError."""
    told = datetime.fromisoformat(_microseconds(str(cluster.monitor(server, "/varz")["now"])))
    return told.timestamp() - wall_ns() / 1e9


def _microseconds(text: str) -> str:
    """RFC 3339 with up to nine digits of a second as Python reads it."""
    head, dot, rest = text.partition(".")
    return f"{head}.{rest.rstrip('Z')[:6]:0<6}+00:00" if dot and text.endswith("Z") else text
