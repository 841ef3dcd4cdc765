"""What the lock machine holds servers and clients to, and who acts on it: the model and its contenders.

The invariants L1 to L7 of docs/checkers.md: a lock is created only when it is free, renewed and released
only on its last revision, not gone early, gone in time, tokens rise, a free lock can be taken. L8 of the
client: no two believe that they hold it. One thing happens at a time, so each answer is judged at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from natsproof.clock import Deadline
from natsproof.lock import IN_DOUBT, OK, REFUSED, Found, Lock, NatsStore, Written

#: The server removes what is due a little early or late of the client's clock.
EARLY_S = 0.1
ANSWER_S = 1.0
#: Where a marker stands it takes a read, and those are refused while nobody leads the meta group: up to 8 s.
GIVEN_S = 10.0


class WrongAnswer(AssertionError):
    """What the model forbids."""


@dataclass
class _Last:
    """The key's last write: `nonce` None is a marker. It was sent and answered at these moments."""

    revision: int
    nonce: str | None
    sent_s: float
    back_s: float


@dataclass
class Model:
    """What one key must look like. `unsure`: a write timed out and may still take effect at any time.
    `gone`: its leader let the last write expire; each replica does so by itself, another later maybe."""

    ttl_s: float
    late_s: float
    last: _Last | None = None
    highest: int = 0
    unsure: bool = False
    gone: bool = False

    def alive(self, at_s: float) -> bool:
        """Whether the lock is held for certain at this moment."""
        last = self.last
        return last is not None and last.nonce is not None and at_s < last.sent_s + self.ttl_s - EARLY_S

    def free(self, at_s: float) -> bool:
        """Whether it is free for certain."""
        last = self.last
        if self.gone or last is None or last.nonce is None:
            return True
        return at_s > last.back_s + self.ttl_s + self.late_s

    def lapsed(self) -> None:
        """The leader shows it no more."""
        self.gone = True

    def moved(self) -> None:
        """Another leads now, and may show it until the bound (docs/findings.md, 53)."""
        self.gone = False

    def wrote(self, verb: str, expected: int, written: Written, sent_s: float, back_s: float) -> None:
        """Judge one answered write, then believe it. Raises WrongAnswer."""
        if written.outcome == IN_DOUBT:
            self.unsure = True
        if written.outcome != OK:
            return
        if written.revision <= self.highest:
            raise WrongAnswer(f"revision {written.revision} after {self.highest}: tokens must rise")
        if not self.unsure:
            self._allowed(verb, expected, sent_s, back_s)
        self.highest, self.gone = written.revision, False
        nonce = None if verb == "delete" else written.nonce
        self.last = _Last(written.revision, nonce, sent_s, back_s)

    def _allowed(self, verb: str, expected: int, sent_s: float, back_s: float) -> None:
        last = self.last.revision if self.last else 0
        if verb == "create" and self.alive(back_s):
            raise WrongAnswer(f"created, though the lock is held since revision {last}")
        if verb != "create" and expected != last:
            raise WrongAnswer(f"{verb} on revision {expected} accepted, though the last is {last}")
        if verb != "create" and self.free(sent_s):
            raise WrongAnswer(f"{verb} on revision {expected} accepted, though the lock is free")

    def read(self, found: Found, sent_s: float, back_s: float) -> None:
        """Judge one read through the leader."""
        if not found.certain or self.unsure:
            return
        if found.nonce is None and self.alive(back_s):
            raise WrongAnswer(f"gone {self._age(back_s)}, its TTL is {self.ttl_s:g} s")
        if found.nonce is not None and self.free(sent_s):
            shown = f"revision {found.revision} is shown {self._age(sent_s)}"
            raise WrongAnswer(f"{shown}, though it was released or has expired")
        if found.nonce is not None and self.last and found.nonce != self.last.nonce:
            raise WrongAnswer(f"revision {found.revision} is shown, the last is {self.last.revision}")

    def _age(self, at_s: float) -> str:
        return f"{at_s - self.last.sent_s:.1f} s after its last write" if self.last else "without a write"


