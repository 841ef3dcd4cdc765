"""What a platform does at its limits, as facts: sizes, names, connections, a client that does not read.

Each look takes a cluster that is up and returns plain data for `natsproof.checkers.limits`. Sizes and
names are tried exactly at the limit and one beyond, on the wire: a client library refuses by itself.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import resource
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson

from natsproof.clock import Deadline, as_seconds, now_ns, until
from natsproof.cluster import Cluster
from natsproof.errors import ClusterError, DeadlineExceeded
from natsproof.workloads.limits_wire import Wire

T = TypeVar("T")
#: Files that this process and each server need for other things than connections.
SPARE_FILES = 400
#: Said of a connection whose CONNECT did not come within two seconds.
WAITED_FOR_US = "Authentication Timeout"
TRIES = 3
OPENED_AT_ONCE = 40
#: Longest subject, reply and sizes of one PUB line; nats-server's default `max_control_line`.
CONTROL_LINE = 4096
#: A server's routes to each account may be up to a second later than its own health (docs/findings.md, 28).
SERVES_WITHIN_S = 5.0
CUT_WITHIN_S = 15.0


def sizes(cluster: Cluster) -> dict[str, Any]:
    """One value of exactly max_payload and one of a byte more; the same for a bucket with max_value_size,
    where headers count too. {"payload": {...}, "value": {...}}, each with `at` and `beyond`."""
    return asyncio.run(_sizes(cluster))


async def _served(cluster: Cluster, bucket: str) -> None:
    """Until a put is acknowledged through each server; one that goes on refusing is left to the look."""
    deadline = Deadline.within(SERVES_WITHIN_S)
    for server in cluster.servers:
        wire = await Wire.open(server.client_url)

        async def acknowledged(wire: Wire = wire) -> bool:
            subject = f"$KV.{bucket}.limit.served"
            _, data = await wire.request(subject, b"served", within_s=deadline.left_s)
            return bool(_json(data).get("seq"))

        try:
            with contextlib.suppress(DeadlineExceeded):
                await until(f"{server.name} to serve", acknowledged, within_s=deadline.left_s)
        finally:
            await wire.close()


async def _sizes(cluster: Cluster) -> dict[str, Any]:
    bucket = cluster.contract.promises.buckets[0].name
    await _served(cluster, bucket)
    limit = cluster.contract.config.max_payload_bytes or 1 << 20
    wire = await Wire.open(cluster.servers[0].client_url)
    try:
        told = int(str(wire.info["max_payload"]))
        payload = {
            "limit": limit,
            "told": told,
            "at": await _put(cluster, bucket, "limit.payload.at", told),
            "beyond": await _put(cluster, bucket, "limit.payload.beyond", told + 1, announced_only=True),
            "after": await _put(cluster, bucket, "limit.payload.after", 10),
        }
        value = await _value_sizes(cluster, wire, bucket)
    finally:
        await wire.close()
    return {"payload": payload, "value": value}


async def _value_sizes(cluster: Cluster, wire: Wire, bucket: str) -> dict[str, Any]:
    """The same of a bucket's own limit, on a copy that has one and goes afterwards."""
    name, most = "limit_value", 5000
    source = await _api(wire, f"STREAM.INFO.KV_{bucket}")
    config = {**source["config"], "name": f"KV_{name}", "subjects": [f"$KV.{name}.>"]}
    config |= {"max_msg_size": most, "max_bytes": 1 << 20}
    await _api(wire, f"STREAM.CREATE.KV_{name}", config)
    try:
        await _served(cluster, name)  # its leader's interest reaches the other servers after the answer
        return {
            "limit": most,
            "at": await _put(cluster, name, "v.at", most),
            "beyond": await _put(cluster, name, "v.beyond", most + 1),
            "after": await _put(cluster, name, "v.after", 10),
        }
    finally:
        await _api(wire, f"STREAM.DELETE.KV_{name}")


def keys(cluster: Cluster) -> dict[str, Any]:
    """Keys that a bucket must take or refuse: {"told_line": n, "keys": [{what, legal, length, ...}]}.

    Legal: each allowed character, the longest that fits into one line of the protocol. Not legal: one
    byte longer, an empty part, a blank. A wildcard may be either (None): only clients refuse it.
    """
    return asyncio.run(_keys(cluster))


