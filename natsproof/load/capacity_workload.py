"""A capacity run as a workload of a trial: its load is recorded and judged, its kills are journaled."""

from __future__ import annotations

import asyncio
import os
import platform
import random
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natsproof.clock import Deadline, as_seconds, now_ns
from natsproof.errors import NatsproofError
from natsproof.faults.process import Kill
from natsproof.faults.sight import resolve
from natsproof.history import Injection
from natsproof.load import server_side
from natsproof.load.absorb import absorb
from natsproof.load.capacity import Measuring, Results
from natsproof.load.fill import measured_fill
from natsproof.load.mix import PLATFORM, share
from natsproof.load.rig import Rig
from natsproof.load.sizing import PlatformSize, Usage, platform_size
from natsproof.load.spec import GeneratorSpec
from natsproof.load.sync import by_sync_interval
from natsproof.load.variations import BUCKET, measuring_mix
from natsproof.workloads.registry import WORKLOADS

if TYPE_CHECKING:
    from natsproof.trial import Scene

DOWN_S = 4.0
#: Servers beside those under test, with another sync_interval: two at --depth quick, three beyond.
SYNC_STEP_S, SYNC_PART = 1.5, 0.1
#: What writes a new key, by bucket.
NEW_KEYS = {
    "message_state": "put",
    "integration_locks": "acquire",
    "retry_queue": "enqueue",
    "dead_letter_queue": "append",
}


@dataclass(frozen=True)
class CapacitySearch:
    """Knee, scaling, axes, knee with one pod down, rate under kills, sizes; `budget_s` in all.

    Leaves the observation `capacity` (natsproof.load.capacity.Results). `recovery_s` is the budget
    after a kill, `floor_hz` the rate promised under kills (all operations; 0: none), `planned_hz` the rate
    for which the buckets are sized.
    """

    buckets: tuple[str, ...] = tuple(NEW_KEYS)
    budget_s: float = 180.0
    step_s: float = 2.0
    start_hz: float = 150.0
    objective_s: float = 0.5
    recovery_s: float = 15.0
    measured_s: float = 5.0
    floor_hz: float = 0.0
    planned_hz: float = 250.0
    workers: int = 1

    async def prepare(self, scene: Scene) -> None:
        """Generators start with drive."""

    async def drive(self, scene: Scene) -> None:
        with tempfile.TemporaryDirectory(prefix="natsproof-capacity-") as name:
            folder = Path(name)
            run = _Run(self, scene, folder)
            await asyncio.to_thread(run.all)
            for record in await asyncio.to_thread(lambda: sorted(folder.glob("load-*.jsonl"))):
                await asyncio.to_thread(absorb, scene.recorder, record)
        scene.observe("capacity", run.results.as_dict())

    async def finish(self, scene: Scene) -> None:
        """The runner's final reads are all that is needed."""


