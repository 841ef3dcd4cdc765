"""What the platform acknowledged, it keeps; what it refused, it has not stored."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers import Checker
from natsproof.checkers.exhibits import MOST, count, exhibit
from natsproof.checkers.two_leaders import refusals_in_doubt
from natsproof.checkers.windows import fault_name, phases
from natsproof.checkers.windows import windows as windows_of
from natsproof.checkers.writes import WriteLog, bucket_by_key, foreign, rows_of, ttl_ns_by_key, write_log
from natsproof.history import ABSENT, NEVER_NS, History, Kind, Outcome
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown

Mask = NDArray[np.bool_]
#: The meta leader's answer for a bucket that it does not know.
NO_BUCKET = "404/10059"


def no_acknowledged_put_is_lost(history: History, *, early_s: float = 0.05, refusals: bool = True) -> Verdict:
    """Every acknowledged write is found at the end: it, or a later write of its key.

    "The end" is the last answered FINAL_GET of each key; that there is no such bucket is an answer too.
    A key that is absent is no loss if the bucket's TTL (`meta["buckets"][bucket]["ttl_s"]`) had passed
    since its last acknowledged write was called (within `early_s`), or if a deletion of unknown outcome
    may explain it; such writes do not count as
    evidence. BROKEN also if a value is found that nobody wrote, or a refused write is stored (unless
    `refusals` is false: then it is counted only). Writes that are stored again, at a later revision than the
    acknowledged one, are counted as `stored_again`, and shown where something is lost. UNKNOWN if the final
    sweep leaves out an acknowledged write.
    """
    log = write_log(history)
    if log.repeated_values:
        return unknown(f"{log.repeated_values} values were written twice: reads do not name their write")
    sweep = _sweep(history, log, int(early_s * 1e9))
    evidence = _evidence(history, log, sweep)
    evidence["refused_yet_stored"] = len(log.refused_rows)
    again = _stored_again(history, log)
    evidence["stored_again"] = len(again)
    exhibits, reasons = _violations(history, log, sweep, again, refusals)
    lost = int(np.count_nonzero(sweep.lost))
    if reasons:
        return broken("; ".join(reasons), exhibits, **evidence)
    judged = int(evidence["acknowledged"])
    if not history.complete and len(log.phantom_rows):
        return unknown("the recording was interrupted: values were read whose writes are not recorded")
    unread = int(np.count_nonzero(sweep.unread))
    if unread:
        first = rows_of(sweep.unread)[:1]
        shown = exhibit(history, "acknowledged, but its key was not read afterwards", log.row[first].tolist())
        return unknown(
            f"the final sweep does not cover {count(unread, 'acknowledged write')} of {unread + judged:,}",
            [shown],
            **evidence,
        )
    if not judged:
        return unknown("no acknowledged write could be judged at the end", (), **evidence)
    return holds(
        f"{lost} lost of {count(judged, 'acknowledged write')} "
        f"(95 % bound on the loss rate {min(1.0, 3 / judged):.2g})",
        **evidence,
    )


def no_acknowledged_put_is_lost_by_two_leaders(history: History) -> Verdict:
    """`no_acknowledged_put_is_lost` where a deposed leader may refuse what its successor stores: such
    writes are counted as `refused_yet_stored`; the guarantee is about acknowledged ones alone. A deletion
    refused so may explain that a key is absent."""
    doubted = refusals_in_doubt(history)
    verdict = no_acknowledged_put_is_lost(doubted, refusals=False)
    if doubted is history or "refused_yet_stored" not in verdict.evidence:
        return verdict
    stored = len(write_log(history).refused_rows)
    return replace(verdict, evidence={**verdict.evidence, "refused_yet_stored": stored})


@dataclass(frozen=True, slots=True)
class _Sweep:
    """Masks over the write log's columns; `final_row` gives each write its key's final read or -1."""

    judged: Mask  # acknowledged and covered by a final read that must show it or a later one
    lost: Mask
    unread: Mask
    expired: Mask  # absent, legally
    doubtful: Mask  # absent, and a deletion of unknown outcome may be why
    final_row: NDArray[np.int32]


def _sweep(history: History, log: WriteLog, early_ns: int) -> _Sweep:
    ops = history.operations
    final = rows_of((ops.kind == Kind.FINAL_GET) & ((ops.outcome == Outcome.OK) | _no_bucket(history)))
    final = final[np.argsort(ops.call_ns[final], kind="stable")]
    keys = max(len(history.keys), int(ops.key.max()) + 1 if len(ops) else 0)
    last_read = np.full(keys + 1, -1, dtype=np.int32)
    last_read[ops.key[final]] = final  # the latest call wins
    final_row = last_read[log.key]
    read = final_row >= 0
    acked = log.acknowledged & (log.revision >= 0)
    covered = acked & read & (log.return_ns < np.where(read, ops.call_ns[final_row], -1))

    found = _found_revision(history, log, last_read)
    absent_at_end = np.zeros(keys + 1, dtype=np.bool_)
    absent_at_end[last_read >= 0] = ops.value[last_read[last_read >= 0]] == ABSENT
    covered &= absent_at_end[log.key] | (found[log.key] >= 0)
    behind = covered & ~absent_at_end[log.key] & (log.revision > found[log.key])

    gone = covered & absent_at_end[log.key]
    deletes = log.happened & (log.kind >= Kind.DELETE) & (log.revision >= 0)
    last_delete = np.full(keys + 1, -1, dtype=np.int64)
    np.maximum.at(last_delete, log.key[deletes], log.revision[deletes])
    gone &= log.revision > last_delete[log.key]
    expired = gone & _may_have_expired(history, log, final_row, early_ns)
    in_doubt = np.zeros(keys + 1, dtype=np.bool_)
    in_doubt[log.key[log.floating() & ((log.kind == Kind.DELETE) | (log.kind == Kind.PURGE))]] = True
    doubtful = gone & ~expired & in_doubt[log.key]
    lost = behind | (gone & ~expired & ~doubtful)
    return _Sweep(
        judged=covered & ~expired & ~doubtful,
        lost=lost,
        unread=log.acknowledged & ~covered,
        expired=expired,
        doubtful=doubtful,
        final_row=final_row,
    )


def _no_bucket(history: History) -> Mask:
    """Reads that were answered: there is no such bucket. That is an absence, and a definite one."""
    errors = [number for number, text in enumerate(history.errors) if text.startswith(NO_BUCKET)]
    return np.isin(history.operations.error, errors)


def _found_revision(history: History, log: WriteLog, last_read: NDArray[np.int32]) -> NDArray[np.int64]:
    """The revision that each key's last final read found; -1 for nothing, or nothing known."""
    ops = history.operations
    is_final = ops.kind[log.seen] == Kind.FINAL_GET
    rows, writes = log.seen[is_final], log.seen_write[is_final]
    last = (last_read[ops.key[rows]] == rows) & (writes >= 0)
    out = np.full(len(last_read), -1, dtype=np.int64)
    out[ops.key[rows[last]]] = log.revision[writes[last]]
    return out


