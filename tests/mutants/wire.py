"""A man in the middle that speaks NATS: between the clients of a trial and one real server.

Everything passes unchanged except what the `Lie` changes, drops or answers itself. All proxies of one
cluster share one event loop in a thread of its own, so a lie needs no locks.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from natsproof.clock import Deadline
from natsproof.cluster import Server

CRLF = b"\r\n"
#: A line (INFO, CONNECT) or a header block; values are bounded by max_payload, 1 MB.
LIMIT = 1 << 22
START_WITHIN_S = 10.0


@dataclass(slots=True)
class Sent:
    """PUB or HPUB of a client. `headers` is the whole block with `NATS/1.0` and the empty line, or empty."""

    subject: str
    reply: str
    headers: bytes
    body: bytes


@dataclass(slots=True)
class Got:
    """MSG or HMSG for a client."""

    subject: str
    sid: str
    reply: str
    headers: bytes
    body: bytes


class Lie:
    """What the server does wrong; this one does nothing. `sent` answers whether to pass the message on,
    `got` what to deliver in its place, `monitor` a monitoring answer. All may change what they are given."""

    def sent(self, link: Link, message: Sent) -> bool:
        return True

    def got(self, link: Link, message: Got) -> list[Got]:
        return [message]

    def monitor(self, server: str, path: str, answer: Any) -> Any:
        return answer


class Link:
    """One client's connection through the proxy. `asked` gives a pending request by its reply subject."""

    def __init__(self, server: str, lie: Lie, down: asyncio.StreamWriter, up: asyncio.StreamWriter) -> None:
        self.server, self._lie, self._down, self._up = server, lie, down, up
        self.asked: dict[str, Sent] = {}
        self._subjects: dict[str, str] = {}

    def answer(self, reply: str, body: bytes, headers: bytes = b"") -> None:
        """Deliver to the client what it takes for the server's answer."""
        self.asked.pop(reply, None)
        for sid, subject in self._subjects.items():
            if _matches(subject, reply):
                self.deliver(Got(reply, sid, "", headers, body))
                return

    def subject_of(self, sid: str) -> str:
        """What the client subscribed to under this number."""
        return self._subjects.get(sid, "")

    def deliver(self, message: Got) -> None:
        words = [message.subject, message.sid, *([message.reply] if message.reply else [])]
        self._put(self._down, b"MSG", words, message.headers, message.body)

    def forward(self, message: Sent) -> None:
        """Hand a message to the real server, a client's or one of the lie's own."""
        words = [message.subject, *([message.reply] if message.reply else [])]
        self._put(self._up, b"PUB", words, message.headers, message.body)

    def later(self, seconds: float, step: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, step)

    @staticmethod
    def _put(
        writer: asyncio.StreamWriter, verb: bytes, words: Sequence[str], headers: bytes, body: bytes
    ) -> None:
        if writer.is_closing():
            return
        sizes = b"%d" % len(body)
        if headers:
            verb, sizes = b"H" + verb, b"%d %d" % (len(headers), len(headers) + len(body))
        writer.write(b"%b %b %b\r\n%b%b\r\n" % (verb, " ".join(words).encode(), sizes, headers, body))

    async def pump_up(self, reader: asyncio.StreamReader) -> None:
        """From the client to the server."""
        while line := await reader.readuntil(CRLF):
            verb, _, rest = line[:-2].partition(b" ")
            words = rest.decode().split()
            match verb.upper():
                case b"PUB" | b"HPUB" as kind:
                    headers, body = await _payload(reader, words, with_headers=kind == b"HPUB")
                    message = Sent(words[0], words[1] if len(words) > 1 else "", headers, body)
                    if message.reply:
                        self.asked[message.reply] = message
                    if self._lie.sent(self, message):
                        self.forward(message)
                case b"SUB" as kind:
                    self._subjects[words[-1]] = words[0]
                    self._up.write(line)
                case b"UNSUB":
                    if len(words) == 1:
                        self._subjects.pop(words[0], None)
                    self._up.write(line)
                case _:
                    self._up.write(line)
            await self._up.drain()

    async def pump_down(self, reader: asyncio.StreamReader) -> None:
        """From the server to the client."""
        while line := await reader.readuntil(CRLF):
            verb, _, rest = line[:-2].partition(b" ")
            if verb in (b"MSG", b"HMSG"):
                words = rest.decode().split()
                headers, body = await _payload(reader, words, with_headers=verb == b"HMSG")
                message = Got(words[0], words[1], words[2] if len(words) > 2 else "", headers, body)
                for one in self._lie.got(self, message):
                    self.deliver(one)
                self.asked.pop(message.subject, None)
            else:
                self._down.write(line)
            await self._down.drain()