class _Run:
    """In a thread of its own; the trial's loop goes on beside it."""

    def __init__(self, search: CapacitySearch, scene: Scene, folder: Path) -> None:
        self._search, self._scene, self._folder = search, scene, folder
        self._rng = random.Random(scene.rng.random())
        self._active: threading.Thread | None = None
        self.results = Results(search.objective_s)

    def all(self) -> None:
        search, scene, began = self._search, self._scene, now_ns()
        spec = GeneratorSpec(
            urls=tuple(server.client_url for server in scene.servers),
            seed=self._rng.randrange(2**31),
            mix=measuring_mix(PLATFORM),
            prefix=scene.prefix,
            record=str(self._folder / "load-{worker}.jsonl"),
            first_value=(scene.index + 1) << 48,
        )
        rig = Rig(spec, workers=search.workers, objective_s=search.objective_s)
        try:
            look = lambda: server_side.read(scene.cluster)  # noqa: E731
            measuring = Measuring(rig, step_s=search.step_s, look=look)
            self.results = measuring.results
            self.results.context = self._context()
            self._parts(measuring)
        finally:
            rig.close()
            if self._active:
                self._active.join(timeout=60)
        self.results.took_s = as_seconds(now_ns() - began)

    def _parts(self, measuring: Measuring) -> None:
        search, results = self._search, measuring.results
        deadline = Deadline.within(search.budget_s)
        results.knee = measuring.knee("all pods", search.start_hz, 0.38 * search.budget_s)
        measuring.scaling(0.08 * search.budget_s)
        measuring.axes(PLATFORM, 0.12 * search.budget_s)
        rows, missing = by_sync_interval(
            self._scene.cluster,
            measuring.rig.spec,
            seconds=SYNC_STEP_S,
            within_s=SYNC_PART * search.budget_s,
            say=measuring.say,
        )
        results.axes += rows
        results.not_measured += missing
        results.fill = measured_fill(measuring.rig, self._scene.cluster)
        results.sizing = self._sizing(results)
        ended = self._kill("leader", down_s=search.recovery_s + 0.2 * search.budget_s, wait=True)
        low_hz = max(20.0, 0.6 * results.knee.rate_hz)
        results.one_down = measuring.knee("one pod down", low_hz, 0.13 * search.budget_s)
        ended.set()
        if self._active:
            self._active.join(timeout=60)
        base_hz = min(results.one_down.rate_hz or low_hz, results.knee.rate_hz or low_hz)
        measuring.under_kills(
            base_hz,
            self._kill_leader_soon,
            floor_hz=search.floor_hz,
            recovery_s=search.recovery_s,
            measured_s=search.measured_s,
            within_s=max(deadline.left_s, 40.0),
        )

    def _kill_leader_soon(self) -> None:
        self._kill("leader", down_s=DOWN_S, after_s=1.0)

    def _kill(
        self, victim: str, *, down_s: float, after_s: float = 0.0, wait: bool = False
    ) -> threading.Event:
        """Kill in a thread, with its journal; the pod is started after `down_s`, or when the event is set.

        `wait`: return only when the platform had its recovery budget.
        """
        ended = threading.Event()
        if self._active:
            self._active.join(timeout=60)
        self._active = threading.Thread(target=self._kill_now, args=(victim, after_s, down_s, ended))
        self._active.start()
        if wait:
            threading.Event().wait(after_s + self._search.recovery_s)
        return ended

    def _kill_now(self, victim: str, after_s: float, down_s: float, ended: threading.Event) -> None:
        cluster, recorder = self._scene.cluster, self._scene.recorder
        ended.wait(after_s)
        fault, began = Kill(victim, of=BUCKET, at_s=0.0, down_s=down_s), now_ns()
        error, witness = "", ""
        targets: tuple[str, ...] = ()
        role = victim
        try:
            targets, role = resolve(victim, BUCKET, cluster, self._rng)
            fault.inject(cluster, targets)
            injected = now_ns()
            witness = fault.witness(cluster, targets)
        except (NatsproofError, OSError) as problem:
            injected, error = now_ns(), f"{type(problem).__name__}: {problem}"
        index = recorder.injection(
            Injection(repr(fault), targets, role, began, injected, None, bool(witness), witness, error)
        )
        ended.wait(down_s)
        try:
            fault.heal(cluster, targets)
        except (NatsproofError, OSError) as problem:
            error = f"healing it: {type(problem).__name__}: {problem}"
        recorder.injection(
            Injection(repr(fault), targets, role, began, injected, now_ns(), bool(witness), witness, error),
            index,
        )

    def _sizing(self, results: Results) -> dict[str, Any]:
        """Each bucket at the planned rate, and what five servers or a longer TTL would change."""
        contract, rate_hz = self._scene.contract, self._search.planned_hz
        per_byte = max([1.0, *(float(row["disk_per_byte"]) for row in results.fill if row["disk_per_byte"])])
        usages = {}
        for action in PLATFORM:
            if NEW_KEYS.get(action.bucket) == action.verb:
                part = action.weight / sum(a.weight for a in PLATFORM)
                usages[action.bucket] = Usage(rate_hz * part, action.value_bytes, disk_per_byte=per_byte)
        longer = {b.name: 2 * b.ttl_s for b in contract.promises.buckets if b.ttl_s}
        return {
            "planned_hz": rate_hz,
            "writing_part": share(PLATFORM, writing=True),
            "now": _plain(platform_size(contract, usages)),
            "five_servers": _plain(platform_size(contract, usages, servers=5)),
            "twice_the_ttl": _plain(platform_size(contract, usages, ttl_s=longer)),
        }

    def _context(self) -> dict[str, Any]:
        contract = self._scene.contract
        return {
            "cluster": self._scene.cluster.kind,
            "contract_digest": contract.digest,
            "image": contract.server_container.image,
            "replicas": contract.statefulset.replicas,
            "sync": "always" if contract.config.sync_always else contract.config.sync_interval_s,
            "kernel": platform.release(),
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0],
            "mix": [asdict(action) for action in PLATFORM],
        }


def _plain(size: PlatformSize) -> dict[str, Any]:
    told = asdict(size)
    for row, bucket in zip(told["buckets"], size.buckets, strict=True):
        row["says"] = bucket.says
    return told


WORKLOADS[CapacitySearch.__name__] = CapacitySearch
