"""The quick deploy of the readme, by API: apply in order, wait with progress, run the set-up Job."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from natsproof import clock
from natsproof.cluster import JobResult
from natsproof.cluster.kubernetes.api import Api, ApiError
from natsproof.cluster.kubernetes.drift import namespace_of
from natsproof.cluster.kubernetes.watch import PodWatch, container_status, is_ready
from natsproof.contract.model import Contract, KubernetesObject
from natsproof.errors import ClusterError, DeadlineExceeded, NotUp

#: What others refer to comes first; the Job waits until the servers are Ready.
ORDER = (
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "StorageClass",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "Secret",
    "ConfigMap",
    "Service",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "StatefulSet",
)
#: States of a waiting container that no patience mends.
HOPELESS = (
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
)
HOPELESS_AFTER_S = 15.0
#: Answers of the API server that find fault with the object itself; others may come from its own state.
INVALID = (400, 422)

Say = Callable[[str], None]


def rank(thing: KubernetesObject) -> int:
    return ORDER.index(thing.kind) if thing.kind in ORDER else len(ORDER) - 2


def document(thing: KubernetesObject, contract: Contract) -> dict[str, Any]:
    """What is sent: the manifest's own document, with the namespace it belongs to."""
    body: dict[str, Any] = json.loads(json.dumps(thing.raw))
    namespace = namespace_of(thing, contract)
    if namespace is not None:
        body["metadata"]["namespace"] = namespace
    return body


def apply_platform(api: Api, contract: Contract, *, skip: tuple[str, ...] = ()) -> None:
    """Apply all objects but the Job, in the order of the quick deploy; `skip` names kinds to leave."""
    things = [o for o in contract.objects if o.kind not in ("Job", *skip)]
    for thing in sorted(things, key=rank):
        try:
            api.apply(document(thing, contract))
        except ApiError as problem:
            kind = NotUp if problem.status in INVALID else ClusterError
            raise kind(f"{thing.place}: {problem}") from None


@dataclass(slots=True)
class Patience:
    """Waits until all of `pods` are Ready. Says what it waits for, and ends early where waiting is vain."""

    watch: PodWatch
    container: str
    say: Say
    within_s: float

    def until_ready(self, pods: tuple[str, ...]) -> float:
        """Seconds it took. Raises NotUp with each pod's state."""
        began_ns, said = clock.now_ns(), ""

        def all_ready() -> bool:
            nonlocal said
            states = {name: self.state(name) for name in pods}
            picture = ", ".join(f"{name} {state}" for name, state in states.items())
            if picture != said:
                said = picture
                self.say(picture)
            waited_s = clock.as_seconds(clock.now_ns() - began_ns)
            if waited_s > HOPELESS_AFTER_S and any(w in picture for w in HOPELESS):
                raise DeadlineExceeded(f"waiting is vain after {waited_s:.0f} s: {picture}")
            return all(state == "Ready" for state in states.values())

        try:
            clock.wait_until(
                f"pods {', '.join(pods)} to be Ready", all_ready, within_s=self.within_s, every_s=0.1
            )
        except DeadlineExceeded as late:
            raise NotUp(f"{late}; last state: {said}{self._warnings(pods)}") from None
        return clock.as_seconds(clock.now_ns() - began_ns)

    def state(self, name: str) -> str:
        """One word or so for a pod: absent, Pending (why), Running, Ready, ..."""
        pod = self.watch.pod(name)
        if pod is None:
            return "absent"
        if is_ready(pod):
            return "Ready"
        waiting = (container_status(pod, self.container).get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] != "ContainerCreating":
            return f"{waiting['reason']} ({waiting.get('message', '')})".replace(" ()", "")
        status = pod.get("status") or {}
        for condition in status.get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return f"Pending ({condition.get('message', condition.get('reason', ''))})"
        return str(waiting.get("reason") or status.get("phase") or "unknown")

    def _warnings(self, pods: tuple[str, ...]) -> str:
        told = [f"{e.pod}: {e.what} {e.detail}" for e in self.watch.events if e.what[:1].isupper()]
        logs = []
        for name in pods:
            file = self.watch.log_file(name)
            if file.is_file():
                logs += [f"{name}> {line}" for line in file.read_text(errors="replace").splitlines()[-3:]]
        return "".join(f"\n  {line}" for line in [*dict.fromkeys(told[-8:]), *logs])


def run_job(api: Api, contract: Contract, *, say: Say, within_s: float) -> JobResult | None:
    """Apply the set-up Job anew and wait for Complete or Failed; None if the contract has none.

    A Job's template cannot be changed, so an earlier one is deleted first, as the runbook says.
    """
    if contract.job is None:
        return None
    body = document(contract.job, contract)
    name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
    began_ns = clock.now_ns()
    if api.delete("Job", name, namespace, api_version="batch/v1", propagation="Foreground"):
        clock.wait_until(
            f"the old Job {name} to go",
            lambda: api.get("Job", name, namespace, api_version="batch/v1") is None,
            within_s=60,
            every_s=0.2,
        )
    api.apply(body)
    say(f"Job {name} runs")
    state = ""

    failed = 0

    def over() -> str:
        nonlocal failed
        live = api.get("Job", name, namespace, api_version="batch/v1") or {}
        now_failed = int((live.get("status") or {}).get("failed") or 0)
        if now_failed > failed:
            failed = now_failed
            say(f"Job {name}: attempt {failed} failed: {job_log(api, name, namespace)[1][-600:]}")
        return job_state(live)

    try:
        state = clock.wait_until(f"Job {name} to end", over, within_s=within_s, every_s=0.2)
    except DeadlineExceeded as late:
        say(str(late))
    attempts, log = job_log(api, name, namespace)
    took_s = clock.as_seconds(clock.now_ns() - began_ns)
    say(f"Job {name}: {state or 'not over'} after {took_s:.1f} s")
    return JobResult(state == "Complete", attempts, log, took_s)


def job_state(live: Mapping[str, Any]) -> str:
    """Complete, Failed, or "" while it runs."""
    for condition in (live.get("status") or {}).get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return str(condition["type"])
    return ""


def job_log(api: Api, name: str, namespace: str) -> tuple[int, str]:
    """How many pods the Job has had, and what each said."""
    pods = api.list("Pod", namespace, labels=f"batch.kubernetes.io/job-name={name}")
    pods.sort(key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    parts = []
    for pod in pods:
        pod_name = pod["metadata"]["name"]
        parts.append(f"--- {pod_name}\n{pod_log(api, pod_name, namespace)}")
    return len(pods), "\n".join(parts)


def pod_log(api: Api, pod: str, namespace: str, *, previous: bool = False) -> str:
    """A pod's log as Kubernetes still has it; "" where it has none."""
    query = "?previous=true" if previous else ""
    try:
        text = api.request("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log{query}")
    except ApiError:
        return ""
    return text.decode(errors="replace")
