"""The corpus: for each claim a history that holds, one that breaks it, one that decides nothing.

    python -m tests.checking.corpus          writes tests/histories/<claim>-<verdict>.jsonl again

The files are what is tested: they stand for evidence stored by earlier versions of natsproof, and stay
readable and judged alike. Change one only when the format's schema changes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from natsproof.checkers import Checker
from natsproof.checkers.durability import no_acknowledged_put_is_lost, no_write_is_acknowledged_during
from natsproof.checkers.expiry import values_expire_on_time
from natsproof.checkers.guards import acknowledged_puts, at_least, fault_landed, judged
from natsproof.checkers.holdings import believed_holdings_do_not_overlap
from natsproof.checkers.lock_liveness import a_free_lock_can_be_taken
from natsproof.checkers.locks import locks_are_safe
from natsproof.checkers.rate import acknowledged_rate_is_at_least
from natsproof.checkers.recovery import writes_resume_within
from natsproof.checkers.registers import registers_are_linearizable
from natsproof.checkers.replicas import every_replica_holds_what_was_acknowledged, replicas_are_equal
from natsproof.checkers.staleness import direct_gets_are_bounded
from natsproof.checkers.watch import watchers_see_every_write
from natsproof.history import ABSENT, History, Kind, Outcome
from natsproof.history_file import write
from tests.checking.small import Row, fault, history, op

KILL = fault(5, 8, name="Kill(victim='leader')")
FOLDER = Path(__file__).parent.parent / "histories"

CLAIMS: dict[str, Checker] = {
    "durability": no_acknowledged_put_is_lost,
    "durability-under-a-kill": judged(
        no_acknowledged_put_is_lost,
        [at_least(1, acknowledged_puts, when="after"), fault_landed("Kill")],
    ),
    "no-quorum-no-ack": no_write_is_acknowledged_during("Kill"),
    "registers": registers_are_linearizable,
    "locks": partial(locks_are_safe, early_s=0.005),
    "lock-liveness": a_free_lock_can_be_taken(0.02),
    "holdings": believed_holdings_do_not_overlap(),
    "watch": watchers_see_every_write,
    "expiry": values_expire_on_time(0.02, clock_error_s=0.001),
    "replicas": replicas_are_equal,
    "replicas-hold": every_replica_holds_what_was_acknowledged,
    "recovery": writes_resume_within(0.05),
    "staleness": direct_gets_are_bounded(backward_most=0),
    "rate": acknowledged_rate_is_at_least(9),
}


def _put(n: int, at: float, *, key: int = 0, outcome: Outcome = Outcome.OK, client: int = 0) -> Row:
    revision = n if outcome is Outcome.OK else -1
    return op(Kind.PUT, at, at + 1, value=n, revision=revision, key=key, outcome=outcome, client=client)


def _get(n: int, at: float, *, kind: Kind = Kind.GET, key: int = 0, server: int = -1) -> Row:
    """What read n found: write n, or nothing for 0."""
    value, revision = (n, n) if n else (ABSENT, -1)
    return op(kind, at, at + 1, value=value, revision=revision, key=key, server=server)


def _take(n: int, at: float, client: int = 0) -> Row:
    return op(Kind.CREATE, at, at + 1, value=n, revision=n, client=client)


Three = tuple[History, History, History]


def histories() -> dict[str, Three]:
    """Claim -> (holds, broken, unknown)."""
    return {**_kept(), **_locks(), **_copies(), **_served()}


def _kept() -> dict[str, Three]:
    final, refused = Kind.FINAL_GET, Outcome.FAILED
    two = [_put(1, 0), _put(2, 10)]
    missed = fault(5, 8, name="Kill(victim='leader')", landed=False)
    return {
        "durability": (
            history([*two, _get(2, 50, kind=final)]),
            history([*two, _get(1, 50, kind=final)]),
            history(two),
        ),
        "durability-under-a-kill": (
            history([*two, _get(2, 50, kind=final)], injections=[KILL]),
            history([*two, _get(0, 50, kind=final)], injections=[missed]),
            history([*two, _get(2, 50, kind=final)], injections=[missed]),
        ),
        "no-quorum-no-ack": (
            history([_put(1, 0), _put(2, 6, outcome=refused)], injections=[KILL]),
            history([_put(1, 0), _put(2, 6)], injections=[KILL]),
            history([_put(1, 0)], injections=[KILL]),
        ),
        "registers": (
            history([*two, _get(2, 20)]),
            history([*two, _get(1, 20)]),
            history([_put(1, 0), op(Kind.DELETE, 2, 3)]),
        ),
    }


def _locks() -> dict[str, Three]:
    free = [_take(1, 0), op(Kind.DELETE, 5, 6, revision=2, expected=1), _take(3, 20, 1)]
    conflict = op(Kind.CREATE, 10, 11, value=9, outcome=Outcome.FAILED, error=0, client=2)
    texts = ("400/10071 wrong last sequence",)
    held = [op(Kind.HELD, 0, 50, revision=1), op(Kind.HELD, 60, 90, revision=2, client=1)]
    overlapping = [held[0], op(Kind.HELD, 40, 90, revision=2, client=1)]
    return {
        "locks": (
            history([*free, _take(4, 150, 2)], ttl_s=0.1),
            history([_take(1, 0), _take(2, 30, 1)], ttl_s=0.1),
            history([_take(1, 0)], ttl_s=0.1),
        ),
        "lock-liveness": (
            history(free, ttl_s=0.1, errors=texts),
            history([*free, conflict], ttl_s=0.1, errors=texts),
            history(free[:1], ttl_s=0.1, errors=texts),
        ),
        "holdings": (history(held), history(overlapping), history(held[:1])),
    }


def _copies() -> dict[str, Three]:
    two = [_put(1, 0), _put(2, 10)]
    servers = ["nats-0", "nats-1", "nats-2"]
    each = [_get(2, 50, kind=Kind.REPLICA_ROW, server=s) for s in range(3)]
    behind = [*each[:2], _get(1, 50, kind=Kind.REPLICA_ROW, server=2)]
    watch = [op(Kind.WATCH_START, 0, 0, client=9, key=-1), _put(1, 1), _put(2, 3, key=1)]
    told = [op(Kind.WATCH_PUT, 20 + n, 20 + n, value=n, revision=n, key=n - 1, client=9) for n in (1, 2)]
    later = _get(0, 9000, key=2)
    return {
        "watch": (
            history([*watch, *told, later], keys=3),
            history([*watch, *told[1:], later], keys=3),
            history([*watch[1:], later], keys=3),
        ),
        "expiry": (
            history([_put(1, 0), _get(1, 90), _get(0, 110)], ttl_s=0.1),
            history([_put(1, 0), _get(1, 50), _get(0, 80)], ttl_s=0.1),
            history([_put(1, 0), _get(1, 90)], ttl_s=0.1),
        ),
        "replicas": (
            history([*two, *each], servers=servers),
            history([*two, *behind], servers=servers),
            history([*two, *each[:2]], servers=servers),
        ),
        "replicas-hold": (
            history([*two, *each], servers=servers),
            history([*two, *behind], servers=servers),
            history([*two, *each[:2]], servers=servers),
        ),
    }


def _served() -> dict[str, Three]:
    two = [_put(1, 0), _put(2, 10)]
    refused = Outcome.FAILED
    outage = [_put(20, 20, outcome=refused), _put(21, 30, outcome=refused), _put(3, 40)]
    steady = [_put(n, n * 100) for n in range(1, 40)]
    half = [_put(n, n * 100, outcome=refused if n < 20 else Outcome.OK) for n in range(1, 40)]
    span = {"drive": 0, "healed": 3900}
    return {
        "recovery": (
            history([_put(1, 0), *outage], injections=[KILL]),
            history([_put(1, 0), *outage[:2], _put(3, 90)], injections=[KILL]),
            history([_put(1, 0)], injections=[KILL]),
        ),
        "staleness": (
            history([*two, _get(2, 20, kind=Kind.DIRECT_GET)]),
            history([*two, _get(2, 20, kind=Kind.DIRECT_GET), _get(1, 30, kind=Kind.DIRECT_GET)]),
            history(two),
        ),
        "rate": (
            history(steady, marks=span),
            history(half, marks=span),
            history(steady[:12], marks=span),
        ),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for claim, three in histories().items():
        for verdict, one in zip(("holds", "broken", "unknown"), three, strict=True):
            write(one, FOLDER / f"{claim}-{verdict}.jsonl")
