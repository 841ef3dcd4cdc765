"""The lying proxy leaves nothing behind: a connection left open is a warning in whichever test is next."""

from __future__ import annotations

import gc
import socket
import warnings

import pytest

from natsproof.cluster import Server
from tests.mutants.wire import Lie, Proxies


def left_behind(connections: int) -> list[str]:
    """What Python complains of after proxies were stopped while clients were just arriving."""
    complaints: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as upstream, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.unraisablehook", lambda problem: complaints.append(str(problem.exc_value)))
        server = Server("nats-0", 0, f"nats://127.0.0.1:{upstream.getsockname()[1]}", "")
        proxies = Proxies(Lie(), [server])
        proxies._loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
        proxies.start()
        port = int(proxies.urls["nats-0"].rpartition(":")[2])
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            proxies.stop()
            for client in clients:
                client.close()
            del proxies
            gc.collect()
    return complaints


@pytest.mark.parametrize("connections", [0, 1, 5, 20])
def test_proxies_that_stop_while_clients_arrive_leave_nothing_open(connections: int) -> None:
    for _ in range(4):
        assert left_behind(connections) == []
