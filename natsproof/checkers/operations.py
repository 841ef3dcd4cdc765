"""Operations: a restore gives back what a backup took, a full bucket refuses cleanly, never two away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natsproof.checkers.deployment import BucketAsPromised, MembersAgree, ServersRunTheConfiguration
from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.checkers.enough import Enough
from natsproof.checkers.exhibits import MOST, count, exhibit
from natsproof.checkers.guards import What, noun
from natsproof.checkers.windows import fault_name, windows
from natsproof.checkers.writes import of_the_runner
from natsproof.contract.model import Contract
from natsproof.history import NEVER_NS, History, Kind, Operations, Outcome
from natsproof.verdict import Exhibit, Status, Verdict, broken, holds, unknown

#: What a server says when a stream's max_bytes would be passed; code 10077 says "store failed" in general.
FULL = "503/10077 maximum bytes exceeded"
NOBODY = "no responders"
UNANSWERED_SHARE = 0.2


def at_least_while(number: int, what: What, fault: object = None) -> Enough:
    """At least `number` of `what` were called while each operation (a fault that is over when it is done)
    was under way: between the beginning and the end of its injection."""

    def look(history: History) -> list[tuple[int, str]]:
        mask, ops = what(history), history.operations
        return [
            (
                int(np.count_nonzero(mask & (ops.call_ns >= w.began_ns) & (ops.call_ns <= w.injected_ns))),
                " while it was done",
            )
            for w in windows(history, fault)
        ]

    name = f"at_least_while({number}, {what.__name__})"
    nothing = f"no {'operation' if fault is None else fault_name(fault)} was carried out"
    return Enough(name, number, noun(what), look, nothing)


def every_write_before_the_backup_is_restored(history: History) -> Verdict:
    """Every write acknowledged before the backup began is found after the restore; what came later may be.

    Judged as `no_acknowledged_put_is_lost` with every later acknowledgement taken as an unknown outcome.
    """
    own = windows(history, "BackUpAndRestore")
    if not own:
        return unknown("no backup was made and restored")
    began_ns, over_ns = own[0].began_ns, own[0].injected_ns
    ops = history.operations
    write = (ops.kind <= Kind.PURGE) & (ops.outcome == Outcome.OK)
    lost_legally = write & (ops.return_ns >= began_ns) & (ops.call_ns <= over_ns)
    columns = {f.name: getattr(ops, f.name) for f in fields(Operations)}
    columns["outcome"] = np.where(lost_legally, np.int8(Outcome.UNKNOWN), ops.outcome)
    columns["return_ns"] = np.where(lost_legally, NEVER_NS, ops.return_ns)
    columns["revision"] = np.where(lost_legally, np.int64(-1), ops.revision)  # they may be given again
    before = int(np.count_nonzero(write & (ops.return_ns < began_ns)))
    if not before:
        return unknown("no write was acknowledged before the backup began")
    verdict = no_acknowledged_put_is_lost(history.with_operations(Operations(**columns)))
    evidence = {**verdict.evidence, "acknowledged_before_backup": before}
    return Verdict(verdict.status, verdict.reason, evidence, verdict.exhibits)


def a_full_bucket_refuses_cleanly(history: History) -> Verdict:
    """From the mark `full` to `room` every put and update is refused with 10077 for its size and none is
    stored; the bucket never holds more than max_bytes; from `room` on puts are acknowledged again. Up to a
    fifth of either may go unanswered."""
    twin = next((o.data for o in history.observed("small_twin")), None)
    missing = [name for name in ("full", "room", "refilled") if name not in history.marks]
    if twin is None or missing:
        return unknown(f"no bucket was filled: {', '.join(missing) or 'no twin was made'}")
    own = history.of_bucket(twin["bucket"])
    ops = own.operations
    put = (ops.kind <= Kind.UPDATE) & ~of_the_runner(own)
    full_ns, room_ns = history.marks["full"], history.marks["room"]
    tried = put & (ops.call_ns >= full_ns) & (ops.call_ns < room_ns)
    again = put & (ops.call_ns >= room_ns) & (ops.call_ns < history.marks["refilled"])
    most = max((int(b) for b in _bytes_held(history, twin["bucket"])), default=0)
    clean = tried & (ops.outcome == Outcome.FAILED) & _said(own, FULL)
    evidence = {
        "max_bytes": int(twin["max_bytes"]),
        "held_bytes_max": most,
        "kept": int(np.count_nonzero(put & (ops.call_ns < full_ns) & (ops.outcome == Outcome.OK))),
        "tried_when_full": int(np.count_nonzero(tried)),
        "refused_cleanly": int(np.count_nonzero(clean)),
        "acknowledged_with_room": int(np.count_nonzero(again & (ops.outcome == Outcome.OK))),
    }
    wrong: list[tuple[str, NDArray[np.intp]]] = []
    refused_otherwise = tried & ~clean & (ops.outcome != Outcome.OK) & ~_few_unanswered(own, tried)
    refused_again = again & (ops.outcome != Outcome.OK) & ~_few_unanswered(own, again)
    if len(rows := np.flatnonzero(tried & (ops.outcome == Outcome.OK))):
        wrong.append((f"{count(len(rows), 'write')} acknowledged by a full bucket", rows))
    if len(rows := np.flatnonzero(refused_otherwise)):
        wrong.append((f"{count(len(rows), 'write')} not refused as {FULL!r}", rows))
    if len(rows := np.flatnonzero(refused_again)):
        wrong.append((f"{count(len(rows), 'write')} refused though room had been made", rows))
    if most > int(twin["max_bytes"]):
        wrong.append((f"the bucket held {most:,} bytes, more than its {twin['max_bytes']:,}", rows[:0]))
    if wrong:
        shown = [exhibit(own, what, rows[:MOST].tolist()) for what, rows in wrong]
        return broken("; ".join(what for what, _ in wrong), shown, **evidence)
    if not evidence["tried_when_full"] or not evidence["acknowledged_with_room"]:
        return unknown("nothing was written to the full bucket, or after room was made", (), **evidence)
    return holds(
        f"{evidence['refused_cleanly']} writes refused, {evidence['kept']} kept, "
        f"{evidence['acknowledged_with_room']} taken again",
        **evidence,
    )


def _few_unanswered(history: History, asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of `asked` that nobody answered, unless they are more than a fifth of it."""
    silent = asked & ((history.operations.outcome == Outcome.UNKNOWN) | _said(history, NOBODY))
    few = np.count_nonzero(silent) <= np.count_nonzero(asked) * UNANSWERED_SHARE
    return silent if few else np.zeros_like(silent)


