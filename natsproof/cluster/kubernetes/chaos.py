"""Chaos Mesh through its custom resources: create, await, verify, recover, leave nothing.

The order matters. `AllRecovered` is true before an injection has begun, and an object whose selector
matches nothing waits for ever without an error. So: Selected, then AllInjected, then as many records as
pods were meant, each injected at least once; only after stopping does AllRecovered mean anything. That the
fault *bit* is for an independent witness to say, never for Chaos Mesh.

An object that is forced out leaves what it did in force: rules in the pods' networks, a stopped clock, an
exchanged image. Nothing of that outlives a pod, so the pods it named are replaced then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from natsproof.clock import wait_until
from natsproof.cluster.kubernetes.api import Api, ApiError
from natsproof.cluster.kubernetes.chaos_bodies import API_VERSION, ONE_SHOT, PLURALS, Body, pods_of
from natsproof.cluster.kubernetes.watch import is_ready, uid
from natsproof.errors import ClusterError, DeadlineExceeded, FaultDidNotLand, NotAvailableHere

INJECT_S = 30.0
RECOVER_S = 60.0
DELETE_S = 20.0
#: How long a pod may take to leave (its grace period) and its successor to be Ready.
REPLACE_S = 180.0
SERVED_S = 30.0
PAUSE_ANNOTATION = "experiment.chaos-mesh.org/pause"
#: The way out that Chaos Mesh offers for an object that cannot recover.
FORCE_ANNOTATION = "chaos-mesh.chaos-mesh.org/cleanFinalizer"


class ChaosMesh:
    """Chaos objects of one namespace. What it created it also removes; `sweep` removes a dead run's."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace

    def check(self, *, daemon_on: Collection[str] = ()) -> str:
        """What runs: version and image of the controller. `daemon_on`: nodes where a daemon must run, too.

        Raises NotAvailableHere unless the definitions are installed and Ready pods stand behind them.
        """
        for kind, plural in PLURALS.items():
            try:
                self._list(kind)
            except ApiError as problem:
                raise NotAvailableHere(
                    f"Chaos Mesh is not installed: no {plural}.chaos-mesh.org ({problem})"
                ) from None
        controllers = self._running("controller-manager")
        if not controllers:
            raise NotAvailableHere(
                "the definitions of Chaos Mesh are installed and no controller runs: objects would "
                "be accepted and nothing would happen"
            )
        if daemon_on:
            covered = {pod["spec"].get("nodeName") for pod in self._running("chaos-daemon")}
            if bare := sorted(set(daemon_on) - covered):
                raise NotAvailableHere(f"no chaos-daemon is Ready on {', '.join(bare)}: nothing would happen")
        labels = controllers[0]["metadata"]["labels"]
        version = labels.get("app.kubernetes.io/version", "of unknown version")
        return f"Chaos Mesh {version}, image {controllers[0]['spec']['containers'][0]['image']}"

    def inject(self, body: Body, *, within_s: float = INJECT_S) -> list[Mapping[str, Any]]:
        """Create the object and return its records once every meant pod is injected.

        Raises FaultDidNotLand with Chaos Mesh's own messages; the object is removed then.
        """
        kind, name = body["kind"], body["metadata"]["name"]
        meant = {f"{self._namespace}/{pod}" for pod in pods_of(body)}
        try:
            self._api.apply(body)
        except ApiError as problem:  # its admission webhook has the last word
            raise FaultDidNotLand(f"{kind} {name} is refused: {problem}") from None
        try:
            for condition in ("Selected", "AllInjected"):
                self._await(kind, name, condition, within_s)
            records = records_of(self._live(kind, name))
            hit = {"/".join(r["id"].split("/")[:2]) for r in records if int(r.get("injectedCount") or 0) >= 1}
            if not meant <= hit:
                missed = ", ".join(sorted(meant - hit))
                raise FaultDidNotLand(f"{kind} {name}: not injected into {missed}, only into {sorted(hit)}")
            return records
        except BaseException:
            self._clear(body)
            raise

    def recover(self, body: Body, *, within_s: float = RECOVER_S, delete_s: float = DELETE_S) -> None:
        """Stop the injection, wait until all is recovered, remove the object. Gone already is recovered.

        Raises ClusterError if Chaos Mesh could not recover it: the pods have been replaced then.
        """
        kind, name = body["kind"], body["metadata"]["name"]
        late = ""
        if not is_one_shot(body) and self._annotate(kind, name, {PAUSE_ANNOTATION: "true"}):
            try:
                self._await(kind, name, "AllRecovered", within_s)
            except FaultDidNotLand as problem:
                late = str(problem) if self._find(kind, name) else ""
        if replaced := self._clear(body, within_s=delete_s):
            raise ClusterError(
                f"{kind} {name} did not recover, was forced out, and {', '.join(replaced)} replaced: {late}"
            )

    def remove(self, kind: str, name: str, *, within_s: float = DELETE_S) -> bool:
        """Delete an object; one that hangs on its finalizer is forced. False if force was needed: then
        what it did may still be in force (`sweep` and `recover` see to that)."""
        self._api.delete(kind, name, self._namespace, api_version=API_VERSION)
        if self._gone(kind, name, within_s):
            return True
        if not self._annotate(kind, name, {FORCE_ANNOTATION: "forced"}):
            return True  # it went at the last moment, by itself
        if self._gone(kind, name, within_s):
            return False
        self._merge(kind, name, {"finalizers": None})
        if not self._gone(kind, name, within_s):
            raise ClusterError(
                f"{kind} {self._namespace}/{name} cannot be deleted, not even without finalizers"
            )
        return False

    def sweep(self, *, within_s: float = DELETE_S) -> list[str]:
        """Remove every chaos object of natsproof in the namespace; returns what was there, and which pods
        had to be replaced because an object resisted."""
        removed = []
        for kind in PLURALS:
            try:
                found = self._list(kind, labels="app.kubernetes.io/managed-by=natsproof")
            except ApiError as problem:
                if problem.status == 404:  # Chaos Mesh is not installed: nothing can be left
                    continue
                raise
            for thing in found:
                replaced = self._clear({"kind": kind, **thing}, within_s=within_s)
                removed += [f"{kind}/{thing['metadata']['name']}", *(f"Pod/{pod}" for pod in replaced)]
        return removed

    def _clear(self, body: Body, *, within_s: float = DELETE_S) -> list[str]:
        """Remove the object and what it did; returns the pods that were replaced for that."""
        clean = self.remove(body["kind"], body["metadata"]["name"], within_s=within_s)
        if clean or is_one_shot(body):
            return []
        hurt = [pod for pod in pods_of(body) if self._api.get("Pod", pod, self._namespace)]
        for pod in hurt:  # one after the other: the rest keeps its quorum
            self._replace(pod)
        return hurt

    def _replace(self, name: str) -> None:
        before = uid(self._api.get("Pod", name, self._namespace))
        self._api.delete("Pod", name, self._namespace)

        def back() -> bool:
            pod = self._api.get("Pod", name, self._namespace)
            return uid(pod) not in ("", before) and is_ready(pod)

        wait_until(f"a Ready successor of {name}", back, within_s=REPLACE_S, every_s=0.2)

    def _running(self, component: str) -> list[Mapping[str, Any]]:
        labels = f"app.kubernetes.io/name=chaos-mesh,app.kubernetes.io/component={component}"
        return [pod for pod in self._api.list("Pod", labels=labels) if is_ready(pod)]

    def _list(self, kind: str, labels: str | None = None) -> list[dict[str, Any]]:
        """Of a definition that is new the API server says 429 for a moment: its storage is not ready yet."""

        def once() -> list[list[dict[str, Any]] | ApiError]:
            try:
                return [self._api.list(kind, self._namespace, api_version=API_VERSION, labels=labels)]
            except ApiError as problem:
                return [] if problem.status == 429 else [problem]

        (answer,) = wait_until(f"{kind} to be served", once, within_s=SERVED_S, every_s=0.2)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    def _find(self, kind: str, name: str) -> Mapping[str, Any] | None:
        return self._api.get(kind, name, self._namespace, api_version=API_VERSION)

    def _live(self, kind: str, name: str) -> Mapping[str, Any]:
        live = self._find(kind, name)
        if live is None:
            raise FaultDidNotLand(f"{kind} {self._namespace}/{name} is gone: somebody else removed it")
        return live

    def _await(self, kind: str, name: str, condition: str, within_s: float) -> None:
        try:
            wait_until(
                f"{kind} {name} to be {condition}",
                lambda: condition_of(self._live(kind, name), condition),
                within_s=within_s,
                every_s=0.2,
            )
        except DeadlineExceeded as late:
            said = "; ".join(self._told(kind, name)[-3:]) or "Chaos Mesh gives no reason"
            hint = " Its selector matches no pod." if condition == "Selected" else ""
            raise FaultDidNotLand(f"{late}.{hint} {said}") from None

    def _gone(self, kind: str, name: str, within_s: float) -> bool:
        try:
            return wait_until(
                f"{kind} {name} to go",
                lambda: self._find(kind, name) is None,
                within_s=within_s,
                every_s=0.1,
            )
        except DeadlineExceeded:
            return False

    def _annotate(self, kind: str, name: str, annotations: Mapping[str, str]) -> bool:
        """False if the object is gone."""
        return self._merge(kind, name, {"annotations": dict(annotations)})

    def _merge(self, kind: str, name: str, metadata: Mapping[str, Any]) -> bool:
        try:
            self._api.patch(
                kind, name, self._namespace, {"metadata": dict(metadata)}, api_version=API_VERSION
            )
        except ApiError as problem:
            if problem.status == 404:
                return False
            raise
        return True

    def _told(self, kind: str, name: str) -> list[str]:
        """What Chaos Mesh says went wrong: in the records; where nothing was selected, in events only."""
        events = [
            str(event.get("message", ""))
            for event in self._api.list("Event", self._namespace)
            if (event.get("involvedObject") or {}).get("kind") == kind
            and event["involvedObject"].get("name") == name
            and event.get("reason") == "Failed"
        ]
        return messages_of(self._find(kind, name) or {}) or list(dict.fromkeys(events))


def is_one_shot(body: Mapping[str, Any]) -> bool:
    """Whether it is over once it has happened: nothing to recover from, and nothing stays in force."""
    return body["spec"].get("action") in ONE_SHOT


def condition_of(live: Mapping[str, Any], kind: str) -> bool:
    conditions = (live.get("status") or {}).get("conditions") or ()
    return any(c["type"] == kind and c["status"] == "True" for c in conditions)


def records_of(live: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One record per container or pod: id `namespace/pod[/container]`, phase, injectedCount, events."""
    experiment = (live.get("status") or {}).get("experiment") or {}
    return list(experiment.get("containerRecords") or ())


def messages_of(live: Mapping[str, Any]) -> list[str]:
    """What Chaos Mesh says went wrong."""
    return [
        f"{record['id']}: {event.get('message', '')}"
        for record in records_of(live)
        for event in record.get("events") or ()
        if event.get("type") == "Failed"
    ]
