"""How a Locust run is told what to do: environment variables, so that it also works in a pod."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from natsproof.errors import UsageError
from natsproof.load.mix import PLATFORM, Action, from_json
from natsproof.load.schedule import Stage, spike, steady, steps
from natsproof.load.spec import GeneratorSpec

SHAPES = ("steady", "steps", "spike", "soak")


@dataclass(frozen=True, slots=True)
class Settings:
    """| variable | is | default |
    |---|---|---|
    | `NATS_URL` | servers, comma-separated | nats://127.0.0.1:4222 |
    | `NATSPROOF_SEED` | of arrivals and actions | 0 |
    | `NATSPROOF_RATE_PER_USER_HZ` | operations a second of one Locust user | 10 |
    | `NATSPROOF_GENERATORS` | generator processes beside each Locust worker | 1 |
    | `NATSPROOF_ARRIVALS` | poisson or even | poisson |
    | `NATSPROOF_TIMEOUT_S` | how long a client waits for one answer | 5 |
    | `NATSPROOF_CONNECTIONS` | connections of each generator | 3 |
    | `NATSPROOF_OBJECTIVE_S` | promised 99th percentile, for the lag limit | 0.5 |
    | `NATSPROOF_MIX` | JSON list of actions | the platform's mix |
    | `NATSPROOF_PREFIX` | begins every key | load |
    | `NATSPROOF_RECORD` | folder for histories | none |
    | `NATSPROOF_SAMPLES` | folder for samples | none |
    | `NATSPROOF_FIRST_VALUE` | first number that writes carry | 0 |
    | `NATSPROOF_STAGES` | JSON list of [rate, seconds], in place of a shape | none |
    | `NATSPROOF_LIFELINE` | end when the standard input closes | no |
    | `NATSPROOF_SHAPE` | steady, steps, spike, soak | none: the web UI decides |
    | `NATSPROOF_RATE_HZ`, `NATSPROOF_PEAK_HZ`, `NATSPROOF_STAGE_S` | of the shape | 200, 3 x rate, 30 |
    """

    urls: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    seed: int = 0
    rate_per_user_hz: float = 10.0
    generators: int = 1
    arrivals: str = "poisson"
    timeout_s: float = 5.0
    connections: int = 3
    objective_s: float = 0.5
    mix: tuple[Action, ...] = PLATFORM
    prefix: str = "load"
    record_folder: str = ""
    samples_folder: str = ""
    shape: str = ""
    rate_hz: float = 200.0
    peak_hz: float = 600.0
    stage_s: float = 30.0
    first_value: int = 0
    given_stages: tuple[Stage, ...] = ()
    lifeline: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Raises UsageError that names the variable."""
        take = _Variables(environ)
        shape = environ.get("NATSPROOF_SHAPE", "")
        if shape and shape not in SHAPES:
            raise UsageError(f"NATSPROOF_SHAPE={shape!r} is no shape. Valid: {', '.join(SHAPES)}.")
        rate_hz = take.number("NATSPROOF_RATE_HZ", 200.0)
        mix = environ.get("NATSPROOF_MIX")
        return cls(
            urls=tuple(environ.get("NATS_URL", "nats://127.0.0.1:4222").split(",")),
            seed=int(take.number("NATSPROOF_SEED", 0)),
            rate_per_user_hz=take.number("NATSPROOF_RATE_PER_USER_HZ", 10.0),
            generators=int(take.number("NATSPROOF_GENERATORS", 1)),
            arrivals=environ.get("NATSPROOF_ARRIVALS", "poisson"),
            timeout_s=take.number("NATSPROOF_TIMEOUT_S", 5.0),
            connections=int(take.number("NATSPROOF_CONNECTIONS", 3)),
            objective_s=take.number("NATSPROOF_OBJECTIVE_S", 0.5),
            mix=from_json(orjson.loads(mix)) if mix else PLATFORM,
            prefix=environ.get("NATSPROOF_PREFIX", "load"),
            record_folder=environ.get("NATSPROOF_RECORD", ""),
            samples_folder=environ.get("NATSPROOF_SAMPLES", ""),
            shape=shape,
            rate_hz=rate_hz,
            peak_hz=take.number("NATSPROOF_PEAK_HZ", 3 * rate_hz),
            stage_s=take.number("NATSPROOF_STAGE_S", 30.0),
            lifeline=bool(environ.get("NATSPROOF_LIFELINE")),
            first_value=int(environ.get("NATSPROOF_FIRST_VALUE", "0")),
            given_stages=tuple(
                Stage(*pair) for pair in orjson.loads(environ.get("NATSPROOF_STAGES") or "[]")
            ),
        )

    @property
    def shaped(self) -> bool:
        """Whether the rate follows stages, and not the web UI or the command line."""
        return bool(self.shape or self.given_stages)

    def generator(self, worker: int) -> GeneratorSpec:
        """The spec of the first generator of a Locust worker."""
        record = f"{self.record_folder}/load-{{worker}}.jsonl" if self.record_folder else ""
        return GeneratorSpec(
            urls=self.urls,
            seed=self.seed,
            worker=worker,
            mix=self.mix,
            arrivals="even" if self.arrivals == "even" else "poisson",
            connections=self.connections,
            timeout_s=self.timeout_s,
            prefix=self.prefix,
            record=record,
            first_value=self.first_value,
        )

    def stages(self) -> tuple[Stage, ...]:
        """The shape as offered rates over time."""
        if self.given_stages:
            return self.given_stages
        if self.shape == "steps":
            return steps(self.rate_hz, self.peak_hz, 5, self.stage_s)
        if self.shape == "spike":
            return spike(self.rate_hz, self.peak_hz, self.stage_s, self.stage_s / 3, self.stage_s)
        if self.shape == "soak":
            return steady(self.rate_hz, self.stage_s * 120)
        return steady(self.rate_hz, self.stage_s)


class _Variables:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def number(self, name: str, default: float) -> float:
        text = self._environ.get(name)
        if text is None:
            return default
        try:
            return float(text)
        except ValueError:
            raise UsageError(f"{name}={text!r} is no number, for example {name}={default:g}") from None
