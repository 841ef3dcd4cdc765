"""How many port-forwards are opened at once, and who is next.

Each costs the API server, the kubelet and this process tens of milliseconds of a core. Where hundreds of
clients come back together, each that waits longer than its time limit gives up and asks anew: opened all at
once, or the oldest first, none would ever be served in time. So a few at once, and the newest first; but each
fourth turn goes to the oldest, who would wait for ever where new ones come all the time.
"""

from __future__ import annotations

import asyncio
from collections import deque

#: Of so many turns one goes to who has waited longest.
TO_THE_OLDEST = 4


class Turn:
    """The right to open one; over when `over` is called first, or after the time that it may take."""

    def __init__(self, turns: Turns, limit_s: float) -> None:
        self._turns: Turns | None = turns
        self._timer = asyncio.get_running_loop().call_later(limit_s, self.over)

    def over(self) -> None:
        """Idempotent."""
        self._timer.cancel()
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.pass_on()


class Turns:
    """`at_once` turns of at most `limit_s` on one event loop; mostly the last that asked is next."""

    def __init__(self, at_once: int, limit_s: float) -> None:
        self._free, self._limit_s = at_once, limit_s
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._given = 0

    async def take(self) -> Turn:
        if self._free:
            self._free -= 1
        else:
            given = asyncio.get_running_loop().create_future()
            self._waiting.append(given)
            try:
                await given
            except asyncio.CancelledError:
                if given.done() and not given.cancelled():  # it was given in the same moment
                    self.pass_on()
                raise
        return Turn(self, self._limit_s)

    def pass_on(self) -> None:
        """Give a turn that is over to who asked last, or to who has waited longest."""
        while self._waiting:
            to_the_oldest = self._given % TO_THE_OLDEST == TO_THE_OLDEST - 1
            given = self._waiting.popleft() if to_the_oldest else self._waiting.pop()
            if not given.done():
                self._given += 1
                given.set_result(None)
                return
        self._free += 1
