"""A history comes back as it was written; damage is found and named; what was in flight is UNKNOWN."""

from __future__ import annotations

import gzip
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natsproof.errors import HistoryError
from natsproof.history import (
    DTYPES,
    NEVER_NS,
    SCHEMA,
    History,
    Injection,
    Key,
    Kind,
    Observation,
    Operations,
    Outcome,
)
from natsproof.history_file import read, write
from natsproof.recorder import Recorder

RANGES = {name: (int(np.iinfo(t).min), int(np.iinfo(t).max)) for name, t in DTYPES.items()}
RANGES |= {"kind": (0, max(Kind)), "outcome": (0, max(Outcome))}
ROWS = st.lists(st.tuples(*(st.integers(low, high) for low, high in RANGES.values())), max_size=12)
TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
TIMES = st.integers(0, 2**62)
INJECTIONS = st.builds(
    Injection,
    *(TEXT, st.lists(TEXT, max_size=3).map(tuple), TEXT, TIMES, TIMES, st.none() | TIMES),
    *(st.booleans(), TEXT, TEXT, st.none() | TIMES),
)
HISTORIES = st.builds(
    History,
    meta=st.dictionaries(st.sampled_from(["trial", "seed", "servers"]), JSON).map(
        lambda m: {"schema": SCHEMA, **m}
    ),
    operations=ROWS.map(Operations.from_rows),
    keys=st.lists(st.builds(Key, TEXT, TEXT), max_size=4).map(tuple),
    errors=st.lists(TEXT, max_size=3).map(tuple),
    injections=st.lists(INJECTIONS, max_size=3).map(tuple),
    marks=st.dictionaries(TEXT, TIMES, max_size=3),
    observations=st.lists(st.builds(Observation, TEXT, TIMES, JSON), max_size=3).map(tuple),
    complete=st.booleans(),
)
NO_ROWS: list[tuple[int, ...]] = []
ONE_ROW = (0, 0, 0, 0, 1, 2, 0, 1, -1, 7, -1, -1)


def as_data(history: History) -> dict[str, Any]:
    data = {f.name: getattr(history, f.name) for f in fields(History)}
    data["operations"] = {name: getattr(history.operations, name).tolist() for name in DTYPES}
    return {**data, "types": [getattr(history.operations, name).dtype for name in DTYPES]}


def history_of(*rows: tuple[int, ...], complete: bool = True) -> History:
    return History({"schema": SCHEMA}, Operations.from_rows(rows), (Key("b", "k"),), complete=complete)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=HISTORIES, suffix=st.sampled_from([".jsonl", ".jsonl.gz"]))
def test_what_is_written_is_read(tmp_path: Path, history: History, suffix: str) -> None:
    path = tmp_path / f"history{suffix}"
    write(history, path)
    assert as_data(read(path)) == as_data(history)


def test_operations_are_told_apart_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("natsproof.history_file.CHUNK_BYTES", 64)
    history = history_of(*((*ONE_ROW[:9], n, -1, -1) for n in range(50)))
    write(history, tmp_path / "h.jsonl")
    assert read(tmp_path / "h.jsonl").operations.value.tolist() == list(range(50))


@pytest.mark.parametrize("lost", range(1, 30))
def test_a_cut_end_is_incomplete_not_damaged(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "h.jsonl"
    write(history_of(ONE_ROW, ONE_ROW, complete=False), path)
    whole = path.read_text()
    operation = whole.splitlines()[-1]
    path.write_text(whole[:-lost])
    found = read(path)
    assert not found.complete
    assert len(found.operations) == whole[:-lost].split("\n").count(operation)


def test_without_an_end_record_it_is_incomplete(tmp_path: Path) -> None:
    write(history_of(ONE_ROW, complete=False), tmp_path / "h.jsonl")
    assert not read(tmp_path / "h.jsonl").complete


@pytest.mark.parametrize(
    "line",
    [
        "[0,0,0,0,1,2,0,1,-1,7,-1]",
        "[0,0,0,0,1,2,0,1,-1,7,-1,-1,-1]",
        "[0,0,0,0,1.5,2,0,1,-1,7,-1,-1]",
        "[0,0,0,0,true,2,0,1,-1,7,-1,-1]",
        "[0,0,0,0,1,2,0,1,-1,[7],-1,-1]",
        "[0,0,0,0,1,2,0,1,-1,9223372036854775808,-1,-1]",
        "[99,0,0,0,1,2,0,1,-1,7,-1,-1]",
        "[0,0,0,0,1,2,3,1,-1,7,-1,-1]",
        "[0,0,70000,0,1,2,0,1,-1,7,-1,-1]",
        "[0,0,0,0,1,2,0,1,-1,7,-1,-1",
        '{"record":"omen"}',
        '{"record":"mark","name":"x"}',
        "nonsense",
        "",
    ],
)
def test_damage_inside_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "h.jsonl"
    write(history_of(ONE_ROW, ONE_ROW, ONE_ROW), path)
    lines = path.read_text().splitlines()
    lines[3] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(HistoryError, match=r"h\.jsonl:4: "):
        read(path)


def test_rows_that_add_up_over_two_lines_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    write(history_of(ONE_ROW, ONE_ROW), path)
    whole = path.read_text()
    path.write_text(whole.replace("-1,-1]\n[0,0,", "-1]\n[-1,0,0,", 1))
    with pytest.raises(HistoryError, match=r":3: not an operation"):
        read(path)


def test_a_lost_line_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    write(history_of(ONE_ROW, ONE_ROW), path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], *lines[3:]]) + "\n")
    with pytest.raises(HistoryError, match="counts 2 operations, the file has 1"):
        read(path)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    write(History({"schema": "natsproof.history/99"}, Operations.empty()), tmp_path / "h.jsonl")
    with pytest.raises(HistoryError, match="history/99"):
        read(tmp_path / "h.jsonl")


