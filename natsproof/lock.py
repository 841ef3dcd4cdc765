"""A reference lock on a NATS KV bucket with a TTL. Copy it: it needs nats-py and nothing else of ours.

    lock = Lock(NatsStore(nc, "integration_locks"), "order-42", ttl_s=300)
    if await lock.acquire():
        while work_left() and lock.held():
            resource.write(data, fence=lock.token)     # the resource refuses smaller tokens
            await lock.renew()                         # about every ttl/3
        await lock.release()

What it takes care of:
- A holder counts its lease from *before* it sent the write, on the monotonic clock, less a margin.
- Renewal and release name the revision they follow, so a stale holder's are refused.
- An in-doubt write (timeout) is looked up through the stream's leader by its own nonce, never repeated.
- It stops holding before it sends the release.
- No lease is safe without the fence: a process that sleeps past its lease wakes up believing. `token`
  grows from holder to holder; the resource must refuse a smaller one than it has seen.
"""

from __future__ import annotations

import json
import secrets
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

OK, REFUSED, IN_DOUBT = "ok", "refused", "in doubt"


@dataclass(frozen=True)
class Written:
    """What became of one write: `revision` if OK; `nonce` is what a later read of it shows."""

    outcome: str  # OK, REFUSED, IN_DOUBT
    nonce: str
    revision: int = 0


@dataclass(frozen=True)
class Found:
    """What the leader has: `nonce` None if the key does not exist; `certain` False if it did not answer."""

    certain: bool
    nonce: str | None = None
    revision: int = 0


class Store(Protocol):
    """The four operations a lock needs, on one bucket. None of them raises for an outage."""

    async def create(self, key: str) -> Written: ...
    async def update(self, key: str, revision: int) -> Written: ...
    async def delete(self, key: str, revision: int) -> Written: ...
    async def read(self, key: str) -> Found: ...


class Lock:
    """One contender's view of one lock. `ttl_s` is the bucket's TTL; `margin_s` covers what clocks of
    client and servers may run apart within one TTL, and the server's early rounding (default: a tenth).
    """

    def __init__(
        self,
        store: Store,
        key: str,
        *,
        ttl_s: float,
        margin_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store, self.key, self.ttl_s = store, key, ttl_s
        self.margin_s = ttl_s / 10 if margin_s is None else margin_s
        self.token = 0  # of the present or last holding: the revision of its first write
        self.revision = 0  # of the last write known to be ours
        self.held_until_s = 0.0  # on `clock`
        self._clock = clock
        self._sent: dict[str, float] = {}  # nonce of an own in-doubt write -> when it was sent

    def held(self) -> bool:
        """Whether the lease still runs, by our own clock."""
        return self._clock() < self.held_until_s

    async def acquire(self) -> bool:
        """Try once. False: another holds it, or it is in doubt; an own create that took effect late is
        recognised by the next try, else it lapses by itself."""
        sent_s, revision = self._clock(), 0
        written = await self.store.create(self.key)
        if written.outcome == OK:
            revision = written.revision
        else:
            if written.outcome == IN_DOUBT:
                self._sent[written.nonce] = sent_s
            if self._sent:
                found = await self.store.read(self.key)
                if found.certain and found.nonce in self._sent:
                    revision, sent_s = found.revision, self._sent[found.nonce]
        self._sent = {n: s for n, s in self._sent.items() if s + self.ttl_s > self._clock()}
        if not revision:
            return False
        self._sent.clear()
        self.token = revision
        self._extend(revision, sent_s)
        return self.held()

    async def renew(self) -> bool:
        """Extend the lease. False: it could not be extended now; `held()` says whether it still runs.

        Refused means lost, unless the refusal came from an own earlier in-doubt renewal.
        """
        if not self.held():
            return False
        sent_s = self._clock()
        written = await self.store.update(self.key, self.revision)
        if written.outcome == OK:
            self._sent.clear()
            self._extend(written.revision, sent_s)
            return self.held()
        if written.outcome == IN_DOUBT:
            self._sent[written.nonce] = sent_s
        found = await self.store.read(self.key)
        if not found.certain:
            return False
        if found.nonce in self._sent:
            self._extend(found.revision, self._sent[found.nonce])
            return self.held()
        if found.revision != self.revision:
            self.held_until_s = 0.0
        return False

    async def release(self) -> bool:
        """Give it up. True if the server confirms that it was still ours."""
        self.held_until_s = 0.0
        if not self.revision:
            return False
        revision, self.revision = self.revision, 0
        return (await self.store.delete(self.key, revision)).outcome == OK

    def _extend(self, revision: int, sent_s: float) -> None:
        self.revision = revision
        self.held_until_s = sent_s + self.ttl_s - self.margin_s


class NatsStore:
    """The Store on plain nats-py. `owner` only helps people who look into the bucket."""

    def __init__(self, nc: Any, bucket: str, *, owner: str = "", timeout_s: float = 2.0) -> None:
        self._nc, self._bucket, self._owner, self._timeout_s = nc, bucket, owner, timeout_s

    async def create(self, key: str) -> Written:
        """Write if the key does not exist; a marker left by a delete counts as not existing."""
        written = await self._write(key, 0)
        if written.outcome != REFUSED:
            return written
        found = await self.read(key)
        if found.certain and found.nonce is None and found.revision:
            return await self._write(key, found.revision)
        return written

    async def update(self, key: str, revision: int) -> Written:
        return await self._write(key, revision)

    async def delete(self, key: str, revision: int) -> Written:
        return await self._write(key, revision, {"KV-Operation": "DEL"})

    async def read(self, key: str) -> Found:
        """Through the leader: a replica may not have the last revision yet."""
        from nats.errors import Error

        body = json.dumps({"last_by_subj": f"$KV.{self._bucket}.{key}"}).encode()
        subject = f"$JS.API.STREAM.MSG.GET.KV_{self._bucket}"
        try:
            answer = json.loads((await self._nc.request(subject, body, timeout=self._timeout_s)).data)
        except (Error, OSError):
            return Found(False)
        if error := answer.get("error"):
            return Found(error.get("err_code") == 10037)  # no message found
        message = answer["message"]
        marker = message.get("hdrs") and any(
            name in b64decode(message["hdrs"]) for name in (b"KV-Operation:", b"Nats-Marker-Reason:")
        )
        nonce = None if marker else b64decode(message.get("data", "")).decode(errors="replace")
        return Found(True, nonce, message["seq"])

    async def _write(self, key: str, expected: int, headers: dict[str, str] | None = None) -> Written:
        from nats.errors import Error, NoRespondersError

        nonce = f"{self._owner}/{secrets.token_hex(8)}"
        headers = {**(headers or {}), "Nats-Expected-Last-Subject-Sequence": str(expected)}
        data = b"" if "KV-Operation" in headers else nonce.encode()
        try:
            subject = f"$KV.{self._bucket}.{key}"
            reply = await self._nc.request(subject, data, timeout=self._timeout_s, headers=headers)
        except NoRespondersError:
            return Written(REFUSED, nonce)
        except (Error, OSError):
            return Written(IN_DOUBT, nonce)
        answer = json.loads(reply.data)
        if error := answer.get("error"):
            # 10071, 10164: another revision. Anything else may have been stored by a majority.
            return Written(REFUSED if error.get("err_code") in (10071, 10164) else IN_DOUBT, nonce)
        return Written(OK, nonce, answer["seq"])
