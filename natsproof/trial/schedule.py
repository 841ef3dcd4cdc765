"""Faults by the clock: resolved, injected, witnessed, written down, and healed whatever happens."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from natsproof.clock import Deadline, now_ns
from natsproof.cluster import Cluster
from natsproof.errors import NatsproofError
from natsproof.faults import Fault, Sighted
from natsproof.faults.sight import resolve
from natsproof.history import Injection
from natsproof.recorder import Recorder

LOOK_EVERY_S = 0.25


@dataclass
class _Active:
    """A fault that was begun and is not healed yet."""

    fault: Fault
    targets: tuple[str, ...]
    injection: Injection
    index: int | None = None


class Schedule:
    """The faults of one trial. `follow` runs them, `heal_all` ends what is left, from any thread."""

    def __init__(
        self, faults: Sequence[Fault], cluster: Cluster, recorder: Recorder, bucket: str, seed: int
    ) -> None:
        self._faults, self._cluster, self._recorder = faults, cluster, recorder
        self._bucket, self._seed = bucket, seed
        self.twins: Mapping[str, str] = {}  # buckets that workloads use in others' place
        #: A fault is healed once each of these buckets has so many acknowledged puts, or after `wait_s`.
        self.wanted: Mapping[str, int] = {}
        self.wait_s = 0.0
        self._active: dict[int, _Active] = {}
        self._lock = threading.Lock()
        self._first = threading.Event()

    async def follow(self, ending: asyncio.Event) -> None:
        """Inject and heal each fault at its time; when `ending` is set, heal early and return."""
        start = now_ns()
        await asyncio.gather(
            *(self._one(number, fault, start, ending) for number, fault in enumerate(self._faults))
        )

    async def follow_in_turn(self, ending: asyncio.Event, whole: Callable[[], Awaitable[bool]]) -> None:
        """Inject and heal one fault after the other; `whole()` waits in between and says whether to go on."""
        go_on = True
        for number, fault in enumerate(self._faults):
            if not go_on:
                self._never(fault, "the platform was not whole again after the fault before")
                continue
            await self._one(number, fault, now_ns(), ending)
            go_on = ending.is_set() or await whole()

    def heal_all(self) -> None:
        """Heal what is still active, one after the other; a failure is written down, never raised."""
        for number in list(self._active):
            self._heal(number)

    async def _one(self, number: int, fault: Fault, start_ns: int, ending: asyncio.Event) -> None:
        at = Deadline(start_ns + int(fault.at_s * 1e9))
        if await _within(ending, at.left_s):
            self._never(fault, "drive ended before its time")
            return
        landed = await asyncio.to_thread(self._inject, number, fault)
        if landed is None or getattr(fault, "one_shot", False):
            return
        since = self._recorder.acknowledged_puts() if self.wanted else {}
        if fault.down_s is None:
            await ending.wait()
        else:
            await _within(ending, fault.down_s - (now_ns() - landed) / 1e9)
            await self._wanted_puts(since, ending)
        await asyncio.to_thread(self._heal, number)

    async def _wanted_puts(self, since: Mapping[str, int], ending: asyncio.Event) -> None:
        """Until enough was acknowledged since the fault landed: that writes go on is seen while it is on."""
        deadline = Deadline.within(self.wait_s)
        while self.wanted and not deadline.passed:
            if not self._recorder.short_of(self.wanted, since) or await _within(ending, LOOK_EVERY_S):
                return

    def _inject(self, number: int, fault: Fault) -> int | None:
        """Returns the moment of injection, or None if it could not be aimed."""
        began = now_ns()
        rng = random.Random(f"{self._seed}/fault/{number}")
        bucket = fault.of or self._bucket
        try:
            targets, role = resolve(fault.victim, self.twins.get(bucket, bucket), self._cluster, rng)
        except (NatsproofError, OSError) as problem:
            self._never(fault, f"no victim: {problem}")
            return None
        injection = Injection(repr(fault), targets, role, began, began, None, False, "")
        before = None
        with self._lock:  # from here on it is healed, whatever happens
            self._active[number] = active = _Active(fault, targets, injection)
        if not self._first.is_set():
            self._first.set()
            self._recorder.mark("first_fault")
        error = witness = ""
        seen = False  # a witness compares with what was there before
        try:
            before = fault.sight(self._cluster, targets) if isinstance(fault, Sighted) else None
            began, seen = now_ns(), True
            # mypy takes the Protocol at its word; Sighted allows a receipt.
            receipt: Any = fault.inject(self._cluster, targets)  # type: ignore[func-returns-value]
            before = before if receipt is None else receipt
        except (NatsproofError, OSError) as problem:
            error = f"{type(problem).__name__}: {problem}"
        injected = now_ns()
        try:
            witness = _ask(fault, self._cluster, targets, before) if seen else ""
        except (NatsproofError, OSError) as problem:
            error = error or f"its witness: {type(problem).__name__}: {problem}"
        active.injection = Injection(
            repr(fault), targets, role, began, injected, None, bool(witness), witness, error
        )
        active.index = self._recorder.injection(active.injection)
        if getattr(fault, "one_shot", False) and not error:
            with self._lock:
                self._active.pop(number, None)
        return injected

    def _heal(self, number: int) -> None:
        with self._lock:
            active = self._active.pop(number, None)
        if active is None:
            return
        error, began = active.injection.error, now_ns()
        try:
            active.fault.heal(self._cluster, active.targets)
        except (NatsproofError, OSError) as problem:
            error = f"{error}; " if error else ""
            error += f"healing it: {type(problem).__name__}: {problem}"
        healed = replace(active.injection, healed_ns=now_ns(), heal_began_ns=began, error=error)
        self._recorder.injection(healed, active.index)

    def _never(self, fault: Fault, why: str) -> None:
        now = now_ns()
        self._recorder.injection(Injection(repr(fault), (), "none", now, now, None, False, "", why))


def _ask(fault: Fault, cluster: Any, targets: Sequence[str], before: Any) -> str:
    if isinstance(fault, Sighted):
        return fault.witness_change(cluster, targets, before)
    return fault.witness(cluster, targets)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event came before that many seconds passed."""
    try:
        await asyncio.wait_for(event.wait(), max(0.0, seconds))
    except TimeoutError:
        return event.is_set()
    return True
