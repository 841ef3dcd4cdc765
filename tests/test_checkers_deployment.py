"""What stands against what was promised, field by field."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from natsproof.checkers.deployment import (
    BucketAsPromised,
    MembersAgree,
    ServersRunTheConfiguration,
    every_endpoint_answers,
)
from natsproof.cluster import inspection
from natsproof.contract.loader import load
from natsproof.contract.model import Bucket
from natsproof.errors import ClusterError
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


CONTRACT = load(Path(__file__).parent.parent / "manifests")
NAMES = CONTRACT.statefulset.pod_names()


class Partial:
    """A platform of which only some pods were made, and of those only some answer."""

    contract = CONTRACT

    def __init__(self, *made: str, silent: tuple[str, ...] = ()) -> None:
        self.servers = [SimpleNamespace(name=name) for name in made]
        self.silent = silent

    def monitor(self, server: str, path: str) -> Any:
        if server in self.silent:
            raise ClusterError(f"{server}{path}: no answer")
        config = {"max_storage": 180 << 30, "max_memory": 1 << 30, "sync_always": True}
        return {"server_id": "X", "version": "2.12.8", "jetstream": {"config": config}}

    def ready(self, server: str) -> bool:
        return True

    running = ready


def test_a_pod_that_was_never_made_answers_no_monitoring() -> None:
    facts = inspection.endpoints(Partial(NAMES[0]))  # type: ignore[arg-type]
    verdict = every_endpoint_answers(facts)
    assert verdict.status is Status.BROKEN and "no such pod" in verdict.reason
    whole = inspection.endpoints(Partial(*NAMES))  # type: ignore[arg-type]
    assert every_endpoint_answers(whole).status is Status.HOLDS


@pytest.mark.parametrize(
    "platform",
    [Partial(NAMES[0]), Partial(*NAMES, silent=NAMES[1:])],
    ids=["never made", "silent"],
)
def test_the_configuration_of_servers_that_tell_nothing_is_not_known(platform: Any) -> None:
    facts = inspection.members(platform, settle_s=0)
    assert ServersRunTheConfiguration(CONTRACT)(facts).status is Status.UNKNOWN
    assert MembersAgree(CONTRACT)(facts).status is Status.BROKEN
    whole = inspection.members(Partial(*NAMES), settle_s=0)  # type: ignore[arg-type]
    assert ServersRunTheConfiguration(CONTRACT)(whole).status is Status.HOLDS


def test_a_platform_of_which_nobody_answers_has_unknown_buckets() -> None:
    with pytest.raises(ClusterError, match="no server answers"):
        inspection.buckets(Partial(*NAMES, silent=NAMES), settle_s=0)  # type: ignore[arg-type]
    assert inspection.buckets(Partial(*NAMES, silent=NAMES[1:]), settle_s=0) == {}  # type: ignore[arg-type]
