"""What clients saw and what was done to the platform: one trial, one file, judged any number of times.

The file (`history.jsonl`) is one JSON value a line. Objects are records, named by their field `record`
(`meta`, `client`, `key`, `error`, `fault`, `mark`, `observation`, `end`; a later `meta` adds to the
first, a later `fault` of the same index replaces it); arrays are operations, one a line, in the order
they *completed*:

    [kind, client, server, key, call_ns, return_ns, outcome, revision, expected, value, created_ns, error]

A file without its `end` record was interrupted: it can be read, but judges must not call it complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCHEMA = "natsproof.history/1"

#: `return_ns` of an operation whose outcome is unknown: it may take effect at any later time.
NEVER_NS = np.iinfo(np.int64).max
#: `value` of a read that found nothing.
ABSENT = -1
#: `value` of a read whose bytes no recorded write has written (corrupt, or another's key).
FOREIGN = -2
#: `revision`, `expected`, `created_ns`, `server` where there is none.
NONE = -1


class Kind(IntEnum):
    """What one operation was. Values are part of the file format: append, never renumber."""

    PUT = 0
    CREATE = 1  # put if the key does not exist
    UPDATE = 2  # put if the key's last revision is `expected`
    DELETE = 3  # `expected` is NONE for an unconditional one
    PURGE = 4
    GET = 5  # through the stream's leader
    DIRECT_GET = 6  # from any replica; may be stale
    WATCH_START = 7  # a subscription opened; `expected` is its first wanted revision or NONE
    WATCH_PUT = 8  # one event delivered to a watcher
    WATCH_DELETE = 9
    WATCH_PURGE = 10
    WATCH_EXPIRED = 11  # a server's expiry marker
    REPLICA_ROW = 12  # one message in the store of replica `server`, read after healing
    HELD = 13  # a lock holder believed it held from call_ns to return_ns; `revision` is its token
    FINAL_GET = 14  # a GET after healing, of the final sweep


WRITES = (Kind.PUT, Kind.CREATE, Kind.UPDATE, Kind.DELETE, Kind.PURGE)
READS = (Kind.GET, Kind.DIRECT_GET, Kind.FINAL_GET)


class Outcome(IntEnum):
    """`UNKNOWN` means it may have happened, now or later (a timeout); it is never a failure."""

    OK = 0
    FAILED = 1  # definitely not applied
    UNKNOWN = 2


@dataclass(frozen=True, slots=True)
class Operations:
    """Columns of equal length n, in the order of completion.

    A write's `value` is its own identity, unique in the history (what a later read of the same bytes
    reports). `revision` is the stream sequence the server answered. `created_ns` is the server's own
    timestamp of the message, nanoseconds since 1970 UTC, where the answer carries one.
    `error` indexes `History.errors`, NONE where there was no error.
    """

    kind: NDArray[np.int8]
    client: NDArray[np.int32]
    server: NDArray[np.int16]
    key: NDArray[np.int32]
    call_ns: NDArray[np.int64]
    return_ns: NDArray[np.int64]
    outcome: NDArray[np.int8]
    revision: NDArray[np.int64]
    expected: NDArray[np.int64]
    value: NDArray[np.int64]
    created_ns: NDArray[np.int64]
    error: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.kind)

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int, ...]]) -> Operations:
        """Rows of twelve integers in field order; for tests and small histories."""
        table = list(rows)
        columns = list(zip(*table, strict=True)) if table else [()] * len(DTYPES)
        if len(columns) != len(DTYPES):
            raise ValueError(f"an operation has {len(DTYPES)} fields, got {len(columns)}")
        return cls(*(np.array(c, dtype=t) for c, t in zip(columns, DTYPES.values(), strict=True)))

    @classmethod
    def empty(cls) -> Operations:
        return cls.from_rows([])

    def where(self, mask: NDArray[Any]) -> Operations:
        """The operations of a boolean mask or an index array, in that order."""
        return Operations(*(getattr(self, f.name)[mask] for f in fields(self)))


DTYPES: dict[str, type] = {
    "kind": np.int8,
    "client": np.int32,
    "server": np.int16,
    "key": np.int32,
    "call_ns": np.int64,
    "return_ns": np.int64,
    "outcome": np.int8,
    "revision": np.int64,
    "expected": np.int64,
    "value": np.int64,
    "created_ns": np.int64,
    "error": np.int16,
}


@dataclass(frozen=True, slots=True)
class Key:
    bucket: str
    name: str

    def __str__(self) -> str:
        return f"{self.bucket}/{self.name}"


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault as it really went. `landed` is the independent witness's answer, never the injector's.

    Times are on the history's clock; `healed_ns` is None if it was never healed (one-shot faults).
    `heal_began_ns` is when healing was begun: from then on the platform may serve again.
    `role` says what the targets were at that moment: `leader`, `follower`, `all`, a server's name.
    """

    fault: str
    targets: tuple[str, ...]
    role: str
    began_ns: int
    injected_ns: int
    healed_ns: int | None
    landed: bool
    witness: str
    error: str = ""
    heal_began_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """A fact read from the platform at a moment: a leader's name, a /jsz answer, an operator's action."""

    name: str
    at_ns: int
    data: Any


