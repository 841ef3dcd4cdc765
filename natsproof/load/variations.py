"""What a capacity run varies one at a time: the operation, value size, number of keys and of buckets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from natsproof.load.mix import Action

#: The bucket whose puts are varied.
BUCKET = "message_state"
SIZES_BYTES = (128, 1024, 16_384)
KEYS = (10, 100_000)
BUCKETS = (1, 2, 4)
#: The put that stands for the others where one thing is varied.
PUT_BYTES, PUT_KEYS = 128, 1000
#: Far more keys than a fill writes: nearly every put of it makes a new entry.
FILL_KEYS = 10_000_000
#: Clients of every measurement.
IN_FLIGHT = 64
#: Whose renewals, releases and removals need something that is there.
PROVIDER = {"renew": "acquire", "release": "acquire", "dequeue": "enqueue"}


@dataclass(frozen=True)
class Variation:
    """One measurement: `value` on its `axis`, and the actions that are drawn, alike or by their weights."""

    axis: str
    value: int | str
    actions: tuple[Action, ...]

    @property
    def name(self) -> str:
        return f"{self.axis} {self.value}"

    def row(self, rate_hz: float) -> dict[str, Any]:
        """What was measured, as the report has it."""
        return {
            "axis": self.axis,
            "value": self.value,
            "rate_hz": round(rate_hz, 1),
            "in_flight": IN_FLIGHT,
        }


def put(value_bytes: int = PUT_BYTES, keys: int = PUT_KEYS, bucket: str = BUCKET) -> Action:
    """An action of no weight: in the mix, to be drawn only when it is measured."""
    return Action(bucket, "put", 0.0, value_bytes, keys)


def variations(mix: Sequence[Action]) -> list[Variation]:
    """What is measured beside a mix, what users ask for first in front: time may be up before the end."""
    buckets = list(dict.fromkeys(action.bucket for action in mix))
    buckets.sort(key=lambda bucket: bucket != BUCKET)
    return [
        *(Variation("value_bytes", size, (put(size),)) for size in SIZES_BYTES),
        *(Variation("keys", number, (put(keys=number),)) for number in KEYS),
        *(
            Variation("buckets", n, tuple(put(bucket=b) for b in buckets[:n]))
            for n in BUCKETS
            if n <= len(buckets)
        ),
        *(
            Variation("operation", action.name, _with_provider(mix, action))
            for action in mix
            if action.weight
        ),
    ]


def _with_provider(mix: Sequence[Action], action: Action) -> tuple[Action, ...]:
    provider = f"{action.bucket}.{PROVIDER.get(action.verb, '')}"
    return (*(a for a in mix if a.name == provider and a.weight), action)


def fills() -> list[Action]:
    """Puts of new keys, one for each value size."""
    return [put(size, FILL_KEYS) for size in SIZES_BYTES]


def measuring_mix(mix: Sequence[Action]) -> tuple[Action, ...]:
    """The mix and, weightless, every action that a variation or a fill needs, each once."""
    more = [action for variation in variations(mix) for action in variation.actions] + fills()
    return tuple(dict.fromkeys((*mix, *more)))


def weights(mix: Sequence[Action], actions: Sequence[Action]) -> list[float]:
    """The weights by which only `actions` of a mix are drawn: their own, or alike where they have none."""
    chosen = set(actions)
    return [(action.weight or 1.0) if action in chosen else 0.0 for action in mix]
