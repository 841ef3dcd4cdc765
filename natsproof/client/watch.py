"""Reading a bucket as a log: a watcher that resumes, and the dump of one replica's own store.

nats-py's ordered consumer forgets where it was when its server dies at the wrong moment, so both are
small loops over ephemeral push consumers made through the JetStream API.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from natsproof.client import RecordingClient
from natsproof.client.payload import event_kind, value_of
from natsproof.clock import Deadline
from natsproof.errors import ClusterError
from natsproof.history import NONE, Kind

HEARTBEAT_S = 0.5
#: Silence after which the consumer is taken for dead: several heartbeats and a slow machine.
SILENCE_S = 2.5
#: As many in a row say that nothing more will come.
HEARTBEATS = 3
_BASE = {"ack_policy": "none", "replay_policy": "instant", "mem_storage": True, "num_replicas": 1}


class Delivery(NamedTuple):
    """From a reply subject: stream and consumer sequence, the message's time, how many are left."""

    revision: int
    number: int
    created_ns: int
    pending: int


def delivery(reply: str) -> Delivery:
    """Both forms of `$JS.ACK...`: with nine tokens, and with domain and account."""
    tokens = reply.split(".")
    first = 4 if len(tokens) == 9 else 6
    _, revision, number, created_ns, pending = (int(token) for token in tokens[first : first + 5])
    return Delivery(revision, number, created_ns, pending)


class Watcher:
    """Watches the keys of `bucket` that begin with `prefix`, and records each event.

    Every (re)start is a WATCH_START with the first wanted revision in `expected` (NONE: from the oldest).
    Consumers that die are made again from the last revision seen, until `stop` is called.
    """

    def __init__(self, client: RecordingClient, bucket: str, prefix: str) -> None:
        self.client, self.bucket, self.prefix = client, bucket, prefix
        self.last = 0  # revision seen last
        self._seen = asyncio.Event()
        self.caught_up = asyncio.Event()  # the initial state has been delivered once
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"watch {self.client.name}")

    async def stop(self) -> None:
        """End the watch; idempotent."""
        self._stop.set()
        if self._task is not None:
            task, self._task = self._task, None
            await task

    async def reach(self, revision: int, within_s: float) -> bool:
        """Whether it has seen `revision` (or a later one) in time."""
        deadline = Deadline.within(within_s)
        while self.last < revision and not deadline.passed:
            self._seen.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._seen.wait(), deadline.left_s)
        return self.last >= revision

    async def _run(self) -> None:
        while not self._stop.is_set():
            try:
                await self._session()
            except (TimeoutError, ClusterError, nats.errors.Error, OSError) as problem:
                self.client.recorder.observe(
                    "watch", {"client": self.client.name, "what": "restart", "why": str(problem)[:200]}
                )
                await asyncio.sleep(0.2)

    async def _session(self) -> None:
        """One consumer's life: until it is silent, skips a number, or the watch is stopped."""
        client = self.client
        inbox = client.connection.nc.new_inbox()
        if not await client.connection.ready(client.timeout_s):
            raise ClusterError("not connected")
        subscription = await client.connection.nc.subscribe(inbox)
        try:
            wanted = self.last + 1 if self.last else NONE
            client.recorder.event(
                Kind.WATCH_START, client.index, NONE, server=client.connection.server, expected=wanted
            )
            start: dict[str, Any] = {"deliver_policy": "all"}
            if wanted != NONE:
                start = {"deliver_policy": "by_start_sequence", "opt_start_seq": wanted}
            info = await make_consumer(client, self.bucket, self.prefix, inbox, start)
            if not info["num_pending"]:
                self.caught_up.set()
            await self._follow(subscription)
        finally:
            await leave(subscription)

    async def _follow(self, subscription: Subscription) -> None:
        number = 0
        while not self._stop.is_set():
            message = await _next(subscription, SILENCE_S, self._stop)
            if message is None:
                return
            if not message.reply.startswith("$JS.ACK."):
                continue  # a heartbeat
            event = delivery(message.reply)
            if event.number != number + 1:
                raise ClusterError(f"consumer number {event.number} after {number}")
            number = event.number
            self._record(message, event)
            if not event.pending:
                self.caught_up.set()

    def _record(self, message: Msg, event: Delivery) -> None:
        client, key = self.client, message.subject.removeprefix(f"$KV.{self.bucket}.")
        self.last = event.revision
        self._seen.set()
        client.recorder.event(
            event_kind(message.headers),
            client.index,
            client.recorder.key(self.bucket, key),
            server=client.connection.server,
            revision=event.revision,
            value=value_of(message.data, key, message.headers),
            created_ns=event.created_ns,
        )


