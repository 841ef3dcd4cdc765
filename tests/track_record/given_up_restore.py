"""A restore whose client went away, and the stream that is made in its place within five seconds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import nats
import nats.errors
import orjson

from natsproof.clock import Deadline
from natsproof.verdict import Verdict, broken, holds, unknown

if TYPE_CHECKING:
    from tests.track_record.scenes import Stage

STREAM = "KV_restored"
CONFIG = {
    "name": STREAM,
    "subjects": ["$KV.restored.>"],
    "num_replicas": 3,
    "storage": "file",
    "max_msgs_per_subject": 1,
    "max_bytes": 1 << 20,
}
STATE = {
    "messages": 3,
    "bytes": 300,
    "first_seq": 1,
    "first_ts": "2026-11-28T00:00:00Z",
    "last_seq": 3,
    "last_ts": "2026-11-28T00:00:00Z",
    "consumer_count": 0,
}
#: nats-server gives a silent restore up after 5 s (`activityInterval`).
WRITTEN_FOR_S = 8.0


def given_up_restore(stage: Stage) -> Verdict:
    """A restore is begun and no chunk is sent; its stream is deleted, made anew and written to."""
    stage.up()
    return asyncio.run(_write_after(stage.cluster.servers[0].client_url))


async def _write_after(url: str) -> Verdict:
    connection = await nats.connect(url)
    try:
        for verb, body in (
            ("RESTORE", {"config": CONFIG, "state": STATE}),
            ("DELETE", {}),
            ("CREATE", CONFIG),
        ):
            if problem := (await _ask(connection, verb, body)).get("error"):
                return unknown(f"STREAM.{verb} was refused: {problem}")
        acknowledged = await _write(connection)
        if acknowledged == 0:
            return unknown("no write was acknowledged")
        seen = await _ask(connection, "INFO", {})
        if problem := seen.get("error"):
            return broken(
                f"{acknowledged} acknowledged writes of {acknowledged} lost: {problem['description']}"
            )
        kept = seen["state"]["messages"]
        if kept < acknowledged:
            return broken(f"{acknowledged - kept} acknowledged writes of {acknowledged} lost")
        return holds(f"{kept} acknowledged writes of {acknowledged} kept")
    finally:
        await connection.close()


async def _ask(connection: Any, verb: str, body: dict[str, Any]) -> dict[str, Any]:
    subject = f"$JS.API.STREAM.{verb}.{STREAM}"
    answer = await connection.request(subject, orjson.dumps(body) if body else b"", timeout=6)
    found: dict[str, Any] = orjson.loads(answer.data)
    return found


async def _write(connection: Any) -> int:
    """Keys written, each once, that were acknowledged."""
    acknowledged, deadline = 0, Deadline.within(WRITTEN_FOR_S)
    while not deadline.passed:
        try:
            answer = await connection.request(f"$KV.restored.k{acknowledged}", b"value", timeout=1)
        except (nats.errors.Error, TimeoutError):
            await asyncio.sleep(0.2)
            continue
        acknowledged += "seq" in orjson.loads(answer.data)
        await asyncio.sleep(0.05)
    return acknowledged
