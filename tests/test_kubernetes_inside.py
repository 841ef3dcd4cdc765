"""Commands in containers, against an API server of our own that speaks the exec protocol on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from natsproof.cluster.kubernetes.chaos_verbs import ChaosVerbs
from natsproof.cluster.kubernetes.inside import path, run_inside
from natsproof.cluster.kubernetes.link import PROTOCOL, Link
from natsproof.errors import ClusterError, UsageError
from tests.loopback_api import linked

SUCCESS = {"status": "Success"}
FAILED = {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}}
NOT_FOUND = {"status": "Failure", "message": 'exec: "sh": executable file not found in $PATH'}


class Container:
    """Says `frames` (channel, bytes), then ends; `hangs`: never."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.hangs = False
        self.asked: list[tuple[str, ...]] = []

    async def execute(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["pod"] != "nats-0":
            return web.json_response({"message": "pods not found"}, status=404)
        self.asked.append((request.query["container"], *request.query.getall("command")))
        answer = web.WebSocketResponse(protocols=[PROTOCOL])
        await answer.prepare(request)
        for channel, data in self.frames:
            await answer.send_bytes(bytes([channel]) + data)
        if self.hangs:
            await asyncio.sleep(5)
        return answer


@pytest.fixture
def container() -> Container:
    return Container()


@pytest.fixture
def link(container: Container) -> Iterator[Link]:
    with linked(path("space", "{pod}"), container.execute, {}) as link:
        yield link


def run(link: Link, *words: str, pod: str = "nats-0", within_s: float = 3.0) -> str:
    return run_inside(link, "space", pod, "nats", words, within_s=within_s)


def status(told: Any) -> tuple[int, bytes]:
    return 3, json.dumps(told).encode()


def test_what_a_command_says_comes_back_whole(link: Link, container: Container) -> None:
    container.frames = [(1, b"one "), (2, b"a warning"), (1, b"two\n"), (1, b""), status(SUCCESS)]
    assert run(link, "sh", "-c", "echo one two") == "one two\n"
    assert container.asked == [("nats", "sh", "-c", "echo one two")]


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([(2, b"no such folder\n"), status(FAILED)], "sh in space/nats-0: exit code 7: no such folder$"),
        ([status(FAILED)], "exit code 7: no output"),
        ([status(NOT_FOUND)], 'exec: "sh": executable file not found'),
        ([(1, b"half")], "the connection ended before the command did: half"),
    ],
)
def test_a_command_that_does_not_end_well_is_told(
    link: Link, container: Container, frames: list[tuple[int, bytes]], says: str
) -> None:
    container.frames = frames
    with pytest.raises(ClusterError, match=says):
        run(link, "sh", "-c", "x")


def test_a_command_that_hangs_is_left_in_time(link: Link, container: Container) -> None:
    container.hangs = True
    with pytest.raises(ClusterError, match=r"sh in space/nats-0: not over after 0\.2 s"):
        run(link, "sh", "-c", "sleep 100", within_s=0.2)


def test_a_pod_that_is_not_there_is_told(link: Link) -> None:
    with pytest.raises(ClusterError, match=r"sh in space/nats-9: .*404"):
        run(link, "sh", pod="nats-9")


def test_the_owner_of_a_cluster_is_asked_first(link: Link, container: Container) -> None:
    """The guard sees the exec though it leaves by a websocket, and nothing leaves if it refuses."""
    seen: list[tuple[str, str]] = []

    def permit(method: str, path: str) -> None:
        seen.append((method, path))
        raise UsageError("natsproof refuses")

    cluster: Any = SimpleNamespace(
        _link=link, api=SimpleNamespace(permit=permit), namespace="space", container="nats"
    )
    with pytest.raises(UsageError, match="natsproof refuses"):
        ChaosVerbs.run_inside(cluster, "nats-0", ["sh"], within_s=1.0)
    assert seen == [("POST", "/api/v1/namespaces/space/pods/nats-0/exec")] and container.asked == []
    with pytest.raises(ClusterError, match="the cluster is not up"):
        ChaosVerbs.run_inside(SimpleNamespace(_link=None), "nats-0", ["sh"], within_s=1.0)  # type: ignore[arg-type]
