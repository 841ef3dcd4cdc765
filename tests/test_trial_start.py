"""Trials and looks begin when every server serves its clients, not when the first one does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from natsproof.history import Outcome
from natsproof.workloads import limits_looks
from tests.loopback import LoopbackCluster
from tests.mutants.lies import bucket_of
from tests.mutants.wire import Lie, Link, Proxies, Sent
from tests.test_trial import carry_out, cluster, shared

__all__ = ["cluster", "shared"]


class NotRoutedYet(Lie):
    """One server answers its clients' first writes as a server does whose routes are not complete."""

    def __init__(self, server: str = "nats-2", bucket: str = "") -> None:
        self.server, self.bucket, self.refused = server, bucket, 0

    def sent(self, link: Link, message: Sent) -> bool:
        bucket = bucket_of(message)
        if link.server != self.server or not bucket or self.bucket not in bucket or self.refused == 12:
            return True
        self.refused += 1
        link.answer(message.reply, b"", b"NATS/1.0 503\r\n\r\n")
        return False


@contextmanager
def seen_through(cluster: LoopbackCluster, lie: Lie) -> Iterator[LoopbackCluster]:
    proxies = Proxies(lie, cluster.servers)
    proxies.start()
    try:
        seen = copy(cluster)
        seen._servers = tuple(replace(s, client_url=proxies.urls[s.name]) for s in cluster.servers)
        yield seen
    finally:
        proxies.stop()


@pytest.mark.cluster
def test_workloads_begin_when_every_server_serves_its_clients(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    with seen_through(cluster, NotRoutedYet()) as seen:
        history = carry_out(seen, tmp_path, duration_s=0.5)
    ops, begun = history.operations, history.marks["warm_up"]
    refused = ops.where(ops.outcome == Outcome.FAILED)
    assert len(refused) >= 12 and refused.return_ns.max() < begun  # a fresh cluster may refuse some itself


@pytest.mark.cluster
def test_a_server_that_goes_on_refusing_is_left_to_the_claims(
    cluster: LoopbackCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("natsproof.trial.SERVES_WITHIN_S", 0.5)
    lie = NotRoutedYet()
    lie.refused = -10_000
    with seen_through(cluster, lie) as seen:
        history = carry_out(seen, tmp_path, duration_s=0.5)
    (not_served,) = history.observed("not_served")
    assert "through nats-2: message_state: no responders" in not_served.data["problem"]
    assert "drive" in history.marks and "not_healthy" not in history.marks


@pytest.mark.cluster
def test_connections_are_counted_when_every_server_serves_its_clients(cluster: LoopbackCluster) -> None:
    with seen_through(cluster, NotRoutedYet("nats-1")) as seen:
        facts = limits_looks.connections(seen, 9)  # type: ignore[arg-type]
    assert (facts["opened"], facts["acknowledged"]) == (9, 9)


@pytest.mark.cluster
def test_a_slow_consumer_is_looked_at_when_its_server_serves_its_clients(
    cluster: LoopbackCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_looks, "CUT_WITHIN_S", 0.2)  # so little is published that nobody is cut
    with seen_through(cluster, NotRoutedYet("nats-0")) as seen:
        facts = limits_looks.slow_consumer(seen, chunk=1000, most_bytes=20_000)  # type: ignore[arg-type]
    assert (facts["puts"], facts["acknowledged"]) == (20, 20)


@pytest.mark.cluster
def test_a_values_limit_is_looked_at_when_the_new_bucket_is_reached(
    cluster: LoopbackCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SimpleNamespace(max_payload_bytes=1 << 20)
    monkeypatch.setattr(cluster.contract, "config", config, raising=False)
    with seen_through(cluster, NotRoutedYet("nats-0", "limit_value")) as seen:
        facts = limits_looks.sizes(seen)["value"]  # type: ignore[arg-type]
    assert (facts["at"]["said"], facts["at"]["stored"]) == ("answer", "equal")


@pytest.mark.cluster
def test_a_server_that_goes_on_refusing_is_looked_at_all_the_same(
    cluster: LoopbackCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_looks, "SERVES_WITHIN_S", 0.5)
    lie = NotRoutedYet("nats-1")
    lie.refused = -10_000
    with seen_through(cluster, lie) as seen:
        facts = limits_looks.connections(seen, 9)  # type: ignore[arg-type]
    assert facts["acknowledged"] == 6
