"""Performs the actions of a mix: which key, which revision, and what it leaves for later actions.

Keys belong to one process (its worker number is in them), so a conditional write conflicts only with
what the same process has in flight, as in the platform where one worker owns a message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from natsproof.errors import UsageError
from natsproof.history import Kind
from natsproof.load.clients import ClientPool
from natsproof.load.mix import Action
from natsproof.load.outcome import Ended, ended

#: What must have been done before, in the same bucket.
NEEDS = {"update": "put", "get": "put", "renew": "acquire", "release": "acquire", "dequeue": "enqueue"}


class Actions:
    """`perform(index)` does the action and answers (index of what was done, how it ended).

    Where an action has nothing to act on yet (no lock held, queue empty), the action that provides it is
    done in its place, and counted as what it was.
    """

    def __init__(self, mix: Sequence[Action], pool: ClientPool, *, prefix: str, worker: int) -> None:
        self._mix, self._pool, self._prefix = tuple(mix), pool, f"{prefix}.w{worker}"
        self._number = [0] * len(mix)
        self._ready: dict[str, deque[tuple[str, int]]] = {a.bucket: deque(maxlen=100_000) for a in mix}
        self._revision: dict[tuple[str, str], int] = {}
        self._provider: dict[int, int] = {}
        for index, action in enumerate(mix):
            if action.verb in NEEDS:
                provider = [
                    i for i, a in enumerate(mix) if (a.bucket, a.verb) == (action.bucket, NEEDS[action.verb])
                ]
                if not provider:
                    raise UsageError(f"{action.name} needs {action.bucket}.{NEEDS[action.verb]} in the mix")
                self._provider[index] = provider[0]
        verbs: dict[str, Callable[[int], Awaitable[Ended]]] = {
            "put": self._put,
            "enqueue": self._put,
            "append": self._put,
            "get": self._get,
            "update": self._update,
            "renew": self._renew,
            "acquire": self._acquire,
            "release": self._take_away,
            "dequeue": self._take_away,
        }
        self._verbs = [verbs[a.verb] for a in mix]

    async def perform(self, index: int) -> tuple[int, Ended]:
        if index in self._provider and not self._ready[self._mix[index].bucket]:
            index = self._provider[index]
        return index, await self._verbs[index](index)

    def _next_key(self, index: int) -> str:
        number = self._number[index]
        self._number[index] = number + 1
        action = self._mix[index]
        return f"{self._prefix}.{index}.{number % action.keys}"

    async def _put(self, index: int) -> Ended:
        action, key = self._mix[index], self._next_key(index)
        place, client = self._pool.take()
        try:
            answer = await client.put(action.bucket, key, size=action.value_bytes)
        finally:
            self._pool.give(place, client)
        if answer.ok:
            self._revision[action.bucket, key] = answer.revision
            self._ready[action.bucket].append((key, answer.revision))
        return ended(answer, Kind.PUT)

    async def _get(self, index: int) -> Ended:
        """As an application reads: from any replica, possibly stale."""
        action = self._mix[index]
        key, _ = self._ready[action.bucket][-1]
        place, client = self._pool.take()
        try:
            return ended(await client.direct_get(action.bucket, key), Kind.GET)
        finally:
            self._pool.give(place, client)

    async def _update_at(self, index: int, key: str, last: int) -> Ended:
        """Update at a known revision; only if that succeeds is the key there for further actions."""
        action = self._mix[index]
        place, client = self._pool.take()
        try:
            answer = await client.update(action.bucket, key, last, size=action.value_bytes)
        finally:
            self._pool.give(place, client)
        if answer.ok:
            self._revision[action.bucket, key] = answer.revision
            self._ready[action.bucket].append((key, answer.revision))
        return ended(answer, Kind.UPDATE)

    async def _update(self, index: int) -> Ended:
        """Next state of the oldest message that is not being updated, at its last known revision."""
        bucket = self._mix[index].bucket
        key, last = self._ready[bucket].popleft()
        return await self._update_at(index, key, self._revision.get((bucket, key), last))

    async def _renew(self, index: int) -> Ended:
        """The oldest lock held; a lock that was lost (expired, taken) is forgotten."""
        key, last = self._ready[self._mix[index].bucket].popleft()
        return await self._update_at(index, key, last)

    async def _acquire(self, index: int) -> Ended:
        action, key = self._mix[index], self._next_key(index)
        place, client = self._pool.take()
        try:
            answer = await client.create(action.bucket, key, size=action.value_bytes)
        finally:
            self._pool.give(place, client)
        if answer.ok:
            self._ready[action.bucket].append((key, answer.revision))
        return ended(answer, Kind.CREATE)

    async def _take_away(self, index: int) -> Ended:
        """Release a lock, take a message off the queue: a delete that only its owner's revision allows."""
        action = self._mix[index]
        key, last = self._ready[action.bucket].popleft()
        place, client = self._pool.take()
        try:
            return ended(await client.delete(action.bucket, key, last), Kind.DELETE)
        finally:
            self._pool.give(place, client)
