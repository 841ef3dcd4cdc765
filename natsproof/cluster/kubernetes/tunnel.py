"""Local ports that lead into pods, through the API server: Linux, macOS and remote clusters alike.

A tunnel listens on one loopback port for as long as it lives; each connection opens a port-forward of
its own to the pod that has the name *now*. So the port stays when the pod dies and comes back, and a
client reconnects to the same address. While the pod cannot be reached, an accepted connection is closed
at once: to the client that is a server that hangs up.

A stalled direction carries nothing and breaks nothing, as a black-holed network does.

A second port leads the same way for witnesses of faults. Its connections do not wait for a turn: hundreds of
clients that come back must not hide whether a server is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import partial

import aiohttp

from natsproof.cluster.kubernetes.link import Link
from natsproof.cluster.kubernetes.turns import Turn, Turns

CHUNK_BYTES = 128 * 1024
OPEN_S = 5.0


@dataclass(slots=True)
class Stall:
    """What a tunnel holds back: bytes towards the server, bytes towards the client."""

    to_server: bool = False
    to_client: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Tunnel:
    """One local port to one port of one pod."""

    def __init__(self, link: Link, namespace: str, pod: str, port: int) -> None:
        self.pod, self.port = pod, port
        self.opened, self.failed = 0, 0
        self._link, self._namespace = link, namespace
        self._stall = Stall()
        self._tasks: set[asyncio.Task[None]] = set()
        clients, witnesses = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        self.local_port: int = clients.getsockname()[1]
        self.witness_port: int = witnesses.getsockname()[1]
        self._servers = link.run(self._listen(clients, witnesses))

    def stall(self, *, to_server: bool, to_client: bool) -> None:
        """Hold back bytes of a direction, or let them go again; also for connections already open."""
        self._link.run(self._set_stall(to_server, to_client))

    def drop(self) -> None:
        """Close the connections that are open; the port keeps listening."""
        self._link.run(self._drop())

    def close(self) -> None:
        self._link.run(self._close())

    async def _listen(
        self, clients: socket.socket, witnesses: socket.socket
    ) -> tuple[asyncio.Server, asyncio.Server]:
        at_once = partial(self._accepted, at_once=True)
        return (
            await asyncio.start_server(self._accepted, sock=clients, limit=CHUNK_BYTES),
            await asyncio.start_server(at_once, sock=witnesses, limit=CHUNK_BYTES),
        )

    async def _set_stall(self, to_server: bool, to_client: bool) -> None:
        self._stall.to_server, self._stall.to_client = to_server, to_client
        self._stall.changed.set()
        self._stall.changed = asyncio.Event()

    async def _drop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        await self._drop()

    async def _accepted(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, at_once: bool = False
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._wait_while_stalled("to_server")
            turn = await (Turns(1, OPEN_S) if at_once else self._link.openings).take()
            try:
                if not reader.at_eof():  # it may have given up while it waited
                    await self._through_api(reader, writer, turn)
            finally:
                turn.over()
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.failed += 1
        except asyncio.CancelledError:  # drop() or the end of the link: the connection just closes
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _through_api(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, turn: Turn
    ) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{self.pod}/portforward"
        async with asyncio.timeout(OPEN_S):
            web = await self._link.websocket(path, [("ports", str(self.port))])
        self.opened += 1
        try:
            await _first_to_end(self._up(reader, web), self._down(web, writer, turn))
        finally:
            with contextlib.suppress(TimeoutError, aiohttp.ClientError):
                async with asyncio.timeout(1):
                    await web.close()

    async def _up(self, reader: asyncio.StreamReader, web: aiohttp.ClientWebSocketResponse) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._wait_while_stalled("to_server")
            await web.send_bytes(b"\x00" + data)

    async def _down(
        self, web: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter, turn: Turn
    ) -> None:
        greeted: set[int] = set()  # the first message of each channel only repeats the port number
        async for message in web:
            if message.type is not aiohttp.WSMsgType.BINARY:
                return
            channel, data = message.data[0], message.data[1:]
            if channel not in greeted:
                greeted.add(channel)
                data = data[2:]
            if not data:
                continue
            if channel == 1:  # the kubelet's error text: nobody listens there
                self.failed += 1
                return
            turn.over()  # the server is reached
            await self._wait_while_stalled("to_client")
            writer.write(data)
            await writer.drain()

    async def _wait_while_stalled(self, way: str) -> None:
        while getattr(self._stall, way):
            await self._stall.changed.wait()


async def _first_to_end(*ways: Awaitable[None]) -> None:
    """Run both ways of a connection; when one ends, the other is cancelled."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
