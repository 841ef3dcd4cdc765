"""Lies about what is stored and delivered: watch events, the stores of single servers, monitoring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import orjson

from tests.mutants.wire import Got, Lie, Link


class Deliveries(Lie):
    """Alters what push consumers deliver, and numbers it anew so that clients notice nothing.

    Subclasses answer what comes in an event's place. `leader` is the server whose store the consumer
    reads, `pending` how many messages are left: 0 in a live watch, where the replica audit reads a store.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, Iterator[int]] = {}
        self._leader: dict[str, str] = {}

    def deliver(self, link: Link, message: Got, leader: str, pending: int) -> list[Got]:
        raise NotImplementedError

    def got(self, link: Link, message: Got) -> list[Got]:
        asked = link.asked.get(message.subject)
        if asked and ".CONSUMER.CREATE." in asked.subject:
            inbox = str(orjson.loads(asked.body)["config"].get("deliver_subject", ""))
            cluster = orjson.loads(message.body).get("cluster") or {}
            self._leader[inbox] = str(cluster.get("leader", ""))
            return [message]
        if not message.reply.startswith("$JS.ACK."):
            return [message]
        tokens = message.reply.split(".")
        at = 6 if len(tokens) == 9 else 8  # the consumer's own number
        name = f"{tokens[at - 3]}.{tokens[at - 4]}"
        numbers = self._numbers.setdefault(name, count(1))
        told = []
        leader = self._leader.get(link.subject_of(message.sid), "")
        for one in self.deliver(link, message, leader, int(tokens[at + 2])):
            own = one.reply.split(".")
            own[at] = str(next(numbers))
            told.append(replace(one, reply=".".join(own)))
        return told


class SkipsEvents(Deliveries):
    """Every n-th live event never comes."""

    def __init__(self, n: int = 40) -> None:
        super().__init__()
        self._n, self._number = n, count(1)

    def deliver(self, link: Link, message: Got, leader: str, pending: int) -> list[Got]:
        return [] if not pending and next(self._number) % self._n == 0 else [message]


class DuplicatesEvents(SkipsEvents):
    def deliver(self, link: Link, message: Got, leader: str, pending: int) -> list[Got]:
        twice = not pending and next(self._number) % self._n == 0
        return [message, message] if twice else [message]


class ReordersEvents(SkipsEvents):
    """Every n-th live event comes after the next one of its consumer."""

    def __init__(self, n: int = 40) -> None:
        super().__init__(n)
        self._held: dict[tuple[int, str], Got] = {}

    def deliver(self, link: Link, message: Got, leader: str, pending: int) -> list[Got]:
        place = (id(link), message.sid)
        if held := self._held.pop(place, None):
            return [message, held]
        if not pending and next(self._number) % self._n == 0:
            self._held[place] = message
            return []
        return [message]


class CorruptsEvents(SkipsEvents):
    def deliver(self, link: Link, message: Got, leader: str, pending: int) -> list[Got]:
        if message.body and next(self._number) % self._n == 0:
            body = bytearray(message.body)
            body[len(body) // 2] ^= 1
            return [replace(message, body=bytes(body))]
        return [message]


class OneStoreLacksMessages(Deliveries):
    """The store of the server with this ordinal lacks every n-th message."""

    def __init__(self, n: int = 20, ordinal: int = 2) -> None:
        super().__init__()
        self._n, self._number, self._name = n, count(1), f"-{ordinal}"

    def deliver(self, link: Link, message: Got, leader: str, pending: int) -> list[Got]:
        if leader.endswith(self._name) and pending and next(self._number) % self._n == 0:
            return []
        return [message]


class OneStoreHasAnotherValue(OneStoreLacksMessages):
    """The store of one server has another value in every n-th message."""

    def deliver(self, link: Link, message: Got, leader: str, pending: int) -> list[Got]:
        if leader.endswith(self._name) and message.body and next(self._number) % self._n == 0:
            return [replace(message, body=message.body[:-1] + b"?")]
        return [message]


class Monitors(Lie):
    """Alters what monitoring answers on `path`, on the server with ordinal `ordinal`."""

    def __init__(self, path: str, change: Any, ordinal: int = 1) -> None:
        self._path, self._change, self._name = path, change, f"-{ordinal}"

    def monitor(self, server: str, path: str, answer: Any) -> Any:
        if path.partition("?")[0] == self._path and server.endswith(self._name):
            return self._change(answer)
        return answer
