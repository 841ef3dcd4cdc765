"""A stand-in for Chaos Mesh's controller, for where its images are not to be had. Not Chaos Mesh.

It takes the steps that the controller of version 2.8 takes with an object, in its order: enter the finalizer,
decide whether to run or to stop, say what was reached, select and apply or recover record by record, let a
recovered object go. It writes only what the controller writes, by the same kind of request, so that the API
server's definitions, the finalizer and the moments between the steps are real. What an action does to a pod
is for `Acts`: in memory it is noted down, on kind the pods are hurt for real.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from natsproof.cluster.kubernetes.api import ApiError
from natsproof.cluster.kubernetes.chaos import FORCE_ANNOTATION, PAUSE_ANNOTATION, is_one_shot
from natsproof.cluster.kubernetes.chaos_bodies import API_VERSION, PLURALS
from natsproof.errors import NatsproofError

FINALIZER = "chaos-mesh/records"
NOT_INJECTED, INJECTED = "Not Injected", "Injected"

Thing = dict[str, Any]


class Acts(Protocol):
    """`apply` and `recover` hurt and mend one pod; a NatsproofError from them is the record's failure."""

    def apply(self, thing: Thing, pod: str) -> None: ...
    def recover(self, thing: Thing, pod: str) -> None: ...


class StandIn:
    """Takes one turn with every object of `namespace` whenever `turn` is called; `running` does it in a
    thread. `now`: seconds since the objects were created, for durations."""

    def __init__(
        self, api: Any, namespace: str, acts: Acts, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._api, self._namespace, self._acts, self._now = api, namespace, acts, now
        self._born: dict[str, float] = {}
        self._ending = threading.Event()
        self.problems: list[Exception] = []

    def run(self, every_s: float = 0.1) -> threading.Thread:
        """Turn after turn until `end`."""

        def turns() -> None:
            while not self._ending.wait(every_s):
                try:
                    self.turn()
                except Exception as problem:  # told at the end: a thread has nobody to raise to
                    self.problems.append(problem)

        thread = threading.Thread(target=turns, name="chaos-mesh-stand-in", daemon=True)
        thread.start()
        return thread

    def end(self) -> None:
        self._ending.set()

    def turn(self) -> None:
        for kind in PLURALS:
            for thing in self._api.list(kind, self._namespace, api_version=API_VERSION):
                self.reconcile({**thing, "kind": kind})

    def reconcile(self, thing: Thing) -> None:
        """One turn: each step sees what the one before wrote, as the controller's pipeline does."""
        for step in (self._enter_finalizer, self._decide, self._conditions, self._records, self._let_go):
            live = self._api.get(
                thing["kind"], thing["metadata"]["name"], self._namespace, api_version=API_VERSION
            )
            if live is None:
                return
            step({**live, "kind": thing["kind"]})

    # -- the steps

    def _enter_finalizer(self, thing: Thing) -> None:
        metadata = thing["metadata"]
        if not _dying(thing) and FINALIZER not in metadata.get("finalizers", ()):
            self._born[metadata["name"]] = self._now()
            self._patch(thing, {"metadata": {"finalizers": [*metadata.get("finalizers", ()), FINALIZER]}})

    def _decide(self, thing: Thing) -> None:
        """A one-shot is never stopped but by its deletion."""
        annotations = thing["metadata"].get("annotations") or {}
        stopped = annotations.get(PAUSE_ANNOTATION) == "true" or self._time_up(thing)
        phase = "Stop" if _dying(thing) or (stopped and not is_one_shot(thing)) else "Run"
        if _experiment(thing).get("desiredPhase") != phase:
            self._patch(thing, {"status": {"experiment": {"desiredPhase": phase}}})

    def _conditions(self, thing: Thing) -> None:
        phases = [record["phase"] for record in _experiment(thing).get("containerRecords") or ()]
        annotations = thing["metadata"].get("annotations") or {}
        reached = {
            "Selected": bool(phases),
            "AllInjected": bool(phases) and set(phases) == {INJECTED},
            "AllRecovered": bool(phases) and set(phases) == {NOT_INJECTED},  # before the injection, too
            "Paused": annotations.get(PAUSE_ANNOTATION) == "true",
        }
        conditions = [{"type": name, "status": str(value)} for name, value in reached.items()]
        if (thing.get("status") or {}).get("conditions") != conditions:
            self._patch(thing, {"status": {"conditions": conditions}})

    def _records(self, thing: Thing) -> None:
        experiment = _experiment(thing)
        records = experiment.get("containerRecords") or self._select(thing)
        changed = records != experiment.get("containerRecords")
        for record in records:
            changed |= self._one(thing, record, experiment.get("desiredPhase", "Run"))
        if records and changed:
            self._patch(thing, {"status": {"experiment": {"containerRecords": records}}})

    def _let_go(self, thing: Thing) -> None:
        records = _experiment(thing).get("containerRecords") or ()
        forced = (thing["metadata"].get("annotations") or {}).get(FORCE_ANNOTATION) == "forced"
        if _dying(thing) and (forced or all(record["phase"] == NOT_INJECTED for record in records)):
            self._patch(thing, {"metadata": {"finalizers": None}})

    # -- parts

    def _select(self, thing: Thing) -> list[dict[str, Any]]:
        """One record for each pod; none at all if any selector finds no pod."""
        selectors = {".": thing["spec"]["selector"]}
        if "target" in thing["spec"]:
            selectors[".Target"] = thing["spec"]["target"]["selector"]
        found = []
        for key, selector in selectors.items():
            named = [(ns, pod) for ns, pods in selector["pods"].items() for pod in pods]
            there = [f"{ns}/{pod}" for ns, pod in named if self._api.get("Pod", pod, ns) is not None]
            if not there:
                return []
            for identity in there:
                record = {"id": identity, "selectorKey": key, "phase": NOT_INJECTED}
                found.append({**record, "injectedCount": 0, "recoveredCount": 0})
        return found

    def _one(self, thing: Thing, record: dict[str, Any], desired: str) -> bool:
        """Apply or recover one record; whether it changed."""
        if (record["phase"] == INJECTED) == (desired == "Run"):
            return False
        run = desired == "Run"
        event = {"operation": "Apply" if run else "Recover", "timestamp": _timestamp(), "type": "Succeeded"}
        try:
            act = self._acts.apply if run else self._acts.recover
            act(thing, record["id"].split("/")[1])
        except NatsproofError as problem:
            event |= {"type": "Failed", "message": str(problem)}
        else:
            record["phase"] = INJECTED if run else NOT_INJECTED
            record["injectedCount" if run else "recoveredCount"] += 1
        record["events"] = [*record.get("events", ()), event][-10:]
        return True

    def _time_up(self, thing: Thing) -> bool:
        limit, born = thing["spec"].get("duration"), self._born.get(thing["metadata"]["name"])
        if limit is None or born is None:
            return False
        value = float(limit.removesuffix("ms")) / 1000 if limit.endswith("ms") else float(limit[:-1])
        return self._now() - born >= value

    def _patch(self, thing: Thing, change: Mapping[str, Any]) -> None:
        try:
            self._api.patch(
                thing["kind"], thing["metadata"]["name"], self._namespace, change, api_version=API_VERSION
            )
        except ApiError as problem:
            if problem.status != 404:
                raise


def _dying(thing: Thing) -> bool:
    return bool(thing["metadata"].get("deletionTimestamp"))


def _experiment(thing: Thing) -> dict[str, Any]:
    return (thing.get("status") or {}).get("experiment") or {}


def _timestamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
