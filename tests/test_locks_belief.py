"""How long a contender is written down as holder: never beyond its own lease, however late an answer is."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any, cast

from natsproof.clock import NS_PER_S
from natsproof.history import Kind, Outcome
from natsproof.lock import OK, REFUSED, Found, Lock, Written
from natsproof.workloads.locks import Locks

TTL_S = 0.3


class LateStore:
    """Acknowledges the create at once and refuses every renewal after the lease is over."""

    async def create(self, key: str) -> Written:
        return Written(OK, "n", 1)

    async def update(self, key: str, revision: int) -> Written:
        await asyncio.sleep(2 * TTL_S)
        return Written(REFUSED, "n")

    async def delete(self, key: str, revision: int) -> Written:
        return Written(REFUSED, "n")

    async def read(self, key: str) -> Found:
        return Found(True)


async def _rest(seconds: float) -> bool:
    await asyncio.sleep(seconds)
    return True


def test_a_refusal_that_comes_late_does_not_make_the_lease_longer() -> None:
    events: list[dict[str, Any]] = []
    recorder = SimpleNamespace(
        event=lambda kind, client, key, **times: events.append({"kind": kind, **times}),
        key=lambda bucket, key: 0,
    )

    async def update(*_: Any) -> Any:
        return SimpleNamespace(ok=True)

    client: Any = SimpleNamespace(recorder=recorder, index=0, update=update)
    scene: Any = SimpleNamespace(rest=_rest, over=lambda: False, kept={})
    work = Locks(
        ("locks",), contenders=2, locks=1, ttl_s=TTL_S, hold_s=5.0, renew_s=0.05, timeout_s=0.1, stall_share=0
    )

    async def hold() -> float:
        lock = Lock(LateStore(), "k", ttl_s=TTL_S)
        assert await lock.acquire()
        ends_s = lock.held_until_s
        await work._hold(scene, client, lock, "locks", random.Random(1))
        return ends_s

    ends_s = asyncio.run(hold())
    (held,) = events
    assert held["kind"] is Kind.HELD
    assert held["return_ns"] <= int(ends_s * NS_PER_S)


def test_holders_stall_as_often_as_they_should_however_chance_has_it() -> None:
    never: Any = SimpleNamespace(random=lambda: 0.999)
    scene: Any = SimpleNamespace(kept={})
    for key in ("lock0", "lock1"):
        stalled = [Locks(stall_share=0.15)._stalls(scene, key, never) for _ in range(23)]
        assert [n for n, stalls in enumerate(stalled) if stalls] == [1, 8, 15, 22]
    assert not any(Locks(stall_share=0)._stalls(scene, "lock2", never) for _ in range(99))


def test_an_operator_purges_one_lock_only() -> None:
    """The others lapse by themselves: else no trial would see that they do (docs/findings.md, 55)."""
    purged: list[str] = []

    async def purge(_: str, key: str) -> None:
        purged.append(key)

    async def rest(_: float) -> bool:
        return len(purged) < 4

    scene: Any = SimpleNamespace(rest=rest, kept={"plots": [("locks", 4.0)]}, key=lambda name: name)
    operator: Any = SimpleNamespace(purge=purge)
    asyncio.run(Locks(("locks",), locks=3, purge_every_s=1.0)._purge(scene, operator))
    assert purged == ["lock0"] * 4


def test_pinned_contenders_want_a_lock_of_their_own_first() -> None:
    """So that each server has a holder when its neighbour is cut off (docs/findings.md, 54)."""
    asked: list[list[str]] = [[] for _ in range(5)]

    def client(number: int) -> Any:
        async def create(_: str, key: str) -> Any:
            asked[number].append(key)
            return SimpleNamespace(outcome=Outcome.FAILED, value=-1, revision=-1)

        return SimpleNamespace(create=create)

    async def drive(work: Locks) -> None:
        turns = iter(range(20))

        async def rest(_: float) -> bool:
            await asyncio.sleep(0)
            return next(turns, None) is not None

        kept = {"contenders": [client(number) for number in range(5)], "plots": [("locks", 4.0)]}
        await work.drive(
            cast("Any", SimpleNamespace(rest=rest, rng=random.Random(1), kept=kept, key=lambda name: name))
        )

    asyncio.run(drive(Locks(("locks",), contenders=5, locks=3, pinned=True)))
    assert [keys[0] for keys in asked] == ["lock0", "lock1", "lock2", "lock0", "lock1"]
    assert len({key for keys in asked for key in keys[1:]}) == 3
