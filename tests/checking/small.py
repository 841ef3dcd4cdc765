"""Histories written by hand: one call per operation, times in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from natsproof.history import ABSENT, NEVER_NS, NONE, History, Injection, Key, Kind, Operations, Outcome

Row = tuple[int, ...]
MS = 1_000_000


def op(
    kind: Kind,
    call: float,
    back: float | None,
    *,
    value: int = ABSENT,
    revision: int = NONE,
    expected: int = NONE,
    outcome: Outcome | None = None,
    key: int = 0,
    client: int = 0,
    server: int = NONE,
    created: int = NONE,
    error: int = NONE,
) -> Row:
    """`back=None` is an unknown outcome."""
    if outcome is None:
        outcome = Outcome.UNKNOWN if back is None else Outcome.OK
    back_ns = NEVER_NS if back is None else int(back * MS)
    return (
        int(kind), client, server, key, int(call * MS), back_ns, int(outcome), revision, expected,
        value, created, error,
    )  # fmt: skip


def fault(
    at: float, healed: float | None, *, name: str = "kill", landed: bool = True, role: str = "leader"
) -> Injection:
    healed_ns = None if healed is None else int(healed * MS)
    return Injection(
        name, ("nats-0",), role, int(at * MS), int(at * MS), healed_ns, landed, "the pid is gone"
    )


def history(
    rows: Sequence[Row],
    *,
    keys: int = 1,
    ttl_s: float | None = None,
    bucket: str = "b",
    injections: Sequence[Injection] = (),
    marks: Mapping[str, int] | None = None,
    complete: bool = True,
    errors: Sequence[str] = (),
    **meta: Any,
) -> History:
    """A history of one bucket; `marks` in milliseconds."""
    info: dict[str, Any] = {"replicas": 3}
    if ttl_s is not None:
        info["ttl_s"] = ttl_s
    return History(
        meta={"trial": "small", "began_ns": 0, "began_wall_ns": 0, "buckets": {bucket: info}, **meta},
        operations=Operations.from_rows(rows),
        keys=tuple(Key(bucket, f"k{i}") for i in range(keys)),
        errors=tuple(errors),
        injections=tuple(injections),
        marks={name: int(at * MS) for name, at in (marks or {}).items()},
        complete=complete,
    )
