"""One nats-py connection that comes back by itself, says where it is, and never prints a traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client as NatsClient

from natsproof.clock import Deadline
from natsproof.errors import ClusterError
from natsproof.history import NONE
from natsproof.recorder import Recorder

if TYPE_CHECKING:
    from natsproof.cluster import Server

CONNECT_TIMEOUT_S = 1
RETRY_S = 0.1
PING_EVERY_S = 1


class Connection:
    """A connection to one of `servers`, in turn; discovered addresses are never used.

    nats-py's own reconnecting is switched off and a lost connection is replaced by a new one: nats-py
    keeps what was written meanwhile and sends it after the reconnect, long after the caller gave up, and
    two of its reconnects can run at once. `index_of` gives the server's index in the history by its
    address. All waits are bounded.
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
        self._opening = asyncio.Lock()
        self._opened = False
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
            async with self._opening:
                if not self.up and not self._closed:
                    await self._open_next(deadline)
            if not self.up:
                if deadline.passed:
                    return False
                await asyncio.sleep(min(RETRY_S, deadline.left_s))
        return self.up

    async def close(self) -> None:
        """End it; idempotent, bounded, never raises."""
        self._closed = True
        await self._discard()

    async def _open_next(self, deadline: Deadline) -> None:
        """One attempt at one server."""
        await self._discard()
        self.nc, self._opened = NatsClient(), True
        url = self._urls[self._turn % len(self._urls)]
        self._turn += 1
        try:
            await asyncio.wait_for(self._connect(self.nc, url), timeout=max(0.05, deadline.left_s))
        except (TimeoutError, OSError, nats.errors.Error) as problem:
            self._tell(problem)
            await self._discard()
        else:
            self._told.clear()
            self.server = self._index_of.get(urlsplit(url).netloc.rpartition("@")[2], NONE)
            self._recorder.observe(
                "connection", {"client": self.name, "what": "connected", "server": self.server}
            )

    async def _connect(self, nc: NatsClient, url: str) -> None:
        await nc.connect(
            servers=[url],
            name=f"natsproof {self.name}",
            error_cb=self._on_error,
            closed_cb=self._left,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=PING_EVERY_S,
            max_outstanding_pings=2,
        )

    async def _discard(self) -> None:
        """Close the present nats-py client, if one was opened."""
        if not self._opened:
            return
        self._opened = False
        try:
            await asyncio.wait_for(self.nc.close(), timeout=2)
        except (TimeoutError, OSError, nats.errors.Error, RuntimeError) as problem:
            self._tell(problem)

    async def _on_error(self, problem: Exception) -> None:
        self._tell(problem)

    def _tell(self, problem: BaseException) -> None:
        """Each problem once per outage: a hundred retries are one fact."""
        text = f"{type(problem).__name__}: {problem}"
        if text not in self._told and not self._closed:
            self._told.add(text)
            self._recorder.observe("connection", {"client": self.name, "what": "error", "text": text})

    async def _left(self) -> None:
        if self.server != NONE and not self._closed:
            self._recorder.observe(
                "connection", {"client": self.name, "what": "disconnected", "server": self.server}
            )
        self.server = NONE
