"""A trial begins when every server serves its clients, not when the first one does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest

from natsproof.history import Outcome
from tests.loopback import LoopbackCluster
from tests.mutants.lies import bucket_of
from tests.mutants.wire import Lie, Link, Proxies, Sent
from tests.test_trial import carry_out, cluster, shared

__all__ = ["cluster", "shared"]


class NotRoutedYet(Lie):
    """nats-2 answers its clients' first writes as a server does whose routes are not complete."""

    def __init__(self) -> None:
        self.refused = 0

    def sent(self, link: Link, message: Sent) -> bool:
        if link.server != "nats-2" or not bucket_of(message) or self.refused == 12:
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
