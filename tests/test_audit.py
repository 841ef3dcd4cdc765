"""The look at everything after healing waits out a meta group that is still without a leader."""

from __future__ import annotations

from pathlib import Path

import pytest

from natsproof.checkers.replicas import replicas_are_equal
from natsproof.history import Kind, Outcome
from natsproof.trial import audit
from natsproof.verdict import Status
from tests.loopback import LoopbackCluster
from tests.mutants.lies import GET, refusal
from tests.mutants.wire import Lie, Link, Sent
from tests.test_trial import carry_out, cluster, shared
from tests.test_trial_start import seen_through

__all__ = ["cluster", "shared"]
CREATE = "$JS.API.CONSUMER.CREATE."
UNAVAILABLE = refusal(503, 10008, "JetStream system temporarily unavailable", "message_state")


class NoMetaLeader(Lie):
    """Servers without a meta leader: the first requests of the API are answered with 10008, at once."""

    def __init__(self, subject: str, refusals: int) -> None:
        self.subject, self.left = subject, refusals

    def sent(self, link: Link, message: Sent) -> bool:
        if not message.subject.startswith(self.subject) or not self.left:
            return True
        self.left -= 1
        link.answer(message.reply, UNAVAILABLE)
        return False


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "AGAIN_S", 0.01)


@pytest.mark.cluster
def test_every_key_is_read_once_there_is_a_meta_leader(cluster: LoopbackCluster, tmp_path: Path) -> None:
    lie = NoMetaLeader(GET, 60)
    with seen_through(cluster, lie) as seen:
        history = carry_out(seen, tmp_path, duration_s=0.5)
    reads = history.of_kinds(Kind.FINAL_GET)
    answered = set(reads.key[reads.outcome == Outcome.OK].tolist())
    assert lie.left == 0 and len(answered) > 20 and set(reads.key.tolist()) == answered


@pytest.mark.cluster
def test_keys_are_not_waited_for_when_nothing_is_answered_any_more(
    cluster: LoopbackCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "SILENCE_S", 0.2)
    with seen_through(cluster, NoMetaLeader(GET, -1)) as seen:
        history = carry_out(seen, tmp_path, duration_s=0.5, replica_audit=False)
    reads = history.of_kinds(Kind.FINAL_GET)
    tries = [int((reads.key == key).sum()) for key in set(reads.key.tolist())]
    assert not (reads.outcome == Outcome.OK).any() and min(tries) == audit.FINAL_TRIES
    assert history.marks["end"] - history.marks["finish"] < 20e9


@pytest.mark.cluster
def test_every_store_is_read_once_there_is_a_meta_leader(cluster: LoopbackCluster, tmp_path: Path) -> None:
    lie = NoMetaLeader(f"{CREATE}KV_message_state", audit.PLACEMENTS + 2)
    with seen_through(cluster, lie) as seen:
        history = carry_out(seen, tmp_path, duration_s=0.5)
    (found,) = history.observed("replica_audit")
    assert (lie.left, found.data["unread"]) == (0, [])


class LateWrite(Lie):
    """A put that waited in a route: it arrives after the first of a bucket's stores was read."""

    def __init__(self, bucket: str) -> None:
        self.bucket, self.put, self.stored = bucket, "", False

    def sent(self, link: Link, message: Sent) -> bool:
        if message.subject.startswith(f"$KV.{self.bucket}."):
            self.put = message.subject
        elif not self.stored and message.subject.startswith(f"$JS.API.CONSUMER.DELETE.KV_{self.bucket}"):
            self.stored = True
            link.forward(Sent(self.put, "", b"", b"late"))
        return True


@pytest.mark.cluster
def test_stores_are_read_again_when_something_arrived_between_two(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    lie = LateWrite("message_state")
    with seen_through(cluster, lie) as seen:
        history = carry_out(seen, tmp_path, duration_s=0.5)
    (found,) = history.observed("replica_audit")
    assert lie.stored and len(set(found.data["rows"].values())) == 1
    rows = history.of_kinds(Kind.REPLICA_ROW)
    assert len(rows) == 3 * found.data["rows"]["nats-0"]
    assert replicas_are_equal(history).status is Status.HOLDS
