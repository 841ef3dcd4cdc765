"""Even spacing of a client's operations."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from natsproof.clock import NS_PER_S, now_ns

if TYPE_CHECKING:
    from natsproof.trial import Scene


class Pace:
    """One client's turns, `rate_hz` a second, beginning at a drawn phase.

    Turns that were missed while an operation hung are not made up for: a recovering platform must not
    meet a burst that no promise speaks of.
    """

    def __init__(self, scene: Scene, rate_hz: float, rng: random.Random) -> None:
        self._scene = scene
        self._every_ns = int(NS_PER_S / rate_hz)
        self._next_ns = now_ns() + int(self._every_ns * rng.random())

    async def turn(self) -> bool:
        """Wait for the next turn; False when drive is over."""
        now = now_ns()
        wait_ns = self._next_ns - now
        self._next_ns = max(self._next_ns, now - self._every_ns) + self._every_ns
        return await self._scene.rest(wait_ns / NS_PER_S)