async def _payload(
    reader: asyncio.StreamReader, words: list[str], *, with_headers: bool
) -> tuple[bytes, bytes]:
    """(header block, body); takes the sizes off `words`."""
    total = int(words.pop())
    head = int(words.pop()) if with_headers else 0
    data = await reader.readexactly(total + 2)
    return data[:head], data[head:total]


def _matches(pattern: str, subject: str) -> bool:
    wanted, given = pattern.split("."), subject.split(".")
    for number, token in enumerate(wanted):
        if token == ">":
            return len(given) > number
        if number >= len(given) or token not in ("*", given[number]):
            return False
    return len(wanted) == len(given)


class Proxies:
    """One proxy a server, on loopback ports of this process's network. `urls` gives each server's."""

    def __init__(self, lie: Lie, servers: Sequence[Server]) -> None:
        self._lie, self._servers = lie, servers
        self.urls: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = False
        self._listening: list[asyncio.Server] = []
        self.problems: list[BaseException] = []  # defects of the lie itself
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._call(self._listen())

    def stop(self) -> None:
        """End all connections and the thread; idempotent."""
        if self._loop.is_closed():
            return
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=START_WITHIN_S)
        self._loop.close()

    def _call(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(timeout=START_WITHIN_S)

    async def _listen(self) -> None:
        for server in self._servers:
            listener = await asyncio.start_server(
                lambda r, w, s=server: self._accept(s, r, w),  # type: ignore[misc]
                "127.0.0.1",
                0,
                limit=LIMIT,
            )
            self._listening.append(listener)
            port = listener.sockets[0].getsockname()[1]
            self.urls[server.name] = f"nats://127.0.0.1:{port}"

    async def _end(self) -> None:
        """Listeners close last, and with no task left, not only none of ours: a connection that was taken
        and is not yet handed to `_accept` stays open for good if its listener closes."""
        self._over, deadline = True, Deadline.within(5)
        for task in self._tasks:
            task.cancel()
        while (others := asyncio.all_tasks() - {asyncio.current_task()}) and not deadline.passed:
            await asyncio.wait(others, timeout=deadline.left_s)
        for listener in self._listening:
            listener.close()

    def _accept(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._over:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(server, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        # Not in the task: one that is cancelled before its first step runs none of its lines.
        task.add_done_callback(lambda _: writer.transport.abort())

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()):
            self.problems.append(problem)

    async def _serve(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection; both sides end together, as a dead server's would."""
        where = urlsplit(server.client_url)
        upstream: asyncio.StreamWriter | None = None
        pumps: list[asyncio.Task[None]] = []
        try:
            source, upstream = await asyncio.open_connection(where.hostname, where.port, limit=LIMIT)
            link = Link(server.name, self._lie, writer, upstream)
            pumps = [
                asyncio.create_task(link.pump_up(reader)),
                asyncio.create_task(link.pump_down(source)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the real server takes no connection: neither does its proxy
        finally:
            for pump in pumps:
                pump.cancel()
            if upstream is not None:  # before anything is waited for: that wait may be cancelled
                upstream.transport.abort()
            ended = await asyncio.gather(*pumps, return_exceptions=True)
            for problem in ended:
                if isinstance(problem, Exception) and not isinstance(problem, OSError | EOFError):
                    raise problem