async def _keys(cluster: Cluster) -> dict[str, Any]:
    bucket = cluster.contract.promises.buckets[0].name
    await _served(cluster, bucket)
    # `PUB $KV.<bucket>.<key> <reply> <size>`: the arguments must fit; the reply is the wire's own
    other = len(f"$KV.{bucket}.") + len("_INBOX.natsproof") + 15 + len(".1") + len(" 2") + 1
    longest = CONTROL_LINE - other
    tried: list[tuple[str, str, bool | None]] = [
        ("one letter", "k", True),
        ("every allowed character", "aZ09-/_=.b", True),
        ("many parts", ".".join("p" * 40), True),
        ("longest that fits a line", "L" * (longest - 24), True),
        ("longer than a line", "X" * (CONTROL_LINE + 1), False),
        ("a blank in it", "a b", False),
        ("a wildcard *", "a.*", None),
        ("a wildcard >", "a.>", None),
        ("an empty part", "a..b", False),
    ]
    found = []
    for what, key, legal in tried:
        seen = await _put(cluster, bucket, key, 12)
        found.append({"what": what, "legal": legal, "length": len(key), **seen})
    return {"line": CONTROL_LINE, "keys": found}


async def _put(
    cluster: Cluster, bucket: str, key: str, size: int, *, announced_only: bool = False
) -> dict[str, Any]:
    """Put on a connection of its own; what came back, and what the leader then has under that key."""
    server = cluster.servers[0]
    wire, body = await Wire.open(server.client_url), bytes(i % 251 for i in range(size))
    try:
        try:
            verb, data = await wire.request(
                f"$KV.{bucket}.{key}", body, announced_only=announced_only, within_s=5
            )
        except TimeoutError:
            verb, data = "no answer", b""
    finally:
        await wire.close()
    seen = {"size": size, "said": verb, "text": data[:200].decode(errors="replace")}
    reply = _json(data) if verb == "answer" else {}
    seen["acknowledged"] = bool(reply.get("seq"))
    seen["err_code"] = (reply.get("error") or {}).get("err_code")
    seen["stored"] = await _stored(cluster, bucket, key, body)
    return seen


async def _stored(cluster: Cluster, bucket: str, key: str, body: bytes) -> str:
    """`equal`, `other`, `absent`, or `unreadable` where no request can name the key. Nobody may lead just
    now, so an answer that says nothing of the key is asked for again."""
    wire = await Wire.open(cluster.servers[0].client_url)
    asked = orjson.dumps({"last_by_subj": f"$KV.{bucket}.{key}"})

    async def told() -> str:
        verb, data = await wire.request(f"$JS.API.STREAM.MSG.GET.KV_{bucket}", asked, within_s=10)
        reply = _json(data) if verb == "answer" else {}
        if message := reply.get("message"):
            return "equal" if base64.b64decode(message.get("data") or "") == body else "other"
        return "absent" if (reply.get("error") or {}).get("code") in (400, 404) else ""

    try:
        return await until(f"word of {key}", told, within_s=SERVES_WITHIN_S, every_s=0.2)
    except DeadlineExceeded:
        return "unreadable"
    finally:
        await wire.close()


async def _api(wire: Wire, subject: str, body: Any = None) -> dict[str, Any]:
    verb, data = await wire.request(f"$JS.API.{subject}", b"" if body is None else orjson.dumps(body))
    reply = _json(data)
    if verb != "answer" or "error" in reply:
        raise ClusterError(f"{subject}: {verb} {data[:300].decode(errors='replace')}")
    return reply


def _json(data: bytes) -> dict[str, Any]:
    try:
        reply = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return reply if isinstance(reply, dict) else {}


