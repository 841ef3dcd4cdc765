"""A history as a picture: clients as rows, faults as bands, latency below.

What is drawn is thinned for the eye: counts per column for every operation, and a sample of single ones.
Verdicts never rest on it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natsproof.history import NEVER_NS, History, Kind, Operations, Outcome

COLUMNS = 480
#: Rows at most; more clients share rows.
MAX_ROWS = 24
#: Single operations per picture, and how many of them may be failed or unknown ones.
SAMPLE, SAMPLE_BAD = 1600, 600

Numbers = NDArray[np.int64]


def timeline(history: History, sample: int = SAMPLE, columns: int = COLUMNS) -> dict[str, Any]:
    """JSON-able: seconds from the trial's start, microseconds for latencies, base64 bytes for lanes."""
    ops = history.operations
    ops = ops.where(ops.kind != Kind.REPLICA_ROW)
    began_ns = int(history.meta.get("began_ns", 0))
    end_ns = _end_ns(history, ops, began_ns)
    span_ns = max(1, end_ns - began_ns)
    call = ops.call_ns - began_ns
    back = np.where(ops.return_ns == NEVER_NS, end_ns, ops.return_ns) - began_ns
    seen = np.where(ops.return_ns == NEVER_NS, call, back)  # what never returned is drawn where it began
    column = np.clip(seen * columns // span_ns, 0, columns - 1)
    rows, names = _rows(history, ops)
    return {
        "span_s": round(span_ns / 1e9, 6),
        "columns": columns,
        "rows": names,
        "lanes": {
            outcome.name.lower(): _lane(rows[where], column[where], len(names), columns)
            for outcome in Outcome
            if (where := ops.outcome == outcome).any()
        },
        "latency_us": _latency(ops, call, back, column, columns),
        "sample": _sample(ops, rows, call, back, sample),
        "sampled": min(1.0, round(sample / max(1, len(ops)), 6)),
        "faults": faults(history),
        "marks": [
            {"name": name, "at_s": round(history.since_start_s(at_ns), 6)}
            for name, at_ns in sorted(history.marks.items(), key=lambda item: item[1])
        ],
        "summary": summary(history, ops, call, back),
    }


def _end_ns(history: History, ops: Operations, began_ns: int) -> int:
    moments = [began_ns + 1, *history.marks.values()]
    moments += [i.healed_ns or i.injected_ns for i in history.injections]
    if len(ops):
        moments.append(int(ops.call_ns.max()))
        returned = ops.return_ns[ops.return_ns != NEVER_NS]
        moments += [int(returned.max())] if len(returned) else []
    return max(moments)


def _rows(history: History, ops: Operations) -> tuple[Numbers, list[str]]:
    """Each operation's row, and the rows' names: a client each. Where they are too many, clients that
    differ only in their number share rows, the most numerous kind last."""
    used = [int(client) for client in np.unique(ops.client)] if len(ops) else []
    known = history.meta.get("clients") or ()
    names = {client: _client_name(known, client) for client in used}
    groups = [[client] for client in used]
    kinds: dict[str, list[int]] = {}
    for client in used:
        kinds.setdefault(re.sub(r"[\d ]+$", "", names[client]), []).append(client)
    for kind in sorted(kinds.values(), key=_idleness(ops), reverse=True):
        if len(groups) <= MAX_ROWS:
            break
        groups = [group for group in groups if group[0] not in kind] + [kind]
    per_row = -(-len(groups) // MAX_ROWS) or 1
    merged = [list(chain(*groups[i : i + per_row])) for i in range(0, len(groups), per_row)]
    row_of = np.zeros(max(used, default=0) + 1, dtype=np.int64)
    for row, group in enumerate(merged):
        row_of[group] = row
    labels = [names[g[0]] if len(g) == 1 else f"{names[g[0]]} … ({len(g)})" for g in merged]
    return row_of[ops.client], labels


def _idleness(ops: Operations) -> Callable[[list[int]], float]:
    """How little a kind of client has done, per client: the idlest are put together first."""
    done = np.bincount(ops.client, minlength=1)
    return lambda kind: -float(done[kind].sum()) / len(kind)


def _client_name(known: Any, client: int) -> str:
    if isinstance(known, dict):
        return str(known.get(client, known.get(str(client), f"client {client}")))
    return str(known[client]) if 0 <= client < len(known) else f"client {client}"


def _lane(rows: Numbers, column: Numbers, height: int, columns: int) -> str:
    """Counts per row and column, 255 at most, as bytes in base64."""
    counts = np.bincount(rows * columns + column, minlength=height * columns)
    return base64.b64encode(np.minimum(counts, 255).astype(np.uint8).tobytes()).decode()


def _latency(
    ops: Operations, call: Numbers, back: Numbers, column: Numbers, columns: int
) -> dict[str, list[int]]:
    """Median, 99th percentile and maximum per column of acknowledged operations; -1 where there is none."""
    good = (ops.outcome == Outcome.OK) & (ops.kind != Kind.HELD) & (ops.kind < Kind.WATCH_START)
    good |= (ops.outcome == Outcome.OK) & (ops.kind == Kind.FINAL_GET)
    where, took = column[good], (back - call)[good] // 1000
    order = np.lexsort((took, where))
    where, took = where[order], took[order]
    starts = np.searchsorted(where, np.arange(columns + 1))
    size = np.diff(starts)
    found = {}
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        index = starts[:-1] + np.maximum(0, np.ceil(size * share).astype(np.int64) - 1)
        values = np.full(columns, -1, dtype=np.int64)
        values[size > 0] = took[index[size > 0]]
        found[name] = values.tolist()
    return found


def _silences(history: History, keys: Numbers, back: Numbers) -> list[dict[str, Any]]:
    """The longest time without an acknowledgement of each bucket, longest first: one bucket's leader may be
    gone while the others go on."""
    buckets = np.array([*(key.bucket for key in history.keys), ""])
    of = buckets[np.clip(keys, -1, len(history.keys))]
    found = []
    for bucket in np.unique(of):
        moments = np.sort(back[of == bucket])
        gaps = np.diff(moments)
        if bucket and len(gaps):
            widest = int(gaps.argmax())
            longest_s, from_s = round(float(gaps[widest]) / 1e9, 3), round(float(moments[widest]) / 1e9, 3)
            found.append({"bucket": str(bucket), "longest_s": longest_s, "from_s": from_s})
    return sorted(found, key=lambda entry: -float(entry["longest_s"]))


def _sample(ops: Operations, rows: Numbers, call: Numbers, back: Numbers, limit: int) -> list[list[int]]:
    """[row, kind, outcome, call, duration] in microseconds; failed and unknown ones before others."""
    if len(ops) <= limit:
        chosen = np.arange(len(ops))
    else:
        bad = np.flatnonzero(ops.outcome != Outcome.OK)
        good = np.flatnonzero(ops.outcome == Outcome.OK)
        bad = _evenly(bad, min(SAMPLE_BAD, limit // 2))
        chosen = np.sort(np.concatenate([bad, _evenly(good, limit - len(bad))]))
    table = np.stack(
        [
            rows[chosen],
            ops.kind[chosen],
            ops.outcome[chosen],
            call[chosen] // 1000,
            (back - call)[chosen] // 1000,
        ],
        axis=1,
    )
    return [[int(number) for number in row] for row in table.tolist()]


def _evenly(indices: Numbers, count: int) -> Numbers:
    if len(indices) <= count:
        return indices
    return indices[np.linspace(0, len(indices) - 1, count).astype(np.int64)]


def faults(history: History) -> list[dict[str, Any]]:
    """The fault journal, in seconds from the trial's start."""
    return [
        {
            "fault": i.fault,
            "targets": list(i.targets),
            "role": i.role,
            "injected_s": round(history.since_start_s(i.injected_ns), 3),
            "healed_s": None if i.healed_ns is None else round(history.since_start_s(i.healed_ns), 3),
            "landed": i.landed,
            "witness": i.witness or i.error,
        }
        for i in history.injections
    ]


def summary(history: History, ops: Operations, call: Numbers, back: Numbers) -> dict[str, Any]:
    """The picture in words and numbers, for those who do not see it."""
    counts = {outcome.name.lower(): int((ops.outcome == outcome).sum()) for outcome in Outcome}
    good = (ops.outcome == Outcome.OK) & (ops.kind < Kind.WATCH_START)
    took = (back - call)[good]
    text: dict[str, Any] = {"operations": len(ops), **counts, "clients": len(np.unique(ops.client))}
    if len(took):
        p50, p99 = (float(v) / 1e6 for v in np.percentile(took, [50, 99]))
        text |= {
            "p50_ms": round(p50, 3),
            "p99_ms": round(p99, 3),
            "max_ms": round(float(took.max()) / 1e6, 3),
        }
        text["silences"] = _silences(history, ops.key[good], back[good])
    text["kinds"] = {
        Kind(kind).name.lower(): int(number)
        for kind, number in zip(*np.unique(ops.kind, return_counts=True), strict=True)
    }
    return text
