"""Watchers and expiry: one by one, and against plain loops over small histories."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natsproof.checkers.expiry import values_expire_on_time
from natsproof.checkers.watch import watchers_see_every_write
from natsproof.history import ABSENT, FOREIGN, Key, Kind, Observation, Outcome
from natsproof.verdict import Status
from tests.checking.small import MS, Row, fault, history, op

QUICK = settings(max_examples=200, derandomize=True, deadline=None, database=None)
WATCHER = 9


def put(number: int, *, key: int | None = None, at: float | None = None, **more: Any) -> Row:
    """Write number n: value n, revision n, on a key of its own, at n times 10 ms."""
    at = number * 10 if at is None else at
    own = number - 1 if key is None else key
    return op(Kind.PUT, at, at + 1, value=number, revision=number, key=own, **more)


def start(at: float, wanted: int = -1) -> Row:
    return op(Kind.WATCH_START, at, at, expected=wanted, client=WATCHER, key=-1)


def seen(
    number: int, at: float, *, key: int | None = None, kind: Kind = Kind.WATCH_PUT, value: int = 0
) -> Row:
    own = number - 1 if key is None else key
    value = value or (number if kind == Kind.WATCH_PUT else ABSENT)
    return op(kind, at, at, value=value, revision=number, key=own, client=WATCHER)


PUTS = [put(n) for n in (1, 2, 3)]
LATE = op(Kind.GET, 9000, 9001, key=5)  # the record goes on long enough for everything to be delivered
WATCH: dict[str, tuple[Status, list[Row]]] = {
    "all events": (Status.HOLDS, [start(0), *PUTS, seen(1, 50), seen(2, 51), seen(3, 52)]),
    "one left out": (Status.BROKEN, [start(0), *PUTS, seen(1, 50), seen(3, 52)]),
    "the last never came": (Status.BROKEN, [start(0), *PUTS, seen(1, 50), seen(2, 51)]),
    "nothing came": (Status.BROKEN, [start(0), *PUTS]),
    "two swapped": (Status.BROKEN, [start(0), *PUTS, seen(1, 50), seen(3, 51), seen(2, 52)]),
    "one twice": (Status.BROKEN, [start(0), *PUTS, seen(1, 50), seen(2, 51), seen(2, 52), seen(3, 53)]),
    "resumed": (Status.HOLDS, [start(0), *PUTS, seen(1, 50), start(60, 2), seen(2, 61), seen(3, 62)]),
    "resumed with a hole": (Status.BROKEN, [start(0), *PUTS, seen(1, 50), start(60, 2), seen(3, 62)]),
    "resumed too early": (
        Status.BROKEN,
        [start(0), *PUTS, seen(1, 50), start(60, 2), seen(1, 61), seen(2, 62), seen(3, 63)],
    ),
    "an event of a refused write": (
        Status.BROKEN,
        [start(0), put(1), put(2, outcome=Outcome.FAILED), seen(1, 50), seen(2, 51)],
    ),
    "an event with another value": (Status.BROKEN, [start(0), *PUTS[:2], seen(1, 50), seen(2, 51, value=1)]),
    "foreign bytes": (Status.BROKEN, [start(0), put(1), seen(1, 50, value=FOREIGN)]),
    "an expiry shown as an empty put": (
        Status.BROKEN,
        [start(0), put(1), seen(1, 50), op(Kind.WATCH_PUT, 60, 60, revision=2, client=WATCHER)],
    ),
    "a put shown as a delete": (Status.BROKEN, [start(0), put(1), seen(1, 50, kind=Kind.WATCH_DELETE)]),
    "a delete that nobody asked for": (
        Status.BROKEN,
        [start(0), put(1), seen(1, 50), seen(2, 51, key=0, kind=Kind.WATCH_DELETE)],
    ),
    "an event before its write": (Status.BROKEN, [start(0), seen(1, 5), put(1)]),
    "superseded before it was served": (
        Status.HOLDS,
        [start(0), put(1), put(2, key=0), seen(2, 50, key=0)],
    ),
    "no watcher": (Status.UNKNOWN, PUTS),
    "nothing written": (Status.UNKNOWN, [start(0)]),
}  # fmt: skip


@pytest.mark.parametrize("name", WATCH)
def test_watchers_are_judged(name: str) -> None:
    wanted, rows = WATCH[name]
    verdict = watchers_see_every_write(history([*rows, LATE], keys=6))
    assert verdict.status is wanted, verdict.reason


def test_every_revision_can_be_demanded() -> None:
    rows = [start(0), put(1), put(2, key=0), seen(2, 50, key=0), LATE]
    assert watchers_see_every_write(history(rows, keys=6), every_revision=True).status is Status.BROKEN


def test_what_was_just_written_may_still_be_on_its_way() -> None:
    rows = [start(0), *PUTS, seen(1, 50), seen(2, 51)]
    assert watchers_see_every_write(history(rows, keys=6), settle_s=0.025).status is Status.HOLDS
    assert watchers_see_every_write(history(rows, keys=6), settle_s=0.01).status is Status.BROKEN


@pytest.mark.parametrize("prober", ["prober", "probe b", "probe nats-1 b"])
def test_the_probes_of_the_runner_are_nothing_a_watcher_asked_for(prober: str) -> None:
    rows = [start(0), *PUTS, seen(1, 50), seen(2, 51), seen(3, 52), put(4, client=1, at=60), LATE]
    named = history(rows, keys=6, clients=["w0.writer 0", prober])
    assert watchers_see_every_write(named).status is Status.HOLDS
    assert watchers_see_every_write(named).evidence["demanded"] == 3
    other = history(rows, keys=6, clients=["w0.writer 0", "w0.writer 1"])
    assert watchers_see_every_write(other).status is Status.BROKEN


def test_a_watcher_that_saw_nothing_owes_what_was_written_to_its_bucket() -> None:
    """It is told of two buckets apart by its last word, for no event tells its bucket."""
    rows = [start(0), *PUTS, op(Kind.PUT, 40, 41, value=4, revision=1, key=5), LATE]
    it = history(rows, keys=6)
    keys = (*it.keys[:5], Key("c", "k5"))
    ended = {name: Observation("watch_end", 0, {"client": WATCHER, "bucket": name}) for name in "bc"}
    for name, missed in (("b", 3), ("c", 1)):
        verdict = watchers_see_every_write(replace(it, keys=keys, observations=(ended[name],)))
        assert (verdict.status, verdict.evidence["missed"]) == (Status.BROKEN, missed)


@QUICK
@given(st.lists(st.integers(1, 5), max_size=7))
def test_a_watch_is_good_only_if_it_is_the_log_itself(delivered: list[int]) -> None:
    rows = [start(0), *(put(n) for n in range(1, 6))]
    rows += [seen(n, 100 + i) for i, n in enumerate(delivered)]
    verdict = watchers_see_every_write(history([*rows, LATE], keys=6))
    assert (verdict.status is Status.HOLDS) == (delivered == [1, 2, 3, 4, 5])


# expiry: a TTL of 100 ms, a bound of 20 ms

LATE_S, TTL_MS = 0.02, 100


def read(at: float, value: int = ABSENT, *, key: int = 0, kind: Kind = Kind.GET, server: int = -1) -> Row:
    revision = -1 if value == ABSENT else value
    return op(kind, at, at + 1, value=value, revision=revision, key=key, server=server)


PUT = op(Kind.PUT, 0, 1, value=1, revision=1)
EXPIRY: dict[str, tuple[Status, list[Row]]] = {
    "alive, then gone": (Status.HOLDS, [PUT, read(90, 1), read(110)]),
    "gone early": (Status.BROKEN, [PUT, read(20, 1), read(90)]),
    "there too late": (Status.BROKEN, [PUT, read(122, 1), read(150)]),
    "there too late on one replica": (
        Status.BROKEN,
        [PUT, read(90, 1), read(150), read(150, 1, kind=Kind.REPLICA_ROW, server=2)],
    ),
    "there too late in a direct get": (
        Status.BROKEN,
        [PUT, read(90, 1), read(150), read(150, 1, kind=Kind.DIRECT_GET)],
    ),
    "a rewrite restarts the age": (
        Status.HOLDS,
        [PUT, op(Kind.PUT, 50, 51, value=2, revision=2), read(140, 2), read(160)],
    ),
    "gone early after a rewrite": (
        Status.BROKEN,
        [PUT, op(Kind.PUT, 50, 51, value=2, revision=2), read(60, 2), read(110)],
    ),
    "deleted": (Status.UNKNOWN, [PUT, read(20, 1), op(Kind.DELETE, 30, 31, revision=2), read(40)]),
    "perhaps deleted": (Status.HOLDS, [PUT, read(20, 1), op(Kind.DELETE, 30, None), read(40), read(140)]),
    "never seen gone": (Status.UNKNOWN, [PUT, read(90, 1)]),
    "never seen alive": (Status.UNKNOWN, [PUT, read(110)]),
    "told in time": (
        Status.HOLDS,
        [PUT, read(90, 1), op(Kind.WATCH_EXPIRED, 105, 105, revision=2, created=104 * MS), read(110)],
    ),
    "told early": (
        Status.BROKEN,
        [PUT, read(40, 1), op(Kind.WATCH_EXPIRED, 60, 60, revision=2, created=60 * MS), read(110)],
    ),
    "told late": (
        Status.BROKEN,
        [PUT, read(90, 1), read(110), op(Kind.WATCH_EXPIRED, 200, 200, revision=2, created=190 * MS)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPIRY)
def test_expiry_is_judged(name: str) -> None:
    wanted, rows = EXPIRY[name]
    checker = values_expire_on_time(LATE_S, clock_error_s=0.001)
    verdict = checker(history(rows, ttl_s=TTL_MS / 1000))
    assert verdict.status is wanted, verdict.reason


def test_a_fault_that_is_on_when_a_value_is_due_may_delay_its_end_by_its_own_length() -> None:
    rows = [PUT, read(180, 1), read(190)]
    it = history(rows, ttl_s=0.1, injections=[fault(90, 170)])
    assert values_expire_on_time(LATE_S)(it).status is Status.BROKEN
    assert values_expire_on_time(LATE_S, after_faults=True)(it).status is Status.HOLDS
    earlier = history(rows, ttl_s=0.1, injections=[fault(10, 60)])
    assert values_expire_on_time(LATE_S, after_faults=True)(earlier).status is Status.BROKEN
    still = history([PUT, read(195, 1), read(220)], ttl_s=0.1, injections=[fault(90, 170)])
    assert values_expire_on_time(LATE_S, after_faults=True)(still).status is Status.BROKEN


@pytest.mark.parametrize(
    ("name", "later", "wanted"),
    [
        ("Pause()", [read(60, 1)], Status.HOLDS),
        ("Pause()", [read(60, 1, kind=Kind.DIRECT_GET)], Status.BROKEN),  # a replica that is behind
        ("Pause()", [], Status.BROKEN),
        ("Kill()", [read(60, 1)], Status.BROKEN),
    ],
)
def test_what_is_shown_again_was_not_gone(name: str, later: list[Row], wanted: Status) -> None:
    rows = [PUT, read(20, 1), read(40), *later, read(140)]
    it = history(rows, ttl_s=0.1, injections=[fault(10, 15, name=name)])
    assert values_expire_on_time(LATE_S)(it).status is wanted


@pytest.mark.parametrize(("marker_ns", "wanted"), [(0, Status.BROKEN), (1, Status.HOLDS)])
def test_where_the_leader_alone_removes_values_all_wait_for_one(marker_ns: int, wanted: Status) -> None:
    """The last server is back at 170, but they agree on a leader at 200 only (docs/findings.md, 54)."""
    it = history([PUT, read(210, 1), read(225)], ttl_s=0.1, injections=[fault(90, 170)])
    twin = Observation("twin", 0, {"bucket": "b", "config": {"subject_delete_marker_ttl": marker_ns}})
    looks = [
        Observation("replicas", at * MS, {"a": {"KV_b": [1, 9, 9, 99, {"b": [current, 0.1, 0]}]}})
        for at, current in ((180, False), (200, True))
    ]
    it = replace(it, observations=(twin, *looks))
    assert values_expire_on_time(LATE_S, after_faults=True)(it).status is wanted


def test_the_servers_own_time_narrows_the_bounds() -> None:
    slow = op(Kind.PUT, 0, 60, value=1, revision=1, created=5 * MS)
    rows = [slow, read(90, 1), read(130, 1), read(170)]
    narrow, wide = (values_expire_on_time(LATE_S, clock_error_s=e) for e in (0.001, 0.06))
    assert narrow(history(rows, ttl_s=0.1)).status is Status.BROKEN
    assert wide(history(rows, ttl_s=0.1)).status is Status.HOLDS


@QUICK
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 250), st.booleans()), min_size=1, max_size=8),
    st.lists(st.integers(0, 80), min_size=3, max_size=3),
)
def test_expiry_is_judged_as_a_plain_loop_does(
    reads: list[tuple[int, int, bool]], written: list[int]
) -> None:
    """One write a key; each read alone is early, late or neither."""
    rows = [op(Kind.PUT, at, at + 1, value=k + 1, revision=k + 1, key=k) for k, at in enumerate(written)]
    early = late = gone = alive = False
    for key, at, found in reads:
        if at <= written[key] + 1:
            continue
        rows.append(read(at, key + 1 if found else ABSENT, key=key))
        if found:
            alive = True
            late |= at > written[key] + 1 + TTL_MS + LATE_S * 1000
        else:
            early |= at + 1 < written[key] + TTL_MS
            gone |= at + 1 >= written[key] + TTL_MS
    wanted = Status.BROKEN if early or late else Status.HOLDS if gone and alive else Status.UNKNOWN
    it = history(rows, keys=3, ttl_s=TTL_MS / 1000)
    assert values_expire_on_time(LATE_S)(it).status is wanted