def _said(history: History, text: str) -> NDArray[np.bool_]:
    numbers = [i for i, error in enumerate(history.errors) if error == text]
    return np.isin(history.operations.error, numbers)


def _bytes_held(history: History, bucket: str) -> list[int]:
    """The bucket's bytes on each server at each look (`replicas`: [first, last, messages, bytes, ...])."""
    held = []
    for look in history.observed("replicas"):
        for streams in look.data.values():
            if streams and (state := streams.get(f"KV_{bucket}")):
                held.append(state[3])
    return held


def never_two_servers_are_away(history: History) -> Verdict:
    """At no moment between the mark `drive` and the end of the last operation were two servers not Ready.

    From the pods' own events: `ready`, `not-ready`, `deleting`.
    """
    servers = set(history.meta.get("servers", ()))
    own = windows(history)
    if not own or not servers:
        return unknown("no operation was carried out")
    away: set[str] = set()
    worst: tuple[int, tuple[str, ...]] = (0, ())
    departures = 0
    for event in sorted(history.observed("pod"), key=lambda o: o.at_ns):
        pod, what = event.data["pod"], event.data["what"]
        if pod not in servers:
            continue
        if what == "ready":
            away.discard(pod)
        elif what in ("not-ready", "deleting", "exited"):
            departures += pod not in away
            away.add(pod)
        if len(away) > 1 and not worst[1]:
            worst = (event.at_ns, tuple(sorted(away)))
    evidence = {"departures": departures, "operations": len(own)}
    if worst[1]:
        text = f"{' and '.join(worst[1])} were away together at {history.since_start_s(worst[0]):.1f} s"
        return broken(text, [Exhibit(text, at_ns=worst[0])], **evidence)
    if departures < len(servers):
        return unknown(f"only {departures} of {len(servers)} servers went away", (), **evidence)
    return holds(f"{departures} departures, never two servers at once", **evidence)


