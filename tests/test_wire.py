"""The lying proxy leaves nothing behind: a connection left open is a warning in whichever test is next."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings

import pytest

from natsproof.clock import Deadline
from natsproof.cluster import Server
from tests.mutants.wire import Lie, Proxies


async def end_twice(proxies: Proxies, connections: int) -> None:
    """Every connection ends as if its client had just gone, and is waiting for its two directions when
    the proxies end too."""
    deadline = Deadline.within(5)
    while len(proxies._tasks) < connections or any(not pumping(task) for task in proxies._tasks):
        assert not deadline.passed, "the proxies did not take the connections"
        await asyncio.sleep(0.001)
    for task in proxies._tasks:
        task.cancel()
    await asyncio.sleep(0)
    await proxies._end()  # at once, not a turn of the loop later


def pumping(task: asyncio.Task[None]) -> bool:
    frame = task.get_stack()[-1]
    return bool(frame.f_locals.get("pumps"))


def left_behind(connections: int, *, ending: bool = False) -> list[str]:
    """What Python complains of after proxies were stopped while clients were just arriving, or leaving."""
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
            if ending:
                proxies._call(end_twice(proxies, connections))
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


@pytest.mark.parametrize("connections", [1, 5])
def test_proxies_that_stop_while_clients_leave_leave_nothing_open(connections: int) -> None:
    assert left_behind(connections, ending=True) == []
