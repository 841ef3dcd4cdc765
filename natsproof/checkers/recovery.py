"""How long the platform serves nobody: after each fault against its budget, and at any time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers import Checker
from natsproof.checkers.exhibits import count, describe_injection, end_ns
from natsproof.checkers.service import gaps
from natsproof.checkers.windows import Window, fault_name, windows
from natsproof.checkers.writes import bucket_by_key
from natsproof.history import History, Kind, Outcome
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown

SINCE = ("injected", "healed")
UNTIL = ("next fault", "healing")


def writes_resume_within(
    budget_s: float, *, fault: object = None, since: str = "injected", until: str = "next fault"
) -> Checker:
    """After each `fault` every bucket acknowledges writes again within `budget_s` seconds.

    Counted from the moment the fault was `injected` (a death that the quorum survives), or `healed`
    (one that it does not), until the next fault: the longest time without an acknowledged write while
    clients were writing. With `until="healing"` only outages that began before it was taken away: it is
    another promise what healing itself may interrupt. UNKNOWN if nobody wrote, or the record ends inside
    an outage shorter than the budget.
    """
    if since not in SINCE:
        raise ValueError(f"since={since!r}; valid: {', '.join(SINCE)}")
    if until not in UNTIL:
        raise ValueError(f"until={until!r}; valid: {', '.join(UNTIL)}")
    name = "any fault" if fault is None else fault_name(fault)

    def checker(history: History) -> Verdict:
        own = windows(history, fault)
        if not own:
            return unknown(f"{name} did not land, so there is no recovery to measure")
        measured = [
            (window, bucket, *_longest(history, window, mask, since, until))
            for window in own
            for bucket, mask in _by_bucket(history)
        ]
        if not measured:
            return unknown("no bucket was written to")
        return _judge(history, measured, budget_s)

    checker.__name__ = checker.__qualname__ = f"writes_resume_within({budget_s:g} s, {name})"
    checker.__doc__ = f"After {name} every bucket acknowledges writes again within {budget_s:g} s."
    return checker


def _by_bucket(history: History) -> list[tuple[str, NDArray[np.bool_]]]:
    ops = history.operations
    names, of_key = bucket_by_key(history)
    write = np.flatnonzero(ops.kind <= Kind.PURGE)
    own = of_key[ops.key[write]] if len(write) else np.empty(0, dtype=np.int16)
    out = []
    for number, name in enumerate(names):
        mask = np.zeros(len(ops), dtype=np.bool_)
        mask[write[own == number]] = True
        if mask.any():
            out.append((name, mask))
    return out


def _longest(
    history: History, window: Window, mask: NDArray[np.bool_], since: str, until: str
) -> tuple[float, bool, int]:
    """(seconds of the longest gap, whether it never ended, writes called in the span)."""
    from_ns = window.injected_ns if since == "injected" else window.healed_ns
    later = [w.began_ns for w in windows(history, landed=False) if w.began_ns > from_ns]
    if until == "healing":
        later.append(window.heal_began_ns)
    until_ns = min(later, default=end_ns(history) + 1)
    lasting, open_end = gaps(history, mask).within(from_ns, until_ns)
    call = history.operations.call_ns[mask]
    demand = int(np.count_nonzero((call >= from_ns) & (call < until_ns)))
    if not len(lasting):
        return 0.0, False, demand
    return float(lasting.max()) / 1e9, open_end and bool(lasting[-1] == lasting.max()), demand


def _judge(
    history: History, measured: list[tuple[Window, str, float, bool, int]], budget_s: float
) -> Verdict:
    lasting = np.array([seconds for _, _, seconds, _, _ in measured])
    evidence: dict[str, int | float | str] = {
        "faults": len({id(window) for window, *_ in measured}),
        "budget_s": budget_s,
        "recovery_max_s": round(float(lasting.max()), 4),
        "recovery_median_s": round(float(np.median(lasting)), 4),
        "recovery_min_s": round(float(lasting.min()), 4),
    }
    for bucket in dict.fromkeys(bucket for _, bucket, *_ in measured):
        worst = max(seconds for _, b, seconds, _, _ in measured if b == bucket)
        evidence[f"recovery_{bucket}_s"] = round(worst, 4)
    late = [m for m in measured if m[2] > budget_s]
    if late:
        shown = [_shown(history, one) for one in sorted(late, key=lambda m: -m[2])[:3]]
        return broken(
            f"no write was acknowledged for {late[0][2]:.3f} s, {budget_s:g} s are allowed"
            if len(late) == 1
            else f"{len(late)} of {len(measured)} recoveries took longer than {budget_s:g} s",
            shown,
            **evidence,
        )
    cut = [m for m in measured if m[3]]
    if cut:
        return unknown(
            f"the record ends inside an outage of {cut[0][1]}", [_shown(history, cut[0])], **evidence
        )
    silent = [m for m in measured if not m[4]]
    if silent:
        where = describe_injection(history, silent[0][0].injection)
        return unknown(f"nobody wrote to {silent[0][1]} after {where}", (), **evidence)
    return holds(
        f"writes resumed within {lasting.max():.3f} s at most "
        f"({count(len(measured), 'recovery', 'recoveries')}; {budget_s:g} s are allowed)",
        **evidence,
    )


def _shown(history: History, one: tuple[Window, str, float, bool, int]) -> Exhibit:
    window, bucket, seconds, open_end, _ = one
    ended = "and it never ended" if open_end else "until the next acknowledged write"
    where = describe_injection(history, window.injection)
    return Exhibit(
        f"{bucket}: {seconds:.3f} s without service {ended}, after {where}", at_ns=window.injected_ns
    )


def no_gap_is_longer_than(
    longest_s: float, *, begin: str = "drive", end: str = "healed", bucket: str | None = None
) -> Checker:
    """Between two marks no bucket goes without an acknowledged write for more than `longest_s` seconds
    while clients are writing."""

    def checker(history: History) -> Verdict:
        missing = [name for name in (begin, end) if name not in history.marks]
        if missing:
            return unknown(f"the history has no mark {', '.join(missing)}")
        from_ns, until_ns = history.marks[begin], history.marks[end]
        worst, exhibits = 0.0, []
        buckets = [(n, m) for n, m in _by_bucket(history) if bucket in (None, n)]
        if not buckets:
            return unknown(f"{bucket or 'no bucket'} was not written to")
        ops = history.operations
        every = np.logical_or.reduce([mask for _, mask in buckets])
        every = every & (ops.call_ns >= from_ns) & (ops.call_ns <= until_ns)
        ok = int(np.count_nonzero(every & (ops.outcome == Outcome.OK)))
        for name, mask in buckets:
            lasting, _ = gaps(history, mask).within(from_ns, until_ns)
            seconds = float(lasting.max()) / 1e9 if len(lasting) else 0.0
            if seconds > longest_s:
                exhibits.append(Exhibit(f"{name}: {seconds:.3f} s without an acknowledged write"))
            worst = max(worst, seconds)
        tried = int(np.count_nonzero(every))
        evidence = {
            "longest_gap_s": round(worst, 4),
            "allowed_s": longest_s,
            "tried": tried,
            "acknowledged": ok,
            "acknowledged_ratio": round(ok / tried, 6) if tried else 0.0,
        }
        if exhibits:
            return broken(f"a gap of {worst:.3f} s, {longest_s:g} s are allowed", exhibits, **evidence)
        if not tried:
            return unknown("nobody wrote between the marks", (), **evidence)
        return holds(f"the longest gap was {worst:.3f} s ({longest_s:g} s are allowed)", **evidence)

    checker.__name__ = checker.__qualname__ = f"no_gap_is_longer_than({longest_s:g} s)"
    checker.__doc__ = f"No bucket goes without an acknowledged write for more than {longest_s:g} s."
    return checker
