"""Each key is a linearizable register: every operation takes effect at once, between call and return.

A revision is part of every answer, so the order of writes is given and only times and contents remain
to be compared. Algorithm, soundness and cost: docs/checkers.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers.absence import Absence, explained_by_unknown_deletes
from natsproof.checkers.exhibits import MOST, count, exhibit
from natsproof.checkers.line import Line, line_of, times
from natsproof.checkers.segments import pack
from natsproof.checkers.writes import (
    BY_SERVER,
    WriteLog,
    bucket_by_key,
    foreign,
    write_log,
)
from natsproof.history import NONE, History, Kind
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown


@dataclass(slots=True)
class _Findings:
    """What contradicts, by kind, and what cannot be decided."""

    reasons: list[str]
    exhibits: list[Exhibit]
    open_questions: list[str]
    violations: int = 0

    def add(self, number: int, reason: str, exhibits: list[Exhibit]) -> None:
        if number:
            self.violations += number
            self.reasons.append(reason)
            self.exhibits.extend(exhibits)


def registers_are_linearizable(
    history: History,
    *,
    reads: tuple[Kind, ...] = (Kind.GET, Kind.FINAL_GET),
    early_s: float = 0.05,
) -> Verdict:
    """Each key behaves as one register: in some order that respects time, every read returns the
    latest write, every conditional write had its condition, no two writes share a revision.

    `reads` are the kinds bound by this guarantee (direct gets may be stale, see staleness.py). In a
    bucket with a TTL the server may delete a value from `ttl_s - early_s` after its write's call on.
    UNKNOWN where the record is too thin to decide: a write acknowledged without a revision, a condition
    on a revision that only an unresolved write can have made, two writes of one value.
    """
    log = write_log(history)
    if log.repeated_values:
        return unknown(f"{log.repeated_values} values were written twice: reads do not name their write")
    ops = history.operations
    found = _Findings([], [], [])
    _contents(history, log, found)
    _shared_revisions(history, log, found)
    start_ns, horizon = times(history)
    line = line_of(history, log, reads, start_ns, horizon, int(early_s * 1e9))
    disordered = _order(history, log, line, found)
    _conditions(history, log, line, found)
    absent_reads = _absences(history, log, line, found, reads, disordered)
    unplaced = int(np.count_nonzero(log.happened & (log.revision < 0)))
    if unplaced:
        found.open_questions.append(f"{count(unplaced, 'write')} happened at a revision nobody recorded")
    evidence: dict[str, int | float | str] = {
        "operations": int(np.count_nonzero(log.happened)) + len(line.read_rows) + absent_reads,
        "writes": int(np.count_nonzero(log.happened & (log.row >= 0))),
        "reads": len(line.read_rows),
        "absent_reads": absent_reads,
        "keys": len(line.starts),
        "unknown_resolved": int(np.count_nonzero(log.happened & ~log.acknowledged & (log.kind != BY_SERVER))),
        "unknown_unresolved": int(np.count_nonzero(log.floating())),
        "violations": found.violations,
    }
    if found.reasons:
        return broken("; ".join(found.reasons), found.exhibits, **evidence)
    if found.open_questions:
        return unknown("; ".join(found.open_questions), (), **evidence)
    if not len(ops) or not evidence["operations"]:
        return unknown("no operation to judge", (), **evidence)
    return holds(
        f"{count(int(evidence['operations']), 'operation')} on {count(len(line.starts), 'key')} "
        "have an order that respects time and every answer",
        **evidence,
    )


def writes_are_linearizable(history: History) -> Verdict:
    """`registers_are_linearizable` for writes, conditional writes and the reads after healing alone: a
    server that does not know yet that it was deposed may answer other reads from its own store."""
    return registers_are_linearizable(history, reads=(Kind.FINAL_GET,))


def _contents(history: History, log: WriteLog, found: _Findings) -> None:
    """A read shows the bytes of one write of that key, at that write's revision."""
    writer = None
    for rows, title in (
        (log.refused_rows, "a refused write was read"),
        (log.mismatched_rows, "a value was read at a revision that is not its write's"),
    ):
        if len(rows):
            writer = writer or dict(zip(log.seen.tolist(), log.seen_write.tolist(), strict=True))
            pairs = [(int(log.row[writer[r]]), r) for r in rows[:MOST].tolist()]
            shown = [exhibit(history, f"{title}:", pair) for pair in pairs]
            found.add(len(rows), f"{title} ({count(len(rows), 'time')})", shown)
    phantoms = log.phantom_rows if history.complete else foreign(history, log.phantom_rows)
    shown = [exhibit(history, "read, but never written to this key:", (r,)) for r in phantoms[:MOST].tolist()]
    found.add(len(phantoms), f"{count(len(phantoms), 'value')} read that nobody wrote to that key", shown)
    if len(log.phantom_rows) > len(phantoms):
        found.open_questions.append(
            "the recording was interrupted and values were read whose writes it lacks"
        )


def _shared_revisions(history: History, log: WriteLog, found: _Findings) -> None:
    """A revision belongs to one write of its bucket."""
    placed = np.flatnonzero(log.positioned() & (log.kind != BY_SERVER))
    _, bucket = bucket_by_key(history)
    own = pack(bucket[log.key[placed]], log.revision[placed])
    if len(own) and int(own.max()) < 8 * len(own) + 1024:
        twice = np.bincount(own)[own] > 1
        if not twice.any():
            return
    order = np.argsort(own, kind="stable")
    same = np.flatnonzero(own[order][1:] == own[order][:-1])
    shown = [
        exhibit(history, "two writes have one revision:", log.row[placed[order[i : i + 2]]].tolist())
        for i in same[:MOST].tolist()
    ]
    found.add(len(same), f"{count(len(same), 'revision')} given to two writes", shown)


