"""The only code that talks KV: every call becomes an operation of the history.

It speaks the KV wire protocol on nats-py (publish to `$KV.<bucket>.<key>`, `STREAM.MSG.GET`,
`DIRECT.GET`) because nats-py's own KV layer hides revisions, timestamps and server markers.
It binds buckets and never creates one.
"""

from __future__ import annotations

from binascii import a2b_base64
from typing import Any, NamedTuple

import nats.errors
import orjson

from natsproof.client import outcomes
from natsproof.client.connection import Connection
from natsproof.client.payload import encode, header_block, timestamp_ns, value_of
from natsproof.errors import ClusterError
from natsproof.history import ABSENT, NONE, Kind, Outcome
from natsproof.recorder import Recorder, Started

TIMEOUT_S = 2.0
#: nats-py raises these before it has put anything on the wire.
_NEVER_SENT = (
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionDrainingError,
    nats.errors.OutboundBufferLimitError,
    nats.errors.MaxPayloadError,
    nats.errors.BadSubjectError,
    nats.errors.BadHeaderError,
)


class Answer(NamedTuple):
    """What a call came to. `value` is the write's own id, or what a read found; `conflict` says that
    the server refused because the key's last revision was another."""

    outcome: Outcome
    revision: int = NONE
    value: int = ABSENT
    created_ns: int = NONE
    error: str = ""
    conflict: bool = False

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK


