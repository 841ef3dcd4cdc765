"""Evidence guards: was there enough to say anything? A guard turns HOLDS into UNKNOWN, never hides BROKEN.

certify.that(history, no_acknowledged_put_is_lost,
             given=[at_least(500, acknowledged_puts), at_least(20, acknowledged_puts, when="after"),
                    fault_landed("Kill"), in_flight_at_the_fault(1), history_complete()])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers import Checker, Guard
from natsproof.checkers.enough import Enough
from natsproof.checkers.exhibits import count, describe_injection
from natsproof.checkers.windows import Window, acknowledged, fault_name, windows
from natsproof.history import NEVER_NS, NONE, READS, History, Kind, Outcome
from natsproof.verdict import Status, Verdict

Mask = NDArray[np.bool_]
#: Selects operations that count as evidence; its name is the noun of the message.
What = Callable[[History], Mask]

WHEN = ("ever", "before", "during", "after")


def acknowledged_puts(history: History) -> Mask:
    """Puts, creates and updates that were acknowledged."""
    ops = history.operations
    mask: Mask = (ops.kind <= Kind.UPDATE) & (ops.outcome == Outcome.OK)
    return mask


def acknowledged_writes(history: History) -> Mask:
    """Puts, creates, updates, deletes and purges that were acknowledged."""
    return acknowledged(history)


def tried_writes(history: History) -> Mask:
    """Writes, whatever became of them."""
    mask: Mask = history.operations.kind <= Kind.PURGE
    return mask


def answered_reads(history: History) -> Mask:
    """Gets of any kind that were answered, with a value or with nothing."""
    ops = history.operations
    mask: Mask = np.isin(ops.kind, [int(k) for k in READS]) & (ops.outcome == Outcome.OK)
    return mask


def answered_direct_gets(history: History) -> Mask:
    """Gets that any replica may answer, answered with a value or with nothing."""
    ops = history.operations
    mask: Mask = (ops.kind == Kind.DIRECT_GET) & (ops.outcome == Outcome.OK)
    return mask


def final_reads(history: History) -> Mask:
    """Reads of the final sweep that were answered."""
    ops = history.operations
    mask: Mask = (ops.kind == Kind.FINAL_GET) & (ops.outcome == Outcome.OK)
    return mask


def watch_events(history: History) -> Mask:
    """Events delivered to watchers."""
    kind = history.operations.kind
    mask: Mask = (kind >= Kind.WATCH_PUT) & (kind <= Kind.WATCH_EXPIRED)
    return mask


def replica_rows(history: History) -> Mask:
    """Messages read from the replicas' own stores."""
    mask: Mask = history.operations.kind == Kind.REPLICA_ROW
    return mask


def lock_acquisitions(history: History) -> Mask:
    """Creates that were acknowledged."""
    ops = history.operations
    mask: Mask = (ops.kind == Kind.CREATE) & (ops.outcome == Outcome.OK)
    return mask


def noun(what: What) -> str:
    """What its operations are called in a message."""
    return what.__name__.replace("_", " ")


def at_least(number: int, what: What, *, when: str = "ever", fault: object = None) -> Enough:
    """At least `number` of `what` (one of the functions above, or your own mask).

    `when`: "ever", or "before", "during", "after" each fault of that name (of any, without one) that
    landed; each single fault must have that many. `during` is called between injection and the
    beginning of healing. Without such a fault the guard is not satisfied.
    """
    if when not in WHEN:
        raise ValueError(f"when={when!r}; valid: {', '.join(WHEN)}")

    def look(history: History) -> list[tuple[int, str]]:
        mask = what(history)
        if when == "ever":
            return [(int(np.count_nonzero(mask)), "")]
        return [
            (
                int(np.count_nonzero(mask & _phase(history, window, when))),
                f" {when} {describe_injection(history, window.injection)}",
            )
            for window in windows(history, fault)
        ]

    return Enough(
        f"at_least({number}, {what.__name__}, {when})",
        number,
        noun(what),
        look,
        f"no {'fault' if fault is None else fault_name(fault)} landed, so nothing is {when} it",
    )


def _phase(history: History, window: Window, when: str) -> Mask:
    ops = history.operations
    mask: Mask = (ops.call_ns >= window.injected_ns) & (ops.call_ns <= window.heal_began_ns)
    if when == "before":
        mask = (ops.return_ns < window.began_ns) & (ops.return_ns != NEVER_NS)
    elif when == "after":
        mask = ops.call_ns > window.healed_ns
    return mask


