"""Victims are found by what the servers say; witnesses see what is there and nothing else."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator

import pytest

from natsproof.clock import wait_until
from natsproof.errors import DeadlineExceeded, UsageError
from natsproof.faults import leadership
from natsproof.faults.leadership import HandOver
from natsproof.faults.process import Kill, Pause
from natsproof.faults.sight import PlatformView, ServerView, StreamView, knock, look, resolve
from tests.loopback import LoopbackCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[LoopbackCluster]:
    with LoopbackCluster() as running:
        yield running


def stream_view(
    leader: str, since: str = "", last: int = 5, **replicas: tuple[bool, float, int]
) -> StreamView:
    return StreamView(leader, since, last, 1, last, 99, replicas)


def view(**servers: StreamView | None) -> PlatformView:
    return PlatformView({n: s and ServerView("id", "", {}, {"KV_b": s}) for n, s in servers.items()})


CURRENT = (True, 0.1, 0)


def test_of_two_that_call_themselves_leader_the_later_counts() -> None:
    seen = view(
        a=stream_view("a", "2026-01-01T00:00:01Z"), b=stream_view("b", "2026-01-01T00:00:02Z"), c=None
    )
    assert seen.leader("KV_b") == "b"
    assert view(a=stream_view("b"), b=None).leader("KV_b") is None


@pytest.mark.parametrize(
    ("seen", "converged"),
    [
        (view(a=stream_view("a", b=CURRENT, c=CURRENT), b=stream_view("a"), c=stream_view("a")), True),
        (view(a=stream_view("a", b=CURRENT, c=CURRENT), b=stream_view("a"), c=None), False),
        (
            view(a=stream_view("a", b=CURRENT, c=CURRENT), b=stream_view("a"), c=stream_view("a", last=4)),
            False,
        ),
        (
            view(a=stream_view("a", b=CURRENT, c=(False, 0.1, 0)), b=stream_view("a"), c=stream_view("a")),
            False,
        ),
        (
            view(a=stream_view("a", b=CURRENT, c=(True, 0.1, 3)), b=stream_view("a"), c=stream_view("a")),
            False,
        ),
        (view(a=stream_view("a", b=CURRENT), b=stream_view("a"), c=stream_view("a")), False),
        (view(a=stream_view("b"), b=stream_view("a"), c=stream_view("a")), False),
    ],
)
def test_level_means_all_there_all_current_all_alike(seen: PlatformView, converged: bool) -> None:
    assert seen.converged("KV_b") is converged


def test_a_knock_tells_silence_from_refusal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"nats://127.0.0.1:{listening.getsockname()[1]}"
        assert knock(address, within_s=0.05) == "silent"

        def greet() -> None:
            for _ in range(2):  # the first is the silent one from before
                wire, _ = listening.accept()
                with wire:
                    wire.sendall(b"INFO {}\r\n")

        greeter = threading.Thread(target=greet)
        greeter.start()
        assert knock(address) == "answers"
        greeter.join()
    assert knock(address) == "refused"


@pytest.mark.cluster
def test_victims_are_who_the_servers_say_they_are(cluster: LoopbackCluster) -> None:
    leader = wait_until("a leader", lambda: look(cluster).leader("KV_message_state"), within_s=5)
    names = {server.name for server in cluster.servers}

    def find(victim: str, seed: int = 1) -> tuple[tuple[str, ...], str]:
        return resolve(victim, "message_state", cluster, random.Random(seed))

    assert find("leader") == ((leader,), "leader")
    (follower,), role = find("follower")
    assert follower in names - {leader} and role == "follower"
    assert find("all") == (("nats-0", "nats-1", "nats-2"), "all")
    pair, role = find("two")
    assert len(set(pair)) == 2 and role == ("leader+follower" if leader in pair else "follower")
    assert find("random") == find("random")
    assert find(str(leader)) == ((leader,), "leader")
    assert find("meta-leader")[0][0] == look(cluster).meta_leader()
    with pytest.raises(UsageError, match="Servers: nats-0, nats-1, nats-2"):
        find("nats-7")


@pytest.mark.cluster
def test_witnesses_deny_what_did_not_happen(
    cluster: LoopbackCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("natsproof.faults.process.WITNESS_S", 0.1)
    assert Kill().witness(cluster, ["nats-1"]) == ""
    assert Pause().witness(cluster, ["nats-1"]) == ""


@pytest.mark.cluster
def test_a_paused_server_is_not_taken_for_a_dead_one(
    cluster: LoopbackCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("natsproof.faults.process.WITNESS_S", 0.1)
    cluster.pause("nats-2")
    try:
        assert Kill().witness(cluster, ["nats-2"]) == ""
        assert Kill().witness(cluster, ["nats-1", "nats-2"]) == ""
    finally:
        cluster.resume("nats-2")


def test_several_are_killed_together_where_the_cluster_can() -> None:
    told: list[object] = []

    class Slow:
        def kill(self, server: str) -> None:
            told.append(server)

        def kill_together(self, servers: list[str]) -> None:
            told.append(tuple(servers))

    Kill("all").inject(Slow(), ["nats-0", "nats-1"])
    Kill().inject(Slow(), ["nats-2"])
    assert told == [("nats-0", "nats-1"), "nats-2"]


@pytest.mark.cluster
def test_leadership_goes_where_it_is_told(cluster: LoopbackCluster) -> None:
    (bucket, *_) = cluster.contract.promises.buckets
    leader = wait_until("a leader", lambda: look(cluster).leader(f"KV_{bucket.name}"), within_s=10)
    for target in ("nats-0", "nats-1", "nats-2"):
        fault = HandOver(target, through=str(leader))  # of the first bucket
        fault.inject(cluster, [target])
        assert fault.witness(cluster, [target]).startswith(f"{target} leads since ")
        assert look(cluster).leader(f"KV_{bucket.name}") == target


@pytest.mark.cluster
def test_leadership_that_is_not_handed_over_says_what_was_answered(
    cluster: LoopbackCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bucket, *_) = cluster.contract.promises.buckets
    monkeypatch.setattr(leadership, "WITHIN_S", 1.0)
    monkeypatch.setattr(leadership, "WITNESS_S", 0.1)
    fault = HandOver("nats-7", bucket.name)
    with pytest.raises(DeadlineExceeded, match="asked to hand over to nats-7: "):
        fault.inject(cluster, ["nats-7"])
    (other,) = [s.name for s in cluster.servers[:1]]
    HandOver("nats-1", bucket.name).inject(cluster, ["nats-1"])
    assert HandOver(other, bucket.name).witness(cluster, [other]) == ""