def test_a_spoilt_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl.gz"
    path.write_bytes(b"not gzip at all")
    with pytest.raises(HistoryError, match="gzip"):
        read(path)


def test_a_cut_gzip_is_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl.gz"
    history = history_of(*((*ONE_ROW[:9], n, -1, -1) for n in range(5000)))
    write(history, path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 9])
    assert not read(path).complete
    with gzip.open(path, "rb") as file, pytest.raises(EOFError):
        file.read()


def test_what_is_in_flight_at_the_end_is_unknown(tmp_path: Path) -> None:
    with Recorder(tmp_path / "h.jsonl", {"seed": 1}) as recorder:
        client, key = recorder.client("writer"), recorder.key("b", "k")
        done = recorder.begin(Kind.PUT, client, key, value=recorder.new_value())
        recorder.begin(Kind.PUT, client, key, value=recorder.new_value())
        recorder.complete(done, Outcome.OK, revision=1)
    history = read(tmp_path / "h.jsonl")
    assert history.complete
    assert history.operations.outcome.tolist() == [Outcome.OK, Outcome.UNKNOWN]
    assert history.operations.return_ns[1] == NEVER_NS
    assert history.operations.value.tolist() == [0, 1]
    assert history.meta["clients"] == ["writer"]
    assert history.keys == (Key("b", "k"),)


def test_an_exception_leaves_an_incomplete_history_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Recorder(tmp_path / "h.jsonl", {}) as recorder:
        recorder.mark("drive")
        raise KeyboardInterrupt
    history = read(tmp_path / "h.jsonl")
    assert not history.complete
    assert history.meta["ended_by"].startswith("KeyboardInterrupt")
    assert "drive" in history.marks


def test_a_mark_puts_everything_before_it_on_its_way_to_disk(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "h.jsonl", {})
    recorder.event(Kind.WATCH_PUT, recorder.client("w"), recorder.key("b", "k"), revision=5, value=3)
    recorder.mark("here")
    seen = read(tmp_path / "h.jsonl")  # the recorder is still open
    recorder.close()
    assert not seen.complete
    assert seen.operations.revision.tolist() == [5]


def test_a_fault_is_told_again_when_it_is_healed(tmp_path: Path) -> None:
    first = Injection("Kill()", ("nats-0",), "leader", 1, 2, None, True, "port refused")
    with Recorder(tmp_path / "h.jsonl", {}) as recorder:
        index = recorder.injection(first)
        recorder.injection(Injection("Pause()", ("nats-1",), "follower", 3, 4, None, False, ""))
        recorder.injection(Injection("Kill()", ("nats-0",), "leader", 1, 2, 9, True, "port refused"), index)
    assert [it.healed_ns for it in read(tmp_path / "h.jsonl").injections] == [9, None]


def test_no_operation_is_lost_between_threads(tmp_path: Path) -> None:
    with Recorder(tmp_path / "h.jsonl", {}) as recorder:

        def work(name: str) -> None:
            client = recorder.client(name)
            for number in range(2000):
                key = recorder.key("b", f"k{number % 7}")
                started = recorder.begin(Kind.PUT, client, key, value=recorder.new_value())
                recorder.complete(started, Outcome.OK, error=recorder.error(f"e{number % 3}"))
                if number % 50 == 0:
                    recorder.flush()

        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    history = read(tmp_path / "h.jsonl")
    assert sorted(history.operations.value.tolist()) == list(range(8000))
    assert len(history.keys) == 7 and len(history.errors) == 3
    assert np.bincount(history.operations.client).tolist() == [2000] * 4
