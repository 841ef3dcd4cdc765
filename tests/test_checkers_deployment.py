"""What stands against what was promised, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from natsproof.checkers.deployment import BucketAsPromised
from natsproof.contract.model import Bucket
from natsproof.verdict import Status

LIVE = {
    "num_replicas": 3,
    "storage": "file",
    "max_age": 900_000_000_000,
    "max_bytes": 1 << 30,
    "max_msgs_per_subject": 1,
}


def judged(promised: dict[str, Any], live: dict[str, Any]) -> Status:
    made = {"ttl_s": 900.0, "max_bytes": 1 << 30, "replicas": 3, "storage": "file", "history": 1}
    promise = Bucket(name="b", **{**made, **promised})
    return BucketAsPromised(promise)({"b": {"config": {**LIVE, **live}}}).status


def test_a_bucket_as_promised_holds() -> None:
    assert judged({}, {}) is Status.HOLDS
    assert judged({"ttl_s": None}, {"max_age": 0}) is Status.HOLDS


@pytest.mark.parametrize(
    "live",
    [
        {"num_replicas": 1},
        {"storage": "memory"},
        {"max_age": 0},
        {"max_bytes": -1},
        {"max_msgs_per_subject": 2},
    ],
    ids=str,
)
def test_each_field_is_compared(live: dict[str, Any]) -> None:
    assert judged({}, live) is Status.BROKEN


def test_values_promised_for_ever_may_not_expire() -> None:
    assert judged({"ttl_s": None}, {}) is Status.BROKEN


def test_a_bucket_that_is_not_there_is_broken() -> None:
    assert BucketAsPromised(Bucket(name="b", ttl_s=None, max_bytes=1, replicas=3))({}).status is Status.BROKEN
