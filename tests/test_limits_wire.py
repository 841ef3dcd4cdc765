"""A connection that could not be opened is closed, whatever was the matter with it."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest

from natsproof.errors import ClusterError
from natsproof.workloads.limits_wire import Wire

GREETED = b'INFO {"max_payload":1048576}\r\n'


async def open_at(greeting: bytes, *, then_close: bool, within_s: float = 10.0) -> str:
    """What `Wire.open` says of a server that greets like this, and then waits or hangs up."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        if then_close:
            writer.close()
        served.append(writer)

    served: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        try:
            await Wire.open(f"nats://127.0.0.1:{port}", within_s=within_s)
        except ClusterError as problem:
            return str(problem)
        finally:
            for writer in served:
                writer.close()
            gc.collect()
    raise AssertionError("opened")


@pytest.mark.parametrize(
    ("greeting", "then_close", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", False, "the server greets with b'HTTP/1.1'"),
        (b"INFO {not json\r\n", False, "the server greets with no JSON"),
        (GREETED + b"-ERR 'Authorization Violation'\r\n", False, "the server says Authorization Violation"),
        (GREETED, True, "IncompleteReadError"),
    ],
)
def test_a_connection_that_is_refused_is_closed(
    greeting: bytes, then_close: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[str] = []
    monkeypatch.setattr("sys.unraisablehook", lambda problem: complaints.append(str(problem.exc_value)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        message = asyncio.run(open_at(greeting, then_close=then_close))
    assert said in message and message.startswith("nats://127.0.0.1:")
    assert complaints == []


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    assert "TimeoutError" in asyncio.run(open_at(b"", then_close=False, within_s=0.2))
