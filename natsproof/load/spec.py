"""What one generator process is told: data that travels as one JSON line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from natsproof.load.mix import PLATFORM, Action, from_json
from natsproof.load.schedule import Arrivals


@dataclass(frozen=True, slots=True)
class GeneratorSpec:
    """`urls` are the servers clients may use; each process opens `connections` of them in turn.

    `record` is the file of its history, empty for none. `first_value` is the first number that its
    writes may carry: processes that write to one history get ranges that do not overlap. `prefix`
    begins every key, `timeout_s` is how long a client waits for one answer.
    """

    urls: tuple[str, ...]
    seed: int = 0
    worker: int = 0
    mix: tuple[Action, ...] = PLATFORM
    arrivals: Arrivals = "poisson"
    connections: int = 3
    timeout_s: float = 5.0
    max_in_flight: int = 20_000
    prefix: str = "load"
    record: str = ""
    first_value: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes | str) -> GeneratorSpec:
        data = orjson.loads(text)
        data["urls"] = tuple(data["urls"])
        data["mix"] = from_json(data["mix"])
        return cls(**data)


#: Values of worker w begin at w times this: no two processes of one load ever write the same number.
VALUES_PER_WORKER = 2**40
