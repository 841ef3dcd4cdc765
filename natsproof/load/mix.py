"""What the platform's users do: operations by weight, keys by seed.

Buckets and operations are those of the platform: message state is put, updated and read; locks are
acquired, renewed and released; the retry queue is filled and emptied; dead letters are appended.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from natsproof.errors import UsageError


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a user does, with its share of all arrivals and the size of what it writes.

    `verb` is one of VERBS. `keys` bounds how many different keys it touches: a key space that does not
    grow keeps final reads affordable and the buckets from filling.
    """

    bucket: str
    verb: str
    weight: float
    value_bytes: int = 128
    keys: int = 1000

    def __post_init__(self) -> None:
        if self.verb not in VERBS:
            raise UsageError(f"{self.verb!r} is no verb of a load. Valid: {', '.join(VERBS)}.")
        if self.weight < 0 or self.keys < 1 or self.value_bytes < MIN_VALUE_BYTES:
            raise UsageError(f"{self}: weight >= 0, keys >= 1, value_bytes >= {MIN_VALUE_BYTES} are needed")

    @property
    def name(self) -> str:
        return f"{self.bucket}.{self.verb}"


#: put, update (if the revision is still the last), get; acquire (create), renew (update), release
#: (delete at the last revision); enqueue (put), dequeue (delete at its revision); append (put).
VERBS = ("put", "update", "get", "acquire", "renew", "release", "enqueue", "dequeue", "append")
WRITING_VERBS = frozenset(VERBS) - {"get"}
#: A write's value carries its own number, so that a read names its write.
MIN_VALUE_BYTES = 24

PLATFORM: tuple[Action, ...] = (
    Action("message_state", "put", 25, 256),
    Action("message_state", "update", 20, 256),
    Action("message_state", "get", 20, 256),
    Action("integration_locks", "acquire", 8, 64, 400),
    Action("integration_locks", "renew", 6, 64, 400),
    Action("integration_locks", "release", 8, 64, 400),
    Action("retry_queue", "enqueue", 5, 1024),
    Action("retry_queue", "dequeue", 5, 1024),
    Action("dead_letter_queue", "append", 3, 2048),
)


def only(mix: Sequence[Action], *names: str) -> tuple[Action, ...]:
    """The actions of a mix with these names (`bucket.verb`) or of these buckets."""
    chosen = tuple(a for a in mix if a.name in names or a.bucket in names)
    if not chosen:
        known = ", ".join(a.name for a in mix)
        raise UsageError(f"no action is named {', '.join(names)}. The mix has: {known}.")
    return chosen


def noisy(mix: Sequence[Action], bucket: str, factor: float) -> tuple[Action, ...]:
    """The same mix with one bucket's share multiplied: the noisy neighbour."""
    return tuple(replace(a, weight=a.weight * factor) if a.bucket == bucket else a for a in mix)


def share(mix: Sequence[Action], *, bucket: str | None = None, writing: bool = False) -> float:
    """The part of all arrivals that belongs to a bucket, or that writes."""
    total = sum(a.weight for a in mix)
    chosen = [
        a for a in mix if (bucket is None or a.bucket == bucket) and (not writing or a.verb in WRITING_VERBS)
    ]
    return sum(a.weight for a in chosen) / total if total else 0.0


class Chooser:
    """Draws the action of each arrival; the same seed draws the same actions."""

    def __init__(self, mix: Sequence[Action], seed: int) -> None:
        self._random = random.Random(seed)
        self._indices = range(len(mix))
        self._drawn: list[int] = []
        self.weigh([a.weight for a in mix])

    def weigh(self, weights: Sequence[float]) -> None:
        """From now on draw by these weights, one for each action of the mix."""
        if len(weights) != len(self._indices) or min(weights) < 0 or not any(weights):
            raise UsageError(
                f"{len(self._indices)} weights are needed, none negative, one above zero; got {list(weights)}"
            )
        self._weights = list(weights)
        self._drawn.clear()

    def next(self) -> int:
        """Index into the mix."""
        if not self._drawn:
            self._drawn = self._random.choices(self._indices, self._weights, k=1024)
        return self._drawn.pop()


def from_json(rows: Sequence[Mapping[str, object]]) -> tuple[Action, ...]:
    """A mix from plain data, as an environment variable or a child process carries it."""
    return tuple(Action(**row) for row in rows)  # type: ignore[arg-type]
