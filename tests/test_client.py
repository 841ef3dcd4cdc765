"""The recording client against real servers: what it calls ok, failed and unknown, and what it reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from natsproof.client import Answer, RecordingClient
from natsproof.client.connection import Connection
from natsproof.client.watch import Watcher, dump
from natsproof.clock import until, wait_until
from natsproof.contract.model import Bucket
from natsproof.errors import ClusterError
from natsproof.history import ABSENT, NEVER_NS, NONE, History, Kind, Outcome
from natsproof.history_file import read
from natsproof.recorder import Recorder
from tests.loopback import LoopbackCluster

FULL = Bucket(name="full", max_bytes=4096, replicas=3)
SHORT = Bucket(name="short", ttl_s=1, max_bytes=1 << 20, replicas=3)
PLAIN = Bucket(name="plain", max_bytes=1 << 24, replicas=3)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LoopbackCluster]:
    with LoopbackCluster((PLAIN, FULL, SHORT)) as running:
        yield running


@pytest.fixture
def healthy(cluster: LoopbackCluster) -> Iterator[LoopbackCluster]:
    """The cluster, all servers up again after the test."""
    yield cluster
    for server in cluster.servers:
        if not cluster.running(server.name):
            cluster.start(server.name)
        cluster.resume(server.name)
    for server in cluster.servers:
        wait_until(f"{server.name} ready", lambda name=server.name: cluster.ready(name), within_s=20)


Body = Callable[[RecordingClient], Awaitable[Any]]


@pytest.fixture
def recorded(healthy: LoopbackCluster, tmp_path: Path) -> Callable[..., History]:
    """Runs a coroutine with a client on the cluster and gives what was recorded."""

    def run(body: Body, *, server: int | None = None, timeout_s: float = 2.0) -> History:
        servers = [s for s in healthy.servers if server in (None, s.ordinal)]
        index_of = {urlsplit(s.client_url).netloc: s.ordinal for s in healthy.servers}

        async def main() -> None:
            connection = Connection(recorder, "test", servers, index_of)
            try:
                await connection.open(5)
                await body(RecordingClient(recorder, connection, "test", timeout_s=timeout_s))
            finally:
                await connection.close()

        with Recorder(tmp_path / "history.jsonl", {}) as recorder:
            asyncio.run(main())
        return read(tmp_path / "history.jsonl")

    return run


@pytest.mark.cluster
def test_each_call_becomes_one_operation_with_its_revision(recorded: Callable[..., History]) -> None:
    answers: list[Answer] = []

    async def body(client: RecordingClient) -> None:
        answers.append(await client.put("plain", "a.1"))
        answers.append(await client.update("plain", "a.1", answers[0].revision))
        answers.append(await client.update("plain", "a.1", answers[0].revision))
        answers.append(await client.get("plain", "a.1"))
        answers.append(await client.delete("plain", "a.1"))
        answers.append(await client.get("plain", "a.1"))
        answers.append(await client.get("plain", "a.never"))

    history = recorded(body, server=1)
    put, update, stale, got, deleted, gone, never = answers
    assert [a.ok for a in answers] == [True, True, False, True, True, True, True]
    assert (got.value, got.revision) == (update.value, update.revision)
    assert got.created_ns > 0
    assert (gone.value, gone.revision) == (ABSENT, deleted.revision)
    assert (never.value, never.revision) == (ABSENT, NONE)
    assert stale.conflict and stale.outcome is Outcome.FAILED
    ops = history.operations
    kinds = [Kind.PUT, Kind.UPDATE, Kind.UPDATE, Kind.GET, Kind.DELETE, Kind.GET, Kind.GET]
    assert ops.kind.tolist() == kinds
    assert ops.expected.tolist()[1:3] == [put.revision, put.revision]
    assert set(ops.server.tolist()) == {1}
    assert (ops.call_ns <= ops.return_ns).all()
    assert len(set(ops.value[[0, 1, 2, 4]].tolist())) == 4


@pytest.mark.cluster
@pytest.mark.parametrize("marker", ["delete", "purge"])
def test_a_create_takes_a_marker_for_absence(recorded: Callable[..., History], marker: str) -> None:
    answers: list[Answer] = []

    async def body(client: RecordingClient) -> None:
        key = f"create.{marker}"
        answers.append(await client.create("plain", key))
        answers.append(await client.create("plain", key))
        left = await (client.delete if marker == "delete" else client.purge)("plain", key)
        answers.append(await client.create("plain", key))
        assert left.ok

    history = recorded(body)
    assert [a.ok for a in answers] == [True, False, True]
    creates = history.of_kinds(Kind.CREATE)
    assert creates.expected[0] == NONE and creates.expected[2] == creates.revision[2] - 1


@pytest.mark.cluster
def test_a_create_that_was_refused_and_could_not_look_is_no_conflict(
    recorded: Callable[..., History], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A marker refuses the first attempt; who cannot ask for it cannot say that the key existed."""
    answers: list[Answer] = []

    async def body(client: RecordingClient) -> None:
        await client.put("plain", "create.unseen")
        await client.delete("plain", "create.unseen")
        request = client.connection.nc.request

        async def in_haste(subject: str, *args: Any, **more: Any) -> Any:
            return await request(subject, *args, **more | ({"timeout": 1e-6} if "MSG.GET" in subject else {}))

        monkeypatch.setattr(client.connection.nc, "request", in_haste)
        answers.append(await client.create("plain", "create.unseen"))

    history = recorded(body)
    assert answers[0].outcome is Outcome.FAILED and not answers[0].conflict
    assert len(history.errors_with("10071", "10164")) == 0, history.errors
    assert history.errors == ("TimeoutError, asking what refused a create",)


