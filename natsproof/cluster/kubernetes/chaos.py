"""Chaos Mesh through its custom resources: create, await, verify, recover, leave nothing.

The order matters. `AllRecovered` is true before an injection has begun, and an object whose selector
matches nothing waits for ever without an error. So: Selected, then AllInjected, then as many records as
pods were meant, each injected at least once; only after stopping does AllRecovered mean anything. That the
fault *bit* is for an independent witness to say, never for Chaos Mesh.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from natsproof.clock import wait_until
from natsproof.cluster.kubernetes.api import Api, ApiError
from natsproof.cluster.kubernetes.chaos_bodies import API_VERSION, ONE_SHOT, PLURALS, Body
from natsproof.errors import ClusterError, DeadlineExceeded, FaultDidNotLand, NotAvailableHere

INJECT_S = 30.0
RECOVER_S = 60.0
DELETE_S = 20.0
PAUSE_ANNOTATION = "experiment.chaos-mesh.org/pause"
#: The way out that Chaos Mesh offers for an object that cannot recover.
FORCE_ANNOTATION = "chaos-mesh.chaos-mesh.org/cleanFinalizer"


class ChaosMesh:
    """Chaos objects of one namespace. What it created it also removes; `sweep` removes a dead run's."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace

    def check(self) -> None:
        """Raises NotAvailableHere unless the definitions are installed and a controller runs."""
        for kind, plural in PLURALS.items():
            try:
                self._api.list(kind, self._namespace, api_version=API_VERSION)
            except ApiError as problem:
                raise NotAvailableHere(
                    f"Chaos Mesh is not installed: no {plural}.chaos-mesh.org ({problem})"
                ) from None
        pods = self._api.list("Pod", labels="app.kubernetes.io/component=controller-manager")
        if not any(
            (p["metadata"].get("labels") or {}).get("app.kubernetes.io/name") == "chaos-mesh" for p in pods
        ):
            raise NotAvailableHere(
                "the definitions of Chaos Mesh are installed and no controller runs: objects would "
                "be accepted and nothing would happen"
            )

    def inject(self, body: Body, *, within_s: float = INJECT_S) -> list[Mapping[str, Any]]:
        """Create the object and return its records once every meant pod is injected.

        Raises FaultDidNotLand with Chaos Mesh's own messages; the object is removed then.
        """
        kind, name = body["kind"], body["metadata"]["name"]
        meant = {f"{ns}/{pod}" for ns, pods in body["spec"]["selector"]["pods"].items() for pod in pods}
        self._api.apply(body)
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
            self.remove(kind, name)
            raise

    def recover(self, body: Body, *, within_s: float = RECOVER_S) -> None:
        """Stop the injection, wait until all is recovered, remove the object."""
        kind, name = body["kind"], body["metadata"]["name"]
        try:
            if body["spec"].get("action") not in ONE_SHOT:
                self._annotate(kind, name, {PAUSE_ANNOTATION: "true"})
                self._await(kind, name, "AllRecovered", within_s)
        finally:
            self.remove(kind, name)

    def remove(self, kind: str, name: str, *, within_s: float = DELETE_S) -> bool:
        """Delete an object; one that hangs on its finalizer is forced. False if force was needed."""
        self._api.delete(kind, name, self._namespace, api_version=API_VERSION)
        if self._gone(kind, name, within_s):
            return True
        self._annotate(kind, name, {FORCE_ANNOTATION: "forced"})
        if self._gone(kind, name, within_s):
            return False
        self._api.patch(
            kind, name, self._namespace, {"metadata": {"finalizers": None}}, api_version=API_VERSION
        )
        if not self._gone(kind, name, within_s):
            raise ClusterError(
                f"{kind} {self._namespace}/{name} cannot be deleted, not even without finalizers"
            )
        return False

    def sweep(self, *, within_s: float = DELETE_S) -> list[str]:
        """Remove every chaos object of natsproof in the namespace; returns what was there."""
        removed = []
        for kind in PLURALS:
            try:
                found = self._api.list(
                    kind,
                    self._namespace,
                    api_version=API_VERSION,
                    labels="app.kubernetes.io/managed-by=natsproof",
                )
            except ApiError as problem:
                if problem.status == 404:  # Chaos Mesh is not installed: nothing can be left
                    continue
                raise
            for thing in found:
                self.remove(kind, thing["metadata"]["name"], within_s=within_s)
                removed.append(f"{kind}/{thing['metadata']['name']}")
        return removed

    def _live(self, kind: str, name: str) -> Mapping[str, Any]:
        live = self._api.get(kind, name, self._namespace, api_version=API_VERSION)
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
            said = "; ".join(messages_of(self._live(kind, name))) or "Chaos Mesh gives no reason"
            hint = " Its selector matches no pod." if condition == "Selected" else ""
            raise FaultDidNotLand(f"{late}.{hint} {said}") from None

    def _gone(self, kind: str, name: str, within_s: float) -> bool:
        try:
            return wait_until(
                f"{kind} {name} to go",
                lambda: self._api.get(kind, name, self._namespace, api_version=API_VERSION) is None,
                within_s=within_s,
                every_s=0.1,
            )
        except DeadlineExceeded:
            return False

    def _annotate(self, kind: str, name: str, annotations: Mapping[str, str]) -> None:
        self._api.patch(
            kind,
            name,
            self._namespace,
            {"metadata": {"annotations": dict(annotations)}},
            api_version=API_VERSION,
        )


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
