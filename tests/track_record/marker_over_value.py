"""Keys that are written anew a moment after they are due, in a bucket whose expired values leave markers."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import nats
import nats.errors
import orjson

from natsproof.clock import Deadline
from natsproof.verdict import Verdict, broken, holds, unknown

if TYPE_CHECKING:
    from tests.track_record.scenes import Stage

TTL_S = 2.0
CONFIG = {
    "name": "KV_marked",
    "subjects": ["$KV.marked.>"],
    "num_replicas": 3,
    "storage": "file",
    "max_msgs_per_subject": 1,
    "max_bytes": 64 << 20,
    "max_age": int(TTL_S * 1e9),
    "duplicate_window": 1_000_000_000,
    "allow_rollup_hdrs": True,
    "allow_msg_ttl": True,
    "subject_delete_marker_ttl": int(TTL_S * 1e9),
}
#: Each key is written `OVERDUE_S` after its value was due: the server's timer looks at those while it is.
KEYS, OVERDUE_S, WRITTEN_FOR_S = 200, 0.1, 20.0
#: Far more than it takes to hear of a marker, far less than a TTL.
EARLY_S = TTL_S / 2


class Log:
    """By key: acknowledged puts as (sequence, when called), and markers as (sequence, when heard of)."""

    def __init__(self) -> None:
        self.puts: dict[str, list[tuple[int, float]]] = {}
        self.markers: list[tuple[str, int, float]] = []

    async def hear(self, message: Any) -> None:
        if (message.headers or {}).get("Nats-Marker-Reason"):
            at = message.metadata.sequence.stream
            self.markers.append((message.subject, at, time.monotonic()))

    @property
    def acknowledged(self) -> int:
        return sum(len(puts) for puts in self.puts.values())

    def removed(self) -> int:
        """Puts that a marker above them removed within `EARLY_S` of their call."""
        found = set()
        for key, marker, heard in self.markers:
            below = [put for put in self.puts.get(key, ()) if put[0] < marker]
            if below and heard - max(below)[1] < EARLY_S:
                found.add(max(below)[0])
        return len(found)


def marker_over_value(stage: Stage) -> Verdict:
    """Every key of a bucket with markers is written again and again, each time as it expires."""
    stage.up()
    return asyncio.run(_write_as_they_expire([server.client_url for server in stage.cluster.servers]))


async def _write_as_they_expire(urls: list[str]) -> Verdict:
    connection = await nats.connect(urls)
    try:
        create = f"$JS.API.STREAM.CREATE.{CONFIG['name']}"
        answer = orjson.loads((await connection.request(create, orjson.dumps(CONFIG), timeout=6)).data)
        if problem := answer.get("error"):
            return unknown(f"STREAM.CREATE was refused: {problem}")
        stream, log = connection.jetstream(timeout=5), Log()
        await stream.subscribe("$KV.marked.>", ordered_consumer=True, cb=log.hear)
        await _write(stream, log)
        await asyncio.sleep(EARLY_S)
        if not log.markers:
            return unknown(f"no marker was seen, {log.acknowledged} writes were acknowledged")
        of = f"{log.acknowledged:,} acknowledged writes"
        if removed := log.removed():
            return broken(f"{removed} of {of} were removed by the marker of an earlier value")
        return holds(f"none of {of} was removed by one of {len(log.markers):,} markers")
    finally:
        await connection.close()


async def _write(stream: Any, log: Log) -> None:
    """Every key by itself, at phases spread over its period."""
    period_s, deadline = TTL_S + OVERDUE_S, Deadline.within(WRITTEN_FOR_S)

    async def circle(number: int) -> None:
        await asyncio.sleep(number / KEYS * period_s)
        while not deadline.passed:
            called = time.monotonic()
            await _put(stream, log, f"$KV.marked.k{number}")
            await asyncio.sleep(called + period_s - time.monotonic())

    await asyncio.gather(*(circle(number) for number in range(KEYS)))


async def _put(stream: Any, log: Log, key: str) -> None:
    called = time.monotonic()
    try:
        answer = await stream.publish(key, b"value")
    except (nats.errors.Error, TimeoutError):
        return
    log.puts.setdefault(key, []).append((answer.seq, called))
