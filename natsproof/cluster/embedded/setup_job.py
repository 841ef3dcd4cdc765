"""The set-up Job as its controller runs it: pods until one succeeds, back-off between failures, deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from natsproof.clock import as_seconds, now_ns
from natsproof.cluster import JobResult
from natsproof.cluster.embedded.kubelet import Node, Pod
from natsproof.contract.model import Job

BACKOFF_S, BACKOFF_LIMIT_S = 10.0, 360.0

#: Makes the pod of an attempt: (number from 0) → Pod.
MakePod = Callable[[int], Pod]


class JobRun:
    """One Job. `result` is final once `done`; before, it tells the attempts so far."""

    def __init__(self, node: Node, job: Job, make_pod: MakePod) -> None:
        self._node, self._job, self._make_pod = node, job, make_pod
        self._began_ns = now_ns()
        self._logs: list[str] = []
        self.pod: Pod | None = None
        self.done = False
        self.complete = False
        self._attempts = 0
        self._took_s = 0.0

    @property
    def result(self) -> JobResult:
        log = "\n".join([*self._logs, *([self._log()] if not self.done else [])])
        took_s = self._took_s if self.done else as_seconds(now_ns() - self._began_ns)
        return JobResult(self.complete, self._attempts, log, took_s)

    async def run(self) -> None:
        """Until the Job is Complete or Failed."""
        self._began_ns = now_ns()
        try:
            async with asyncio.timeout(self._job.active_deadline_s):
                self.complete = await self._attempt_all()
                why = "" if self.complete else f"BackoffLimitExceeded ({self._job.backoff_limit})"
        except TimeoutError:
            why = f"DeadlineExceeded ({self._job.active_deadline_s} s)"
            await self._end_pod()
        self._took_s = as_seconds(now_ns() - self._began_ns)
        self.done = True
        self._node.record(self._job.name, "job-complete" if self.complete else "job-failed", why)

    async def _attempt_all(self) -> bool:
        failures = succeeded = 0
        wait_s = BACKOFF_S
        while succeeded < self._job.completions:
            if await self._attempt(failures):
                succeeded += 1
                continue
            failures += 1
            if failures > self._job.backoff_limit:
                return False
            self._node.record(self._job.name, "back-off", f"attempt {failures} failed, next in {wait_s:g} s")
            await asyncio.sleep(wait_s)
            wait_s = min(BACKOFF_LIMIT_S, wait_s * 2)
        return True

    async def _attempt(self, failures: int) -> bool:
        """One pod to its end. With OnFailure its containers restart in place, counted as failures too."""
        pod = self.pod = self._make_pod(self._attempts)
        self._attempts += 1
        pod.begin()

        def over() -> bool:
            restarts = sum(state.restarts for state in pod.states.values())
            return pod.finished is not None or failures + restarts > self._job.backoff_limit

        await self._node.wait_for(over)
        await self._end_pod()
        return pod.finished is True

    async def _end_pod(self) -> None:
        if self.pod:
            self._logs.append(self._log())
            pod, self.pod = self.pod, None
            await pod.delete(grace_s=0)

    def _log(self) -> str:
        if self.pod is None:
            return ""
        path = self._node.log(self.pod.name)
        return path.read_text(errors="replace") if path.exists() else ""
