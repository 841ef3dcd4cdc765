"""Reads and writes `history.jsonl`: a million operations in about a second, damage named by its line."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from natsproof.errors import HistoryError
from natsproof.history import (
    DTYPES,
    SCHEMA,
    History,
    Injection,
    Key,
    Kind,
    Observation,
    Operations,
    Outcome,
)

CHUNK_BYTES = 4 << 20
WIDTH = len(DTYPES)
_NUMBERS = b"0123456789-,[]\n"
_RECORDS = ("meta", "key", "client", "error", "fault", "mark", "observation", "end")


def read(path: Path) -> History:
    """The history of a trial, from `.jsonl` or `.jsonl.gz`.

    A missing or cut last line, or no `end` record, gives `complete=False`. Any other damage raises
    HistoryError with the line. Raises OSError if the file cannot be opened.
    """
    reading = _Reading(path)
    opener = gzip.open if path.suffix == ".gz" else open
    with cast(BufferedReader, opener(path, "rb")) as file:
        try:
            for first_line, lines, last in _chunks(file):
                reading.take(first_line, lines, last=last)
        except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
            if isinstance(problem, EOFError):
                reading.cut = True
            else:
                raise HistoryError(f"{path}: not readable as gzip: {problem}. Copy the file again.") from None
    return reading.history()


def write(history: History, path: Path) -> None:
    """Write `history` so that `read` gives it back; for tests and generated corpora."""
    opener = gzip.open if path.suffix == ".gz" else open
    with cast(IO[bytes], opener(path, "wb")) as file:
        for record, content in _records(history):
            file.write(_line(record, content))
        table = np.stack([getattr(history.operations, name).astype(np.int64) for name in DTYPES], axis=1)
        for start in range(0, len(table), 100_000):
            rows = orjson.dumps(table[start : start + 100_000].tolist())
            file.write(rows[1:-1].replace(b"],[", b"]\n[") + b"\n")
        if history.complete:
            counts = {
                "operations": len(table),
                "in_flight": 0,
                "keys": len(history.keys),
                "errors": len(history.errors),
            }
            file.write(_line("end", counts))


def _line(record: str, content: dict[str, Any]) -> bytes:
    return orjson.dumps({"record": record, **content}, option=orjson.OPT_NON_STR_KEYS) + b"\n"


def _records(history: History) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "meta", {"schema": SCHEMA, **history.meta}
    for index, key in enumerate(history.keys):
        yield "key", {"index": index, "bucket": key.bucket, "name": key.name}
    for index, text in enumerate(history.errors):
        yield "error", {"index": index, "text": text}
    for index, injection in enumerate(history.injections):
        yield "fault", {"index": index, **asdict(injection)}
    for name, at_ns in history.marks.items():
        yield "mark", {"name": name, "at_ns": at_ns}
    for observation in history.observations:
        yield "observation", asdict(observation)


def _chunks(file: BufferedReader) -> Iterator[tuple[int, list[bytes], bool]]:
    """(number of the first line, lines, whether the last of them is unfinished)."""
    number, rest = 1, b""
    while block := file.read1(CHUNK_BYTES):  # read() of a cut gzip gives nothing at all
        block = rest + block
        cut = block.rfind(b"\n") + 1
        rest = block[cut:]
        if cut:
            lines = block[: cut - 1].split(b"\n")
            yield number, lines, False
            number += len(lines)
    if rest:
        yield number, [rest], True


@dataclass
class _Reading:
    """What has been read so far of one file."""

    path: Path
    meta: dict[str, Any] = field(default_factory=dict)
    tables: list[NDArray[np.int64]] = field(default_factory=list)
    keys: dict[int, Key] = field(default_factory=dict)
    clients: dict[int, str] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    faults: dict[int, Injection] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    observations: list[Observation] = field(default_factory=list)
    end: dict[str, Any] | None = None
    cut: bool = False

    def take(self, first_line: int, lines: list[bytes], *, last: bool) -> None:
        """Read some lines; `last` says that they end the file without a newline."""
        rows = [line for line in lines if line[:1] == b"["]
        if len(rows) < len(lines):
            for number, line in enumerate(lines, first_line):
                if line[:1] != b"[":
                    self._take_record(number, line, unfinished=last)
        if rows:
            table = _table(rows)
            if table is not None:
                self.tables.append(table)
            elif last:
                self.cut = True
            else:
                raise self._bad_row(first_line, lines)

    def _bad_row(self, first_line: int, lines: list[bytes]) -> HistoryError:
        for number, line in enumerate(lines, first_line):
            if line[:1] == b"[" and _table([line]) is None:
                shown = line[:120].decode(errors="replace")
                return HistoryError(
                    f"{self.path}:{number}: not an operation: {shown}\n"
                    f"Expected {WIDTH} integers ({', '.join(DTYPES)}) within their ranges. "
                    "The file was changed after it was written; judge an intact copy."
                )
        return HistoryError(f"{self.path}:{first_line}: unreadable operations")

    def _take_record(self, number: int, line: bytes, *, unfinished: bool) -> None:
        try:
            content = orjson.loads(line)
            record = content.pop("record")
            self._keep(record, content)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as problem:
            if unfinished:
                self.cut = True
                return
            what = f"lacks {problem}" if isinstance(problem, KeyError) else str(problem)
            shown = line[:120].decode(errors="replace")
            raise HistoryError(
                f"{self.path}:{number}: not a record: {what}: {shown}\n"
                f"Expected an object whose `record` is one of {', '.join(_RECORDS)}."
            ) from None

    def _keep(self, record: str, content: dict[str, Any]) -> None:
        if self.end is not None:
            raise ValueError("it stands after the end record")
        match record:
            case "meta":
                self.meta.update(content)
            case "key":
                self.keys[content["index"]] = Key(content["bucket"], content["name"])
            case "client":
                self.clients[content["index"]] = content["name"]
            case "error":
                self.errors[content["index"]] = content["text"]
            case "fault":
                index = content.pop("index")
                self.faults[index] = _injection(content)
            case "mark":
                self.marks[content["name"]] = int(content["at_ns"])
            case "observation":
                self.observations.append(Observation(content["name"], int(content["at_ns"]), content["data"]))
            case "end":
                self.end = content
            case _:
                raise ValueError(f"unknown record {record!r}")

    def history(self) -> History:
        schema = self.meta.get("schema")
        if schema != SCHEMA:
            raise HistoryError(
                f"{self.path}: schema is {schema!r}, this natsproof reads {SCHEMA!r}. "
                "Use the natsproof that wrote it, or check that it is a history file."
            )
        table = np.concatenate(self.tables) if self.tables else np.empty((0, WIDTH), dtype=np.int64)
        operations = Operations(*(table[:, i].astype(t) for i, t in enumerate(DTYPES.values())))
        if self.clients:
            self.meta["clients"] = _in_order(self.path, "client", self.clients)
        keys = _in_order(self.path, "key", self.keys)
        errors = _in_order(self.path, "error", self.errors)
        if self.end is not None:
            self._compare("operations", len(operations))
            self._compare("keys", len(keys))
            self._compare("errors", len(errors))
            if self.end.get("reason"):
                self.meta["ended_by"] = self.end["reason"]
        return History(
            meta=self.meta,
            operations=operations,
            keys=tuple(keys),
            errors=tuple(errors),
            injections=tuple(_in_order(self.path, "fault", self.faults)),
            marks=self.marks,
            observations=tuple(self.observations),
            complete=self.end is not None and not self.cut and not self.end.get("reason"),
        )

    def _compare(self, what: str, found: int) -> None:
        assert self.end is not None
        if self.end.get(what, found) != found:
            raise HistoryError(
                f"{self.path}: its end record counts {self.end[what]} {what}, the file has {found}. "
                "Lines were lost or added; judge an intact copy."
            )


def _in_order(path: Path, what: str, by_index: dict[int, Any]) -> list[Any]:
    if sorted(by_index) != list(range(len(by_index))):
        missing = next(i for i in range(len(by_index) + 1) if i not in by_index)
        raise HistoryError(f"{path}: the {what} record of index {missing} is missing; judge an intact copy.")
    return [by_index[i] for i in range(len(by_index))]


def _injection(content: dict[str, Any]) -> Injection:
    known = {f.name for f in fields(Injection)}
    if unknown := set(content) - known:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    return Injection(**{**content, "targets": tuple(content["targets"])})


_LOW = np.array([np.iinfo(t).min for t in DTYPES.values()])
_HIGH = np.array([np.iinfo(t).max for t in DTYPES.values()])
_LOW[list(DTYPES).index("kind")], _HIGH[list(DTYPES).index("kind")] = 0, max(Kind)
_LOW[list(DTYPES).index("outcome")], _HIGH[list(DTYPES).index("outcome")] = 0, max(Outcome)


def _table(lines: list[bytes]) -> NDArray[np.int64] | None:
    """n lines as an (n, 12) array, or None if any of them is not an operation.

    All lines become one flat JSON list: a list a line would cost three times as long. That is sound
    because each line is one bracket pair around eleven commas.
    """
    n, text = len(lines), b"\n".join(lines)
    if text.translate(None, _NUMBERS) or text.count(b"[") != n or text.count(b"]") != n:
        return None  # floats, strings, null and blanks never reach numpy, which would convert them
    letters = np.frombuffer(text, dtype=np.uint8)
    ends = np.append(np.flatnonzero(letters == ord("\n")), len(letters))
    if (letters[ends - 1] != ord("]")).any():
        return None
    starts = np.append(0, ends[:-1] + 1)
    commas = np.searchsorted(np.flatnonzero(letters == ord(",")), np.append(starts, len(letters)))
    if (np.diff(commas) != WIDTH - 1).any():
        return None
    try:
        flat = orjson.loads(b"[" + text.replace(b"]\n[", b",")[1:-1] + b"]")
        table = np.array(flat, dtype=np.int64).reshape(n, WIDTH)
    except (ValueError, OverflowError):
        return None
    if (table.min(axis=0) < _LOW).any() or (table.max(axis=0) > _HIGH).any():
        return None
    return table