@pytest.mark.cluster
def test_a_direct_get_finds_what_the_leader_has(recorded: Callable[..., History]) -> None:
    async def body(client: RecordingClient) -> None:
        put = await client.put("plain", "direct.1")

        async def arrived() -> bool:
            return (await client.direct_get("plain", "direct.1")).revision == put.revision

        await until("the replica to have it", arrived, within_s=5)
        found = await client.direct_get("plain", "direct.1")
        assert found.value == put.value and found.created_ns > 0
        assert (await client.direct_get("plain", "direct.none")).value == ABSENT

    recorded(body)


@pytest.mark.cluster
def test_a_bucket_that_does_not_exist_is_never_made(recorded: Callable[..., History]) -> None:
    async def body(client: RecordingClient) -> None:
        assert (await client.put("missing", "k")).outcome is Outcome.FAILED
        assert (await client.get("missing", "k")).outcome is Outcome.FAILED
        with pytest.raises(ClusterError, match="10059"):
            await client.api("STREAM.INFO.KV_missing")

    assert recorded(body).errors == ("no responders", "404/10059 stream not found")


@pytest.mark.cluster
def test_a_full_bucket_is_a_refusal(recorded: Callable[..., History]) -> None:
    async def body(client: RecordingClient) -> None:
        answers = [await client.put("full", f"k{n}", size=900) for n in range(8)]
        assert answers[0].ok
        assert answers[-1].outcome is Outcome.FAILED and "maximum bytes exceeded" in answers[-1].error

    recorded(body)


@pytest.mark.cluster
def test_an_expired_key_is_absent(recorded: Callable[..., History]) -> None:
    async def body(client: RecordingClient) -> None:
        await client.put("short", "k")

        async def gone() -> bool:
            return (await client.get("short", "k")).value == ABSENT

        await until("it to expire", gone, within_s=5)

    recorded(body)