def room_for_connections(most: int) -> int:
    """How many connections this process may open, at most `most`: its limit of open files less a spare."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(0, min(most, hard - SPARE_FILES))


def connections(cluster: Cluster, most: int) -> dict[str, Any]:
    """As many connections at once as the file limit allows, `most` at most, round the servers; then one
    put on each while all stand. {"wanted", "opened", "late", "acknowledged", "counted" (by the servers),
    "open_s", "puts_s", "problems"}. `late`: three times the server waited for us in vain."""
    return asyncio.run(_connections(cluster, room_for_connections(most)))


async def _connections(cluster: Cluster, number: int) -> dict[str, Any]:
    bucket, servers, problems = cluster.contract.promises.buckets[0].name, cluster.servers, []
    await _served(cluster, bucket)
    wires: list[Wire] = []
    began, late = now_ns(), 0

    async def connect(n: int) -> None:
        nonlocal late
        said = ""
        for _ in range(TRIES):
            try:
                wires.append(await Wire.open(servers[n % len(servers)].client_url, within_s=30))
                return
            except ClusterError as problem:
                said = str(problem)
                if WAITED_FOR_US not in said:
                    break
        late += WAITED_FOR_US in said
        problems.append(said)

    async def put(wire: Wire) -> bool:
        try:
            subject = f"$KV.{bucket}.limit.connections.{id(wire)}"
            verb, data = await wire.request(subject, b"one of many", within_s=30)
        except (TimeoutError, ClusterError) as problem:
            problems.append(f"put: {type(problem).__name__}")
            return False
        return verb == "answer" and bool(_json(data).get("seq"))

    try:
        await _in_turn(range(number), connect)
        opened = now_ns()
        counted = 0
        for server in servers:
            varz = await asyncio.to_thread(cluster.monitor, server.name, "/varz", timeout_s=10.0)
            counted += int(varz["connections"])
        acknowledged = sum(await _in_turn(wires, put))
        over = now_ns()
    finally:
        await asyncio.gather(*(wire.close() for wire in wires))
    return {
        "wanted": number,
        "opened": len(wires),
        "late": late,
        "counted": counted,
        "acknowledged": acknowledged,
        "open_s": round(as_seconds(opened - began), 3),
        "puts_s": round(as_seconds(over - opened), 3),
        "problems": problems[:5],
    }


async def _in_turn(many: Any, one: Callable[[Any], Awaitable[T]]) -> list[T]:
    """`one` of each, a bounded number at a time."""
    gate = asyncio.Semaphore(OPENED_AT_ONCE)

    async def guarded(it: Any) -> T:
        async with gate:
            return await one(it)

    return list(await asyncio.gather(*(guarded(it) for it in many)))


def slow_consumer(cluster: Cluster, *, chunk: int = 900_000, most_bytes: int = 400 << 20) -> dict[str, Any]:
    """One subscriber that stops reading, one that reads, and a put beside each message, all on one server,
    while more is published than the server keeps for one client.

    {"cut", "last_words", "published_bytes", "reader_got", "published", "puts", "acknowledged",
    "put_max_s", "counted" (slow consumers as the server says, before and after)}.
    """
    return asyncio.run(_slow_consumer(cluster, chunk, most_bytes))


async def _slow_consumer(cluster: Cluster, chunk: int, most_bytes: int) -> dict[str, Any]:
    server, bucket = cluster.servers[0], cluster.contract.promises.buckets[0].name

    async def slow_ones() -> int:
        return int((await asyncio.to_thread(cluster.monitor, server.name, "/varz"))["slow_consumers"])

    await _served(cluster, bucket)
    before = await slow_ones()
    slow, reader, sender, other = [await Wire.open(server.client_url) for _ in range(4)]
    await slow.subscribe("limit.flood")
    await reader.subscribe("limit.flood")
    slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
    got, wanted, acknowledged, put_max_s = 0, 0, 0, 0.0
    all_read = asyncio.Event()

    async def read() -> None:
        nonlocal got
        while True:
            await reader.message(within_s=60)
            got += 1
            if got == wanted:
                all_read.set()

    async def write() -> None:
        nonlocal acknowledged, put_max_s
        began = now_ns()
        with contextlib.suppress(TimeoutError):  # one without an answer stays unacknowledged
            verb, data = await other.request(f"$KV.{bucket}.limit.beside", b"beside", within_s=15)
            acknowledged += verb == "answer" and bool(_json(data).get("seq"))
        put_max_s = max(put_max_s, as_seconds(now_ns() - began))

    reading = asyncio.create_task(read())
    body, published, deadline = bytes(chunk), 0, Deadline.within(60)
    try:
        while published * chunk < most_bytes and not deadline.passed:
            await sender.publish("limit.flood", body)
            published += 1
            await asyncio.gather(sender.flush(within_s=30), write())
            if published % 10 == 0 and await slow_ones() > before:
                break
        wanted = published
        if got == wanted:
            all_read.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(all_read.wait(), deadline.left_s)
        after = await slow_ones()
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        cut = await slow.ended(within_s=CUT_WITHIN_S)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await asyncio.gather(*(wire.close() for wire in (slow, reader, sender, other)))
    return {
        "cut": cut,
        "last_words": slow.last_words,
        "published": published,
        "published_bytes": published * chunk,
        "reader_got": got,
        "puts": published,
        "acknowledged": acknowledged,
        "put_max_s": round(put_max_s, 3),
        "counted": [before, after],
    }
