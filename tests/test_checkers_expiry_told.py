"""What watchers are told of expiries, and twins that stand for their buckets: one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from natsproof.checkers.expiry_told import watchers_are_told_of_expiries
from natsproof.checkers.twins import TwinExpires
from natsproof.history import ABSENT, Injection, Kind, Observation
from natsproof.verdict import Status
from tests.checking.small import MS, Row, history, op

WATCHER = 9
TTL_S, LATE_S = 0.1, 0.02
#: Put at 0 and due at 100 ms, bound included at 120; the watch ends at 1000.
PUT = op(Kind.PUT, 0, 1, value=1, revision=1)
START = op(Kind.WATCH_START, 0, 0, client=WATCHER, key=-1)


def shown(at: float, value: int = 1) -> Row:
    return op(Kind.WATCH_PUT, at, at, value=value, revision=value, client=WATCHER)


def told(at: float, revision: int = 2, kind: Kind = Kind.WATCH_EXPIRED) -> Row:
    return op(kind, at, at, value=ABSENT, revision=revision, client=WATCHER)


def again(at: float) -> Row:
    return op(Kind.WATCH_START, at, at, client=WATCHER, key=-1, expected=2)


SEEN = [START, PUT, shown(2)]
REWRITTEN = [op(Kind.PUT, 50, 51, value=2, revision=2), shown(52, 2)]
MARKED: dict[str, tuple[Status, list[Row]]] = {
    "told once": (Status.HOLDS, [*SEEN, told(105)]),
    "never told": (Status.BROKEN, SEEN),
    "told twice": (Status.BROKEN, [*SEEN, told(105), told(107, 3)]),
    "a rewritten value is told of once": (Status.HOLDS, [*SEEN, *REWRITTEN, told(155, 3)]),
    "a rewritten value is never told of": (Status.BROKEN, [*SEEN, *REWRITTEN]),
    "an earlier value's end is not the last one's": (
        Status.HOLDS,
        [
            START,
            op(Kind.PUT, 0, None, value=1),
            shown(2),
            op(Kind.PUT, 103, 104, value=3, revision=3),
            told(105, 2),
            shown(106, 3),
            told(208, 4),
        ],
    ),
    "never shown, nothing owed": (Status.UNKNOWN, [START, PUT]),
    "due after the watch ended": (
        Status.UNKNOWN,
        [START, op(Kind.PUT, 950, 951, value=1, revision=1), shown(952)],
    ),
    "away until the marker was gone": (Status.UNKNOWN, [*SEEN, again(350)]),
    "back while the marker was there": (Status.BROKEN, [*SEEN, again(250)]),
    "shown after its time": (Status.BROKEN, [*SEEN, told(105), shown(400)]),
}  # fmt: skip
SILENT: dict[str, tuple[Status, list[Row]]] = {
    "nothing told": (Status.HOLDS, SEEN),
    "an expiry told": (Status.BROKEN, [*SEEN, told(105)]),
    "a deletion told": (Status.BROKEN, [*SEEN, told(105, kind=Kind.WATCH_DELETE)]),
    "shown to a latecomer": (Status.BROKEN, [*SEEN, again(300), shown(301)]),
    "no watcher saw anything": (Status.UNKNOWN, [START, PUT]),
}  # fmt: skip


def watched(rows: list[Row], marker_s: float) -> Any:
    facts = {"client": WATCHER, "bucket": "b", "marker_s": marker_s, "until_ns": 1000 * MS}
    return replace(history(rows, ttl_s=TTL_S), observations=(Observation("watched", 1000 * MS, facts),))


@pytest.mark.parametrize("name", MARKED)
def test_watchers_of_a_bucket_with_markers_are_judged(name: str) -> None:
    wanted, rows = MARKED[name]
    verdict = watchers_are_told_of_expiries(LATE_S)(watched(rows, 0.2))
    assert verdict.status is wanted, verdict.reason


@pytest.mark.parametrize("name", SILENT)
def test_watchers_of_a_bucket_without_markers_are_judged(name: str) -> None:
    wanted, rows = SILENT[name]
    verdict = watchers_are_told_of_expiries(LATE_S)(watched(rows, 0.0))
    assert verdict.status is wanted, verdict.reason


def restarted(rows: list[Row], current_at: float | None, marker_s: float = 1.0) -> Any:
    """A server was away from 20 to 200 ms; its leader calls it current from `current_at` on."""
    kill = Injection("Kill()", ("a",), "leader", 20 * MS, 20 * MS, 200 * MS, True, "gone")
    looks = []
    for at in (150, 210, 250, 300, 350, 390):
        current = current_at is not None and at >= current_at
        replicas = {"a": [current, 0.1, 0 if current else 5]}
        state = {"b": {"KV_b": [1, 9, 9, 99, replicas]}, "a": {"KV_b": [1, 4, 4, 44, {}]}, "c": None}
        looks.append(Observation("replicas", at * MS, state))
    it = watched(rows, marker_s)
    return replace(it, injections=(kill,), observations=(*it.observations, *looks))


@pytest.mark.parametrize(
    ("at", "current_at", "wanted"),
    [
        (310, 300, Status.HOLDS),  # it was catching up
        (330, 300, Status.BROKEN),  # it had caught up 30 ms ago, 20 are allowed
        (225, 205, Status.HOLDS),
        (290, 205, Status.BROKEN),
        (310, None, Status.UNKNOWN),  # never seen current: `settled` is what the claim asks for
    ],
)
def test_a_server_that_catches_up_tells_history_and_is_not_late(
    at: float, current_at: float | None, wanted: Status
) -> None:
    rows = [*SEEN, again(205), shown(at), told(at + 1)]
    verdict = watchers_are_told_of_expiries(LATE_S, after_faults=True)(restarted(rows, current_at))
    assert verdict.status is wanted, verdict.reason


@pytest.mark.parametrize(
    ("began_anew_at", "current_at", "wanted"),
    [
        (205, 300, Status.UNKNOWN),  # the marker went at 250, before its server had caught up
        (205, 210, Status.BROKEN),  # it had 40 ms to be told
        (10, 300, Status.BROKEN),  # watched from before the fault, and was not cut off
    ],
)
def test_a_watcher_on_a_server_that_catches_up_may_miss_a_marker(
    began_anew_at: float, current_at: float, wanted: Status
) -> None:
    """Seen 2026-11-27 (findings.md 38): a marker of 3 s went 85 ms after the value before it was shown."""
    rows = [START, PUT, again(began_anew_at), shown(max(began_anew_at, 2) + 1)]
    checker = watchers_are_told_of_expiries(LATE_S, after_faults=True)
    verdict = checker(restarted(rows, current_at, marker_s=0.15))
    assert verdict.status is wanted, verdict.reason


def test_where_nobody_looked_the_fault_ends_with_its_healing() -> None:
    it = restarted([*SEEN, again(205), shown(310), told(311)], 300)
    blind = replace(it, observations=tuple(o for o in it.observations if o.name != "replicas"))
    assert watchers_are_told_of_expiries(LATE_S, after_faults=True)(blind).status is Status.BROKEN


def test_without_watchers_nothing_is_decided() -> None:
    assert watchers_are_told_of_expiries(LATE_S)(history([PUT], ttl_s=TTL_S)).status is Status.UNKNOWN


def read(at: float, value: int) -> Row:
    return op(Kind.GET, at, at + 1, value=value, revision=value if value > 0 else -1)


GOOD, LATE = [PUT, read(90, 1), read(110, ABSENT)], [PUT, read(90, 1), read(190, 1)]
REAL = {"name": "KV_locks", "max_age": 300, "storage": "file", "num_replicas": 3}
TWIN = {**REAL, "name": "KV_b", "max_age": 1}


@pytest.mark.parametrize(
    ("rows", "config", "of", "wanted"),
    [
        (GOOD, TWIN, "locks", Status.HOLDS),
        (LATE, TWIN, "locks", Status.BROKEN),
        (GOOD, {**TWIN, "storage": "memory"}, "locks", Status.UNKNOWN),
        (GOOD, {**TWIN, "compression": "s2"}, "locks", Status.UNKNOWN),
        (GOOD, TWIN, "states", Status.UNKNOWN),
    ],
)
def test_a_twin_stands_for_its_bucket_only_if_it_is_like_it(
    rows: list[Row], config: dict[str, Any], of: str, wanted: Status
) -> None:
    facts = {"bucket": "b", "of": "locks", "ttl_s": TTL_S, "of_config": REAL, "config": config}
    it = replace(history(rows, ttl_s=TTL_S), observations=(Observation("twin", 0, facts),))
    assert TwinExpires(of, LATE_S)(it).status is wanted
