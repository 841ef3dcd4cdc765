"""Tunnels into pods, against an API server of our own that speaks the port-forward protocol on loopback."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from aiohttp import WSMsgType, web

from natsproof.cluster.kubernetes.link import PROTOCOL, Link
from natsproof.cluster.kubernetes.tunnel import Tunnel
from natsproof.cluster.kubernetes.turns import Turn, Turns
from natsproof.errors import ClusterError
from natsproof.faults.sight import knock
from tests.loopback_api import linked

PORT = 4222


class Pods:
    """Answers port-forwards to `alive` pods with an echo that names the pod."""

    def __init__(self) -> None:
        self.alive: set[str] = {"nats-0"}
        self.broken: set[str] = set()
        self.asked: list[str] = []

    async def forward(self, request: web.Request) -> web.StreamResponse:
        pod = request.match_info["pod"]
        self.asked.append(f"{pod}:{request.query['ports']} {request.headers.get('authorization', '')}")
        if pod not in self.alive:
            return web.json_response({"message": "pod not found"}, status=404)
        answer = web.WebSocketResponse(protocols=[PROTOCOL])
        await answer.prepare(request)
        greeting = PORT.to_bytes(2, "little")
        await answer.send_bytes(b"\x00" + greeting)
        await answer.send_bytes(b"\x01" + greeting)
        if pod in self.broken:
            await answer.send_bytes(b"\x01connection refused inside the pod")
        async for message in answer:
            if message.type is not WSMsgType.BINARY:
                break
            await answer.send_bytes(b"\x00" + pod.encode() + b"<" + message.data[1:])
        return answer


@pytest.fixture
def pods() -> Pods:
    return Pods()


@pytest.fixture
def link(pods: Pods) -> Iterator[Link]:
    token = {"BearerToken": {"in": "header", "key": "authorization", "value": "Bearer x"}}
    with linked("/api/v1/namespaces/space/pods/{pod}/portforward", pods.forward, token) as link:
        yield link


@pytest.fixture
def tunnel(link: Link) -> Iterator[Tunnel]:
    tunnel = Tunnel(link, "space", "nats-0", PORT)
    yield tunnel
    tunnel.close()


def open_wire(tunnel: Tunnel, *, timeout_s: float = 5.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", tunnel.local_port), timeout=timeout_s)


def exchange(wire: socket.socket, text: bytes) -> bytes:
    wire.sendall(text)
    return wire.recv(100)


def test_bytes_go_to_the_pod_and_back(tunnel: Tunnel, pods: Pods) -> None:
    with open_wire(tunnel) as wire:
        assert exchange(wire, b"ping") == b"nats-0<ping"
        assert exchange(wire, b"again") == b"nats-0<again"
    assert pods.asked == ["nats-0:4222 Bearer x"]


def test_the_port_stays_while_the_pod_dies_and_comes_back(tunnel: Tunnel, pods: Pods) -> None:
    port = tunnel.local_port
    pods.alive.clear()
    with open_wire(tunnel) as wire:
        assert wire.recv(1) == b"", "a server that is gone hangs up"
    assert tunnel.failed == 1
    pods.alive.add("nats-0")
    with open_wire(tunnel) as wire:
        assert exchange(wire, b"x") == b"nats-0<x"
    assert tunnel.local_port == port


def test_a_port_that_is_closed_inside_the_pod_hangs_up(tunnel: Tunnel, pods: Pods) -> None:
    pods.broken.add("nats-0")
    with open_wire(tunnel) as wire:
        assert wire.recv(1) == b""


def test_a_stalled_direction_carries_nothing_and_breaks_nothing(tunnel: Tunnel) -> None:
    with open_wire(tunnel, timeout_s=0.05) as wire:
        wire.settimeout(5)
        assert exchange(wire, b"a") == b"nats-0<a"
        tunnel.stall(to_server=False, to_client=True)
        wire.sendall(b"b")
        wire.settimeout(0.05)
        with pytest.raises(TimeoutError):
            wire.recv(1)
        tunnel.stall(to_server=False, to_client=False)
        wire.settimeout(5)
        assert wire.recv(100) == b"nats-0<b"


def test_a_new_connection_to_a_stalled_server_is_silent(tunnel: Tunnel, pods: Pods) -> None:
    tunnel.stall(to_server=True, to_client=True)
    with open_wire(tunnel, timeout_s=0.05) as wire, pytest.raises(TimeoutError):
        wire.recv(1)
    assert pods.asked == []


def test_dropped_connections_close_and_the_port_goes_on(tunnel: Tunnel) -> None:
    with open_wire(tunnel) as wire:
        assert exchange(wire, b"a") == b"nats-0<a"
        tunnel.drop()
        assert wire.recv(1) == b""
    with open_wire(tunnel) as wire:
        assert exchange(wire, b"b") == b"nats-0<b"


def test_a_closed_link_says_so() -> None:
    link = Link(SimpleNamespace(host="http://127.0.0.1:1"))
    link.close()
    link.close()
    with pytest.raises(ClusterError, match="closed"):
        link.run(asyncio.sleep(0))


async def first_to_last(at_once: int) -> list[int]:
    turns, order = Turns(at_once, limit_s=5.0), []

    async def one(number: int) -> None:
        turn = await turns.take()
        order.append(number)
        await asyncio.sleep(0.01)
        turn.over()

    await asyncio.gather(*(one(number) for number in range(5)))
    return order


def test_the_last_to_ask_is_next_where_openings_are_few() -> None:
    assert asyncio.run(first_to_last(1)) == [0, 4, 3, 2, 1]
    assert asyncio.run(first_to_last(5)) == [0, 1, 2, 3, 4]


def test_one_turn_in_some_goes_to_who_has_waited_longest() -> None:
    """Where new ones come all the time the oldest would wait for ever; those who gave up cost no turn."""

    async def served_before_the_30th() -> bool:
        turns, first_served = Turns(1, limit_s=5.0), asyncio.Event()
        turn = await turns.take()

        async def oldest() -> None:
            (await turns.take()).over()
            first_served.set()

        waiting = asyncio.ensure_future(oldest())
        await asyncio.sleep(0)
        for _ in range(30):
            newest = asyncio.ensure_future(turns.take())
            await asyncio.sleep(0)
            turn.over()
            turn = await newest
        waiting.cancel()
        return first_served.is_set()

    assert asyncio.run(served_before_the_30th())


def test_a_witness_does_not_wait_behind_clients(link: Link, tunnel: Tunnel, pods: Pods) -> None:
    link.openings = Turns(1, limit_s=5.0)
    turn = link.run(link.openings.take())
    with open_wire(tunnel), socket.create_connection(("127.0.0.1", tunnel.witness_port), 5.0) as wire:
        assert exchange(wire, b"x") == b"nats-0<x"
    assert len(pods.asked) == 1, "the client still waits"
    link.run(_over(turn))


def test_a_witness_meets_what_clients_meet(tunnel: Tunnel, pods: Pods) -> None:
    url = f"nats://127.0.0.1:{tunnel.witness_port}"
    pods.alive.clear()
    assert knock(url) == "closed"
    tunnel.stall(to_server=True, to_client=True)
    assert knock(url, within_s=0.05) == "silent"


def test_a_turn_that_is_never_given_back_is_over_in_time_and_only_once() -> None:
    async def scene() -> None:
        turns = Turns(1, limit_s=0.02)
        silent = await turns.take()
        async with asyncio.timeout(2):
            second = await turns.take()
        silent.over()  # long over: this must not make two turns of one
        third = asyncio.ensure_future(turns.take())
        await asyncio.sleep(0)
        assert not third.done()
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        second.over()
        (await turns.take()).over()

    asyncio.run(scene())


def test_who_gave_up_while_waiting_is_not_opened(link: Link, tunnel: Tunnel, pods: Pods) -> None:
    link.openings = Turns(1, limit_s=5.0)
    turn = link.run(link.openings.take())
    open_wire(tunnel).close()
    with open_wire(tunnel) as wire:
        time.sleep(0.2)
        assert pods.asked == [], "its turn has not come"
        link.run(_over(turn))
        assert exchange(wire, b"x") == b"nats-0<x"
        time.sleep(0.2)
    assert len(pods.asked) == 1


async def _over(turn: Turn) -> None:
    turn.over()