@pytest.mark.cluster
def test_a_write_to_a_silent_server_is_unknown(
    recorded: Callable[..., History], healthy: LoopbackCluster
) -> None:
    async def body(client: RecordingClient) -> None:
        healthy.pause("nats-0")
        put = await client.put("plain", "silent")
        got = await client.get("plain", "silent")
        healthy.resume("nats-0")
        assert put.outcome is Outcome.UNKNOWN
        assert got.outcome is Outcome.FAILED  # a read has no effect

    history = recorded(body, server=0, timeout_s=0.3)
    assert history.operations.return_ns[0] == NEVER_NS
    assert history.operations.return_ns[1] < NEVER_NS
    assert history.errors[0] == "TimeoutError"


@pytest.mark.cluster
def test_a_cancelled_write_is_unknown(recorded: Callable[..., History], healthy: LoopbackCluster) -> None:
    async def body(client: RecordingClient) -> None:
        healthy.pause("nats-0")
        task = asyncio.create_task(client.put("plain", "cancelled"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        healthy.resume("nats-0")

    assert recorded(body, server=0).operations.outcome.tolist() == [Outcome.UNKNOWN]


@pytest.mark.cluster
def test_what_was_never_sent_is_a_failure_and_the_client_comes_back(
    recorded: Callable[..., History], healthy: LoopbackCluster
) -> None:
    async def body(client: RecordingClient) -> None:
        await client.put("plain", "pinned")
        healthy.kill("nats-2")

        async def refused() -> bool:
            return (await client.put("plain", "pinned")).error == "not connected"

        await until("the client to notice", refused, within_s=5)
        healthy.start("nats-2")

        async def served() -> bool:
            return (await client.put("plain", "pinned")).ok

        await until("the client to come back", served, within_s=20)

    history = recorded(body, server=2, timeout_s=0.3)
    said = [o.data["what"] for o in history.observed("connection")]
    assert said[0] == "connected" and "disconnected" in said and said[-1] == "connected"


@pytest.mark.cluster
def test_a_watcher_sees_every_event_and_goes_on_where_it_was(
    recorded: Callable[..., History], healthy: LoopbackCluster
) -> None:
    async def body(client: RecordingClient) -> None:
        watcher = Watcher(client.fork("watcher"), "plain", "watched")
        watcher.start()
        for number in range(20):
            await client.put("plain", f"watched.{number}")
        deleted = await client.delete("plain", "watched.3")
        assert await watcher.reach(deleted.revision, 5)
        await client.connection.nc.close()  # the connection breaks; the consumer is lost
        last = await client.put("plain", "watched.20")
        assert last.ok and await watcher.reach(last.revision, 10)
        await watcher.stop()

    history = recorded(body)
    events = history.of_kinds(Kind.WATCH_PUT, Kind.WATCH_DELETE)
    # history 1 per key is not set on this bucket: every revision is delivered once, in order
    writes = history.of_kinds(Kind.PUT, Kind.DELETE)
    stored = writes.revision[writes.outcome == Outcome.OK]  # on a busy machine a put may time out
    assert len(stored) >= 15
    assert set(stored.tolist()) <= set(events.revision.tolist())
    assert (events.revision[1:] > events.revision[:-1]).all()
    starts = history.of_kinds(Kind.WATCH_START)
    assert starts.expected.tolist()[0] == NONE
    assert starts.expected.tolist()[-1] == events.revision[-2] + 1


@pytest.mark.cluster
def test_every_replica_can_be_read_by_itself(
    recorded: Callable[..., History], healthy: LoopbackCluster
) -> None:
    async def body(client: RecordingClient) -> None:
        puts = [await client.put("plain", f"dumped.{number}") for number in range(10)]
        for server in healthy.servers:
            wanted = frozenset({server.name})
            for _ in range(60):
                rows: list[int] = []
                found = await dump(
                    client,
                    "plain",
                    "dumped",
                    lambda name, key, message, event, rows=rows: rows.append(event.revision),
                    wanted=wanted,
                    within_s=5,
                )
                if found and len(rows) == len(puts):
                    break
            assert found == server.name
            assert rows == [put.revision for put in puts]

    recorded(body)
