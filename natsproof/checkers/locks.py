"""Locks on a KV bucket: create takes, update on the own revision renews, delete on it releases.

The invariants have the names of docs/checkers.md: L1 one holder, L2 renewals on the own chain, L3 never
early, L5 stale holders refused, L6 rising tokens here; L4 never late, L7 free locks can be taken in
lock_liveness.py; L8 what clients believe in holdings.py. A chain is a create and the renewals on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers.absence import Absence, explained_by_unknown_deletes
from natsproof.checkers.exhibits import MOST, count, exhibit
from natsproof.checkers.line import Line, line_of, times
from natsproof.checkers.segments import running_max, shifted
from natsproof.checkers.two_leaders import refusals_in_doubt
from natsproof.checkers.writes import WriteLog, created_ns, ttl_ns_by_key, write_log
from natsproof.history import NEVER_NS, NONE, History, Kind, Outcome
from natsproof.verdict import Status, Verdict, broken, combine, holds, unknown

READS = (Kind.GET, Kind.FINAL_GET)
Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chains:
    """The lock keys' lines. Over clusters: kind (-1 before the first write), expected revision, client
    (NONE for the server), and the cluster of the create that began the chain (NONE outside a chain)."""

    log: WriteLog
    line: Line
    kind: Int
    expected: Int
    client: Int
    root: Int
    created: Int  # the server's time relative to the line's start, NONE if not told

    @classmethod
    def of(cls, history: History, early_s: float, reads: tuple[Kind, ...] = READS) -> Chains:
        log = write_log(history)
        start_ns, horizon = times(history)
        line = line_of(history, log, reads, start_ns, horizon, int(early_s * 1e9))
        own = line.write >= 0
        kind = np.where(own, log.kind[line.write], -1).astype(np.int64)
        expected = np.where(own, log.expected[line.write], NONE)
        rows = np.where(own, log.row[line.write], NONE)
        client = np.where(rows >= 0, history.operations.client[rows], NONE).astype(np.int64)
        created = np.where(own, created_ns(history, log)[line.write], NONE)
        created = np.where(created >= 0, created - start_ns, NONE)
        takes = _takes(kind, expected)
        ends = (kind < 0) | (kind >= Kind.DELETE)
        mark = np.where(takes, np.arange(len(kind)), np.where(ends, -2, -1))
        root = _last_mark(mark)
        return cls(log, line, kind, expected, client, root, created)

    @property
    def takes(self) -> NDArray[np.bool_]:
        return _takes(self.kind, self.expected)

    @property
    def takes_after_an_expiry(self) -> Int:
        """Clusters that took a lock whose last write was a value: nobody had released or purged it."""
        takes = np.flatnonzero(self.takes)
        before = self.kind[takes - 1]
        return takes[(before >= 0) & (before < Kind.DELETE)]

    def row(self, cluster: int) -> int:
        return self.line.row_of_write(self.log, cluster)


def _takes(kind: Int, expected: Int) -> NDArray[np.bool_]:
    out: NDArray[np.bool_] = (kind == Kind.CREATE) | ((kind == Kind.UPDATE) & (expected == 0))
    return out


def _last_mark(mark: Int) -> Int:
    """At each cluster the last mark that is not -1: a create's own index, or NONE after an end."""
    at = np.where(mark != -1, np.arange(len(mark)), -1)
    np.maximum.accumulate(at, out=at)
    out = np.where(at >= 0, mark[at], NONE)
    return np.where(out == -2, NONE, out)


def one_holder_at_a_time(history: History, *, early_s: float = 0.05) -> Verdict:
    """L1: between two acquisitions of a lock lies its release, its deletion or at least its TTL."""
    history = refusals_in_doubt(history)
    chains = Chains.of(history, early_s)
    takes = np.flatnonzero(chains.takes)
    before = takes - 1
    alive = chains.kind[before] >= 0
    alive &= chains.kind[before] < Kind.DELETE
    absence = Absence.of(history, chains.log, chains.line, READS)
    bad, _, _ = absence.judge()
    stamped = _too_soon_by_stamp(history, chains, takes[alive], early_s)
    bad = np.union1d(bad, stamped)
    stolen, doubtful = [], 0
    for cluster in bad.tolist():
        answer = explained_by_unknown_deletes(
            history, chains.log, chains.line, absence, int(chains.line.group[cluster])
        )
        if answer is False or cluster in stamped:
            stolen.append(cluster)
        else:
            doubtful += answer is None
    evidence = {
        "acquisitions": len(takes),
        "after_release": int(np.count_nonzero(~alive)),
        "after_expiry": int(np.count_nonzero(alive)) - len(bad),
        "locks": len(chains.line.starts),
        "stolen": len(stolen),
    }
    if stolen:
        shown = [
            exhibit(history, "taken while another held it:", (chains.row(c - 1), chains.row(c)))
            for c in stolen[:MOST]
        ]
        return broken(f"{count(len(stolen), 'acquisition')} of a lock that was held", shown, **evidence)
    if doubtful:
        return unknown(
            f"{count(doubtful, 'acquisition')} may rest on a release of unknown outcome", (), **evidence
        )
    if len(takes) < 2:
        return unknown("fewer than two acquisitions: no take-over to judge", (), **evidence)
    return holds(f"{count(len(takes), 'acquisition')}, one holder at a time", **evidence)


