"""When replicas count as level after a fault, also where values of earlier trials expire all the time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from natsproof.faults.sight import PlatformView, ServerView, StreamView
from natsproof.trial import audit

CURRENT = (True, 0.1, 0)
BUCKETS = ("state", "locks")


def picture(
    state: Sequence[int], locks: Sequence[int], last: Sequence[int] = (9, 9, 9), current: bool = True
) -> PlatformView:
    """Three servers with so many messages a bucket; `a` leads."""
    replicas = dict.fromkeys(("b", "c"), CURRENT if current else (False, 0.1, 4))
    servers: dict[str, ServerView | None] = {}
    for i, name in enumerate("abc"):
        streams = {
            f"KV_{bucket}": StreamView("a", "", last[i], 1, held[i], 99, replicas if name == "a" else {})
            for bucket, held in (("state", state), ("locks", locks))
        }
        servers[name] = ServerView(name, "", {}, streams)
    return PlatformView(servers)


def levelled(pictures: Sequence[PlatformView], monkeypatch: pytest.MonkeyPatch) -> str:
    """What `audit.level` says when it sees these, and the last one for ever."""
    left = list(pictures)
    monkeypatch.setattr(audit, "look", lambda _: left.pop(0) if len(left) > 1 else left[0])
    cluster: Any = None
    return asyncio.run(audit.level(cluster, BUCKETS, 0.2 * len(pictures) + 0.1))


def test_buckets_that_are_never_level_at_one_moment_are_level_each(monkeypatch: pytest.MonkeyPatch) -> None:
    first = picture(state=(9, 9, 9), locks=(8, 7, 8))
    then = picture(state=(9, 8, 9), locks=(5, 5, 5))
    assert levelled([first, then], monkeypatch) == ""


def test_a_bucket_that_lapses_is_level_though_no_two_hold_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    first = picture(state=(9, 9, 9), locks=(800, 798, 799))
    then = picture(state=(9, 9, 9), locks=(780, 777, 779))
    assert levelled([first, then], monkeypatch) == ""


@pytest.mark.parametrize(
    "then",
    [
        picture(state=(9, 9, 9), locks=(800, 798, 799)),  # a server lacks some, nothing lapses
        picture(state=(9, 9, 9), locks=(780, 798, 779)),  # one does not let go of anything
        picture(state=(9, 9, 9), locks=(780, 777, 779), last=(9, 9, 8)),  # one has not come to the end
        picture(state=(9, 9, 9), locks=(780, 777, 779), last=(9, 9, 9), current=False),
    ],
)
def test_what_differs_otherwise_is_not_level(then: PlatformView, monkeypatch: pytest.MonkeyPatch) -> None:
    first = picture(state=(9, 9, 9), locks=(800, 798, 799))
    assert "replicas not level: " in levelled([first, then], monkeypatch)
    assert "locks" in levelled([first, then], monkeypatch)