class ScaledOutAndBack:
    """With more servers all agree and no bucket lost its replicas; after going back it is as before."""

    def __init__(self, contract: Contract, larger: Contract) -> None:
        self._stages = {"larger": MembersAgree(larger), "back": MembersAgree(contract)}
        self._buckets = contract.promises.buckets

    def __call__(self, facts: Mapping[str, Any]) -> Verdict:
        for stage, judge in self._stages.items():
            verdict = judge(facts[stage]["members"])
            if verdict.status is not Status.HOLDS:
                return Verdict(
                    verdict.status, f"{stage}: {verdict.reason}", verdict.evidence, verdict.exhibits
                )
            for promise in self._buckets:
                live = facts[stage]["buckets"].get(promise.name) or {"current": []}
                if len(live["current"]) < promise.replicas:
                    return broken(
                        f"{stage}: bucket {promise.name} has {len(live['current'])} current replicas, "
                        f"{promise.replicas} promised"
                    )
        larger, back = len(facts["larger"]["members"]), len(facts["back"]["members"])
        return holds(f"{larger} servers agreed, then {back}", larger=larger, back=back)


class DriftIsFound:
    """Each change by hand is told: by the comparison of live state with the manifests, and by the set-up
    Job, which ends with an error that names the bucket; nothing is told before and after."""

    def __init__(self, contract: Contract, bucket: str) -> None:
        self._bucket = BucketAsPromised(contract.promises.bucket(bucket))
        self._name = bucket

    def __call__(self, facts: Mapping[str, Any]) -> Verdict:
        for stage in ("before", "after"):
            seen = self._bucket(facts[stage]["buckets"])
            if seen.status is not Status.HOLDS:
                return unknown(f"{stage} the change the bucket is not as promised: {seen.reason}")
        if not facts["edited"]:
            return unknown("the bucket could not be edited")
        missed = []
        if self._bucket(facts["changed"]["buckets"]).status is not Status.BROKEN:
            missed.append("the comparison with the promises")
        job = facts["changed"]["job"]
        if job["complete"] or self._name not in job["log"]:
            missed.append("the set-up Job")
        if missed:
            text = f"{' and '.join(missed)} did not notice that {self._name} was edited: {facts['edited']}"
            return broken(text, [Exhibit(text), Exhibit(str(job["log"])[-400:])])
        if not facts["after"]["job"]["complete"]:
            return broken(
                f"the set-up Job fails though {self._name} was put right",
                [Exhibit(facts["after"]["job"]["log"])],
            )
        return holds(f"{facts['edited']} on {self._name} was found by the comparison and by the Job")


class StaleConfigurationIsFound:
    """Manifests that were applied and not rolled out differ from what the servers say that they run."""

    def __init__(self, contract: Contract, changed: Contract) -> None:
        self._old, self._new = ServersRunTheConfiguration(contract), ServersRunTheConfiguration(changed)

    def __call__(self, facts: Mapping[str, Any]) -> Verdict:
        after = self._new(facts["rolled_out"])
        if after.status is not Status.HOLDS:
            return (broken if after.status is Status.BROKEN else unknown)(
                f"after the rollout: {after.reason}"
            )
        told = self._new(facts["applied"])
        if told.status is not Status.BROKEN:
            return broken("servers that run the old configuration were not told from the new one")
        if self._old(facts["applied"]).status is not Status.HOLDS:
            return unknown("the servers changed before they were restarted")
        return holds(f"found before the rollout: {told.reason}")