class RecordingClient:
    """One logical client: it does one thing at a time. `fork` gives another on the same connection.

    No method raises for what the platform does: the Answer says it. Keys are names within a bucket.
    """

    def __init__(
        self, recorder: Recorder, connection: Connection, name: str, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.recorder = recorder
        self.connection = connection
        self.name = name
        self.index = recorder.client(name)
        self.timeout_s = timeout_s

    def fork(self, name: str) -> RecordingClient:
        return RecordingClient(self.recorder, self.connection, name, timeout_s=self.timeout_s)

    async def close(self) -> None:
        await self.connection.close()

    # writes ------------------------------------------------------------------------------------

    async def put(self, bucket: str, key: str, *, size: int = 64, ttl_s: int | None = None) -> Answer:
        """Write a new value, whatever was there."""
        headers = None if ttl_s is None else {"Nats-TTL": str(ttl_s)}
        return await self._put(Kind.PUT, bucket, key, size, headers, NONE)

    async def update(self, bucket: str, key: str, expected: int, *, size: int = 64) -> Answer:
        """Write a new value if the key's last revision is `expected`."""
        return await self._put(Kind.UPDATE, bucket, key, size, _expecting(expected), expected)

    async def create(self, bucket: str, key: str, *, size: int = 64, ttl_s: int | None = None) -> Answer:
        """Write a new value if the key does not exist: never written, deleted, purged or expired.

        A refused first attempt is looked into through the leader; if only a marker stands there, a
        second one expects the marker's revision (then recorded as `expected`). Without an answer to the
        look the create has failed, but it is no conflict: nothing says that the key existed.
        """
        recorder, value = self.recorder, self.recorder.new_value()
        data = encode(value, key, size)
        headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
        if ttl_s is not None:
            headers["Nats-TTL"] = str(ttl_s)
        started = recorder.begin(Kind.CREATE, self.index, recorder.key(bucket, key), value=value)
        answer = await self._send(started, bucket, key, data, headers)
        marker = NONE
        if answer.conflict:
            found = await self._last(bucket, key, started)
            if found.ok and found.value == ABSENT and found.revision != NONE:
                marker = found.revision
                headers["Nats-Expected-Last-Subject-Sequence"] = str(marker)
                answer = await self._send(started, bucket, key, data, headers)
            elif not found.ok and answer.error == outcomes.WRONG_LAST:
                answer = Answer(Outcome.FAILED, error=f"{found.error}, asking what refused a create")
        return self._done(started, answer, expected=marker)

    async def delete(self, bucket: str, key: str, expected: int | None = None) -> Answer:
        """Leave a delete marker; only if the last revision is `expected`, where that is given."""
        headers = {"KV-Operation": "DEL"}
        if expected is not None:
            headers |= _expecting(expected)
        return await self._marker(Kind.DELETE, bucket, key, headers, NONE if expected is None else expected)

    async def purge(self, bucket: str, key: str) -> Answer:
        """Leave a purge marker and remove all earlier revisions of the key."""
        return await self._marker(
            Kind.PURGE, bucket, key, {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}, NONE
        )

    async def _put(
        self, kind: Kind, bucket: str, key: str, size: int, headers: dict[str, str] | None, expected: int
    ) -> Answer:
        recorder = self.recorder
        value = recorder.new_value()
        data = encode(value, key, size)
        started = recorder.begin(kind, self.index, recorder.key(bucket, key), expected=expected, value=value)
        return self._done(started, await self._send(started, bucket, key, data, headers))

    async def _marker(
        self, kind: Kind, bucket: str, key: str, headers: dict[str, str], expected: int
    ) -> Answer:
        recorder = self.recorder
        # A marker is a write of its own, so it has its own identity though no read can show it.
        started = recorder.begin(
            kind, self.index, recorder.key(bucket, key), expected=expected, value=recorder.new_value()
        )
        return self._done(started, await self._send(started, bucket, key, b"", headers))

    async def _send(
        self, started: Started, bucket: str, key: str, data: bytes, headers: dict[str, str] | None
    ) -> Answer:
        """One attempt. Nothing is handed to nats-py while it is not connected: it would keep the write
        and send it after the reconnect, long after the caller gave up."""
        connection = self.connection
        if not connection.up and not await connection.ready(self.timeout_s):
            return Answer(Outcome.FAILED, error="not connected")
        try:
            message = await connection.nc.request(
                f"$KV.{bucket}.{key}", data, timeout=self.timeout_s, headers=headers
            )
        except nats.errors.NoRespondersError:
            return Answer(Outcome.FAILED, error="no responders")
        except _NEVER_SENT as problem:
            return Answer(Outcome.FAILED, error=f"not sent: {type(problem).__name__}")
        except (TimeoutError, nats.errors.Error, OSError) as problem:
            return Answer(Outcome.UNKNOWN, error=type(problem).__name__)
        except BaseException:  # cancelled: the write is on its way
            self._done(started, Answer(Outcome.UNKNOWN, error="cancelled"))
            raise
        return _acknowledgement(message.data, bucket)

    def _done(self, started: Started, answer: Answer, *, expected: int = NONE) -> Answer:
        recorder, error = self.recorder, answer.error
        recorder.complete(
            started,
            answer.outcome,
            server=self.connection.server,
            revision=answer.revision,
            error=recorder.error(error) if error else NONE,
            expected=None if expected == NONE else expected,
        )
        # not _replace: it costs five times as much, and every write of a load passes here
        return Answer(
            answer.outcome, answer.revision, started[4], answer.created_ns, answer.error, answer.conflict
        )

    # reads -------------------------------------------------------------------------------------

    async def get(self, bucket: str, key: str, *, kind: Kind = Kind.GET) -> Answer:
        """The last value, from the stream's leader."""
        recorder = self.recorder
        started = recorder.begin(kind, self.index, recorder.key(bucket, key))
        return self._found(started, await self._last(bucket, key, started))

    async def direct_get(self, bucket: str, key: str) -> Answer:
        """The last value as some replica has it; it may be stale."""
        recorder = self.recorder
        started = recorder.begin(Kind.DIRECT_GET, self.index, recorder.key(bucket, key))
        answer = await self._ask(f"$JS.API.DIRECT.GET.KV_{bucket}.$KV.{bucket}.{key}", b"", started)
        if isinstance(answer, Answer):
            return self._found(started, answer)
        headers = answer.headers or {}
        if status := headers.get("Status"):
            if status == "404":
                return self._found(started, Answer(Outcome.OK))
            text = f"{status} {headers.get('Description', '')}".strip()
            return self._found(started, Answer(Outcome.FAILED, error=text))
        found = Answer(
            Outcome.OK,
            int(headers["Nats-Sequence"]),
            value_of(answer.data, key, headers),
            timestamp_ns(headers.get("Nats-Time-Stamp")),
        )
        return self._found(started, found)

    async def _last(self, bucket: str, key: str, started: Started) -> Answer:
        body = b'{"last_by_subj":"$KV.%b.%b"}' % (bucket.encode(), key.encode())
        answer = await self._ask(f"$JS.API.STREAM.MSG.GET.KV_{bucket}", body, started)
        if isinstance(answer, Answer):
            return answer
        reply = orjson.loads(answer.data)
        if error := reply.get("error"):
            if error.get("err_code") == outcomes.NO_MESSAGE:
                return Answer(Outcome.OK)
            return Answer(Outcome.FAILED, error=outcomes.words(error))
        return stored(reply["message"], key)

    async def _ask(self, subject: str, body: bytes, started: Started) -> Any:
        """The answer message, or an Answer that says why there is none."""
        connection = self.connection
        if not connection.up and not await connection.ready(self.timeout_s):
            return Answer(Outcome.FAILED, error="not connected")
        try:
            return await connection.nc.request(subject, body, timeout=self.timeout_s)
        except nats.errors.NoRespondersError:
            return Answer(Outcome.FAILED, error="no responders")
        except (TimeoutError, nats.errors.Error, OSError) as problem:
            return Answer(Outcome.FAILED, error=type(problem).__name__)
        except BaseException:
            outcome = Outcome.UNKNOWN if started[0] == Kind.CREATE else Outcome.FAILED
            self._done(started, Answer(outcome, error="cancelled"))
            raise

    def _found(self, started: Started, answer: Answer) -> Answer:
        recorder, error = self.recorder, answer.error
        recorder.complete(
            started,
            answer.outcome,
            server=self.connection.server,
            revision=answer.revision,
            value=answer.value,
            created_ns=answer.created_ns,
            error=recorder.error(error) if error else NONE,
        )
        return answer

    # what is not KV ----------------------------------------------------------------------------

    async def api(self, subject: str, body: Any = None, *, timeout_s: float | None = None) -> dict[str, Any]:
        """One unrecorded JetStream API call (`STREAM.INFO.KV_x`); its decoded answer.

        Raises ClusterError where there is no answer or the answer is an error.
        """
        if not await self.connection.ready(self.timeout_s):
            raise ClusterError(f"{subject}: client {self.name} is not connected")
        data = b"" if body is None else orjson.dumps(body)
        try:
            message = await self.connection.nc.request(
                f"$JS.API.{subject}", data, timeout=timeout_s or self.timeout_s
            )
        except (TimeoutError, nats.errors.Error, OSError) as problem:
            raise ClusterError(f"{subject}: {type(problem).__name__}") from None
        reply: dict[str, Any] = orjson.loads(message.data)
        if error := reply.get("error"):
            raise ClusterError(f"{subject}: {outcomes.words(error)}")
        return reply


def stored(message: dict[str, Any], key: str) -> Answer:
    """A message of a STREAM.MSG.GET answer as what a read of `key` found."""
    headers = header_block(message.get("hdrs"))
    data = a2b_base64(message.get("data") or "")
    return Answer(
        Outcome.OK, int(message["seq"]), value_of(data, key, headers), timestamp_ns(message.get("time"))
    )


def _expecting(revision: int) -> dict[str, str]:
    return {"Nats-Expected-Last-Subject-Sequence": str(revision)}


def _acknowledgement(data: bytes, bucket: str) -> Answer:
    try:
        reply = orjson.loads(data)
        if error := reply.get("error"):
            conflict = error.get("err_code") in outcomes.CONFLICTS
            return Answer(outcomes.of_error(error), error=outcomes.words(error), conflict=conflict)
        if reply["stream"] == f"KV_{bucket}" and reply["seq"] > 0:
            return Answer(Outcome.OK, reply["seq"])
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        pass
    return Answer(Outcome.UNKNOWN, error="the answer is no acknowledgement of this bucket")
