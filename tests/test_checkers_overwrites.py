"""Puts over values that were just due: which count."""

from __future__ import annotations

from typing import Any

import pytest

from natsproof.checkers.overwrites import puts_over_due_values
from natsproof.history import Kind, Outcome
from tests.checking.small import history, op

TTL_S = 0.1
FIRST = op(Kind.PUT, 0, 10, value=1, revision=1)


def second(at: float, **more: Any) -> Any:
    return op(Kind.PUT, at, at + 1, **{"value": 2, "revision": 2, **more})


@pytest.mark.parametrize(
    ("what", "then", "counts"),
    [
        ("before it is due, counted from the answer", second(109), 0),
        ("as it is due", second(111), 1),
        ("1 s after that", second(1111), 0),
        ("another key", second(111, key=1), 0),
        ("of unknown outcome", second(111, outcome=Outcome.UNKNOWN), 0),
    ],
)
def test_puts_count_that_begin_just_after_the_value_was_due(what: str, then: Any, counts: int) -> None:
    seen = history([FIRST, then], keys=2, ttl_s=TTL_S)
    assert int(puts_over_due_values(seen).sum()) == counts, what


def test_without_a_ttl_nothing_is_due() -> None:
    assert not puts_over_due_values(history([FIRST, second(111)])).any()


def test_without_puts_there_are_none() -> None:
    assert not puts_over_due_values(history([op(Kind.GET, 0, 1)])).any()
