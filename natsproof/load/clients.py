"""Logical clients over few connections: thousands of operations in flight, each by a client of its own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from natsproof.client import RecordingClient
from natsproof.client.connection import Connection
from natsproof.recorder import Recorder


class LoadRecorder(Recorder):
    """A recorder whose writes carry numbers from `first_value` on, so that several processes can write
    to the same keys' history without ever using one number twice."""

    def __init__(self, path: Path, meta: dict[str, Any], *, first_value: int) -> None:
        super().__init__(path, meta)
        self._numbers = itertools.count(first_value)

    def new_value(self) -> int:
        return next(self._numbers)


class ClientPool:
    """Hands out free recording clients, spread over the connections that are up.

    A client does one thing at a time; `take` makes a new one when all are busy.
    """

    def __init__(
        self, recorder: Recorder, connections: Sequence[Connection], *, name: str, timeout_s: float
    ) -> None:
        self._connections = tuple(connections)
        self._recorder, self._name, self._timeout_s = recorder, name, timeout_s
        self._free: list[list[RecordingClient]] = [[] for _ in connections]
        self._turn = itertools.cycle(range(len(self._connections)))
        self.size = 0

    def take(self) -> tuple[int, RecordingClient]:
        """(place to give it back to, client)."""
        place = next(self._turn)
        for _ in self._connections:
            if self._connections[place].up:
                break
            place = next(self._turn)
        free = self._free[place]
        if free:
            return place, free.pop()
        self.size += 1
        name = f"{self._name}-{self.size}"
        connection = self._connections[place]
        return place, RecordingClient(self._recorder, connection, name, timeout_s=self._timeout_s)

    def give(self, place: int, client: RecordingClient) -> None:
        self._free[place].append(client)

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()
