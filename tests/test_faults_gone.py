"""How a death is witnessed where the way to the servers is congested. Scripted: no real way is so."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from natsproof.cluster import Server
from natsproof.faults import process, sight
from natsproof.faults.process import Kill

NAMES = ("nats-0", "nats-1", "nats-2")


def cluster() -> Any:
    return SimpleNamespace(servers=[Server(name, i, "", "") for i, name in enumerate(NAMES)])


def test_who_was_seen_gone_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each round of knocks another server is seen; never all of them in one."""
    asked: list[str] = []

    def met(server: Server, **_: Any) -> tuple[str, str]:
        asked.append(server.name)
        seen = "closed" if len(asked) % 2 == 0 else "silent"
        return seen, seen

    monkeypatch.setattr(sight, "knock_at", met)
    landed = Kill("all").witness(cluster(), NAMES)
    assert [name for name in NAMES if name in landed] == list(NAMES)
    assert len(asked) <= 6


@pytest.mark.parametrize("met", [("closed", "answers"), ("silent", "closed"), ("answers", "answers")])
def test_who_still_speaks_or_listens_is_not_gone(
    monkeypatch: pytest.MonkeyPatch, met: tuple[str, str]
) -> None:
    monkeypatch.setattr(process, "GONE_S", 0.3)
    monkeypatch.setattr(sight, "knock_at", lambda server, **_: met)
    assert Kill("all").witness(cluster(), NAMES) == ""


def test_a_witness_goes_its_own_way_where_there_is_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        silent, refused = (f"nats://127.0.0.1:{port}", f"http://127.0.0.1:{port}"), "127.0.0.1:9"
        urls = (f"nats://{refused}", f"http://{refused}")
        assert sight.knock_at(Server("nats-0", 0, *urls), within_s=0.1) == ("refused", "refused")
        assert sight.knock_at(Server("nats-0", 0, *urls, silent), within_s=0.1) == ("silent", "silent")
