"""Where a key may be absent, and whether every read of nothing fits there.

A slot is the time right after a cluster of the line. An absent read goes to the earliest open slot after
which every operation returned when or after the read was called. This choice rises with the read's call,
so choices never conflict: a read that ended before another began is never placed after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers.exhibits import exhibit
from natsproof.checkers.line import Line, absent_reads
from natsproof.checkers.segments import first_at_least
from natsproof.checkers.writes import WriteLog, ttl_ns_of
from natsproof.history import NEVER_NS, NONE, History, Kind
from natsproof.verdict import Exhibit

Int = NDArray[np.int64]
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Absence:
    """Columns over absent reads of keys that were ever written, key after key: row, group, relative call
    and return, `earliest` slot they may stand in and `end` of the key's slots. `floating` are the writes
    in doubt (positions in the log), by key."""

    line: Line
    creates: Index  # clusters whose write succeeded only because the key was absent
    rows: NDArray[np.int32]
    group: NDArray[np.int32]
    call: Int
    back: Int
    earliest: Int
    end: Int
    floating: Index

    @classmethod
    def of(cls, history: History, log: WriteLog, line: Line, reads: tuple[Kind, ...]) -> Absence:
        ops = history.operations
        kind, expected = log.kind[line.write], log.expected[line.write]
        wants_none = (kind == Kind.CREATE) | ((kind == Kind.UPDATE) & (expected == 0))
        rows = absent_reads(history, reads)
        group = line.group_of_key[ops.key[rows]]
        rows, group = rows[group >= 0], group[group >= 0]
        order = np.argsort(group, kind="stable")
        rows, group = rows[order], group[order]
        floating = np.flatnonzero(log.floating())
        ends = np.append(line.starts[1:], len(line.group))
        call = ops.call_ns[rows] - line.start_ns
        back = np.where(ops.return_ns[rows] == NEVER_NS, line.horizon, ops.return_ns[rows] - line.start_ns)
        return cls(
            line=line,
            creates=np.flatnonzero((line.write >= 0) & wants_none),
            rows=rows,
            group=group,
            call=call,
            back=back,
            earliest=first_at_least(line.returned_after, line.starts[group], ends[group], call),
            end=ends[group],
            floating=floating[np.argsort(log.key[floating], kind="stable")],
        )

    def judge(self) -> tuple[Index, Index, Index]:
        """(creates that found a value, reads that cannot be placed, reads that this method cannot place).

        The third kind needs an expiry later than the earliest one possible; see docs/checkers.md.
        """
        never = self.line.horizon + 1
        bad_creates = self.creates[self.line.opens_ns[self.creates - 1] == never]
        slot = _next_open(self.line.opens_ns, never)[self.earliest]
        inside = slot < self.end
        slot = np.where(inside, slot, 0)
        reachable = inside & (self.line.called_by[slot] <= self.back)
        early = reachable & (self.line.opens_ns[slot] > self.back)
        doubtful = [i for i in np.flatnonzero(early).tolist() if self._somewhere(i)]
        bad = ~reachable | early
        bad[doubtful] = False
        return bad_creates, np.flatnonzero(bad), np.array(doubtful, dtype=np.int64)

    def _somewhere(self, read: int) -> bool:
        """Whether any slot at all could take this read, taken alone."""
        slots = slice(int(self.earliest[read]), int(self.end[read]))
        fits = self.line.called_by[slots] <= self.back[read]
        return bool((fits & (self.line.opens_ns[slots] <= self.back[read])).any())

    def show(self, history: History, log: WriteLog, read: int) -> Exhibit:
        """The read, the operation before it that showed a value, and the next one that made it absent."""
        line, first = self.line, int(self.earliest[read])
        rows = [int(self.rows[read])]
        rows.insert(0, line.row_of_write(log, first))
        slot = int(_next_open(line.opens_ns[first : int(self.end[read])], line.horizon + 1)[0]) + first
        text = "nothing was found, but the value had been there and nothing had removed it:"
        if slot < self.end[read]:
            rows.append(line.row_of_write(log, slot))
            if line.opens_ns[slot] > self.back[read]:
                text = "nothing was found, before the value could have expired:"
        return exhibit(history, text, [r for r in dict.fromkeys(rows) if r != NONE])


def _next_open(opens_ns: Int, never: int) -> Index:
    """For each slot the first open one from there on; the length if there is none."""
    at = np.where(opens_ns < never, np.arange(len(opens_ns)), len(opens_ns))
    return np.minimum.accumulate(at[::-1])[::-1]


def _equal(rising: NDArray[Any], wanted: int) -> slice:
    """Where a sorted array has that value."""
    return slice(
        int(np.searchsorted(rising, wanted, side="left")), int(np.searchsorted(rising, wanted, side="right"))
    )


def explained_by_unknown_deletes(
    history: History, log: WriteLog, line: Line, absence: Absence, group: int
) -> bool | None:
    """Whether writes of unknown outcome, which nobody saw, explain all absences of one key: a deletion,
    or a put that took effect late and, its age counted from its call, expired at once.

    True: an order with them exists (it is constructed and checked). False: none does. None: not decided.
    Each removal may stand in one slot, from its call (or the end of that age) on. Slots that a create
    needs are taken first, then the latest slot of each read that has none yet, in their order.
    """
    begin = int(line.starts[group])
    end = int(line.starts[group + 1]) if group + 1 < len(line.starts) else len(line.group)
    key = int(line.group_key[group])
    ttl_ns = ttl_ns_of(history, history.keys[key].bucket)
    doubt = absence.floating[_equal(log.key[absence.floating], key)]
    deletes = np.isin(log.kind[doubt], (Kind.DELETE, Kind.PURGE))
    replaces = (log.kind[doubt] == Kind.PUT) | ((log.kind[doubt] == Kind.UPDATE) & (log.expected[doubt] != 0))
    called = log.call_ns[doubt] - line.start_ns + np.where(deletes, 0, ttl_ns - line.early_ns)
    fits = deletes | (replaces & (ttl_ns > 0))
    doubt, from_when = doubt[fits], dict(zip(doubt[fits].tolist(), called[fits].tolist(), strict=True))
    never = line.horizon + 1
    opens = line.opens_ns[begin:end].copy()
    within = slice(*np.searchsorted(absence.creates, (begin, end)).tolist())
    forced = [c - 1 - begin for c in absence.creates[within].tolist() if opens[c - 1 - begin] == never]
    span = _equal(absence.group, group)
    mine = np.arange(span.start, span.stop)
    puzzle = _Puzzle(log, line, absence, begin, end, mine, from_when)
    if not len(doubt):
        return False if forced else puzzle.placeable(opens)
    slots = puzzle.slots_needed(opens, forced)
    if slots is None or len(forced) > len(doubt):
        return False
    if not all(puzzle.some_deletion_fits(slot, doubt) for slot in forced):
        return False
    if not puzzle.assign(opens, slots, doubt):
        return None
    return True if puzzle.placeable(opens) else None


@dataclass(frozen=True, slots=True)
class _Puzzle:
    """One key's slots begin..end and its absent reads `mine`; slots are counted from `begin`. `called`
    says from when on each removal in doubt (a position in the log) may take effect."""

    log: WriteLog
    line: Line
    absence: Absence
    begin: int
    end: int
    mine: Index
    called: dict[int, int]

    def placeable(self, opens: Int) -> bool | None:
        """True if the earliest open slot suits every absent read, False if one has no slot, else None."""
        after = _next_open(opens, self.line.horizon + 1)
        called = self.line.called_by[self.begin : self.end]
        earliest = self.absence.earliest[self.mine] - self.begin
        back = self.absence.back[self.mine]
        slot = after[earliest]
        if (slot >= len(opens)).any() or (called[slot] > back).any():
            return False
        for i in np.flatnonzero(opens[slot] > back).tolist():
            later = slice(int(earliest[i]), None)
            if not ((called[later] <= back[i]) & (opens[later] <= back[i])).any():
                return False
        return True if (opens[slot] <= back).all() else None

    def slots_needed(self, opens: Int, forced: list[int]) -> list[int] | None:
        """Slots that must be opened; None if some read cannot be helped at all."""
        never = self.line.horizon + 1
        chosen = sorted(set(forced))
        called = self.line.called_by[self.begin : self.end]
        earliest = self.absence.earliest[self.mine] - self.begin
        back = self.absence.back[self.mine]
        latest = np.searchsorted(called, back, side="right") - 1
        usable = self._usable()
        for i in np.argsort(latest, kind="stable").tolist():
            low, high = int(earliest[i]), int(latest[i])
            own = opens[low : high + 1]
            if ((own < never) & (own <= back[i])).any():
                continue
            if min(self.called.values()) > back[i]:
                return None
            if any(low <= c <= high for c in chosen):
                continue
            free = np.flatnonzero(usable[low : high + 1])
            if not len(free):
                return None
            chosen.append(low + int(free[-1]))
        return sorted(chosen)

    def _usable(self) -> NDArray[np.bool_]:
        """Slots where a deletion may stand: the next write was not conditional on this revision."""
        following = self.line.write[self.begin + 1 : self.end]
        tied = self.log.expected[following] > 0
        return ~np.append(tied, False)

    def _revision(self, slot: int) -> int:
        position = int(self.line.write[self.begin + slot])
        return int(self.log.revision[position]) if position >= 0 else 0

    def _fits(self, slot: int, deletion: int) -> bool:
        expected = int(self.log.expected[deletion])
        return self.called[deletion] <= int(self.line.returned_after[self.begin + slot]) and (
            expected <= 0 or expected == self._revision(slot)
        )

    def some_deletion_fits(self, slot: int, doubt: Index) -> bool:
        return any(self._fits(slot, d) for d in doubt.tolist())

    def assign(self, opens: Int, slots: list[int], doubt: Index) -> bool:
        """Give each slot a deletion, those bound to its revision first, then the earliest call."""
        left = sorted(doubt.tolist(), key=lambda d: self.called[d])
        for slot in slots:
            fitting = [d for d in left if self._fits(slot, d)]
            bound = [d for d in fitting if self.log.expected[d] > 0]
            if not fitting:
                return False
            taken = (bound or fitting)[0]
            left.remove(taken)
            opens[slot] = self.called[taken]
        return True