def _too_soon_by_stamp(history: History, chains: Chains, takes: Int, early_s: float) -> Int:
    """Take-overs without a release whose server timestamps are closer than the TTL."""
    ttl_ns = ttl_ns_by_key(history)[chains.line.group_key[chains.line.group[takes]]]
    known = (chains.created[takes] >= 0) & (chains.created[takes - 1] >= 0) & (ttl_ns > 0)
    floating = chains.log.floating() & (chains.log.kind >= Kind.DELETE)
    known &= ~np.isin(chains.line.group_key[chains.line.group[takes]], chains.log.key[floating])
    apart = chains.created[takes] - chains.created[takes - 1]
    return takes[known & (apart < ttl_ns - int(early_s * 1e9))]


def renewals_stay_on_their_own_chain(history: History) -> Verdict:
    """L2: a renewal succeeds only on the last revision of the chain its own client began."""
    history = refusals_in_doubt(history)
    chains = Chains.of(history, 0.0)
    renewals = np.flatnonzero((chains.kind == Kind.UPDATE) & (chains.expected > 0))
    root = chains.root[renewals]
    stranger = (root == NONE) | (chains.client[root] != chains.client[renewals])
    stranger |= chains.expected[renewals] != chains.line.revision_before[renewals]
    bad = renewals[stranger]
    evidence = {"renewals": len(renewals), "on_another_chain": len(bad)}
    if len(bad):
        shown = [
            exhibit(history, "renewed on a chain that is not its own:", (chains.row(c - 1), chains.row(c)))
            for c in bad[:MOST].tolist()
        ]
        return broken(f"{count(len(bad), 'renewal')} accepted on another's chain", shown, **evidence)
    if not len(renewals):
        return unknown("no renewal was acknowledged", (), **evidence)
    return holds(f"all {count(len(renewals), 'renewal')} on the own chain", **evidence)


def no_lock_expires_early(
    history: History, *, early_s: float = 0.05, reads: tuple[Kind, ...] = READS
) -> Verdict:
    """L3: a lock is neither taken nor found absent before its TTL has passed since its last renewal,
    unless it was released.

    `reads` are the kinds whose "absent" counts. A leader that is deposed and does not know it answers
    reads from before; lock clients decide by creates only, and so does this with `reads=()`.
    """
    history = refusals_in_doubt(history)
    chains = Chains.of(history, early_s, reads)
    absence = Absence.of(history, chains.log, chains.line, reads)
    bad_creates, bad_reads, undecided = absence.judge()
    groups = np.union1d(
        chains.line.group[bad_creates], np.append(absence.group[bad_reads], absence.group[undecided])
    )
    answers = {
        int(g): explained_by_unknown_deletes(history, chains.log, chains.line, absence, int(g))
        for g in groups.tolist()
    }
    early_creates = [c for c in bad_creates.tolist() if answers[int(chains.line.group[c])] is False]
    early_reads = [r for r in bad_reads.tolist() if answers[int(absence.group[r])] is False]
    evidence = {
        "acquisitions": len(absence.creates),
        "absent_reads": len(absence.rows),
        "early": len(early_creates) + len(early_reads),
    }
    if early_creates or early_reads:
        shown = [
            exhibit(history, "taken before it could have expired:", (chains.row(c - 1), chains.row(c)))
            for c in early_creates[:MOST]
        ] + [absence.show(history, chains.log, r) for r in early_reads[:MOST]]
        return broken(f"a lock was gone early ({count(int(evidence['early']), 'time')})", shown, **evidence)
    if any(answer is None for answer in answers.values()):
        return unknown("an absence that only a release of unknown outcome may explain", (), **evidence)
    if not len(absence.creates):
        return unknown("no lock was taken", (), **evidence)
    return holds("no lock was free before its release or its TTL", **evidence)


def no_lock_is_taken_early(history: History) -> Verdict:
    """L3 by acquisitions alone, for trials in which a leader may be cut off: one that is deposed and does
    not know it yet answers reads from its own store, where the lock has lapsed. Nobody takes it there."""
    return no_lock_expires_early(history, reads=())


