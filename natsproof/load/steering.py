"""The near end: starts generator processes, changes their rate, collects their samples.

Works with plain sockets and, for Locust, with gevent's (`sockets=gevent.socket`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import orjson

import natsproof
from natsproof.clock import Deadline, now_ns
from natsproof.errors import ClusterError
from natsproof.load.engine import SAMPLE, Samples
from natsproof.load.frames import END, READY, SAMPLES, FrameReader
from natsproof.load.spec import GeneratorSpec

READY_WITHIN_S = 30.0
#: Between "start at" and the first arrival, so that all processes have heard it.
LEAD_NS = 20_000_000


@dataclass(frozen=True, slots=True)
class Batch:
    """What one process finished since its last batch, and how it stands."""

    worker: int
    at_ns: int
    due: int
    started: int
    finished: int
    refused: int
    samples: Samples


def package_environment() -> dict[str, str]:
    """The environment in which `python -m natsproof...` finds this very package, installed or not."""
    root = str(Path(natsproof.__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


class Generator:
    """One generator process. Not for use by several threads at once."""

    def __init__(self, spec: GeneratorSpec, *, sockets: ModuleType, spawn: Callable[..., Any]) -> None:
        self.spec = spec
        self.summary: dict[str, Any] | None = None
        self._frames = FrameReader()
        self._near, far = sockets.socketpair()
        with far:
            # not pass_fds: gevent then closes every number up to the limit, a million in a container, one
            # by one, and a Locust worker that says nothing for 3 s is taken for lost
            os.set_inheritable(far.fileno(), True)
            self._process = spawn(
                [sys.executable, "-m", "natsproof.load.generator", str(far.fileno())],
                close_fds=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=package_environment(),
            )
        self._near.sendall(spec.to_json() + b"\n")

    def fileno(self) -> int:
        return int(self._near.fileno())

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def _receive(self, within_s: float) -> list[tuple[bytes, bytes]]:
        """Frames that arrive in time; raises ClusterError if the process is gone without an end."""
        self._near.settimeout(max(within_s, 0.001))
        try:
            data = self._near.recv(1 << 20)
        except TimeoutError:
            return []
        if not data and self.summary is None:
            raise ClusterError(f"generator {self.spec.worker} ended: {self._last_words()}")
        return list(self._frames.feed(data))

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            _, errors = self._process.communicate(timeout=5)
            lines = errors.decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else f"exit code {self._process.returncode}"
        return "no answer"

    def wait_ready(self, within_s: float = READY_WITHIN_S) -> None:
        deadline = Deadline.within(within_s)
        while not deadline.passed:
            for kind, content in self._receive(deadline.left_s):
                if kind == READY:
                    return
                if kind == END:
                    raise ClusterError(f"generator {self.spec.worker}: {orjson.loads(content).get('error')}")
        raise ClusterError(f"generator {self.spec.worker} was not ready within {within_s:g} s")

    def set_rate(
        self, rate_hz: float, at_ns: int | None = None, weights: Sequence[float] | None = None
    ) -> None:
        """From `at_ns` (None: now) offer `rate_hz`; `weights` replaces those of the mix."""
        command: dict[str, Any] = {"rate_hz": rate_hz, "at_ns": at_ns}
        if weights is not None:
            command["weights"] = list(weights)
        self._near.settimeout(5.0)
        self._near.sendall(orjson.dumps(command) + b"\n")

    def saturate(self, in_flight: int) -> None:
        """Closed loop of `in_flight` clients from now on; 0 ends it."""
        self._near.settimeout(5.0)
        self._near.sendall(orjson.dumps({"saturate": in_flight}) + b"\n")

    def stop(self) -> None:
        with suppress(OSError):
            self._near.sendall(b'{"stop":true}\n')

    def batches(self, within_s: float) -> Iterator[Batch]:
        """What arrives within that time. After the end, `summary` is set and nothing comes any more."""
        if self.summary is not None:
            return
        for kind, content in self._receive(within_s):
            if kind == END:
                self.summary = orjson.loads(content)
                if error := self.summary.get("error"):
                    raise ClusterError(f"generator {self.spec.worker}: {error}")
            elif kind == SAMPLES:
                head, _, rows = content.partition(b"\n")
                at_ns, due, started, finished, refused = orjson.loads(head)
                samples = np.frombuffer(rows, dtype=SAMPLE)
                yield Batch(self.spec.worker, at_ns, due, started, finished, refused, samples)

    def close(self) -> None:
        """End the process: it stops by itself when its socket closes, else it is killed."""
        with suppress(OSError):
            self._near.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=5)
        if self._process.stderr:
            self._process.stderr.close()


def start_generators(
    spec: GeneratorSpec, workers: int, *, sockets: ModuleType, spawn: Callable[..., Any] = subprocess.Popen
) -> list[Generator]:
    """`workers` processes that share one load; all are ready when this returns."""
    generators: list[Generator] = []
    try:
        for worker in range(workers):
            record = spec.record.replace("{worker}", str(spec.worker + worker))
            one = replace(spec, worker=spec.worker + worker, record=record)
            generators.append(Generator(one, sockets=sockets, spawn=spawn))
        for generator in generators:
            generator.wait_ready()
    except BaseException:
        for generator in generators:
            generator.close()
        raise
    return generators


def set_rates(generators: list[Generator], rate_hz: float, at_ns: int | None = None) -> int:
    """Share a rate among processes from one moment on; the moment."""
    at_ns = now_ns() + LEAD_NS if at_ns is None else at_ns
    for generator in generators:
        generator.set_rate(rate_hz / len(generators), at_ns)
    return at_ns
