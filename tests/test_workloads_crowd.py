"""How many clients a crowd has, by the way to the servers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from natsproof.cluster import Server
from natsproof.workloads.limits import Crowd


class Opening:
    def __init__(self, witness_urls: tuple[str, str] | None) -> None:
        self.servers = [Server("nats-0", 0, "nats://x:1", "http://x:2", witness_urls)]
        self.clients: list[Any] = []

    async def client(self, name: str, *, timeout_s: float) -> Any:
        self.clients.append(SimpleNamespace(name=name))
        return self.clients[-1]


@pytest.mark.parametrize(
    ("witness_urls", "clients", "opened"),
    [(None, 300, 300), (("nats://x:3", "http://x:4"), 300, 60), (("nats://x:3", "http://x:4"), 7, 7)],
)
def test_a_crowd_is_no_larger_than_its_way_carries(
    witness_urls: tuple[str, str] | None, clients: int, opened: int
) -> None:
    scene: Any = Opening(witness_urls)
    asyncio.run(Crowd(("orders",), clients=clients).prepare(scene))
    assert [client.name for client in scene.clients] == [f"crowd {n}" for n in range(opened)]