@dataclass(frozen=True, slots=True)
class History:
    """One trial's record. `meta` has at least: schema, trial, seed, cluster, server_version,
    contract_digest, began_ns, began_wall_ns (the same moment on both clocks), servers (names by
    `server` index), clients (names by `client` index)."""

    meta: Mapping[str, Any]
    operations: Operations
    keys: tuple[Key, ...] = ()
    errors: tuple[str, ...] = ()
    injections: tuple[Injection, ...] = ()
    marks: Mapping[str, int] = field(default_factory=dict)
    observations: tuple[Observation, ...] = ()
    complete: bool = True

    def keys_of(self, bucket: str) -> NDArray[np.int32]:
        """Indices of the keys of one bucket."""
        return np.array([i for i, key in enumerate(self.keys) if key.bucket == bucket], dtype=np.int32)

    def errors_with(self, *parts: str) -> list[int]:
        """Indices of the errors whose text has one of `parts`, an error code say."""
        return [i for i, text in enumerate(self.errors) if any(part in text for part in parts)]

    def of_bucket(self, bucket: str) -> History:
        """The same history restricted to one bucket's operations (injections and marks stay)."""
        mask = np.isin(self.operations.key, self.keys_of(bucket))
        return self.with_operations(self.operations.where(mask))

    def of_kinds(self, *kinds: Kind) -> Operations:
        return self.operations.where(np.isin(self.operations.kind, [int(k) for k in kinds]))

    def with_operations(self, operations: Operations) -> History:
        return History(
            self.meta,
            operations,
            self.keys,
            self.errors,
            self.injections,
            self.marks,
            self.observations,
            self.complete,
        )

    def observed(self, name: str) -> Iterator[Observation]:
        return (o for o in self.observations if o.name == name)

    def since_start_s(self, at_ns: int) -> float:
        """Seconds from the trial's start, for messages."""
        return (at_ns - int(self.meta.get("began_ns", 0))) / 1e9

    def describe(self, row: int) -> str:
        """One operation in words, for exhibits."""
        ops = self.operations
        kind = Kind(ops.kind[row]).name.lower()
        outcome = Outcome(ops.outcome[row]).name.lower()
        key = str(self.keys[ops.key[row]]) if 0 <= ops.key[row] < len(self.keys) else "?"
        call = self.since_start_s(int(ops.call_ns[row]))
        back = int(ops.return_ns[row])
        end = "never returned" if back == NEVER_NS else f"returned {self.since_start_s(back):.3f} s"
        parts = [f"client {ops.client[row]}: {kind} {key} called {call:.3f} s, {end}: {outcome}"]
        if ops.revision[row] != NONE:
            parts.append(f"revision {ops.revision[row]}")
        if ops.expected[row] != NONE:
            parts.append(f"expected {ops.expected[row]}")
        value = int(ops.value[row])
        parts.append({ABSENT: "absent", FOREIGN: "foreign value"}.get(value, f"value #{value}"))
        return ", ".join(parts)
