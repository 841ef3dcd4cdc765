"""A NATS connection of few lines, for what a client library would hide: thousands of them, exact sizes,
a client that does not read, and the server's own last words before it closes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from urllib.parse import urlsplit

import orjson

from natsproof.errors import ClusterError

CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}\r\n'
#: The longest line of the protocol that we read: INFO of a large cluster.
LINE_BYTES = 1 << 20


class Wire:
    """One connection. Raises ClusterError where the server has closed it; `last_words` is its -ERR."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.info: dict[str, object] = {}
        self.last_words = ""
        self._inbox = b""
        self._numbers = itertools.count(1)

    @classmethod
    async def open(cls, url: str, *, within_s: float = 10.0) -> Wire:
        """Connected, with its first PONG. Raises ClusterError; nothing stays open then."""
        parts, wire, greeted = urlsplit(url), None, False
        try:
            async with asyncio.timeout(within_s):
                wire = cls(*await asyncio.open_connection(parts.hostname, parts.port, limit=LINE_BYTES))
                verb, _, body = (await wire.reader.readuntil(b"\r\n")).partition(b" ")
                if verb != b"INFO":
                    raise ClusterError(f"the server greets with {verb[:40].strip()!r}")
                wire.info = orjson.loads(body)
                wire.writer.write(CONNECT + b"PING\r\n")
                await wire._until(b"PONG")
                greeted = True
        except ClusterError as problem:
            raise ClusterError(f"{url}: {problem}") from None
        except orjson.JSONDecodeError as problem:
            raise ClusterError(f"{url}: the server greets with no JSON: {problem}") from None
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as problem:
            raise ClusterError(f"{url}: {type(problem).__name__}: {problem}") from None
        finally:
            if wire is not None and not greeted:
                await wire.close()
        return wire

    async def close(self) -> None:
        """Idempotent; never raises."""
        self.writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self.writer.wait_closed(), 2)

    async def request(
        self, subject: str, body: bytes, *, announced_only: bool = False, within_s: float = 10.0
    ) -> tuple[str, bytes]:
        """("answer", body), ("no responders", b""), ("refused", the server's -ERR), or ("closed", ...).

        `announced_only` sends the line with the size and no body: what is refused by its size is refused
        then, and a body in flight would have the server's last words thrown away with the connection.
        Raises TimeoutError if nothing comes at all.
        """
        if not self._inbox:
            self._inbox = b"_INBOX.natsproof%d" % id(self)
            self.writer.write(b"SUB %b.* 1\r\n" % self._inbox)
        reply = b"%b.%d" % (self._inbox, next(self._numbers))
        self.writer.write(b"PUB %b %b %d\r\n" % (subject.encode(), reply, len(body)))
        if not announced_only:
            self.writer.write(body + b"\r\n")
        try:
            async with asyncio.timeout(within_s):
                await self.writer.drain()
                return await self._reply()
        except (OSError, asyncio.IncompleteReadError):
            await self.ended(within_s=1.0)
            return "closed", self.last_words.encode()

    async def _reply(self) -> tuple[str, bytes]:
        while True:
            kind, data = await self._next()
            if kind == b"MSG":
                return "answer", data
            if kind == b"HMSG":
                return ("no responders" if b" 503" in data[:20] else "answer"), data
            if kind == b"-ERR":
                self.last_words = data.decode(errors="replace").strip(" '\r\n")
                return "refused", self.last_words.encode()

    async def subscribe(self, subject: str) -> None:
        self.writer.write(b"SUB %b 7\r\nPING\r\n" % subject.encode())
        await self._until(b"PONG")

    async def publish(self, subject: str, body: bytes) -> None:
        self.writer.write(b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(body), body))
        await self.writer.drain()

    async def flush(self, *, within_s: float = 30.0) -> None:
        """Until the server has read everything."""
        async with asyncio.timeout(within_s):
            self.writer.write(b"PING\r\n")
            await self.writer.drain()
            await self._until(b"PONG")

    async def message(self, *, within_s: float = 10.0) -> bytes:
        """The next message of a subscription."""
        async with asyncio.timeout(within_s):
            while True:
                kind, data = await self._next()
                if kind in (b"MSG", b"HMSG"):
                    return data
                if kind == b"-ERR":
                    raise ClusterError(f"the server says {data.decode(errors='replace').strip()}")

    async def ended(self, *, within_s: float = 10.0) -> bool:
        """Whether the server closes the connection in time; what it sends meanwhile is thrown away."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    kind, data = await self._next()
                    if kind == b"-ERR":
                        self.last_words = data.decode(errors="replace").strip(" '\r\n")
        except TimeoutError:
            return False
        except (OSError, asyncio.IncompleteReadError):
            return True

    async def _until(self, wanted: bytes) -> None:
        while True:
            kind, data = await self._next()
            if kind == wanted:
                return
            if kind == b"-ERR":
                self.last_words = data.decode(errors="replace").strip(" '\r\n")
                raise ClusterError(f"the server says {self.last_words}")

    async def _next(self) -> tuple[bytes, bytes]:
        """One protocol element: its verb, and its payload or the rest of its line. Answers PING."""
        line = await self.reader.readuntil(b"\r\n")
        verb, _, rest = line.rstrip(b"\r\n").partition(b" ")
        if verb == b"PING":
            self.writer.write(b"PONG\r\n")
        if verb in (b"MSG", b"HMSG"):
            size = int(rest.rsplit(b" ", 1)[1])
            body = await self.reader.readexactly(size + 2)
            return verb, body[:-2]
        return verb, rest