def _may_have_expired(history: History, log: WriteLog, final_row: NDArray[np.int32], early_ns: int) -> Mask:
    """Whether the last acknowledged write of the key was old enough, when the key was found absent."""
    ttl_ns = ttl_ns_by_key(history)
    if not ttl_ns.any():
        return np.zeros(len(log.row), dtype=np.bool_)
    ops = history.operations
    youngest = np.full(len(ttl_ns), -1, dtype=np.int64)
    puts = log.acknowledged & (log.kind <= Kind.UPDATE)
    order = np.flatnonzero(puts)[np.argsort(log.revision[puts], kind="stable")]
    youngest[log.key[order]] = log.call_ns[order]  # the highest revision wins
    read_ns = np.where(final_row >= 0, ops.return_ns[final_row], 0)
    due = youngest[log.key] + ttl_ns[log.key] - early_ns
    return (ttl_ns[log.key] > 0) & (read_ns >= due)


def _evidence(history: History, log: WriteLog, sweep: _Sweep) -> dict[str, int | float | str]:
    judged, lost = int(np.count_nonzero(sweep.judged)), int(np.count_nonzero(sweep.lost))
    prefix, middle, postfix = _shape_of_loss(history, log, sweep)
    recovered = log.happened & ~log.acknowledged & (log.kind <= Kind.UPDATE)
    recovered[recovered] = history.operations.outcome[log.row[recovered]] == Outcome.UNKNOWN
    out: dict[str, int | float | str] = {
        "acknowledged": judged,
        "lost": lost,
        "loss_bound_95": min(1.0, 3 / judged) if judged else 1.0,
        "lost_prefix": prefix,
        "lost_middle": middle,
        "lost_postfix": postfix,
        "recovered_unknown": int(np.count_nonzero(recovered)),
        "expired": int(np.count_nonzero(sweep.expired)),
        "explained_by_unknown_delete": int(np.count_nonzero(sweep.doubtful)),
        "unread": int(np.count_nonzero(sweep.unread)),
    }
    before, during, after = phases(history, log.call_ns, log.return_ns)
    for name, mask in (("before", before), ("during", during), ("after", after)):
        out[f"acknowledged_{name}"] = int(np.count_nonzero(sweep.judged & mask))
        out[f"lost_{name}"] = int(np.count_nonzero(sweep.lost & mask))
    names, of_key = bucket_by_key(history)
    if len(names) > 1:
        for number, name in enumerate(names):
            out[f"acknowledged_{name}"] = int(np.count_nonzero(of_key[log.key[sweep.judged]] == number))
    return out


