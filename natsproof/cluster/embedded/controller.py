"""The control plane of an embedded cluster: StatefulSet, endpoints, DNS, set-up Job, on a loop of its own."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from natsproof.cluster import JobResult
from natsproof.cluster.embedded import dns
from natsproof.cluster.embedded.kubelet import Node, Pod
from natsproof.cluster.embedded.podplan import CLUSTER_DOMAIN, PodIdentity
from natsproof.cluster.embedded.refused import PodRefused
from natsproof.cluster.embedded.runtime import Runtime, StartGate
from natsproof.cluster.embedded.setup_job import JobRun
from natsproof.cluster.embedded.stores import VolumeStore
from natsproof.contract.model import Contract, StatefulSet
from natsproof.errors import ClusterError, DeadlineExceeded, NotUp, UsageError

T = TypeVar("T")
GATE_LIMIT_S = 2.0  # servers that are made ready wait this long for those that are not
JOB_AFTER_S = 0.4  # less than scheduler and kubelet take; before that it would only slow the first election
JOB_ADDRESS = 180  # pod number of the first attempt of the Job; servers are below


class ControlPlane:
    """Verbs are coroutines for `call`; the loop runs in a thread from `begin` to `end`."""

    def __init__(
        self,
        contract: Contract,
        runtime: Runtime,
        programs: Mapping[str, Path],
        workdir: Path,
        store: VolumeStore,
    ) -> None:
        self.node = Node(contract, runtime, programs, workdir)
        self.store = store
        self.replicas = contract.statefulset.replicas
        self.pods: dict[str, Pod] = {}
        self.job: JobRun | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="natsproof-kubelet", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.failure: BaseException | None = None
        self._gate = StartGate(0)
        self._dns: asyncio.DatagramTransport | None = None

    @property
    def contract(self) -> Contract:
        return self.node.contract

    @property
    def statefulset(self) -> StatefulSet:
        return self.contract.statefulset

    def call(self, verb: Coroutine[Any, Any, T], limit_s: float) -> T:
        """Run a verb from another thread. Raises DeadlineExceeded."""
        if not self._thread.is_alive():
            verb.close()
            raise ClusterError("this cluster is down; call up() first")
        future: Future[T] = asyncio.run_coroutine_threadsafe(verb, self._loop)
        try:
            return future.result(limit_s)
        except TimeoutError as late:
            future.cancel()
            what = getattr(verb, "__name__", "the verb")
            raise DeadlineExceeded(f"{what} took longer than {limit_s:g} s") from late

    def begin(self) -> None:
        """Apply all manifests at once, as `kubectl apply -k` does; returns when DNS answers."""
        (self.node.workdir / "logs").mkdir(parents=True, exist_ok=True)
        self._thread.start()
        self.call(self._begin(), 30)

    def end(self) -> None:
        """End every process and the loop. Idempotent."""
        if self._thread.is_alive():
            try:
                self.call(self._end(), 60)
            finally:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join(10)
        if not self._loop.is_running() and not self._loop.is_closed():
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _begin(self) -> None:
        def protocol() -> dns.DnsServer:
            return dns.DnsServer(self.lookup)

        if nameserver := self.node.runtime.nameserver:
            endpoint = self._loop.create_datagram_endpoint(protocol, local_addr=(nameserver, 53))
            self._dns, _ = await endpoint
        self._spawn(self._create_all(self.replicas))
        if self.contract.job:
            self.job = JobRun(self.node, self.contract.job, self._job_pod)
            self._spawn(self._run_job(self.job))

    async def _run_job(self, job: JobRun) -> None:
        await asyncio.sleep(JOB_AFTER_S)
        await job.run()

    async def run_job_once(self) -> JobResult:
        """The Job's pod once. Raises UsageError without a Job or while one runs."""
        if self.contract.job is None or (self.job and not self.job.done):
            raise UsageError("there is no set-up Job in the manifests, or it runs already")
        self.job = JobRun(self.node, replace(self.contract.job, backoff_limit=0), self._job_pod)
        await self.job.run()
        return self.job.result

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        pods = [*self.pods.values(), *([self.job.pod] if self.job and self.job.pod else [])]
        await asyncio.gather(*(pod.delete(grace_s=0) for pod in pods))
        await self._loop.shutdown_default_executor()
        self._gate.close()
        if self._dns:
            self._dns.close()
        for _ in range(3):  # closed transports let go of their sockets one turn of the loop later
            await asyncio.sleep(0)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._noticed)
        return task

    def _noticed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()):
            self.failure = problem
            self.node.record("cluster", "internal-error", repr(problem))

    async def _create_all(self, replicas: int) -> None:
        """podManagementPolicy: all at once, or each when the one before is Ready."""
        ordered = self.statefulset.pod_management_policy != "Parallel"
        missing = [n for n in range(replicas) if f"{self.statefulset.name}-{n}" not in self.pods]
        if len(missing) > 1 and not ordered:
            self._gate.close()
            self._gate = StartGate(len(missing))
            self._loop.call_later(GATE_LIMIT_S, self._gate.open)
        for ordinal in range(replicas):
            name = f"{self.statefulset.name}-{ordinal}"
            if ordinal in missing:
                self.create(ordinal, None if ordered or len(missing) == 1 else self._gate)
            if ordered:
                await self.node.wait_for(lambda n=name: n in self.pods and self.pods[n].ready)  # type: ignore[misc]

    def create(self, ordinal: int, gate: StartGate | None = None) -> Pod:
        """A new incarnation of a pod of the StatefulSet, on its old volume."""
        desired, name = self.statefulset, f"{self.statefulset.name}-{ordinal}"
        labels = {**desired.template.labels, "statefulset.kubernetes.io/pod-name": name}
        labels["apps.kubernetes.io/pod-index"] = str(ordinal)
        identity = self._identity(name, ordinal, labels, desired.service_name, ordinal)
        pod = Pod(self.node, desired.template, identity, lambda claim: self.claim_folder(claim, name), gate)
        self.pods[name] = pod
        pod.begin()
        return pod

    def claim_folder(self, claim: str, pod: str) -> Path:
        """The folder that stands for a persistent volume. Raises PodRefused for an unknown claim."""
        for template in self.statefulset.claims:
            if template.name == claim:
                return self.store.folder(claim, pod, template.storage_bytes)
        raise PodRefused(f"volume {claim!r} of {pod} is neither in the pod nor a claim template")

    def _job_pod(self, attempt: int) -> Pod:
        job = self.contract.job
        assert job is not None
        name = f"{job.name}-{attempt}"
        labels = {**job.template.labels, "batch.kubernetes.io/job-name": job.name, "job-name": job.name}
        return Pod(self.node, job.template, self._identity(name, JOB_ADDRESS + attempt % 50, labels, ""))

    def _identity(
        self, name: str, number: int, labels: Mapping[str, str], subdomain: str, ordinal: int = -1
    ) -> PodIdentity:
        return PodIdentity(
            name=name,
            namespace=self.contract.namespace,
            uid=str(uuid.uuid4()),
            ip=self.node.runtime.pod_address(number),
            node=f"node-{max(ordinal, 0)}",
            node_ip=self.node.runtime.node_address,
            hostname=name,
            subdomain=subdomain,
            labels=labels,
            ordinal=ordinal,
        )

    def lookup(self, name: str) -> list[str] | None:
        """DNS as of now."""
        endpoints = [
            dns.Endpoint(p.identity.hostname, p.identity.subdomain, p.identity.ip, p.ready, p.identity.labels)
            for p in [*self.pods.values(), *([self.job.pod] if self.job and self.job.pod else [])]
            if not p.deleting
        ]
        return dns.resolve(
            name,
            self.contract.services,
            endpoints,
            namespace=self.contract.namespace,
            domain=CLUSTER_DOMAIN,
        )

    def pod(self, name: str) -> Pod:
        if name not in self.pods:
            raise UsageError(f"no server {name!r}; there are: {', '.join(self.pods) or 'none'}")
        return self.pods[name]

    async def kill(self, name: str) -> None:
        await self.pod(name).kill()

    async def stop(self, name: str) -> None:
        await self.pod(name).delete()

    async def start(self, name: str) -> None:
        """A killed server in its old pod, a stopped one in a new pod; until its process runs."""
        pod = self.pod(name)
        if pod.deleting:
            pod = self.create(pod.identity.ordinal)
        else:
            pod.resume()
        await self.node.wait_for(lambda: any(state.alive for state in pod.states.values()))

    async def scale(self, replicas: int) -> None:
        """Up by podManagementPolicy; down from the highest ordinal, gracefully, one by one."""
        self.replicas = replicas
        for ordinal in sorted((p.identity.ordinal for p in self.pods.values()), reverse=True):
            if ordinal >= replicas:
                name = f"{self.statefulset.name}-{ordinal}"
                await self.pods[name].delete()
                del self.pods[name]
        await self._create_all(replicas)

    def refresh_volumes(self) -> None:
        for pod in self.pods.values():
            pod.refresh_volumes()

    async def all_ready(self) -> None:
        def settled() -> bool:
            job_over = self.job is None or self.job.done
            failed = self.job is not None and self.job.done and not self.job.complete
            ready = len(self.pods) >= self.replicas and all(pod.ready for pod in self.pods.values())
            return bool(self.failure) or failed or (ready and job_over)

        await self.node.wait_for(settled)
        if self.failure:
            raise ClusterError(f"the embedded cluster itself failed: {self.failure!r}") from self.failure
        if self.job and not self.job.complete:
            raise NotUp("the set-up Job failed")
