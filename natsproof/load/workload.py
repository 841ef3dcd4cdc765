"""The load as a workload of a trial, so that a loaded platform is judged like any other.

`OpenLoop` runs the engine in the trial's own event loop. `LocustLoad` runs the real Locust with
loadtests/locustfile.py in processes of its own and makes what they recorded part of the history.
Both leave the observation `load` (natsproof.load.timeline.summary).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import orjson

from natsproof.clock import Deadline, now_ns
from natsproof.errors import ClusterError, UsageError
from natsproof.load.absorb import absorb
from natsproof.load.actions import Actions
from natsproof.load.clients import ClientPool
from natsproof.load.engine import SAMPLE, Engine, Samples
from natsproof.load.footprint import Footprint
from natsproof.load.mix import PLATFORM, Action, Chooser, only
from natsproof.load.schedule import Pacer, Stage, rate_at
from natsproof.load.steering import package_environment
from natsproof.load.timeline import joined, summary
from natsproof.workloads.registry import WORKLOADS

if TYPE_CHECKING:
    from natsproof.trial import Scene

LOCUSTFILE = Path(__file__).parent.parent.parent / "loadtests" / "locustfile.py"
DRAIN_S = 6.0
#: Between the end of drive and the end of Locust: what is in flight, the summary, the files.
LOCUST_END_S = 9.0
STEER_EVERY_S = 0.05
#: Locust, its generators and their connections on a busy machine.
READY_WITHIN_S = 60.0


def _mix(buckets: tuple[str, ...], noisy_bucket: str, noise: float) -> tuple[Action, ...]:
    from natsproof.load.mix import noisy

    chosen = only(PLATFORM, *buckets)
    return noisy(chosen, noisy_bucket, noise) if noisy_bucket else chosen


@dataclass(frozen=True)
class _Load:
    """`rate_hz` operations a second on `buckets` in the platform's mix, all processes together.

    `noisy_bucket` gets `noise` times its usual share, on top of the others' (the rate is the whole).
    `stages` (rate, seconds) replace the constant rate. `objective_s` is the promised 99th percentile.
    """

    buckets: tuple[str, ...] = tuple(dict.fromkeys(a.bucket for a in PLATFORM))
    rate_hz: float = 200.0
    stages: tuple[tuple[float, float], ...] = ()
    arrivals: str = "poisson"
    connections: int = 3
    timeout_s: float = 5.0
    noisy_bucket: str = ""
    noise: float = 1.0
    objective_s: float = 0.5

    def __post_init__(self) -> None:
        if self.rate_hz <= 0 or self.connections < 1 or self.arrivals not in ("poisson", "even"):
            raise UsageError(f"{self!r}: wants a rate above 0, a connection, arrivals poisson or even")

    @property
    def mix(self) -> tuple[Action, ...]:
        return _mix(self.buckets, self.noisy_bucket, self.noise)

    def rate_at(self, elapsed_s: float) -> float:
        """The offered rate; after the last stage its rate goes on."""
        if not self.stages:
            return self.rate_hz
        found = rate_at([Stage(*stage) for stage in self.stages], elapsed_s)
        return self.stages[-1][0] if found is None else found

    def observation(
        self, scene: Scene, samples: Any, *, began_ns: int, refused: int, **more: Any
    ) -> dict[str, Any]:
        told = summary(
            samples,
            self.mix,
            began_ns=began_ns,
            refused=refused,
            objective_s=self.objective_s,
            faults=scene.recorder.fault_spans(),
        )
        return {"workload": type(self).__name__, "offered_hz": self.rate_hz, **told, **more}


@dataclass(frozen=True)
class OpenLoop(_Load):
    """The engine in the trial's process: exact, for rates that leave this process time for its trial."""

    async def prepare(self, scene: Scene) -> None:
        for number in range(self.connections):
            await scene.client(f"load {number}", timeout_s=self.timeout_s)

    async def drive(self, scene: Scene) -> None:
        connections = [client.connection for client in scene.clients]
        pool = ClientPool(scene.recorder, connections, name=f"w{scene.index}.load", timeout_s=self.timeout_s)
        actions = Actions(self.mix, pool, prefix=scene.prefix, worker=0)
        chooser = Chooser(self.mix, seed=scene.rng.randrange(2**32))
        arrivals: Any = self.arrivals
        began_ns = now_ns()
        pacer = Pacer(began_ns, seed=scene.rng.randrange(2**32), arrivals=arrivals)
        engine = Engine(pacer, chooser.next, actions.perform)
        steering = asyncio.create_task(self._steer(engine, began_ns))
        try:
            engine.set_rate(self.rate_at(0), began_ns)
            await engine.run(lambda: now_ns() if scene.over() else now_ns() + int(scene.left_s * 1e9))
            engine.set_rate(0.0)
            await engine.drain(DRAIN_S)
        finally:
            steering.cancel()
        data = self.observation(
            scene,
            engine.take_samples(),
            began_ns=began_ns,
            refused=engine.progress.refused,
            clients=pool.size,
        )
        scene.observe("load", data)

    async def _steer(self, engine: Engine, began_ns: int) -> None:
        rate_hz = self.rate_at(0)
        while self.stages:
            await asyncio.sleep(STEER_EVERY_S)
            wanted = self.rate_at((now_ns() - began_ns) / 1e9)
            if wanted != rate_hz:
                engine.set_rate(wanted)
                rate_hz = wanted

    async def finish(self, scene: Scene) -> None:
        """The runner's final reads are all that is needed."""


