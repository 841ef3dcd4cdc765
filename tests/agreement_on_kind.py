"""Many platforms on one kind cluster, a namespace each, brought up as `kubectl apply -k` does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from natsproof.cluster.kubernetes import ARCHIVES, NODE_IMAGE, deploy, files_of
from natsproof.cluster.kubernetes.fit import for_laptop
from natsproof.cluster.kubernetes.kind import KindCluster
from natsproof.cluster.kubernetes.machine import Machine, attach
from natsproof.contract.model import Contract
from natsproof.errors import ClusterError
from tests.mutants.manifests import edited


class OnKind(KindCluster):
    """All at once, the set-up Job with the rest, as embedded does; what comes up wrong is left standing."""

    def __init__(self, contract: Contract, *, workdir: Path, machine: Machine, limit_s: float) -> None:
        super().__init__(contract, workdir=workdir, run_id="agreement", machine=machine)
        self.limit_s = limit_s

    def up(self) -> None:
        self.clear_the_place()
        self.connect()
        self.applied = for_laptop(
            self.contract, self.api.list("StorageClass", api_version="storage.k8s.io/v1")
        )
        deploy.apply_platform(self.api, self.applied)
        self.watch.start()
        with ThreadPoolExecutor(1) as pool:
            job = pool.submit(deploy.run_job, self.api, self.applied, say=self.say, within_s=self.limit_s)
            try:
                self._patience(self.limit_s).until_ready(self.pod_names())
            finally:
                self._job = job.result()
        if self._job is not None and not self._job.complete:
            raise ClusterError(f"the set-up Job did not complete:\n{self._job.log[-600:]}")


@contextmanager
def machine_for(name: str) -> Iterator[Machine]:
    """The kept cluster `name`, or one made for this run and removed after it."""
    if name:
        yield attach(name)
        return
    own = KindCluster(
        edited(()),
        workdir=Path("reports/agreement"),
        run_id=f"agreement-{os.getpid()}",
        node_image=os.environ.get(NODE_IMAGE),
        archives=files_of(ARCHIVES),
    )
    own.up()
    try:
        yield own.machine
    finally:
        own.down()
