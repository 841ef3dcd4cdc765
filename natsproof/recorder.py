"""Writes a history while it happens: cheap enough for the hot loop, whole up to the last half second.

The hot path appends one tuple to a list; a thread turns the list into lines twice a second. An append
and a slice deletion are each atomic, so clients, the fault threads and the writing thread need no lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from natsproof.clock import now_ns, wall_ns
from natsproof.history import ABSENT, NEVER_NS, NONE, SCHEMA, Injection, Kind, Outcome

FLUSH_EVERY_S = 0.5

#: What `begin` returns and `complete` wants: kind, client, key, expected, value, call_ns.
Started = tuple[int, int, int, int, int, int]


class Recorder:
    """Appends operations and records to `path` (`history.jsonl`); see natsproof.history for the format.

    `meta` is completed with `schema`, `began_ns` and `began_wall_ns`. Names of clients may be added
    while it runs. `close` writes what is still in flight as UNKNOWN and the `end` record; a file without
    one was interrupted. All methods may be called from any thread.
    """

    def __init__(self, path: Path, meta: Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.meta: dict[str, Any] = {
            "schema": SCHEMA,
            "began_ns": now_ns(),
            "began_wall_ns": wall_ns(),
            "servers": [],
            **meta,
        }
        self._rows: list[tuple[int, ...]] = []
        self._records: list[bytes] = []
        self._open: dict[int, Started] = {}
        self._names = threading.Lock()
        self._writing = threading.Lock()
        self._clients: list[str] = []
        self._keys: dict[tuple[str, str], int] = {}
        self._errors: dict[str, int] = {}
        self._puts: dict[int, int] = {}  # acknowledged, by key
        self._values = count()
        self._written = 0
        self._injections: list[Injection] = []
        self._marks: dict[str, int] = {}
        self._closed = threading.Event()
        self._file = path.open("wb")
        self._record("meta", self.meta)
        self.flush()
        self._thread = threading.Thread(target=self._keep_flushing, name="recorder", daemon=True)
        self._thread.start()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close("" if error is None else f"{type(error).__name__}: {error}")

    # names -------------------------------------------------------------------------------------

    def client(self, name: str) -> int:
        """A new client's index. One client does one thing at a time."""
        with self._names:
            index = len(self._clients)
            self._clients.append(name)
            self._record("client", {"index": index, "name": name})
        return index

    def key(self, bucket: str, name: str) -> int:
        """The index of a key, new or known."""
        index = self._keys.get((bucket, name))
        if index is None:
            with self._names:
                index = self._keys.setdefault((bucket, name), len(self._keys))
                if index == len(self._keys) - 1:
                    self._record("key", {"index": index, "bucket": bucket, "name": name})
        return index

    def known_keys(self) -> list[tuple[str, str]]:
        """(bucket, name) of all keys so far."""
        return list(self._keys)

    def error(self, text: str) -> int:
        """The index of an error's text."""
        index = self._errors.get(text)
        if index is None:
            with self._names:
                index = self._errors.setdefault(text, len(self._errors))
                if index == len(self._errors) - 1:
                    self._record("error", {"index": index, "text": text})
        return index

    def new_value(self) -> int:
        """A write's identity, unique in this history, from 0."""
        return next(self._values)

    # operations --------------------------------------------------------------------------------

    def begin(
        self, kind: int, client: int, key: int, *, expected: int = NONE, value: int = ABSENT
    ) -> Started:
        """An operation is about to be sent. Until `complete` it is in flight."""
        started = (kind, client, key, expected, value, now_ns())
        self._open[id(started)] = started
        return started

    def complete(
        self,
        started: Started,
        outcome: int,
        *,
        server: int = NONE,
        revision: int = NONE,
        value: int | None = None,
        created_ns: int = NONE,
        error: int = NONE,
        expected: int | None = None,
    ) -> None:
        """Its answer came, or will not come (UNKNOWN: `return_ns` becomes NEVER_NS).

        `value` is what a read found; a write keeps its own.
        """
        returned_ns = now_ns() if outcome != Outcome.UNKNOWN else NEVER_NS
        kind, client, key, planned, own, call_ns = started
        self._rows.append(
            (
                kind,
                client,
                server,
                key,
                call_ns,
                returned_ns,
                outcome,
                revision,
                planned if expected is None else expected,
                own if value is None else value,
                created_ns,
                error,
            )
        )
        self._open.pop(id(started), None)
        if outcome == Outcome.OK and kind <= Kind.UPDATE:
            self._puts[key] = self._puts.get(key, 0) + 1

    def acknowledged_puts(self) -> dict[str, int]:
        """Acknowledged puts, creates and updates so far, by bucket."""
        counts: dict[str, int] = {}
        for (bucket, _), index in list(self._keys.items()):
            counts[bucket] = counts.get(bucket, 0) + self._puts.get(index, 0)
        return counts

    def short_of(self, wanted: Mapping[str, int], since: Mapping[str, int]) -> list[str]:
        """The buckets that have not `wanted` more acknowledged puts than `since`."""
        now = self.acknowledged_puts()
        return [b for b, number in wanted.items() if now.get(b, 0) - since.get(b, 0) < number]

    def event(
        self,
        kind: Kind,
        client: int,
        key: int,
        *,
        server: int = NONE,
        revision: int = NONE,
        expected: int = NONE,
        value: int = ABSENT,
        created_ns: int = NONE,
        call_ns: int | None = None,
        return_ns: int | None = None,
    ) -> None:
        """Something that only happened to the client: a watch event, a replica's row, a lock held."""
        returned_ns = now_ns() if return_ns is None else return_ns
        called_ns = returned_ns if call_ns is None else call_ns
        self._rows.append(
            (
                int(kind),
                client,
                server,
                key,
                called_ns,
                returned_ns,
                int(Outcome.OK),
                revision,
                expected,
                value,
                created_ns,
                NONE,
            )
        )

    def absorb(self, rows: Iterable[tuple[int, ...]]) -> None:
        """Take over operations that another process recorded on this host, fields as in the file.

        Their client, key and error must be indices of this recorder, their values unique here.
        """
        self._rows.extend(rows)

    # records -----------------------------------------------------------------------------------

    def mark(self, name: str) -> int:
        """Note a moment; everything so far is on its way to disk when this returns."""
        at_ns = now_ns()
        self._marks[name] = at_ns
        self._record("mark", {"name": name, "at_ns": at_ns})
        self.flush()
        return at_ns

    @property
    def marks(self) -> Mapping[str, int]:
        return dict(self._marks)

    def observe(self, name: str, data: Any, *, at_ns: int | None = None) -> None:
        """Note a fact about the platform; `data` must be JSON-able."""
        self._record(
            "observation", {"name": name, "at_ns": now_ns() if at_ns is None else at_ns, "data": data}
        )

    def injection(self, injection: Injection, index: int | None = None) -> int:
        """Write a fault down; again with its index once it is healed (the last word counts)."""
        with self._names:
            if index is None:
                index = len(self._injections)
                self._injections.append(injection)
            else:
                self._injections[index] = injection
        self._record("fault", {"index": index, **asdict(injection)})
        return index

    def fault_spans(self) -> list[tuple[int, int | None]]:
        """(injected, healed or None) in ns of each fault that landed, in order of injection."""
        with self._names:
            return sorted((i.injected_ns, i.healed_ns) for i in self._injections if i.landed)

    def amend(self, **meta: Any) -> None:
        """Add to the meta record what was not known at the beginning."""
        self.meta.update(meta)
        self._record("meta", meta)

    # the file ----------------------------------------------------------------------------------

    @property
    def operations(self) -> int:
        """Operations completed so far."""
        return self._written + len(self._rows)

    def flush(self) -> None:
        """Hand all that is buffered to the operating system."""
        with self._writing:
            self._write_out()

    def close(self, reason: str = "") -> None:
        """Write the rest and the `end` record, with `reason` if the trial did not end by itself."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._thread.join(timeout=5)
        open_ones = list(self._open.values())
        for started in open_ones:
            self.complete(started, Outcome.UNKNOWN)
        with self._writing:
            self._write_out()
            self._record(
                "end",
                {
                    "operations": self._written,
                    "in_flight": len(open_ones),
                    "keys": len(self._keys),
                    "errors": len(self._errors),
                    "at_ns": now_ns(),
                    "reason": reason,
                },
            )
            self._write_out()
            self._file.close()

    def _record(self, record: str, content: Mapping[str, Any]) -> None:
        self._records.append(orjson.dumps({"record": record, **content}, option=orjson.OPT_NON_STR_KEYS))

    def _write_out(self) -> None:
        """Rows are cut before the records, and written after them: no row precedes its key's record."""
        rows = self._rows[:]
        del self._rows[: len(rows)]
        records = self._records[:]
        del self._records[: len(records)]
        if self._file.closed:
            return
        if records:
            self._file.write(b"\n".join(records) + b"\n")
        if rows:
            self._written += len(rows)
            # All integers: one call and one replacement make a line of each.
            self._file.write(orjson.dumps(rows)[1:-1].replace(b"],[", b"]\n[") + b"\n")
        self._file.flush()

    def _keep_flushing(self) -> None:
        while not self._closed.wait(FLUSH_EVERY_S):
            self.flush()
