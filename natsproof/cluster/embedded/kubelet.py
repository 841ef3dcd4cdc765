"""A pod's life as a kubelet runs it: containers, probes, restarts with back-off, graceful deletion."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from natsproof.clock import as_seconds, now_ns
from natsproof.cluster import PodEvent
from natsproof.cluster.embedded import podplan, probes
from natsproof.cluster.embedded.images import known
from natsproof.cluster.embedded.pid1 import Launch
from natsproof.cluster.embedded.podplan import PodIdentity
from natsproof.cluster.embedded.refused import PodRefused, kept_back
from natsproof.cluster.embedded.runtime import Running, Runtime, StartGate
from natsproof.cluster.embedded.volumes import PodVolumes
from natsproof.contract.model import Container, Contract, PodSpec, Probe
from natsproof.errors import ClusterError

BACKOFF_S, BACKOFF_LIMIT_S, BACKOFF_FORGOTTEN_S = 10.0, 300.0, 600.0
KILL_LIMIT_S = 10.0  # from SIGKILL to the process's end
MINIMUM_GRACE_S = 2.0  # what SIGTERM gets when preStop took all of the grace period


@dataclass
class Node:
    """What all pods of one cluster share. `contract` may be exchanged for a changed one."""

    contract: Contract
    runtime: Runtime
    programs: Mapping[str, Path]
    workdir: Path
    events: list[PodEvent] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def record(self, pod: str, what: str, detail: str = "") -> None:
        self.events.append(PodEvent(now_ns(), pod, what, detail))
        self.changed.set()

    async def wait_for(self, true: Callable[[], bool]) -> None:
        """Until `true()`; asked again after every event."""
        while not true():
            await self.changed.wait()
            self.changed.clear()
            await asyncio.sleep(0)

    def lookup(self, kind: str, name: str) -> Mapping[str, str]:
        if kind == "secret":
            return podplan.secret_values(self.contract, name)
        return podplan.config_map(self.contract, name).data

    def log(self, pod: str, container: str = "") -> Path:
        return self.workdir / "logs" / f"{pod}{'.' if container else ''}{container}.log"


@dataclass
class ContainerState:
    """One container of a pod: `started` and `ready` as the probes have it."""

    spec: Container
    launch: Launch | None = None
    process: Running | None = None
    started: bool = False
    ready: bool = False
    restarts: int = 0
    exit_code: int | None = None  # of a container that will not run again
    next_backoff_s: float = 0.0
    finished_ns: int = 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    def back_off(self, started_ns: int) -> float:
        """Seconds to wait before this restart: none, 10, 20, ... 300; forgotten after ten good minutes."""
        self.finished_ns = now_ns()
        if as_seconds(self.finished_ns - started_ns) > BACKOFF_FORGOTTEN_S:
            self.next_backoff_s = 0.0
        wait_s = self.next_backoff_s
        self.next_backoff_s = min(BACKOFF_LIMIT_S, wait_s * 2 or BACKOFF_S)
        return wait_s


class Pod:
    """One incarnation of a pod. All coroutines belong to the cluster's loop."""

    def __init__(
        self,
        node: Node,
        spec: PodSpec,
        identity: PodIdentity,
        claim: Callable[[str], Path] | None = None,
        gate: StartGate | None = None,
    ) -> None:
        self.node, self.spec, self.identity = node, spec, identity
        self.name = identity.name
        run = [c for c in spec.containers if known(c.image)] or spec.containers  # sidecars may be left out
        self.states = {c.name: ContainerState(c) for c in run}
        self.deleting = False
        self.finished: bool | None = None  # of a pod that does not restart: whether it succeeded
        self._claim, self._gate = claim, gate
        self._allowed = asyncio.Event()
        self._allowed.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._volumes: PodVolumes | None = None

    @property
    def ready(self) -> bool:
        """The pod's Ready condition."""
        return (
            not self.deleting and bool(self.states) and all(s.ready and s.alive for s in self.states.values())
        )

    @property
    def held(self) -> bool:
        return not self._allowed.is_set()

    def main(self, container: str) -> ContainerState:
        return self.states[container]

    def begin(self) -> None:
        self.node.record(self.name, "created")
        self._tasks.append(asyncio.create_task(self._live(), name=f"pod {self.name}"))

    async def _live(self) -> None:
        try:
            await asyncio.to_thread(self._prepare)
            for container in self.spec.init_containers:
                state = ContainerState(container)
                self.states = {container.name: state, **self.states}
                await self._keep(
                    state, policy="OnFailure" if self.spec.restart_policy != "Never" else "Never"
                )
                del self.states[container.name]
        except ClusterError as problem:
            self.node.record(self.name, kept_back(problem), str(problem))
            return
        keep = [self._keep(state, self.spec.restart_policy) for state in self.states.values()]
        await asyncio.gather(*keep)
        self.finished = all(state.exit_code == 0 for state in self.states.values())
        self.node.record(self.name, "finished", "succeeded" if self.finished else "failed")

    def _prepare(self) -> None:
        self.node.runtime.sandbox(self.name, self.identity.hostname, self.identity.ip)
        folder = self.node.workdir / "pods" / self.name
        self._volumes = PodVolumes(
            self.spec,
            folder,
            self.node.lookup,
            self._claim or self._no_claim,
            change_owner=self.node.runtime.changes_user,
        )

    def _no_claim(self, name: str) -> Path:
        raise PodRefused(f"volume {name!r} is neither in the pod nor a claim template")

    async def _keep(self, state: ContainerState, policy: str) -> None:
        """Run a container until its restart policy says that it is done."""
        while True:
            await self._allowed.wait()
            if self.deleting:
                return
            started_ns = now_ns()
            try:
                process = await self._start_at_gate(state)
            except ClusterError as problem:
                self.node.record(self.name, kept_back(problem), str(problem))
                state.next_backoff_s = max(state.next_backoff_s, BACKOFF_S)
            else:
                await self._run(state, process)
                code = process.exited.result()
                if policy == "Never" or (policy == "OnFailure" and code == 0):
                    state.exit_code = code
                    return
            wait_s = state.back_off(started_ns)
            if self._allowed.is_set():  # not held: it ended by itself or by a probe
                state.restarts += 1
                if wait_s:
                    self.node.record(self.name, "back-off", f"{state.spec.name}: {wait_s:g} s")
                await asyncio.sleep(wait_s)
            else:
                state.next_backoff_s = 0.0

    async def _start_at_gate(self, state: ContainerState) -> Running:
        gate, self._gate = self._gate, None
        if gate is None:
            return await asyncio.to_thread(self._start, state, None)
        try:
            return await asyncio.to_thread(self._start, state, gate.fd)
        finally:
            gate.arrived()
            await gate.opened.wait()

    def _start(self, state: ContainerState, gate: int | None) -> Running:
        assert self._volumes is not None
        state.launch = podplan.launch(
            self.node.contract,
            self.spec,
            state.spec,
            self.identity,
            self._volumes,
            self.node.programs,
            change_user=self.node.runtime.changes_user,
            nameserver=self.node.runtime.nameserver,
        )
        main = len(self.states) == 1 or state.spec.name == self.node.contract.server_container.name
        log = self.node.log(self.name, "" if main else state.spec.name)
        return self.node.runtime.spawn(self.name, state.launch, log, gate)

    async def _run(self, state: ContainerState, process: Running) -> None:
        state.process = process
        self.node.record(self.name, "started", f"{state.spec.name} pid {process.pid}")
        watch = asyncio.create_task(self._watch(state))
        try:
            code = await ended(process)
        finally:
            watch.cancel()
            state.started = False
            self._set_ready(state, False, "the container is down")
            await asyncio.wait([watch])
        if not watch.cancelled() and (problem := watch.exception()):
            raise problem
        self.node.record(self.name, "exited", f"{state.spec.name}: {_how(code)}")

    async def _watch(self, state: ContainerState) -> None:
        spec, started_ns = state.spec, now_ns()
        unhealthy = asyncio.Event()

        def startup(ok: bool, problem: str) -> bool:
            if not ok:
                self._fail("startup", problem, unhealthy)
            return False

        def readiness(ok: bool, problem: str) -> bool:
            self._set_ready(state, ok, problem)
            return True

        def liveness(ok: bool, problem: str) -> bool:
            if not ok:
                self._fail("liveness", problem, unhealthy)
            return ok

        def loop(probe: Probe) -> probes.ProbeLoop:
            return probes.ProbeLoop(probe, started_ns, lambda p: self._check(state, p))

        if spec.startup_probe:
            await loop(spec.startup_probe).watch(startup)
        if not unhealthy.is_set():
            state.started = True
            running = []
            if spec.readiness_probe:
                running.append(loop(spec.readiness_probe).watch(readiness))
            else:
                self._set_ready(state, True, "")
            if spec.liveness_probe:
                running.append(loop(spec.liveness_probe).watch(liveness))
            tasks = [asyncio.ensure_future(one) for one in (unhealthy.wait(), *running)]
            try:
                while not unhealthy.is_set():
                    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
            finally:
                for task in tasks:
                    task.cancel()
        await self._terminate(state, self.spec.termination_grace_period_s)

    def _fail(self, which: str, problem: str, unhealthy: asyncio.Event) -> None:
        self.node.record(self.name, "killed-by-probe", f"{which}: {problem}")
        unhealthy.set()

    async def _check(self, state: ContainerState, probe: Probe) -> str:
        async def run(command: tuple[str, ...], timeout_s: float) -> int | None:
            return await self._execute(state, command, timeout_s)

        node = self.node.runtime.node_address
        problem = await probes.check(probe, state.spec, self.identity.ip, node, run)
        if problem and state.started:
            self.node.record(self.name, "probe-failed", problem)
        return problem

    async def _execute(self, state: ContainerState, command: tuple[str, ...], limit_s: float) -> int | None:
        """Run a command in the container; its exit code, None when it had to be killed. Never raises."""
        if state.process is None or state.launch is None:
            return -1
        launch = Launch(**{**vars(state.launch), "argv": list(command)})
        log = self.node.log(self.name, "exec")
        try:
            process = await asyncio.to_thread(
                self.node.runtime.execute, state.process, self.name, launch, log
            )
        except ClusterError as problem:
            self.node.record(self.name, "exec-failed", str(problem))
            return 126
        try:
            return await asyncio.wait_for(ended(process), limit_s)
        except TimeoutError:
            process.signal(signal.SIGKILL)
            return None

    def _set_ready(self, state: ContainerState, ok: bool, why: str) -> None:
        was = self.ready
        state.ready = ok
        if self.ready != was or (was and not ok):
            self.node.record(self.name, "ready" if ok else "not-ready", why)

    async def _terminate(self, state: ContainerState, grace_s: float) -> None:
        """preStop, SIGTERM, what is left of the grace period, SIGKILL."""
        process = state.process
        if process is None or not process.alive:
            return
        ends_ns = now_ns() + int(grace_s * 1e9)
        command, sleep_s = state.spec.pre_stop_command, state.spec.pre_stop_sleep_s
        if command and grace_s > 0:
            code = await self._execute(state, command, grace_s)
            if code != 0:
                self.node.record(self.name, "prestop-failed", f"{' '.join(command)}: {_how(code)}")
        elif sleep_s and grace_s > 0:
            await asyncio.sleep(min(sleep_s, grace_s))
        if grace_s > 0:
            process.signal(signal.SIGTERM)
            left_s = max(MINIMUM_GRACE_S, as_seconds(ends_ns - now_ns()))
            await ended_within(process, left_s)
        if process.alive:
            if grace_s > 0:
                self.node.record(self.name, "grace-period-over", f"{state.spec.name}: SIGKILL")
            process.signal(signal.SIGKILL)
        await ended_within(process, KILL_LIMIT_S)

    async def kill(self) -> None:
        """SIGKILL and hold down. The pod stays: its address refuses connections."""
        self._allowed.clear()
        for state in self.states.values():
            if state.process and state.process.signal(signal.SIGKILL):
                await ended_within(state.process, KILL_LIMIT_S)
        self.node.record(self.name, "killed", "held down")

    def resume(self) -> None:
        self._allowed.set()

    async def delete(self, *, grace_s: float | None = None) -> None:
        """As deleting the pod does; None is the pod's own grace period, 0 is --force."""
        if self.deleting:
            return
        was_ready, self.deleting = self.ready, True
        self._allowed.clear()
        self.node.record(self.name, "deleting", "was ready" if was_ready else "")
        grace = self.spec.termination_grace_period_s if grace_s is None else grace_s
        await asyncio.gather(*(self._terminate(state, grace) for state in self.states.values()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.node.runtime.remove, self.name)
        self.node.record(self.name, "deleted")

    def refresh_volumes(self) -> None:
        if self._volumes:
            self._volumes.refresh()


async def ended(process: Running) -> int:
    """Its exit code. Shielded: cancelling who waits must not cancel what is awaited."""
    return await asyncio.shield(asyncio.wrap_future(process.exited))


async def ended_within(process: Running, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended(process), seconds)
        return True
    return False


def _how(code: int | None) -> str:
    if code is None:
        return "no end in time"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
