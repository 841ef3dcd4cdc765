"""Joins Locust (gevent) to the generators (asyncio): users set the rate, samples become request events.

Import only from a locustfile: importing Locust patches the standard library for gevent.

A Locust user is an arrival stream of `rate_per_user_hz`; spawning and stopping users is how shapes and
the web UI steer the offered rate. Operations run in a generator process beside each Locust worker; what
it finished comes back in batches and is fired as `request` events, so Locust's statistics, CSV and web
UI show it. Locust rounds to whole milliseconds; the HDR histograms here are exact to three digits.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import gevent
import gevent.os
import gevent.socket
import gevent.subprocess
import numpy as np

from natsproof.clock import Deadline
from natsproof.load.engine import Samples
from natsproof.load.lag import LagWatch
from natsproof.load.latency import Latencies
from natsproof.load.locust_settings import Settings
from natsproof.load.mix import Action
from natsproof.load.outcome import ANSWERED, Ended
from natsproof.load.steering import Batch, Generator, start_generators

log = logging.getLogger("natsproof.load")
#: The exit code of Locust when the generator fell behind: nothing was decided.
NOT_VALID = 6


class OperationFailed(Exception):
    """What Locust shows as the failure of a request: the class of the error."""


class Bridge:
    """One per Locust process that runs users. `settings` come from the environment."""

    def __init__(self, environment: Any, settings: Settings) -> None:
        self._environment, self._settings = environment, settings
        self._users: Counter[str] = Counter()
        self._generators: list[Generator] = []
        self._pump: Any = None
        self._kept: BinaryIO | None = (
            None  # samples go to their file as they come: a soak's memory stays flat
        )
        self._refused = 0
        self._lag = LagWatch(objective_s=settings.objective_s)
        self._stopping = False
        self.latency: dict[str, Latencies] = {}
        self.mix: tuple[Action, ...] = settings.mix
        self.why_not_valid = ""

    # users -------------------------------------------------------------------------------------

    def add_user(self, bucket: str) -> None:
        self._users[bucket] += 1
        self._steer()

    def remove_user(self, bucket: str) -> None:
        self._users[bucket] -= 1
        self._steer()

    def weights(self) -> list[float]:
        """Each action's share: its bucket's users, divided among the actions of that bucket."""
        total = dict.fromkeys(buckets_of(self.mix), 0.0)
        for action in self.mix:
            total[action.bucket] += action.weight
        return [self._users[a.bucket] * a.weight / total[a.bucket] for a in self.mix]

    @property
    def _name(self) -> str:
        """Of this process's files: in containers all have the same pid, so the worker's index is in it."""
        worker = max(0, getattr(self._environment.runner, "worker_index", 0))
        return f"{worker}-{os.getpid()}"

    def _steer(self) -> None:
        rate_hz = self._settings.rate_per_user_hz * sum(self._users.values())
        weights = self.weights() if rate_hz else None
        for generator in self._generators:
            generator.set_rate(rate_hz / len(self._generators), weights=weights)

    # the life of a test -------------------------------------------------------------------------

    def start(self) -> None:
        """Start the generators; raises ClusterError if the platform cannot be reached."""
        worker = max(0, getattr(self._environment.runner, "worker_index", 0))
        spec = self._settings.generator(worker * self._settings.generators)
        self._generators = start_generators(
            spec, self._settings.generators, sockets=gevent.socket, spawn=gevent.subprocess.Popen
        )
        self._pump = gevent.spawn(self._pump_samples)
        self._steer()
        if self._settings.lifeline:
            gevent.spawn(self._until_orphaned)
        if self._settings.samples_folder:
            folder = Path(self._settings.samples_folder)
            folder.mkdir(parents=True, exist_ok=True)
            self._kept = (folder / f"samples-{self._name}").open("ab")
            (folder / "ready").touch()

    def _until_orphaned(self) -> None:
        """Quit once the standard input closes: whoever started this process is gone."""
        gevent.os.make_nonblocking(0)
        while gevent.os.nb_read(0, 1):
            pass
        self._environment.runner.quit()

    def _pump_samples(self) -> None:
        while self._generators and any(g.summary is None for g in self._generators):
            for generator in self._generators:
                for batch in generator.batches(0.1):
                    self._take(batch)

    def _take(self, batch: Batch) -> None:
        self._refused = max(self._refused, batch.refused)
        samples = batch.samples
        if not len(samples):
            return
        if self._kept:
            self._kept.write(samples.tobytes())
        self._fire(samples)
        self._measure(samples)

    def _fire(self, samples: Samples) -> None:
        """One request event for each operation; response time in milliseconds from the intended start."""
        fire = self._environment.events.request.fire
        actions, failed = self.mix, {e: OperationFailed(e.name.lower()) for e in Ended if e not in ANSWERED}
        milliseconds = ((samples["done_ns"] - samples["intended_ns"]) / 1e6).tolist()
        rows = zip(samples["action"].tolist(), samples["outcome"].tolist(), milliseconds, strict=True)
        for index, outcome, took_ms in rows:
            action = actions[index]
            fire(
                request_type=action.verb,
                name=action.bucket,
                response_time=took_ms,
                response_length=action.value_bytes,
                exception=failed.get(outcome),
                context={},
                url=None,
            )

    def _measure(self, samples: Samples) -> None:
        for index in np.unique(samples["action"]):
            chosen = samples[samples["action"] == index]
            name = self.mix[int(index)].name
            self.latency.setdefault(name, Latencies()).record_ns(chosen["done_ns"] - chosen["intended_ns"])
        self._say(self._lag.add(samples, refused=self._refused))

    def _say(self, why_not: str) -> None:
        """The first reason is kept: it ends the run as not valid."""
        if why_not and not self.why_not_valid:
            self.why_not_valid = why_not
            log.warning("this run is not valid: %s", why_not)

    def stop(self) -> None:
        """End the generators, wait for what is in flight, leave the samples in files. Idempotent."""
        if self._stopping:
            return
        self._stopping = True  # Locust fires test_stop again when it quits meanwhile
        generators = self._generators
        for generator in generators:
            generator.stop()
        if self._pump is not None:
            deadline = Deadline.within(self._settings.timeout_s + 10.0)
            self._pump.join(timeout=deadline.left_s)
        for generator in generators:
            generator.close()
        self._generators, self._pump, self._stopping = [], None, False
        if self._kept:
            self._kept.close()
            self._kept = None
            Path(self._settings.samples_folder, f"refused-{self._name}").write_text(str(self._refused))
        self._say(self._lag.end())
        if self.why_not_valid:
            self._environment.process_exit_code = NOT_VALID

    # master and workers -------------------------------------------------------------------------

    def to_master(self) -> dict[str, str]:
        """What a worker sends along with its statistics: histograms since the last report."""
        encoded = {name: latencies.encode().decode("ascii") for name, latencies in self.latency.items()}
        self.latency.clear()
        return encoded

    def from_worker(self, encoded: dict[str, str]) -> None:
        for name, text in encoded.items():
            self.latency.setdefault(name, Latencies()).add(Latencies(text.encode("ascii")))

    def table(self) -> dict[str, dict[str, float]]:
        """Percentiles in milliseconds by action, for the web UI."""
        return {
            name: {"count": latencies.count}
            | {f"p{p:g}_ms": round(s * 1e3, 3) for p, s in latencies.percentiles_s().items()}
            for name, latencies in sorted(self.latency.items())
        }


def buckets_of(mix: Sequence[Action]) -> list[str]:
    return list(dict.fromkeys(a.bucket for a in mix))
