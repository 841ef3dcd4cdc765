"""Contenders for few locks, with the reference lock client: stalled, cut-off and purged holders."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from natsproof.client import Answer, RecordingClient
from natsproof.clock import NS_PER_S, now_ns
from natsproof.errors import UsageError
from natsproof.history import Kind, Outcome
from natsproof.lock import IN_DOUBT, OK, REFUSED, Found, Lock, Written
from natsproof.workloads.twins import make_twin

if TYPE_CHECKING:
    from natsproof.trial import Scene

#: How a server that knows the lock says no; 10164 only says that another write is under way.
WRONG_REVISION = "10071"
_OUTCOMES = {Outcome.OK: OK, Outcome.FAILED: REFUSED, Outcome.UNKNOWN: IN_DOUBT}


class RecordingStore:
    """The lock client's Store on a recording client: a write's id is its nonce."""

    def __init__(self, client: RecordingClient, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    async def create(self, key: str) -> Written:
        return _written(await self._client.create(self._bucket, key))

    async def update(self, key: str, revision: int) -> Written:
        return _written(await self._client.update(self._bucket, key, revision))

    async def delete(self, key: str, revision: int) -> Written:
        return _written(await self._client.delete(self._bucket, key, revision))

    async def read(self, key: str) -> Found:
        answer = await self._client.get(self._bucket, key)
        return Found(answer.ok, str(answer.value) if answer.value >= 0 else None, max(0, answer.revision))


def _written(answer: Answer) -> Written:
    return Written(_OUTCOMES[answer.outcome], str(answer.value), max(0, answer.revision))


@dataclass(frozen=True)
class Locks:
    """`contenders` want `locks` locks; a holder keeps one for about `hold_s`, renewing every `renew_s` (at
    the latest every third of the TTL), and releases it. `stall_share` of the holdings stall instead for
    1.3 TTL and the lateness that is promised without renewing, then try a stale renewal and a stale
    release, which must be refused; the second holding of each lock does. So does a holder whose lease ran out
    because nobody answered it, as soon as it is answered again.

    `pinned`: contender n speaks to server n (modulo their number) only, so that some are on either side of
    a partition, and wants lock n (modulo theirs) first, so that each server has holders. `purge_every_s`:
    an operator purges the first lock, held or not, that often.

    `ttl_s` set: a twin of the bucket with that TTL; None: the bucket itself and its promised TTL. Each
    holding is a HELD row: from the answer to its create until the holder stopped believing; `revision`
    is the fencing token.
    """

    buckets: tuple[str, ...] = ("integration_locks",)
    contenders: int = 5
    locks: int = 2
    ttl_s: float | None = 4.0
    hold_s: float = 1.0
    renew_s: float = 0.3
    retry_s: float = 0.1
    stall_share: float = 0.15
    timeout_s: float = 1.0
    pinned: bool = False
    purge_every_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.buckets or self.contenders < 1 or self.locks < 1:
            raise UsageError(f"{self!r}: wants a bucket, a contender and a lock")
        if self.ttl_s is not None and self.ttl_s <= self.timeout_s:
            raise UsageError(f"{self!r}: a lease must outlast an operation's timeout")

    async def prepare(self, scene: Scene) -> None:
        """A connection a contender; twins where a TTL is given."""
        names = [server.name for server in scene.servers]
        contenders = [
            await scene.client(
                f"contender {n}",
                server=names[n % len(names)] if self.pinned else None,
                timeout_s=self.timeout_s,
            )
            for n in range(self.contenders)
        ]
        if self.purge_every_s:
            scene.kept["operator"] = await scene.client("operator", timeout_s=self.timeout_s)
        plots: list[tuple[str, float]] = []
        for bucket in self.buckets:
            if self.ttl_s is None:
                promised = scene.contract.promises.bucket(bucket).ttl_s
                if not promised:
                    raise UsageError(f"{self!r}: bucket {bucket} promises no TTL, a lock would never lapse")
                plots.append((bucket, promised))
            else:
                plots.append((await make_twin(scene, contenders[0], bucket, self.ttl_s), self.ttl_s))
        scene.kept.update(contenders=contenders, plots=plots)

    async def drive(self, scene: Scene) -> None:
        contenders: list[RecordingClient] = scene.kept["contenders"]
        work = [
            self._contend(scene, client, random.Random(scene.rng.random()), number if self.pinned else None)
            for number, client in enumerate(contenders)
        ]
        if self.purge_every_s:
            work.append(self._purge(scene, scene.kept["operator"]))
        await asyncio.gather(*work)

    async def _purge(self, scene: Scene, operator: RecordingClient) -> None:
        """As an operator does who breaks a lock: `nats kv purge`, whoever holds it. The other locks lapse by
        themselves, which has to be seen too."""
        while await scene.rest(self.purge_every_s):
            for bucket, _ in scene.kept["plots"]:
                await operator.purge(bucket, scene.key("lock0"))

    async def finish(self, scene: Scene) -> None:
        """All locks were released or lapse by themselves."""

    async def _contend(
        self, scene: Scene, client: RecordingClient, rng: random.Random, first: int | None
    ) -> None:
        while await scene.rest(self.retry_s * rng.uniform(0.5, 1.5)):
            bucket, ttl_s = rng.choice(scene.kept["plots"])
            wanted, first = rng.randrange(self.locks) if first is None else first % self.locks, None
            key = scene.key(f"lock{wanted}")
            lock = Lock(RecordingStore(client, bucket), key, ttl_s=ttl_s)
            if await lock.acquire():
                await self._hold(scene, client, lock, bucket, rng)

    async def _hold(
        self, scene: Scene, client: RecordingClient, lock: Lock, bucket: str, rng: random.Random
    ) -> None:
        began_ns = now_ns()
        stalls = self._stalls(scene, lock.key, rng)
        revision, unanswered, lease_s = lock.revision, False, lock.held_until_s
        if stalls:
            await scene.rest(lock.ttl_s * 1.3 + (scene.contract.promises.expiry_late_s or 0.0))
        else:
            ends_ns = began_ns + int(self.hold_s * rng.uniform(0.3, 1.7) * NS_PER_S)
            while (now_ns() < ends_ns or unanswered) and lock.held() and not scene.over():
                left_s = self.renew_s if unanswered else max(0.0, (ends_ns - now_ns()) / NS_PER_S)
                await scene.rest(min(self.renew_s, lock.ttl_s / 3, left_s))
                if now_ns() < ends_ns or unanswered:
                    unanswered = not await lock.renew()
                    lease_s = lock.held_until_s or lease_s  # a refusal that comes late ends no lease later
            revision = lock.revision
        # time.monotonic and now_ns are one clock: the lease's end is a moment of the history.
        until_ns = min(now_ns(), int(lease_s * NS_PER_S))
        recorder = client.recorder
        recorder.event(
            Kind.HELD,
            client.index,
            recorder.key(bucket, lock.key),
            revision=lock.token,
            call_ns=began_ns,
            return_ns=max(began_ns, until_ns),
        )
        if not lock.held() and (stalls or unanswered):
            await self._try_though_stale(scene, client, bucket, lock.key, revision)
        await lock.release()

    def _stalls(self, scene: Scene, key: str, rng: random.Random) -> bool:
        """By chance; and always the second who holds this lock, and after as many holdings as should have had
        one (docs/findings.md, 48 and 55)."""
        if not self.stall_share:
            return False
        most = math.ceil(1 / self.stall_share)
        held = scene.kept.setdefault("since_stall", {})
        since = held.get(key, most - 2) + 1
        stalls = rng.random() < self.stall_share or since >= most
        held[key] = 0 if stalls else since
        return stalls

    async def _try_though_stale(
        self, scene: Scene, client: RecordingClient, bucket: str, key: str, revision: int
    ) -> None:
        """A holder that does not know: it renews until a server decides."""
        while True:
            answer = await client.update(bucket, key, revision)
            if answer.ok or WRONG_REVISION in answer.error:
                return
            if not await scene.rest(self.renew_s):
                return
