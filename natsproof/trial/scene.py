"""What a workload is given: clients, keys, randomness, and when to stop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from natsproof.client import TIMEOUT_S, RecordingClient
from natsproof.client.connection import Connection
from natsproof.clock import Deadline
from natsproof.cluster import Cluster, Server
from natsproof.contract.model import Contract
from natsproof.errors import ClusterError, UsageError
from natsproof.recorder import Recorder

T = TypeVar("T")
OPEN_WITHIN_S = 10.0


class Stage:
    """What all workloads of one trial share: the recorder, the connections, the end of drive."""

    def __init__(self, cluster: Cluster, recorder: Recorder, prefix: str, buckets: list[str]) -> None:
        self.cluster, self.recorder, self.prefix, self.buckets = cluster, recorder, prefix, buckets
        self.twins: dict[str, str] = {}  # of a bucket, the twin that a workload uses in its place
        self.ending = asyncio.Event()
        self.ends = Deadline.within(0)
        self._index_of = {urlsplit(s.client_url).netloc: s.ordinal for s in cluster.servers}
        self._connections: list[Connection] = []
        self.tidying: list[Callable[[], Awaitable[object]]] = []

    async def tidy(self) -> None:
        """Take away what workloads made, last first; what fails is written down."""
        for step in reversed(self.tidying):
            try:
                await step()
            except ClusterError as problem:
                self.recorder.observe("left_behind", {"problem": str(problem)})

    async def client(
        self, name: str, *, server: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> RecordingClient:
        servers = self._servers(name, server)
        turn = len(self._connections) % len(servers)
        connection = Connection(self.recorder, name, servers[turn:] + servers[:turn], self._index_of)
        self._connections.append(connection)
        await connection.open(OPEN_WITHIN_S)
        return RecordingClient(self.recorder, connection, name, timeout_s=timeout_s)

    @asynccontextmanager
    async def guest(self, name: str, *, server: str, timeout_s: float) -> AsyncIterator[RecordingClient]:
        """A client of one server for a short time; it does not shift the servers of those to come."""
        connection = Connection(self.recorder, name, self._servers(name, server), self._index_of)
        try:
            await connection.open(OPEN_WITHIN_S)
            yield RecordingClient(self.recorder, connection, name, timeout_s=timeout_s)
        finally:
            await connection.close()

    def _servers(self, name: str, server: str | None) -> list[Server]:
        """Those that client `name` may use: all, or the one it is pinned to."""
        servers = [s for s in self.cluster.servers if server in (None, s.name)]
        if not servers:
            names = ", ".join(s.name for s in self.cluster.servers)
            raise UsageError(f"client {name}: no server is called {server!r}. Servers: {names}")
        return servers

    async def close(self) -> None:
        await asyncio.gather(*(connection.close() for connection in self._connections))


class Scene:
    """One workload's view of the trial.

    `rng` is seeded from the trial's seed and the workload's place, so equal seeds draw alike.
    `buckets` of the trial may be extended with `add_bucket` (a bucket the workload made itself).
    """

    def __init__(self, stage: Stage, index: int, seed: int) -> None:
        self._stage, self.index, self.seed = stage, index, seed
        self.rng = random.Random(f"{seed}/{index}")
        self.recorder = stage.recorder
        self.cluster = stage.cluster
        self.clients: list[RecordingClient] = []  # those opened by this workload, in order
        self.kept: dict[str, Any] = {}  # what the workload keeps from one phase to the next

    @property
    def contract(self) -> Contract:
        return self.cluster.contract

    @property
    def servers(self) -> tuple[Server, ...]:
        return self.cluster.servers

    @property
    def prefix(self) -> str:
        """Of this workload's keys: unique to the trial's run and the workload."""
        return f"{self._stage.prefix}.w{self.index}"

    def key(self, name: object) -> str:
        """The full name of one of this workload's keys."""
        return f"{self.prefix}.{name}"

    async def client(
        self, name: str, *, server: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> RecordingClient:
        """A recording client with its own connection, closed by the runner. `server` pins it to one server,
        else it goes round them. Raises ClusterError if none answers within 10 s."""
        client = await self._stage.client(f"w{self.index}.{name}", server=server, timeout_s=timeout_s)
        self.clients.append(client)
        return client

    def over(self) -> bool:
        """Whether drive is over: finish what is under way and return."""
        return self._stage.ending.is_set()

    @property
    def left_s(self) -> float:
        """Seconds of drive left."""
        return 0.0 if self.over() else self._stage.ends.left_s

    async def rest(self, seconds: float) -> bool:
        """Wait, but not beyond the end of drive; whether drive goes on."""
        if seconds <= 0:
            await asyncio.sleep(0)
        else:
            try:
                await asyncio.wait_for(self._stage.ending.wait(), seconds)
            except TimeoutError:
                return True
        return not self.over()

    def mark(self, name: str) -> int:
        return self.recorder.mark(name)

    def observe(self, name: str, data: Any) -> None:
        self.recorder.observe(name, data)

    def add_bucket(self, bucket: str, *, of: str = "") -> None:
        """Settle, final reads and the replica audit take this bucket in too. Faults that are aimed by the
        bucket `of` are aimed by this one, its twin."""
        if of:
            self._stage.twins.setdefault(of, bucket)
        if bucket not in self._stage.buckets:
            self._stage.buckets.append(bucket)

    def afterwards(self, step: Callable[[], Awaitable[object]]) -> None:
        """Run `step` after the final reads and the audit, to take away what the workload made."""
        self._stage.tidying.append(step)

    async def verb(self, call: Callable[..., T], *arguments: Any) -> T:
        """A cluster verb, in a thread."""
        return await asyncio.to_thread(call, *arguments)