def _shape_of_loss(history: History, log: WriteLog, sweep: _Sweep) -> tuple[int, int, int]:
    """Lost writes before the first kept one of their writer, between kept ones, after the last.

    A writer that kept nothing counts as postfix: nothing shows that the order was violated.
    """
    ops = history.operations
    lost = np.flatnonzero(sweep.lost)
    if not len(lost):
        return 0, 0, 0
    kept = np.flatnonzero(sweep.judged & ~sweep.lost)
    clients = int(ops.client.max()) + 1
    first = np.full(clients, NEVER_NS, dtype=np.int64)
    last = np.full(clients, -1, dtype=np.int64)
    np.minimum.at(first, ops.client[log.row[kept]], log.call_ns[kept])
    np.maximum.at(last, ops.client[log.row[kept]], log.call_ns[kept])
    client = ops.client[log.row[lost]]
    postfix = log.call_ns[lost] > last[client]
    prefix = ~postfix & (log.call_ns[lost] < first[client])
    n_post, n_pre = int(np.count_nonzero(postfix)), int(np.count_nonzero(prefix))
    return n_pre, len(lost) - n_pre - n_post, n_post


def _violations(
    history: History, log: WriteLog, sweep: _Sweep, again: dict[int, int], refusals: bool
) -> tuple[list[Exhibit], list[str]]:
    reasons: list[str] = []
    exhibits: list[Exhibit] = []
    lost = np.flatnonzero(sweep.lost)
    if len(lost):
        judged = int(np.count_nonzero(sweep.judged))
        reasons.append(f"{count(len(lost), 'acknowledged write')} of {judged:,} lost")
        for one in lost[:MOST].tolist():
            exhibits.append(_lost(history, log, sweep, one))
        if again:
            reasons.append(f"{count(len(again), 'acknowledged write')} stored again later")
        exhibits += [_again(history, log, one, row) for one, row in list(again.items())[:MOST]]
    if refusals and len(log.refused_rows):
        reasons.append(f"{count(len(log.refused_rows), 'read')} found a write that was refused")
        by_seen = dict(zip(log.seen.tolist(), log.seen_write.tolist(), strict=True))
        for row in log.refused_rows[:MOST].tolist():
            pair = (int(log.row[by_seen[row]]), row)
            exhibits.append(exhibit(history, "refused, yet stored:", pair))
    phantoms = log.phantom_rows if history.complete else foreign(history, log.phantom_rows)
    if len(phantoms):
        reasons.append(f"{count(len(phantoms), 'value')} found that nobody wrote to that key")
        for row in phantoms[:MOST].tolist():
            exhibits.append(exhibit(history, "a value that nobody wrote to this key:", (row,)))
    return exhibits, reasons


