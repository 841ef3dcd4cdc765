"""The reference lock on real servers, with answers lost on the way and clocks that run away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import nats
import pytest

from natsproof.clock import until
from natsproof.contract.model import Bucket
from natsproof.lock import IN_DOUBT, Found, Lock, NatsStore, Written
from tests.loopback import LoopbackCluster

TTL_S = 2.0
pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[LoopbackCluster]:
    with LoopbackCluster((Bucket(name="locks", ttl_s=TTL_S, max_bytes=1 << 20, replicas=3),)) as running:
        yield running


class Clock:
    """A monotonic clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead_s


class LossyStore:
    """A store whose next writes are `lost` on the way there, or on the way back (`unanswered`)."""

    def __init__(self, store: NatsStore) -> None:
        self.store, self.lost, self.unanswered, self.blind = store, 0, 0, False

    async def _through(self, write: Callable[[], Awaitable[Written]]) -> Written:
        if self.lost:
            self.lost -= 1
            return Written(IN_DOUBT, "never arrived")
        written = await write()
        if self.unanswered:
            self.unanswered -= 1
            return Written(IN_DOUBT, written.nonce)
        return written

    async def create(self, key: str) -> Written:
        return await self._through(lambda: self.store.create(key))

    async def update(self, key: str, revision: int) -> Written:
        return await self._through(lambda: self.store.update(key, revision))

    async def delete(self, key: str, revision: int) -> Written:
        return await self._through(lambda: self.store.delete(key, revision))

    async def read(self, key: str) -> Found:
        return Found(False) if self.blind else await self.store.read(key)


@pytest.fixture
def play(cluster: LoopbackCluster) -> Callable[..., None]:
    """Runs a coroutine with a connection to the cluster."""

    def run(body: Callable[[Any], Awaitable[None]]) -> None:
        async def main() -> None:
            nc = await nats.connect(cluster.servers[0].client_url)
            try:
                await body(nc)
            finally:
                await nc.close()

        asyncio.run(main())

    return run


def lock_of(nc: Any, key: str, clock: Clock | None = None) -> tuple[Lock, LossyStore]:
    store = LossyStore(NatsStore(nc, "locks"))
    return Lock(store, key, ttl_s=TTL_S, margin_s=0.1, clock=clock or Clock()), store


def test_of_many_contenders_one_wins(play: Callable[..., None]) -> None:
    async def body(nc: Any) -> None:
        locks = [lock_of(nc, "many")[0] for _ in range(12)]
        won = await asyncio.gather(*(lock.acquire() for lock in locks))
        assert sum(won) == 1
        assert [lock.held() for lock in locks] == won

    play(body)


def test_tokens_grow_from_holder_to_holder(play: Callable[..., None]) -> None:
    async def body(nc: Any) -> None:
        tokens = []
        for _ in range(3):
            lock, _store = lock_of(nc, "tokens")
            assert await lock.acquire()
            tokens.append(lock.token)
            assert await lock.renew() and lock.token == tokens[-1]
            assert await lock.release() and not lock.held()
        assert tokens == sorted(set(tokens))

    play(body)


def test_a_lapsed_lock_goes_to_another_and_the_stale_holder_is_refused(play: Callable[..., None]) -> None:
    async def body(nc: Any) -> None:
        stale, stale_store = lock_of(nc, "lapse")
        fresh, _ = lock_of(nc, "lapse")
        assert await stale.acquire() and not await fresh.acquire()
        revision = stale.revision
        await until("the lock to lapse", fresh.acquire, within_s=TTL_S + 2)
        assert not stale.held()  # it stopped before the server let another in
        assert not await stale.renew()
        assert (await stale_store.update("lapse", revision)).outcome == "refused"
        assert not await stale.release()
        assert fresh.held() and await fresh.renew()

    play(body)


def test_a_lease_ends_by_the_holders_own_clock(play: Callable[..., None]) -> None:
    async def body(nc: Any) -> None:
        clock = Clock()
        lock, _ = lock_of(nc, "clock", clock)
        assert await lock.acquire() and lock.held()
        clock.ahead_s += TTL_S - 0.05
        assert not lock.held() and not await lock.renew()

    play(body)


def test_an_unanswered_create_is_recognised_by_its_nonce(play: Callable[..., None]) -> None:
    async def body(nc: Any) -> None:
        lock, store = lock_of(nc, "doubt-create")
        store.unanswered = 1
        assert await lock.acquire() and lock.held() and lock.token == lock.revision > 0
        assert await lock.renew()

    play(body)


def test_a_create_found_out_later_is_ours_from_when_it_was_sent(play: Callable[..., None]) -> None:
    async def body(nc: Any) -> None:
        clock = Clock()
        lock, store = lock_of(nc, "doubt-late", clock)
        store.unanswered, store.blind = 1, True
        assert not await lock.acquire() and not lock.held()
        store.blind = False
        clock.ahead_s += TTL_S / 2
        assert await lock.acquire()
        assert lock.held_until_s - clock() < TTL_S / 2

    play(body)


def test_a_create_that_never_arrived_is_not_held(play: Callable[..., None]) -> None:
    async def body(nc: Any) -> None:
        lock, store = lock_of(nc, "lost-create")
        store.lost = 1
        assert not await lock.acquire() and not lock.held()
        other, _ = lock_of(nc, "lost-create")
        assert await other.acquire() and not await lock.acquire()

    play(body)


@pytest.mark.parametrize("blind", [False, True])
def test_an_unanswered_renewal_does_not_lose_the_lock(play: Callable[..., None], blind: bool) -> None:
    async def body(nc: Any) -> None:
        lock, store = lock_of(nc, f"doubt-renew-{blind}")
        assert await lock.acquire()
        store.unanswered, store.blind = 1, blind
        assert await lock.renew() is not blind
        assert lock.held()
        store.blind = False
        assert await lock.renew()  # blind: refused for its own unanswered write, which it then recognises
        assert await lock.renew() and await lock.release()

    play(body)


def test_a_lost_renewal_leaves_the_old_lease(play: Callable[..., None]) -> None:
    async def body(nc: Any) -> None:
        lock, store = lock_of(nc, "lost-renew")
        assert await lock.acquire()
        until_s = lock.held_until_s
        store.lost = 1
        assert not await lock.renew()
        assert lock.held() and lock.held_until_s == until_s
        assert await lock.renew() and lock.held_until_s > until_s

    play(body)


def test_a_lock_taken_over_is_lost_at_the_next_renewal(play: Callable[..., None]) -> None:
    async def body(nc: Any) -> None:
        lock, store = lock_of(nc, "taken")
        assert await lock.acquire()
        assert (await store.delete("taken", lock.revision)).outcome == "ok"  # an operator removes it
        assert await lock_of(nc, "taken")[0].acquire()
        assert not await lock.renew() and not lock.held()

    play(body)
