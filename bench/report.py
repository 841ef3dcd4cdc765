"""The report of a run with 1,000,000 operations: seconds to build, size of the page, seconds to rejudge."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np

from natsproof.history import NONE, History, Injection, Key, Kind, Operations, Outcome
from natsproof.history_file import read, write
from natsproof.report.build import build
from natsproof.report.record import COMPLETE, Claim, Shown
from natsproof.report.run_folder import create
from natsproof.verdict import Status

OPERATIONS = 1_000_000
CLIENTS = 64


def history() -> History:
    """An hour of 64 clients, a kill every minute, one read in a thousand of unknown outcome."""
    rng = np.random.default_rng(42)
    call = np.sort(rng.integers(0, 3600 * 10**9, OPERATIONS))
    took = (rng.lognormal(0.8, 0.7, OPERATIONS) * 1e6).astype(np.int64)
    n = np.arange(OPERATIONS)
    none = np.full(OPERATIONS, NONE)
    operations = Operations(
        kind=np.where(n % 3, Kind.PUT, Kind.GET).astype(np.int8),
        client=(n % CLIENTS).astype(np.int32),
        server=none.astype(np.int16),
        key=(n % 1000).astype(np.int32),
        call_ns=call,
        return_ns=call + took,
        outcome=np.where(n % 1000, Outcome.OK, Outcome.UNKNOWN).astype(np.int8),
        revision=n + 1,
        expected=none,
        value=n,
        created_ns=none,
        error=none.astype(np.int16),
    )
    kills = tuple(
        Injection(
            "Kill(victim='leader')", ("nats-platform-0",), "leader", at, at, at + 10**10, True, "pid gone"
        )
        for at in range(60 * 10**9, 3600 * 10**9, 60 * 10**9)
    )
    meta = {"began_ns": 0, "clients": [f"writer {i}" for i in range(CLIENTS)], "servers": []}
    keys = tuple(Key("message_state", f"k{i}") for i in range(1000))
    return History(meta, operations, keys, injections=kills, marks={"drive": 1})


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = create(Path(place), "embedded", 42)
        folder.start({"seed": 42, "cluster": "embedded"})
        trial = folder.trial_folder("big")
        trial.mkdir()
        (trial / "trial.json").write_text(json.dumps({"name": "big", "digest": "", "state": "complete"}))
        write(history(), trial / "history.jsonl")
        folder.add_claim(
            Claim(
                "test_big",
                "suites/test_big.py::test_big",
                "No acknowledged put is lost.",
                Status.BROKEN,
                "1 put was lost",
                evidence={"acknowledged": OPERATIONS},
                exhibits=(Shown("the put", trial="big", at_s=1800.0),),
                trials=("big",),
            )
        )
        folder.finish(COMPLETE)
        began = time.perf_counter()
        build(folder, folder.read())
        took_s = time.perf_counter() - began
        size = (folder.path / "report.html").stat().st_size
        print(f"report of 1,000,000 operations: {took_s:.2f} s, {size / 1e6:.2f} MB")
        began = time.perf_counter()
        read(trial / "history.jsonl")
        print(f"history read again: {time.perf_counter() - began:.2f} s")
        rejudge(trial)


def rejudge(trial: Path) -> None:
    """What --rejudge does for one claim: read the history, judge it."""
    from natsproof.checkers.durability import no_acknowledged_put_is_lost

    began = time.perf_counter()
    no_acknowledged_put_is_lost(read(trial / "history.jsonl"))
    print(f"rejudge of 1,000,000 operations: {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