def stale_holders_are_refused(history: History) -> Verdict:
    """L5: an update or a delete on a revision that is not the lock's last one fails."""
    history = refusals_in_doubt(history)
    chains = Chains.of(history, 0.0)
    conditional = np.flatnonzero(chains.expected > 0)
    bad = conditional[chains.expected[conditional] != chains.line.revision_before[conditional]]
    floating = np.unique(chains.log.key[chains.log.floating()])
    newer = chains.expected[bad] > chains.line.revision_before[bad]
    doubtful = newer & np.isin(chains.line.group_key[chains.line.group[bad]], floating)
    refused = _stale_attempts(history, chains)
    evidence = {
        "conditional": len(conditional),
        "stale_refused": refused,
        "stale_accepted": int(np.count_nonzero(~doubtful)),
    }
    if (~doubtful).any():
        shown = [
            exhibit(history, "accepted on a stale revision:", (chains.row(c - 1), chains.row(c)))
            for c in bad[~doubtful][:MOST].tolist()
        ]
        return broken(f"{count(len(shown), 'stale holder')} not refused", shown, **evidence)
    if doubtful.any():
        return unknown("a condition that only an unresolved write can have met", (), **evidence)
    if not refused:
        return unknown("no stale holder tried anything", (), **evidence)
    return holds(
        f"{count(refused, 'stale renewal or release', 'stale renewals and releases')} refused", **evidence
    )


def _stale_attempts(history: History, chains: Chains) -> int:
    """Refused conditional writes called after a later revision of their key had been acknowledged."""
    ops, line = history.operations, chains.line
    tried = (ops.kind >= Kind.UPDATE) & (ops.kind <= Kind.PURGE) & (ops.expected > 0)
    rows = np.flatnonzero(tried & (ops.outcome == Outcome.FAILED))
    group = line.group_of_key[ops.key[rows]]
    rows, group = rows[group >= 0], group[group >= 0]
    newest = np.zeros(len(rows), dtype=np.bool_)
    acked = np.flatnonzero(chains.log.acknowledged & (chains.log.revision > 0))
    order = acked[np.argsort(chains.log.return_ns[acked], kind="stable")]
    for g in np.unique(group).tolist():  # lock keys are few
        mine = order[chains.log.key[order] == line.group_key[g]]
        highest = np.maximum.accumulate(chains.log.revision[mine]) if len(mine) else mine
        asked = np.flatnonzero(group == g)
        at = np.searchsorted(chains.log.return_ns[mine], ops.call_ns[rows[asked]], side="left") - 1
        ok = at >= 0
        newest[asked[ok]] = highest[at[ok]] > ops.expected[rows[asked[ok]]]
    return int(np.count_nonzero(newest))


def tokens_rise(history: History) -> Verdict:
    """L6: who takes a lock later in time gets a higher token (the revision of the create)."""
    history = refusals_in_doubt(history)
    chains = Chains.of(history, 0.0)
    line, takes = chains.line, chains.takes
    call = np.where(takes, line.own_call, -1)
    back = np.full(len(takes), line.horizon, dtype=np.int64)
    own = np.flatnonzero(takes)
    returned = chains.log.return_ns[line.write[own]]
    back[own] = np.where(returned == NEVER_NS, line.horizon, returned - line.start_ns)
    floor = shifted(running_max(call, line.starts), line.starts, -1) if len(call) else call
    bad = np.flatnonzero(takes & (back < floor))
    evidence = {"acquisitions": len(own), "not_rising": len(bad)}
    if len(bad):
        shown = []
        for cluster in bad[:MOST].tolist():
            first = int(line.starts[line.group[cluster]])
            later = first + int(np.argmax(call[first:cluster] == floor[cluster]))
            pair = (chains.row(cluster), chains.row(later))
            shown.append(exhibit(history, "the later holder has the lower token:", pair))
        return broken(f"{count(len(bad), 'token')} not above an earlier holder's", shown, **evidence)
    if len(own) < 2:
        return unknown("fewer than two acquisitions: no order of tokens to judge", (), **evidence)
    return holds(f"{count(len(own), 'token')} rise with time", **evidence)


def locks_are_safe(history: History, *, early_s: float = 0.05, reads: tuple[Kind, ...] = READS) -> Verdict:
    """L1, L2, L3, L5 and L6 together. L2 and L5 may lack evidence without making this UNKNOWN."""
    must = [
        one_holder_at_a_time(history, early_s=early_s),
        no_lock_expires_early(history, early_s=early_s, reads=reads),
        tokens_rise(history),
    ]
    may = [renewals_stay_on_their_own_chain(history), stale_holders_are_refused(history)]
    return combine([*must, *(v for v in may if v.status is not Status.UNKNOWN)])