class JudgedStore:
    """The lock client's Store: passes on, tells the model the truth, and loses what it is told to lose.

    `lose`: the next write's `answer` or `request` is lost, or its `answer and reads` too.
    """

    def __init__(self, store: NatsStore, model: Model) -> None:
        self.store, self.model = store, model
        self.lose, self.said = "", ""

    async def create(self, key: str) -> Written:
        return await self._write("create", 0, lambda: self.store.create(key))

    async def update(self, key: str, revision: int) -> Written:
        return await self._write("update", revision, lambda: self.store.update(key, revision))

    async def delete(self, key: str, revision: int) -> Written:
        return await self._write("delete", revision, lambda: self.store.delete(key, revision))

    async def read(self, key: str) -> Found:
        if self.lose == "reads":
            return Found(False)
        sent_s = time.monotonic()
        found = await self.store.read(key)
        self.model.read(found, sent_s, time.monotonic())
        return found

    async def _write(self, verb: str, expected: int, write: Callable[[], Awaitable[Written]]) -> Written:
        lose, self.lose = self.lose, ""
        if lose == "request":
            self.said = "in doubt (the request was lost)"
            return Written(IN_DOUBT, "never sent")
        sent_s = time.monotonic()
        written = await write()
        self.said = f"{written.outcome}{f', revision {written.revision}' if written.revision else ''}"
        self.model.wrote(verb, expected, written, sent_s, time.monotonic())
        if lose:
            self.said += " (the answer was lost)"
            self.lose = "reads" if lose == "answer and reads" else ""
            return Written(IN_DOUBT, written.nonce)
        return written


class Contender:
    """One who wants the lock, with what a script of few lines needs."""

    def __init__(self, nc: Any, bucket: str, key: str, name: str, model: Model) -> None:
        self.name, self.key, self.model = name, key, model
        self.store = JudgedStore(NatsStore(nc, bucket, owner=name, timeout_s=ANSWER_S), model)
        self.lock = Lock(self.store, key, ttl_s=model.ttl_s)
        self.revisions: list[int] = []  # those that were once its own, oldest first

    async def acquire(self, lose: str = "") -> bool:
        """Try; a lock that is free for certain must be given within GIVEN_S of tries."""
        deadline = Deadline.within(GIVEN_S)
        while True:
            free = self.model.free(time.monotonic()) and not self.model.unsure
            self.store.lose = lose
            won = await self.lock.acquire()
            self.store.lose = ""
            self._note()
            if won or lose or not free or self.model.unsure or not self.store.said.startswith(REFUSED):
                return won
            if deadline.passed:
                raise WrongAnswer("create refused again and again, though the lock is free")
            await asyncio.sleep(0.1)

    async def renew(self, lose: str = "") -> bool:
        self.store.lose = lose
        done = await self.lock.renew()
        self.store.lose = ""
        self._note()
        return done

    async def release(self) -> bool:
        return await self.lock.release()

    async def use_old(self, verb: str) -> str:
        """Renew or release with the oldest revision that was ever its own."""
        revision = self.revisions[0]
        write = self.store.update if verb == "renew" else self.store.delete
        return (await write(self.key, revision)).outcome

    def _note(self) -> None:
        if self.lock.revision and self.lock.revision not in self.revisions:
            self.revisions.append(self.lock.revision)

    async def lapse(self) -> bool:
        """Wait until the lock is gone by itself; whether that was seen. Raises WrongAnswer if it is gone
        early or stays."""
        deadline = Deadline.within(self.model.ttl_s + self.model.late_s + 3.0)
        while not deadline.passed:
            found = await self.store.read(self.key)
            if found.certain and found.nonce is None:
                self.model.lapsed()
                return True
            await asyncio.sleep(0.05)
        return False


def believers(contenders: Sequence[Contender]) -> str:
    """What is wrong if more than one believes that it holds the lock, else ""."""
    names = [one.name for one in contenders if one.lock.held()]
    return f"{' and '.join(names)} believe that they hold it" if len(names) > 1 else ""