async def _next(subscription: Subscription, silence_s: float, stop: asyncio.Event) -> Msg | None:
    """The next message; None once stopped; raises TimeoutError after `silence_s` without any."""
    deadline = Deadline.within(silence_s)
    while not stop.is_set():
        try:
            return await subscription.next_msg(timeout=min(0.5, max(0.01, deadline.left_s)))
        except nats.errors.TimeoutError:
            if deadline.passed:
                raise
    return None


async def leave(subscription: Subscription) -> None:
    """Unsubscribe; the server forgets the ephemeral consumer by itself."""
    try:
        await subscription.unsubscribe()
    except (nats.errors.Error, OSError):
        return  # its connection is gone, and so is it


async def make_consumer(
    client: RecordingClient, bucket: str, prefix: str, inbox: str, start: dict[str, Any]
) -> dict[str, Any]:
    """An ephemeral push consumer with one replica, for the keys that begin with `prefix.`; its info.

    Raises ClusterError if it cannot be made.
    """
    config = {
        **_BASE,
        **start,
        "deliver_subject": inbox,
        "filter_subject": f"$KV.{bucket}.{prefix}.>" if prefix else f"$KV.{bucket}.>",
        "idle_heartbeat": int(HEARTBEAT_S * 1e9),
        "inactive_threshold": 5_000_000_000,
    }
    stream = f"KV_{bucket}"
    return await client.api(f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config})


async def dump(
    client: RecordingClient,
    bucket: str,
    prefix: str,
    keep: Callable[[str, str, Msg, Delivery], None],
    *,
    wanted: frozenset[str],
    within_s: float,
) -> str:
    """Read one replica's own store, of whichever server in `wanted` the consumer came to lie on.

    A consumer with one replica reads the store of the server it is placed on, and its info names that
    server; placement is random, so callers repeat until they have had all. Calls
    `keep(server, key, message, delivery)` a message. Returns the server, or "" if it was not wanted.
    Raises ClusterError if the store was not read to its end in time.
    """
    deadline = Deadline.within(within_s)
    if not await client.connection.ready(client.timeout_s):
        raise ClusterError("not connected")
    nc = client.connection.nc
    inbox = nc.new_inbox()
    subscription = await nc.subscribe(inbox, pending_msgs_limit=0, pending_bytes_limit=0)
    info: dict[str, Any] = {}
    try:
        info = await make_consumer(client, bucket, prefix, inbox, {"deliver_policy": "all"})
        server = str(info.get("cluster", {}).get("leader", ""))
        if server not in wanted:
            return ""
        left = int(info["num_pending"]) + int(info["delivered"]["consumer_seq"])
        number = heartbeats = 0
        while left:
            try:
                message = await subscription.next_msg(timeout=max(0.01, min(SILENCE_S, deadline.left_s)))
            except nats.errors.TimeoutError:
                raise ClusterError(f"{server}: {left} messages of {bucket} are missing") from None
            if not message.reply.startswith("$JS.ACK."):
                heartbeats += 1  # the server has nothing to send: what was left has expired meanwhile
                if heartbeats > HEARTBEATS or deadline.passed:
                    raise ClusterError(f"{server}: {left} messages of {bucket} are missing")
                continue
            heartbeats = 0
            event = delivery(message.reply)
            if event.number != number + 1:
                raise ClusterError(f"{server}: consumer number {event.number} after {number}")
            number, left = event.number, event.pending
            keep(server, message.subject.removeprefix(f"$KV.{bucket}."), message, event)
        return server
    finally:
        await leave(subscription)
        if name := info.get("name"):
            await _forget(client, bucket, name)


async def _forget(client: RecordingClient, bucket: str, consumer: str) -> None:
    try:
        await client.api(f"CONSUMER.DELETE.KV_{bucket}.{consumer}")
    except ClusterError:
        return  # it ends by itself after its inactive threshold
