"""One generator: connections, pool, actions and engine in the running event loop.

As a process (`python -m natsproof.load.generator FD`) it is steered over a socket pair; see
natsproof.load.frames. Locust is gevent and nats-py is asyncio: a process of its own keeps gevent's
patches and Locust's statistics out of the loop that measures (the alternatives are in docs/load.md).
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import uvloop

from natsproof.client.connection import Connection
from natsproof.clock import now_ns
from natsproof.cluster import Server
from natsproof.load.actions import Actions
from natsproof.load.clients import ClientPool, LoadRecorder
from natsproof.load.engine import Engine, Samples
from natsproof.load.frames import END, READY, SAMPLES, frame
from natsproof.load.mix import Chooser
from natsproof.load.schedule import NEVER, Pacer
from natsproof.load.spec import VALUES_PER_WORKER, GeneratorSpec
from natsproof.recorder import Recorder

CONNECT_WITHIN_S = 10.0
SEND_EVERY_S = 0.05
#: After the end of the schedule, answers are awaited for the client's timeout and this much longer.
DRAIN_MARGIN_S = 1.0
#: Thousands of operations are in flight: with the usual 700 the collector would run all the time.
COLLECT_AFTER = 50_000


def _servers(urls: tuple[str, ...]) -> list[Server]:
    return [Server(url.rpartition("@")[2].removeprefix("nats://"), i, url, "") for i, url in enumerate(urls)]


async def open_pool(spec: GeneratorSpec, recorder: Recorder) -> ClientPool:
    """Connect; raises ClusterError if no server answers."""
    servers = _servers(spec.urls)
    index_of = {
        server.client_url.rpartition("@")[2].removeprefix("nats://"): server.ordinal for server in servers
    }
    connections = []
    for number in range(spec.connections):
        turn = (number + spec.worker) % len(servers)
        turned = servers[turn:] + servers[:turn]
        connection = Connection(recorder, f"load-{spec.worker}-{number}", turned, index_of)
        await connection.open(CONNECT_WITHIN_S)
        connections.append(connection)
    return ClientPool(recorder, connections, name=f"load-{spec.worker}", timeout_s=spec.timeout_s)


def make_chooser(spec: GeneratorSpec) -> Chooser:
    return Chooser(spec.mix, seed=spec.seed * 7919 + spec.worker)


def make_engine(spec: GeneratorSpec, pool: ClientPool, chooser: Chooser) -> Engine:
    """Nothing is due before the first `set_rate`."""
    actions = Actions(spec.mix, pool, prefix=spec.prefix, worker=spec.worker)
    pacer = Pacer(now_ns(), seed=spec.seed * 104729 + spec.worker, arrivals=spec.arrivals)
    return Engine(pacer, chooser.next, actions.perform, max_in_flight=spec.max_in_flight)


def make_recorder(spec: GeneratorSpec) -> LoadRecorder:
    """A recorder of its own for this process; without `record` it writes to nowhere."""
    names = [server.name for server in _servers(spec.urls)]
    return LoadRecorder(
        Path(spec.record or "/dev/null"),
        {"trial": "load", "seed": spec.seed, "servers": names, **spec.meta},
        first_value=spec.first_value + spec.worker * VALUES_PER_WORKER,
    )


class _Steered:
    """The far end of the socket pair: commands in, frames out."""

    def __init__(
        self, engine: Engine, chooser: Chooser, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._engine, self._chooser, self._reader, self._writer = engine, chooser, reader, writer
        self.end_ns = NEVER

    async def obey(self) -> None:
        """Until the steering process says stop or is gone."""
        while line := await self._reader.readline():
            command = orjson.loads(line)
            at_ns = int(command.get("at_ns") or now_ns())
            if "weights" in command:
                self._chooser.weigh(command["weights"])
            if "rate_hz" in command:
                self._engine.set_rate(float(command["rate_hz"]), at_ns)
            if "saturate" in command:
                self._engine.saturate(int(command["saturate"]))
            if command.get("stop"):
                break
        self._engine.saturate(0)
        self._engine.set_rate(0.0)
        self.end_ns = now_ns()

    async def report(self) -> None:
        while True:
            await asyncio.sleep(SEND_EVERY_S)
            await self.send(SAMPLES, self.samples())

    def samples(self) -> bytes:
        progress = self._engine.progress
        samples: Samples = self._engine.take_samples()
        head = orjson.dumps([now_ns(), progress.due, progress.started, progress.finished, progress.refused])
        return head + b"\n" + samples.tobytes()

    async def send(self, kind: bytes, content: bytes) -> None:
        self._writer.write(frame(kind, content))
        with suppress(ConnectionError):
            await self._writer.drain()


async def _serve(descriptor: int) -> None:
    near = socket.socket(fileno=descriptor)
    reader, writer = await asyncio.open_connection(sock=near, limit=2**24)
    spec = GeneratorSpec.from_json(await reader.readline())
    recorder = make_recorder(spec)
    try:
        pool = await open_pool(spec, recorder)
        chooser = make_chooser(spec)
        engine = make_engine(spec, pool, chooser)
        steered = _Steered(engine, chooser, reader, writer)
        await steered.send(READY, b"{}")
        obeying = asyncio.create_task(steered.obey())
        reporting = asyncio.create_task(steered.report())
        await engine.run(lambda: steered.end_ns)
        open_at_end = await engine.drain(spec.timeout_s + DRAIN_MARGIN_S)
        for task in (obeying, reporting):
            task.cancel()
        await pool.close()
        await steered.send(SAMPLES, steered.samples())
        recorder.close()
        await steered.send(END, orjson.dumps(_summary(engine, open_at_end, pool)))
    except BaseException as problem:
        recorder.close(f"{type(problem).__name__}: {problem}")
        with suppress(OSError):
            writer.write(frame(END, orjson.dumps({"error": f"{type(problem).__name__}: {problem}"})))
            await writer.drain()
        raise
    finally:
        writer.close()


def _summary(engine: Engine, open_at_end: int, pool: ClientPool) -> dict[str, Any]:
    progress = engine.progress
    return {
        "due": progress.due,
        "started": progress.started,
        "refused": progress.refused,
        "open_at_end": open_at_end,
        "clients": pool.size,
    }


def main() -> int:
    from natsproof.errors import NatsproofError

    gc.freeze()  # what is loaded now stays; the collector need not look at it again and again
    gc.set_threshold(COLLECT_AFTER)
    try:
        uvloop.run(_serve(int(sys.argv[1])))
    except NatsproofError as problem:
        print(f"natsproof load generator: {problem}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