def fault_landed(fault: object) -> Guard:
    """A fault of this name (or class) landed, as its independent witness says, and all such did."""

    def guard(history: History) -> str | None:
        name = fault_name(fault)
        own = [i for i in history.injections if fault_name(i.fault).lower() == name.lower()]
        if not own:
            known = ", ".join(dict.fromkeys(fault_name(i.fault) for i in history.injections)) or "none"
            return f"no {name} was injected (injected: {known})"
        missed = [i for i in own if not i.landed]
        if missed:
            why = f": {missed[0].error}" if missed[0].error else ""
            return f"{describe_injection(history, missed[0])}: no witness confirms it{why}"
        return None

    return _named(guard, f"fault_landed({fault_name(fault)})")


def every_fault_landed(history: History) -> str | None:
    """At least one fault was injected, and witnesses confirm all of them."""
    if not history.injections:
        return "no fault was injected"
    missed = [i for i in history.injections if not i.landed]
    if not missed:
        return None
    why = f": {missed[0].error}" if missed[0].error else ""
    return (
        f"{len(missed)} of {count(len(history.injections), 'fault')} did not land: "
        f"{describe_injection(history, missed[0])}{why}"
    )


def every_fault_healed(history: History) -> str | None:
    """No fault was left on, and healing none of them failed."""
    failed = [i for i in history.injections if i.error and i.landed]
    return f"{describe_injection(history, failed[0])}: {failed[0].error}" if failed else None


def history_complete(history: History) -> str | None:
    """The recording reached its end."""
    return None if history.complete else "the recording was interrupted: its end record is missing"


def settled(history: History) -> str | None:
    """After healing, writes were accepted and the replicas became level in time."""
    if "not_settled" in history.marks:
        return "the platform did not settle after healing"
    return None if "settled" in history.marks else "the trial has no mark `settled`"


def clients_not_overlapping(history: History) -> str | None:
    """Each client does one thing at a time, as the order of its operations is evidence.

    Watchers, the replica audit and lock intervals are not operations of this kind. A client that gave
    up on an operation (unknown outcome) may go on: that operation is over for the client.
    """
    ops = history.operations
    own = np.flatnonzero(ops.kind <= Kind.DIRECT_GET)
    own = np.append(own, np.flatnonzero(ops.kind == Kind.FINAL_GET))
    own = own[ops.return_ns[own] != NEVER_NS]
    own = own[np.lexsort((ops.call_ns[own], ops.client[own]))]
    same = ops.client[own[1:]] == ops.client[own[:-1]]
    overlap = np.flatnonzero(same & (ops.call_ns[own[1:]] < ops.return_ns[own[:-1]]))
    if not len(overlap):
        return None
    first, second = int(own[overlap[0]]), int(own[overlap[0] + 1])
    return (
        f"a client did two things at once ({count(len(overlap), 'time')}): "
        f"{history.describe(first)}; {history.describe(second)}"
    )


def in_flight_at_the_fault(number: int = 1, *, fault: object = None) -> Enough:
    """At least `number` writes were called before each fault began and not answered when it did."""

    def look(history: History) -> list[tuple[int, str]]:
        ops, found = history.operations, []
        for window in windows(history, fault):
            flying = (ops.kind <= Kind.PURGE) & (ops.call_ns <= window.injected_ns)
            flying &= ops.return_ns >= window.began_ns
            where = f" in flight at {describe_injection(history, window.injection)}"
            found.append((int(np.count_nonzero(flying)), where))
        return found

    name = f"in_flight_at_the_fault({number})"
    return Enough(name, number, "writes", look, "no fault landed, so nothing was in flight when it did")


def every_server_was_read(history: History) -> str | None:
    """The replica audit read the store of each server of `meta["servers"]`."""
    ops = history.operations
    names = list(history.meta.get("servers", []))
    read = {name for o in history.observed("replica_audit") for name in o.data.get("read", [])}
    unread = {name for o in history.observed("replica_audit") for name in o.data.get("unread", [])}
    if not read:
        rows = ops.server[ops.kind == Kind.REPLICA_ROW]
        read = {names[s] for s in np.unique(rows).tolist() if s != NONE and s < len(names)}
    missing = sorted((set(names) - read) | unread)
    if not names:
        return "the history does not name its servers"
    return f"the store of {', '.join(missing)} was not read" if missing else None


def judged(checker: Checker, given: Iterable[Guard]) -> Checker:
    """`checker` with evidence guards: HOLDS becomes UNKNOWN where one of them is not satisfied."""
    guards = tuple(given)

    def guarded(history: History) -> Verdict:
        verdict = checker(history)
        if verdict.status is not Status.HOLDS:
            return verdict
        missing = [sentence for guard in guards if (sentence := guard(history))]
        if not missing:
            return verdict
        return Verdict(Status.UNKNOWN, "; ".join(missing), verdict.evidence, verdict.exhibits)

    guarded.__name__ = guarded.__qualname__ = getattr(checker, "__name__", "checker")
    guarded.__doc__ = checker.__doc__
    return guarded


def _named(guard: Guard, name: str) -> Guard:
    for attribute in ("__name__", "__qualname__"):
        setattr(guard, attribute, name)
    return guard
