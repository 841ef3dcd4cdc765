"""Thousands of connections: what is a refusal of the platform, and what only says that this host was slow."""

from __future__ import annotations

from typing import Any

import pytest

from natsproof.checkers.limits import ConnectionsServed
from natsproof.verdict import Status

GOOD: dict[str, Any] = {
    "wanted": 2000, "opened": 2000, "late": 0, "counted": 2004, "acknowledged": 2000, "open_s": 3.0,
    "puts_s": 1.0, "problems": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({}, Status.HOLDS, "2,000 connections at once"),
        ({"opened": 1970, "acknowledged": 1970}, Status.BROKEN, "30 of 2000 connections were refused"),
        (
            {"opened": 1970, "acknowledged": 1970, "late": 30},
            Status.UNKNOWN,
            "30 of 2000 connections were not made",
        ),
        (
            {"opened": 1960, "acknowledged": 1960, "late": 30},
            Status.BROKEN,
            "10 of 2000 connections were refused",
        ),
        ({"acknowledged": 1999}, Status.BROKEN, "1 of 2000 connections got no acknowledgement"),
        ({"wanted": 500, "opened": 500, "acknowledged": 500}, Status.UNKNOWN, "the file limit allows 500"),
        ({"counted": 1500}, Status.UNKNOWN, "the servers count 1500 connections, 2000 were opened"),
    ],
)
def test_only_what_the_platform_refuses_breaks_its_promise(
    change: dict[str, Any], status: Status, said: str
) -> None:
    verdict = ConnectionsServed(1000)({**GOOD, **change})
    assert (verdict.status, said in verdict.reason) == (status, True), verdict.reason


def test_facts_of_an_older_run_are_still_judged() -> None:
    old = {name: value for name, value in GOOD.items() if name != "late"}
    assert ConnectionsServed(1000)(old).status is Status.HOLDS