def _order(history: History, log: WriteLog, line: Line, found: _Findings) -> NDArray[np.int32]:
    """Nothing returns before what must precede it is called. Returns the groups where something does.

    One late operation contradicts all that came between: it is counted and shown once.
    """
    bad = np.flatnonzero(line.min_return < np.maximum(line.called_before, line.own_call))
    if not len(bad):
        return np.empty(0, dtype=np.int32)
    bad = bad[np.argsort(line.min_return[bad], kind="stable")]
    stale = bad[line.called_before[bad] > line.min_return[bad]]
    _, first = np.unique(line.called_before[stale], return_index=True)
    premature = bad[line.own_call[bad] > line.min_return[bad]]
    shown = []
    for cluster in stale[np.sort(first)][:MOST].tolist():
        early = line.row_returning_at(history, log, cluster, int(line.min_return[cluster]))
        late = line.row_called_at(history, log, cluster, int(line.called_before[cluster]))
        text = "the first ended before the second was called, but the second shows an older revision:"
        shown.append(exhibit(history, text, (early, late)))
    for cluster in premature[:MOST].tolist():
        early = line.row_returning_at(history, log, cluster, int(line.min_return[cluster]))
        shown.append(
            exhibit(history, "read before it was written:", (early, line.row_of_write(log, cluster)))
        )
    number = len(first) + len(premature)
    found.add(number, f"{count(number, 'stale or premature answer')}", shown)
    return np.unique(line.group[bad])


def _conditions(history: History, log: WriteLog, line: Line, found: _Findings) -> None:
    """A write that names an expected revision succeeded on just that one."""
    write = line.write
    own = write >= 0
    expected = np.where(own, log.expected[write], NONE)
    own &= (expected > 0) & log.happened[write]
    wrong = np.flatnonzero(own & (expected != line.revision_before))
    if not len(wrong):
        return
    # An unresolved write may have made the expected revision, if it lies where no other is known.
    older = expected[wrong] < line.revision_before[wrong]
    floating = log.floating()
    open_keys = np.unique(log.key[floating])
    explainable = (
        ~older & np.isin(log.key[write[wrong]], open_keys) & (expected[wrong] < log.revision[write[wrong]])
    )
    if explainable.any():
        found.open_questions.append(
            f"{count(int(explainable.sum()), 'condition')} on a revision "
            "that only an unresolved write can have made"
        )
    bad = wrong[~explainable]
    shown = []
    for cluster in bad[:MOST].tolist():
        rows = [line.row_of_write(log, cluster - 1), line.row_of_write(log, cluster)]
        rival = np.flatnonzero(
            own[:cluster]
            & (expected[:cluster] == expected[cluster])
            & (line.group[:cluster] == line.group[cluster])
        )
        if len(rival):
            rows.insert(0, line.row_of_write(log, int(rival[0])))
        text = (
            f"accepted on revision {int(expected[cluster])}, but the key's previous revision was "
            f"{int(line.revision_before[cluster])}"
            + (" (two winners for one revision):" if len(rival) else ":")
        )
        shown.append(exhibit(history, text, dict.fromkeys(rows)))
    found.add(len(bad), f"{count(len(bad), 'conditional write')} accepted on a stale revision", shown)


def _absences(
    history: History,
    log: WriteLog,
    line: Line,
    found: _Findings,
    reads: tuple[Kind, ...],
    disordered: NDArray[np.int32],
) -> int:
    """A key is found absent, or created, only where it may be absent. Keys whose operations are already
    out of order are left out: what else seems wrong there may follow from that."""
    absence = Absence.of(history, log, line, reads)
    bad_creates, bad_reads, undecided_reads = absence.judge()
    bad_creates = bad_creates[~np.isin(line.group[bad_creates], disordered)]
    bad_reads = bad_reads[~np.isin(absence.group[bad_reads], disordered)]
    undecided_reads = undecided_reads[~np.isin(absence.group[undecided_reads], disordered)]
    suspects = np.union1d(
        line.group[bad_creates], np.append(absence.group[bad_reads], absence.group[undecided_reads])
    )
    undecided = 0
    cleared: list[int] = []
    for group in suspects.tolist():
        answer = explained_by_unknown_deletes(history, log, line, absence, int(group))
        if answer is not False:
            cleared.append(group)
            undecided += answer is None
    bad_creates = bad_creates[~np.isin(line.group[bad_creates], cleared)]
    bad_reads = bad_reads[~np.isin(absence.group[bad_reads], cleared)]
    if undecided:
        found.open_questions.append(
            f"{count(undecided, 'key')} absent where only deletions of unknown outcome may be the cause"
        )
    shown = [
        exhibit(
            history,
            "created although it existed:",
            (line.row_of_write(log, c - 1), line.row_of_write(log, c)),
        )
        for c in bad_creates[:MOST].tolist()
    ]
    found.add(len(bad_creates), f"{count(len(bad_creates), 'create')} of a key that existed", shown)
    shown = [absence.show(history, log, i) for i in bad_reads[:MOST].tolist()]
    found.add(len(bad_reads), f"{count(len(bad_reads), 'read')} found nothing where there was a value", shown)
    return len(absence.rows)
