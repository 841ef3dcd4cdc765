"""One nats-py connection that comes back by itself, says where it is, and never prints a traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client as NatsClient

from natsproof.clock import Deadline, now_ns
from natsproof.cluster import Server
from natsproof.errors import ClusterError
from natsproof.history import NONE
from natsproof.recorder import Recorder

CONNECT_TIMEOUT_S = 1
RETRY_S = 0.1
PING_EVERY_S = 1
#: A connection that is down for longer is thrown away: nats-py's reconnecting task may have died.
STUCK_AFTER_S = 8.0


class Connection:
    """A connection to one of `servers`, in turn; discovered addresses are never used.

    `index_of` gives the server's index in the history by its address. All waits are bounded.
    """

    def __init__(
        self, recorder: Recorder, name: str, servers: Sequence[Server], index_of: dict[str, int]
    ) -> None:
        if not servers:
            raise ClusterError(f"client {name}: no server to connect to")
        self.name = name
        self.server = NONE  # index of the server it is connected to
        self.nc = NatsClient()
        self._recorder = recorder
        self._urls = [server.client_url for server in servers]
        self._index_of = index_of
        self._turn = 0
        self._told: set[str] = set()
        self._down_since_ns = now_ns()
        self._opening = asyncio.Lock()
        self._closed = False

    async def open(self, within_s: float) -> None:
        """Connect; raises ClusterError naming the last problem if no server answers in time."""
        if not await self.ready(within_s):
            problem = f"{self.nc.last_error!r}" if self.nc.last_error else "no answer"
            places = ", ".join(self._urls)
            raise ClusterError(
                f"client {self.name}: no connection within {within_s:g} s to {places}: {problem}"
            )

    @property
    def up(self) -> bool:
        return bool(self.nc.is_connected)

    async def ready(self, within_s: float) -> bool:
        """Whether it is connected now or becomes so in time. Nothing is sent."""
        deadline = Deadline.within(within_s)
        while not self.up and not self._closed:
            never_opened = not self.nc.is_reconnecting
            if never_opened or now_ns() - self._down_since_ns > STUCK_AFTER_S * 1e9:
                await self._reopen(deadline)
            if not self.up:
                if deadline.passed:
                    return False
                await asyncio.sleep(min(0.02, deadline.left_s))
        return self.up

    async def close(self) -> None:
        """End it; idempotent, bounded, never raises."""
        self._closed = True
        await self._discard()

    async def _reopen(self, deadline: Deadline) -> None:
        async with self._opening:
            if self.nc.is_connected or self._closed or deadline.passed:
                return
            await self._discard()
            self.nc = NatsClient()
            try:
                await asyncio.wait_for(self._connect(self.nc), timeout=max(0.05, deadline.left_s))
            except (TimeoutError, OSError, nats.errors.Error) as problem:
                self._tell(problem)
                await self._discard()
            else:
                await self._arrived()

    async def _connect(self, nc: NatsClient) -> None:
        turned = self._urls[self._turn % len(self._urls) :] + self._urls[: self._turn % len(self._urls)]
        self._turn += 1
        await nc.connect(
            servers=turned,
            name=f"natsproof {self.name}",
            error_cb=self._on_error,
            disconnected_cb=self._left,
            reconnected_cb=self._arrived,
            reconnect_to_server_handler=self._next_server,
            dont_randomize=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            reconnect_time_wait=RETRY_S,  # type: ignore[arg-type]  # annotated int, used as seconds
            max_reconnect_attempts=-1,
            ping_interval=PING_EVERY_S,
            max_outstanding_pings=2,
        )

    async def _discard(self) -> None:
        try:
            await asyncio.wait_for(self.nc.close(), timeout=2)
        except (TimeoutError, OSError, nats.errors.Error, RuntimeError, AssertionError) as problem:
            self._tell(problem)

    def _next_server(self, eligible: list[Any], info: dict[str, Any]) -> tuple[Any, float]:
        """nats-py asks where to reconnect: only to the addresses we were given, one after the other."""
        url = self._urls[self._turn % len(self._urls)]
        self._turn += 1
        place = urlsplit(url).netloc.rpartition("@")[2]
        for server in eligible:
            if server.uri.netloc.rpartition("@")[2] == place:
                return server, RETRY_S
        return None, RETRY_S

    async def _on_error(self, problem: Exception) -> None:
        self._tell(problem)

    def _tell(self, problem: BaseException) -> None:
        """Each problem once per outage: a hundred retries are one fact."""
        text = f"{type(problem).__name__}: {problem}"
        if text not in self._told and not self._closed:
            self._told.add(text)
            self._recorder.observe("connection", {"client": self.name, "what": "error", "text": text})

    async def _left(self) -> None:
        self._down_since_ns = now_ns()
        if self.server != NONE and not self._closed:
            self._recorder.observe(
                "connection", {"client": self.name, "what": "disconnected", "server": self.server}
            )
        self.server = NONE

    async def _arrived(self) -> None:
        self._told.clear()
        url = self.nc.connected_url
        self.server = self._index_of.get(url.netloc.rpartition("@")[2], NONE) if url else NONE
        self._recorder.observe(
            "connection", {"client": self.name, "what": "connected", "server": self.server}
        )
