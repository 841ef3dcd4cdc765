"""Makes the histories of load processes part of a trial's history: one file for the judges."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from natsproof.history import DTYPES, NONE
from natsproof.history_file import read
from natsproof.recorder import Recorder

ROWS_AT_ONCE = 50_000


def absorb(recorder: Recorder, path: Path) -> int:
    """Add the operations of `path`; clients, keys and errors get this recorder's indices.

    Answers how many. Raises HistoryError if the file is damaged; one without an end is taken as it is.
    """
    history = read(path)
    ops = history.operations
    clients = [recorder.client(name) for name in history.meta.get("clients", [])]
    keys = [recorder.key(key.bucket, key.name) for key in history.keys]
    errors = [recorder.error(text) for text in history.errors]
    columns = {name: getattr(ops, name).astype(np.int64) for name in DTYPES}
    columns["client"] = np.array(clients, dtype=np.int64)[columns["client"]] if clients else columns["client"]
    columns["key"] = np.array(keys, dtype=np.int64)[columns["key"]] if keys else columns["key"]
    columns["error"] = np.array([*errors, NONE], dtype=np.int64)[columns["error"]]  # NONE is the last
    table = np.stack(list(columns.values()), axis=1)
    for start in range(0, len(table), ROWS_AT_ONCE):
        recorder.absorb(map(tuple, table[start : start + ROWS_AT_ONCE].tolist()))
    for observation in history.observations:
        recorder.observe(observation.name, observation.data, at_ns=observation.at_ns)
    return len(table)