def _lost(history: History, log: WriteLog, sweep: _Sweep, one: int) -> Exhibit:
    ops = history.operations
    final = int(sweep.final_row[one])
    read_s = history.since_start_s(int(ops.return_ns[final]))
    end = "absent from" if ops.value[final] == ABSENT else "older in"
    text = (
        f"{_acknowledged(history, log, one)} at "
        f"{history.since_start_s(int(log.return_ns[one])):.3f} s as revision {int(log.revision[one])} "
        f"and is {end} the final read at {read_s:.3f} s:"
    )
    return exhibit(history, text, (int(log.row[one]), final))


def _acknowledged(history: History, log: WriteLog, one: int) -> str:
    what, value = Kind(int(log.kind[one])).name.lower(), int(history.operations.value[log.row[one]])
    return f"{what} {history.keys[int(log.key[one])]} = #{value} was acknowledged"


def _stored_again(history: History, log: WriteLog) -> dict[int, int]:
    """Acknowledged writes, as positions in the log, that a row shows at a later revision than the
    acknowledged one, and the first such row. What was lost may be hidden by them."""
    rows = log.mismatched_rows
    write = log.seen_write[np.searchsorted(log.seen, rows)]
    later = log.acknowledged[write] & (history.operations.revision[rows] > log.revision[write])
    _, first = np.unique(write[later], return_index=True)
    return dict(zip(write[later][first].tolist(), rows[later][first].tolist(), strict=True))


def _again(history: History, log: WriteLog, one: int, row: int) -> Exhibit:
    text = (
        f"{_acknowledged(history, log, one)} as revision {int(log.revision[one])} and is "
        f"stored again as revision {int(history.operations.revision[row])}:"
    )
    return exhibit(history, text, (int(log.row[one]), row))


def no_write_is_acknowledged_between(begin: str, end: str) -> Checker:
    """Between two marks no write is acknowledged that was called between them (no quorum, no ack)."""

    def checker(history: History) -> Verdict:
        missing = [name for name in (begin, end) if name not in history.marks]
        if missing:
            return unknown(f"the history has no mark {', '.join(missing)}")
        return _none_acknowledged(history, [(history.marks[begin], history.marks[end])])

    checker.__name__ = checker.__qualname__ = f"no_write_is_acknowledged_between({begin}, {end})"
    checker.__doc__ = f"Between `{begin}` and `{end}` every write is refused or stays unanswered."
    return checker


def no_write_is_acknowledged_during(fault: object, *, settle_s: float = 0.0) -> Checker:
    """While `fault` (its name or class) is on, no write called since is acknowledged.

    The window begins `settle_s` after the fault was injected and ends when its healing began.
    """
    name = fault_name(fault)

    def checker(history: History) -> Verdict:
        own = windows_of(history, fault)
        if not own:
            return unknown(f"no {name} landed")
        return _none_acknowledged(
            history, [(w.injected_ns + int(settle_s * 1e9), w.heal_began_ns) for w in own]
        )

    checker.__name__ = checker.__qualname__ = f"no_write_is_acknowledged_during({name})"
    checker.__doc__ = f"While {name} is on, every write is refused or stays unanswered."
    return checker


def _none_acknowledged(history: History, windows: list[tuple[int, int]]) -> Verdict:
    ops = history.operations
    write = ops.kind <= Kind.PURGE
    inside = np.zeros(len(ops), dtype=np.bool_)
    for begin_ns, end_ns in windows:
        own = write & (ops.call_ns >= begin_ns) & (ops.call_ns <= end_ns)
        inside |= own & ((ops.return_ns <= end_ns) | (ops.outcome != Outcome.OK))
    tried = int(np.count_nonzero(inside))
    acked = rows_of(inside & (ops.outcome == Outcome.OK))
    evidence = {
        "tried": tried,
        "acknowledged": len(acked),
        "refused": int(np.count_nonzero(inside & (ops.outcome == Outcome.FAILED))),
        "unanswered": int(np.count_nonzero(inside & (ops.outcome == Outcome.UNKNOWN))),
    }
    if len(acked):
        shown = [exhibit(history, "acknowledged without a quorum:", (row,)) for row in acked[:MOST].tolist()]
        return broken(
            f"{count(len(acked), 'write')} of {tried:,} acknowledged while none may be", shown, **evidence
        )
    if not tried:
        return unknown("no write was tried while none may be acknowledged", (), **evidence)
    return holds(f"none of {count(tried, 'write')} tried was acknowledged", **evidence)