@dataclass(frozen=True)
class LocustLoad(_Load):
    """Locust with `generators` generator processes; `users` share the rate evenly."""

    generators: int = 1
    users: int = 40
    shape: str = ""

    async def prepare(self, scene: Scene) -> None:
        """Start Locust and wait until its generators are connected; from then on it loads the platform."""
        folder = Path(tempfile.mkdtemp(prefix="natsproof-locust-"))
        running = _RUNNING[scene] = _Running(folder, await self._start(scene, folder))
        ready, deadline = folder / "ready", Deadline.within(READY_WITHIN_S)
        while not await asyncio.to_thread(ready.exists):
            if running.process.returncode is not None or deadline.passed:
                words = await running.end(scene)
                raise ClusterError(f"Locust did not begin: {words[-1] if words else 'it said nothing'}")
            await asyncio.sleep(0.1)

    def environment(self, scene: Scene, folder: Path) -> dict[str, str]:
        """What loadtests/locustfile.py reads; see natsproof.load.locust_settings."""
        return package_environment() | {
            "NATS_URL": ",".join(server.client_url for server in scene.servers),
            "NATSPROOF_SEED": str(scene.rng.randrange(2**31)),
            "NATSPROOF_MIX": orjson.dumps([asdict(a) for a in self.mix]).decode(),
            "NATSPROOF_GENERATORS": str(self.generators),
            "NATSPROOF_ARRIVALS": self.arrivals,
            "NATSPROOF_TIMEOUT_S": str(self.timeout_s),
            "NATSPROOF_CONNECTIONS": str(self.connections),
            "NATSPROOF_OBJECTIVE_S": str(self.objective_s),
            "NATSPROOF_PREFIX": scene.prefix,
            "NATSPROOF_FIRST_VALUE": str((scene.index + 1) << 48),
            "NATSPROOF_LIFELINE": "1",
            "NATSPROOF_RECORD": str(folder),
            "NATSPROOF_SAMPLES": str(folder),
            "NATSPROOF_RATE_PER_USER_HZ": str(self.rate_hz / self.users),
            "NATSPROOF_RATE_HZ": str(self.rate_hz),
            "NATSPROOF_STAGES": orjson.dumps(self.stages).decode() if self.stages else "",
        }

    async def drive(self, scene: Scene) -> None:
        running = _RUNNING.pop(scene)
        scene.kept["locust"] = (running.folder, ())
        try:
            footprint = Footprint(scene.recorder, running.process.pid)
            while not scene.over() and running.process.returncode is None:
                footprint.look()
                await scene.rest(0.1)
        finally:
            words = await running.end(scene, keep_files=True)
            scene.kept["locust"] = (running.folder, words)

    async def _start(self, scene: Scene, folder: Path) -> asyncio.subprocess.Process:
        shape = [] if self.stages else ["-u", str(self.users), "-r", "100"]
        return await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"],
            *[*shape, "--loglevel", "WARNING", "--stop-timeout", "0"],
            env=self.environment(scene, folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            process_group=0,
        )

    async def finish(self, scene: Scene) -> None:
        """Make what was recorded part of the trial. Not in drive, whose end is cut off after some seconds:
        a long load takes longer."""
        folder, words = scene.kept.pop("locust")
        try:
            samples, refused, operations = await asyncio.to_thread(_gather, scene, folder, words)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        began_ns = int(samples["intended_ns"].min()) if len(samples) else now_ns()
        data = self.observation(scene, samples, began_ns=began_ns, refused=refused, operations=operations)
        scene.observe("load", data)


class _Running:
    """Locust between prepare and the end of drive. Its standard input is its lifeline."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.folder, self.process = folder, process
        assert process.stderr is not None
        self._words = asyncio.create_task(process.stderr.read())

    async def end(self, scene: Scene, *, keep_files: bool = False) -> Sequence[str]:
        """Ask it to stop, then kill it; the last lines it said."""
        process = self.process
        try:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), LOCUST_END_S)
        except TimeoutError:
            scene.observe("locust_late", {"within_s": LOCUST_END_S})
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
            if process.stdin:
                process.stdin.close()
            if not keep_files:
                shutil.rmtree(self.folder, ignore_errors=True)
        return (await self._words).decode(errors="replace").strip().splitlines()[-20:]


_RUNNING: WeakKeyDictionary[Any, _Running] = WeakKeyDictionary()


def _gather(scene: Scene, folder: Path, words: Sequence[str]) -> tuple[Samples, int, int]:
    """(samples, arrivals refused, operations) of all generators; their histories join the trial's."""
    records = sorted(folder.glob("load-*.jsonl"))
    if not records:
        raise ClusterError(f"Locust recorded nothing: {words[-1] if words else 'it said nothing'}")
    operations = sum(absorb(scene.recorder, record) for record in records)
    samples = joined([np.fromfile(p, dtype=SAMPLE) for p in sorted(folder.glob("samples-*"))])
    refused = sum(int(p.read_text()) for p in folder.glob("refused-*"))
    return samples, refused, operations


WORKLOADS.update({it.__name__: it for it in (OpenLoop, LocustLoad)})
