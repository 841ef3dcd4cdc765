"""Lies about what has expired, told to readers and to watchers, and about the twins of buckets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import orjson

from tests.mutants.lies import Reads
from tests.mutants.store_lies import Deliveries
from tests.mutants.wire import Got, Lie, Link, Sent

MAX_AGE = b"Nats-Marker-Reason: MaxAge"


class ShowsWhatHasExpired(Reads):
    """A read through the leader shows the value that was there last, where there is none any more."""

    def __init__(self) -> None:
        self._last: dict[bytes, bytes] = {}

    def read(self, key: bytes, body: bytes) -> bytes:
        if b'"error"' in body:
            return self._last.get(key, body)
        self._last[key] = body
        return body


class OneReplicaShowsWhatHasExpired(Lie):
    """The same in direct gets that the server with this ordinal answers."""

    def __init__(self, ordinal: int = 2) -> None:
        self._name, self._last = f"-{ordinal}", dict[str, Got]()

    def got(self, link: Link, message: Got) -> list[Got]:
        asked = link.asked.get(message.subject)
        if not link.server.endswith(self._name) or not asked or ".DIRECT.GET." not in asked.subject:
            return [message]
        key = asked.subject + asked.body.decode()
        if message.headers.startswith(b"NATS/1.0 404"):
            last = self._last.get(key)
            return [replace(last, subject=message.subject, sid=message.sid)] if last else [message]
        self._last[key] = message
        return [message]


class TellsExpiries(Deliveries):
    """Of each expiry that a live watch is told, what `tell` makes of it."""

    def __init__(self, tell: Callable[[Got], list[Got]]) -> None:
        super().__init__()
        self._tell = tell

    def deliver(self, link: Link, message: Got, leader: str, pending: int) -> list[Got]:
        return self._tell(message) if MAX_AGE in message.headers else [message]


class InventsExpiries(Deliveries):
    """After each value a live watch is told that it has expired."""

    def deliver(self, link: Link, message: Got, leader: str, pending: int) -> list[Got]:
        if pending or not message.body:
            return [message]
        return [message, replace(message, headers=b"NATS/1.0\r\n" + MAX_AGE + b"\r\n\r\n", body=b"")]


class MakesOtherTwins(Lie):
    """Streams that clients make lie in memory."""

    def sent(self, link: Link, message: Sent) -> bool:
        if message.subject.startswith("$JS.API.STREAM.CREATE."):
            message.body = orjson.dumps({**orjson.loads(message.body), "storage": "memory"})
        return True
