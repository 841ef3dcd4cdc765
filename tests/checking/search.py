"""Wing and Gong's search: is there any order of the operations that explains every answer?"""

from __future__ import annotations

from functools import cache

from natsproof.history import ABSENT, NONE, History, Kind, Outcome

PUTS = (Kind.PUT, Kind.CREATE, Kind.UPDATE)
DELETES = (Kind.DELETE, Kind.PURGE)
#: The revision of a write that took effect but that nobody saw.
UNSEEN = -7


def linearizable(history: History) -> bool:
    """Exhaustive, for histories of one key and a few operations.

    State: revision of the key's last message, and the value there now. A revision must rise. With a TTL
    the server may remove a value once its age, counted from the call of its write, allows it.
    """
    ops = history.operations
    rows = [i for i in range(len(ops)) if ops.outcome[i] == Outcome.OK or _write(ops.kind[i])]
    rows = [i for i in rows if ops.outcome[i] != Outcome.FAILED]
    reads = [i for i in rows if not _write(ops.kind[i]) and ops.revision[i] >= 0]
    seen = {int(ops.value[i]): int(ops.revision[i]) for i in reads}
    ttl_s = history.meta["buckets"]["b"].get("ttl_s")
    early_ns = 50_000_000

    def revision_of(row: int) -> int:
        if ops.outcome[row] == Outcome.OK:
            return int(ops.revision[row])
        if ops.kind[row] in PUTS:
            return seen.get(int(ops.value[row]), UNSEEN)
        return UNSEEN

    def must(row: int) -> bool:
        return bool(ops.outcome[row] == Outcome.OK)

    def may_follow(row: int, done: frozenset[int], clock: int) -> bool:
        """Real time: no other pending operation returned before this one was called."""
        return all(
            ops.return_ns[other] >= ops.call_ns[row]
            for other in rows
            if other not in done and other != row and must(other)
        )

    @cache
    def search(done: frozenset[int], state: tuple[int, int, int], floor: int) -> bool:
        """`floor`: the latest call among what has taken effect (the server's expiry included)."""
        if all(row in done for row in rows if must(row)):
            return True
        for row in rows:
            if row in done or not may_follow(row, done, floor):
                continue
            if ops.return_ns[row] < floor and must(row):
                continue
            after = _step(history, row, revision_of(row), state)
            if after is not None and search(done | {row}, after, max(floor, int(ops.call_ns[row]))):
                return True
        if ttl_s is not None and state[2] != ABSENT:
            owner = next(i for i in rows if _write(ops.kind[i]) and ops.value[i] == state[2])
            expiry = int(ops.call_ns[owner]) + int(ttl_s * 1e9) - early_ns
            if all(ops.return_ns[o] >= expiry for o in rows if o not in done and must(o)):
                return search(done, (state[0], state[1], ABSENT), max(floor, expiry))
        return False

    return search(frozenset(), (0, 0, ABSENT), -1)


def _write(kind: int) -> bool:
    return bool(kind <= Kind.PURGE)


def _step(
    history: History, row: int, revision: int, state: tuple[int, int, int]
) -> tuple[int, int, int] | None:
    """The state after an operation takes effect, None if it cannot."""
    ops = history.operations
    top, last, value = state  # highest revision so far, the last message's, the value or ABSENT
    kind = ops.kind[row]
    if not _write(kind):
        if value != ops.value[row]:
            return None
        return state if value == ABSENT or ops.revision[row] in (last, NONE) else None
    if revision != UNSEEN and revision <= top:
        return None
    if kind == Kind.CREATE and value != ABSENT:
        return None
    expected = int(ops.expected[row])
    if expected == 0 and kind == Kind.UPDATE and value != ABSENT:
        return None
    if expected > 0 and last != expected:
        return None
    found = ABSENT if kind in DELETES else int(ops.value[row])
    return (top if revision == UNSEEN else revision, revision, found)
