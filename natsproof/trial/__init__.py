"""A Trial is data: workloads, faults, times. `run` makes its History on a cluster.

Phases, each a mark in the history: `prepare` (acknowledged writes in every bucket, through every server
that answers), `warm_up` (workloads run, no fault), `drive` (faults at their times), `healed`, `settled` or
`not_settled`, `finish` (final reads, replica audit), `end`. `first_fault` stands where the first one was
injected; `not_healthy` where the platform refused writes before anything was done to it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from natsproof.clock import Deadline, now_ns, until
from natsproof.cluster import CAPABILITIES, Borrowed, Cluster
from natsproof.contract.model import Contract
from natsproof.errors import ClusterError, DeadlineExceeded, NotAvailableHere, UsageError
from natsproof.faults import Fault
from natsproof.history import History
from natsproof.history_file import read
from natsproof.recorder import Recorder
from natsproof.trial import audit
from natsproof.trial.observer import EVERY_CALM_S, EVERY_S, LONG_S, Observer
from natsproof.trial.scene import Scene, Stage
from natsproof.trial.schedule import Schedule
from natsproof.trial.whole import wait_until_whole
from natsproof.workloads import Workload

__all__ = ["Scene", "Trial", "missing_capabilities", "run", "trial_as_dict", "trial_from_dict"]

HEALTHY_WITHIN_S = 30.0
#: A server that is Ready serves within a second, a retry of a route; one that does not is left to the claims.
SERVES_WITHIN_S = 5.0
#: What a workload may need after the end of drive for what it has under way.
LATE_S = 10.0
NOTHING: Mapping[str, int] = MappingProxyType({})
#: Longest that drive waits for faults to be healed whose verbs take their time.
SLOW_VERBS_S = 180.0


@dataclass(frozen=True)
class Trial:
    """One experiment. `duration_s` is drive; `warm_up_s` before it is free of faults; `settle_s` is the
    budget to accept writes and be level again after healing.

    A slow machine takes longer instead of proving less: the first fault waits until each bucket has
    `evidence` acknowledged puts, and drive goes on until it has as many again since the last one was healed,
    and `puts` in all. A fault is not healed before each bucket has `during` acknowledged puts since it
    landed. Where a workload writes to a twin of a bucket, the twin's puts count; creates and updates are
    puts. Each of these waits ends after `patience_s`.

    `whole_within_s` above 0: faults come one after the other, each `at_s` after the platform was whole
    again (natsproof.trial.whole), and drive ends once it is whole after the last; `duration_s` is then
    the most that drive may take. Where it is not whole in so many seconds, no further fault is injected.
    """

    name: str
    workloads: tuple[Workload, ...]
    faults: tuple[Fault, ...] = ()
    duration_s: float = 10.0
    settle_s: float = 30.0
    warm_up_s: float = 0.5
    final_reads: bool = True
    replica_audit: bool = True
    evidence: int = 0
    puts: int = 0
    during: int = 0
    patience_s: float = 30.0
    whole_within_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.workloads:
            raise UsageError(f"trial {self.name}: no workload, nothing would be recorded")
        for fault in self.faults:
            if fault.at_s >= self.duration_s:
                raise UsageError(
                    f"trial {self.name}: {fault!r} begins after drive ends ({self.duration_s:g} s); "
                    "raise duration_s or lower at_s"
                )

    @property
    def buckets(self) -> tuple[str, ...]:
        """All buckets that the workloads name, in order."""
        named = (bucket for workload in self.workloads for bucket in getattr(workload, "buckets", ()))
        return tuple(dict.fromkeys(named))


def trial_as_dict(trial: Trial) -> dict[str, Any]:
    """The trial as JSON-able data; `trial_from_dict` gives it back."""
    data = {f.name: getattr(trial, f.name) for f in fields(trial)}
    for part in ("workloads", "faults"):
        data[part] = [{"type": type(it).__name__, **asdict(it)} for it in data[part]]
    return data


def trial_from_dict(data: Mapping[str, Any]) -> Trial:
    """The trial of such data. Raises UsageError for a type or field that does not exist, naming the valid."""
    from natsproof.faults.registry import FAULTS
    from natsproof.workloads.registry import WORKLOADS

    rest = {name: value for name, value in data.items() if name not in ("workloads", "faults")}
    workloads = tuple(_value(WORKLOADS, "workload", it) for it in data.get("workloads", ()))
    faults = tuple(_value(FAULTS, "fault", it) for it in data.get("faults", ()))
    _known_fields(Trial, "trial", rest)
    return Trial(workloads=workloads, faults=faults, **rest)


def _known_fields(kind: Any, what: str, data: Iterable[str]) -> None:
    valid = [f.name for f in fields(kind)]
    if unknown := sorted(set(data) - set(valid)):
        raise UsageError(f"{what} has no field {', '.join(unknown)}. Valid: {', '.join(valid)}")


def _value(known: Mapping[str, Callable[..., Any]], what: str, data: Mapping[str, Any]) -> Any:
    name = data.get("type", "")
    if name not in known:
        raise UsageError(f"{name!r} is no {what}. Valid: {', '.join(sorted(known))}")
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "type"}
    _known_fields(known[name], f"{what} {name}", given)
    return known[name](**given)


def missing_capabilities(trial: Trial, cluster: Cluster) -> tuple[str, ...]:
    """Names of the capabilities its faults need and the cluster does not have."""
    needed = dict.fromkeys(name for fault in trial.faults for name in fault.needs)
    return tuple(name for name in needed if not isinstance(cluster, CAPABILITIES[name]))


def run(trial: Trial, cluster: Cluster, *, seed: int, path: Path) -> History:
    """Run `trial` on a cluster that is up, and give the history as it stands in `path`.

    Faults are healed whatever happens. Raises NotAvailableHere if the cluster lacks a capability; what
    the platform does wrong is in the history, not an exception. After an exception (Ctrl-C, a defect of
    a workload) the file has what was recorded, and says so.
    """
    if missing := missing_capabilities(trial, cluster):
        raise NotAvailableHere(
            f"trial {trial.name}: cluster {cluster.kind} is not {', '.join(missing)}; "
            "choose another with --cluster"
        )
    borrowed = cluster if isinstance(cluster, Borrowed) else None
    if borrowed is not None:
        borrowed.require_load_allowed()
    prefix = f"t{secrets.token_hex(4)}"
    with Recorder(path, _meta(trial, cluster, seed, prefix)) as recorder:
        bucket = trial.buckets[0] if trial.buckets else ""
        schedule = Schedule(trial.faults, cluster, recorder, bucket, seed)
        schedule.wait_s = trial.patience_s
        try:
            asyncio.run(_Run(trial, cluster, recorder, schedule, prefix, seed).all())
        finally:
            schedule.heal_all()
            if borrowed is not None:
                borrowed.remove_keys(trial.buckets, prefix)
    return read(path)


def _ttl_s(contract: Contract, bucket: str) -> float | None:
    """The TTL that the set-up Job gives the bucket, which need not be the promised one."""
    made = (b.ttl_s for b in (*contract.job_buckets, *contract.promises.buckets) if b.name == bucket)
    return next(made, None)


def _meta(trial: Trial, cluster: Cluster, seed: int, prefix: str) -> dict[str, Any]:
    version = ""
    for server in cluster.servers:
        try:
            version = str(cluster.monitor(server.name, "/varz")["version"])
            break
        except (ClusterError, OSError, KeyError):
            continue
    return {
        "trial": trial_as_dict(trial),
        "seed": seed,
        "cluster": cluster.kind,
        "server_version": version,
        "contract_digest": cluster.contract.digest,
        "servers": [server.name for server in cluster.servers],
        "prefix": prefix,
        "buckets": {name: {"ttl_s": _ttl_s(cluster.contract, name)} for name in trial.buckets},
    }


class _Run:
    """One run, from `prepare` to `end`."""

    def __init__(
        self, trial: Trial, cluster: Cluster, recorder: Recorder, schedule: Schedule, prefix: str, seed: int
    ) -> None:
        self.trial, self.cluster, self.recorder, self.schedule = trial, cluster, recorder, schedule
        self.prefix, self.seed = prefix, seed

    async def all(self) -> None:
        self.stage = Stage(self.cluster, self.recorder, self.prefix, list(self.trial.buckets))
        self.schedule.twins = self.stage.twins
        self.scenes = [Scene(self.stage, index, self.seed) for index in range(len(self.trial.workloads))]
        calm = not self.trial.faults and self.trial.duration_s > LONG_S
        observer = Observer(self.cluster, self.recorder, EVERY_CALM_S if calm else EVERY_S)
        observer.start()
        try:
            self.recorder.mark("prepare")
            if await self._healthy():
                for workload, scene in zip(self.trial.workloads, self.scenes, strict=True):
                    await workload.prepare(scene)
                await self._drive()
                await self._after()
        finally:
            await observer.stop()
            await self.stage.close()
        observer.events()
        self.recorder.mark("end")

    async def _healthy(self) -> bool:
        problem = ""
        try:
            self.prober = await self.stage.client("prober", timeout_s=audit.PROBE_TIMEOUT_S)
            problem = await audit.accepts_writes(
                self.prober, self.stage.buckets, self.prefix, HEALTHY_WITHIN_S
            )
            if not problem and (refused := await audit.every_server_serves(self.stage, SERVES_WITHIN_S)):
                self.recorder.observe("not_served", {"problem": refused})  # for the claims to judge
        except ClusterError as trouble:
            problem = str(trouble)
        if problem:
            self.recorder.observe("not_healthy", {"problem": problem})
            self.recorder.mark("not_healthy")
        return not problem

    async def _drive(self) -> None:
        trial, stage = self.trial, self.stage
        self.schedule.wanted = self._wanted(trial.during) if trial.during else {}
        stage.ends = Deadline.within(trial.warm_up_s + trial.duration_s)
        self.recorder.mark("warm_up")
        driving = [
            asyncio.create_task(workload.drive(scene), name=f"drive {scene.index}")
            for workload, scene in zip(trial.workloads, self.scenes, strict=True)
        ]
        faults = asyncio.create_task(self._faults(), name="faults")
        try:
            if trial.whole_within_s:
                await _until_done(faults, driving, stage.ends)
            else:
                await self._until_the_end(driving)
                if self._meant_after_s is not None:
                    await asyncio.wait([faults], timeout=SLOW_VERBS_S)
                    await self._until_the_end(driving)
            await self._enough_at_the_end(faults)
            stage.ending.set()
            done, late = await asyncio.wait(driving, timeout=LATE_S)
            for task in done:
                task.result()
            if late:
                names = sorted(task.get_name() for task in late)
                self.recorder.observe("workload_late", {"cut_off_after_s": LATE_S, "workloads": names})
            await faults
        finally:
            stage.ending.set()
            await _end([*driving, faults])

    async def _until_the_end(self, driving: list[asyncio.Task[None]]) -> None:
        """The end moves: the first fault waits for evidence, the last one may be healed late."""
        while True:
            await _first_failure(driving, self.stage.ends, go_on=bool(self.trial.faults))
            calm = not self.trial.faults and all(task.done() for task in driving)
            if self.stage.ends.passed or calm:
                return

    async def _faults(self) -> None:
        await asyncio.sleep(self.trial.warm_up_s)
        await self._enough(self.trial.evidence)
        self.recorder.mark("drive")  # drive lasts from here, however late a busy machine comes to it
        self.stage.ends = Deadline.within(self.trial.duration_s)
        if within_s := self.trial.whole_within_s:
            await self.schedule.follow_in_turn(
                self.stage.ending, lambda: wait_until_whole(self.stage, self.prober, within_s)
            )
            return
        await self.schedule.follow(self.stage.ending)
        if self._meant_after_s is not None and not self.stage.ending.is_set():
            ends_ns = now_ns() + int(self._meant_after_s * 1e9)
            self.stage.ends = Deadline(max(self.stage.ends.at_ns, ends_ns))

    @property
    def _meant_after_s(self) -> float | None:
        """How long drive is meant to go on after the last heal; None if no fault is healed in it.

        Where verbs take long (a pod is deleted, a node is unfrozen) drive ends later by as much.
        """
        healed = [f.at_s + f.down_s for f in self.trial.faults if f.down_s is not None]
        left_s = self.trial.duration_s - max(healed, default=self.trial.duration_s)
        return left_s if left_s > 0 else None

    async def _enough_at_the_end(self, faults: asyncio.Task[None]) -> None:
        """Drive goes on until enough was acknowledged since the last fault was healed, and in all."""
        lasting = [f for f in self.trial.faults if f.down_s is None and not getattr(f, "one_shot", False)]
        if self.trial.evidence and self.trial.faults and not lasting:
            await asyncio.wait([faults], timeout=self.trial.patience_s)
            if faults.done():
                await self._enough(self.trial.evidence, self.recorder.acknowledged_puts())
        await self._enough(self.trial.puts)

    def _wanted(self, number: int) -> dict[str, int]:
        """So many puts of each bucket, or of the twin that a workload prepared in its place."""
        return {self.stage.twins.get(bucket, bucket): number for bucket in self.trial.buckets}

    async def _enough(self, number: int, since: Mapping[str, int] = NOTHING) -> None:
        """Wait until each bucket or its twin has `number` more acknowledged puts than `since`."""
        wanted = self._wanted(number)

        async def enough() -> bool:
            return self.stage.ending.is_set() or not self.recorder.short_of(wanted, since)

        try:
            await until("enough acknowledged puts", enough, within_s=self.trial.patience_s)
        except DeadlineExceeded as late:
            self.recorder.observe("little_evidence", {"problem": str(late)})

    async def _after(self) -> None:
        await asyncio.to_thread(self.schedule.heal_all)
        self.recorder.mark("healed")
        settled = await audit.settle(self.stage, self.prober, self.trial.settle_s)
        self.recorder.mark("finish")
        for workload, scene in zip(self.trial.workloads, self.scenes, strict=True):
            await workload.finish(scene)
        if self.trial.final_reads:
            readers = [self.prober, await self.stage.client("final reader", timeout_s=audit.PROBE_TIMEOUT_S)]
            await audit.final_reads(self.stage, readers)
        if self.trial.replica_audit and settled:
            for bucket in self.stage.buckets:
                await audit.replica_rows(self.stage, self.prober, bucket)
        await self.stage.tidy()


async def _first_failure(tasks: list[asyncio.Task[None]], until: Deadline, *, go_on: bool) -> None:
    """Let the time pass; raise what a task raised at once. Tasks may end early: the faults `go_on`."""
    done, _ = await asyncio.wait(tasks, timeout=until.left_s, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
    if go_on or len(done) < len(tasks):
        await asyncio.sleep(until.left_s)


async def _until_done(faults: asyncio.Task[None], driving: list[asyncio.Task[None]], most: Deadline) -> None:
    """Wait for the faults, while anything drives, not beyond `most`; raise at once what a task raised."""
    while not (faults.done() or most.passed or all(task.done() for task in driving)):
        await asyncio.wait(
            [faults, *driving], timeout=min(1.0, most.left_s), return_when=asyncio.FIRST_EXCEPTION
        )
        for task in driving:
            if task.done():
                task.result()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel what still runs and wait until it has ended; its errors were raised where they mattered."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
