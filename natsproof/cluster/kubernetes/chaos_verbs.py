"""Chaos Mesh as a capability of a cluster in which it runs: inject and recover objects, leave none behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from natsproof.cluster.kubernetes import addons, inside
from natsproof.cluster.kubernetes.api import Api
from natsproof.cluster.kubernetes.chaos import ChaosMesh
from natsproof.cluster.kubernetes.chaos_bodies import Body, needs_daemon, pods_of
from natsproof.cluster.kubernetes.kind import KindCluster
from natsproof.cluster.kubernetes.machine import Machine
from natsproof.cluster.kubernetes.platform import Platform
from natsproof.errors import ClusterError, NatsproofError


class ChaosVerbs(Platform):
    """Mixed into a platform. Whether Chaos Mesh runs is looked at again before each injection."""

    chaos_mesh = ""

    def mesh(self) -> ChaosMesh:
        return ChaosMesh(self.api, self.namespace)

    def inject_chaos(self, body: Body) -> None:
        """Create a chaos object and wait until it is injected into every pod it names.

        Raises NotAvailableHere where nothing would carry it out, FaultDidNotLand with Chaos Mesh's words.
        """
        nodes = [node for pod, (node, _) in self.addresses().items() if pod in pods_of(body)]
        mesh = self.mesh()
        self.chaos_mesh = mesh.check(daemon_on=nodes if needs_daemon(body) else ())
        mesh.inject(body)

    def recover_chaos(self, body: Body) -> None:
        """Stop it, wait until it is recovered, remove it. Raises ClusterError if pods had to be replaced."""
        self.mesh().recover(body)

    def run_inside(self, server: str, words: Sequence[str], *, within_s: float) -> str:
        """Standard output of a command in the server's container, for witnesses: it looks and writes nothing.

        Raises ClusterError with what it said, UsageError where the owner of the cluster allows no faults.
        """
        if self._link is None:
            raise ClusterError("the cluster is not up: call up() first")
        self.api.permit("POST", inside.path(self.namespace, server))
        return inside.run_inside(self._link, self.namespace, server, self.container, words, within_s=within_s)

    def describe(self) -> Mapping[str, Any]:
        described = dict(super().describe())
        if self.chaos_mesh:
            described["chaos_mesh"] = self.chaos_mesh
        return described


class KindWithChaosMesh(ChaosVerbs, KindCluster):
    """A kind cluster whose addons, or whose maker, brought Chaos Mesh."""

    def deploy(self) -> None:
        self.connect()
        for left in self.mesh().sweep():  # in a kept cluster, of a run that was killed
            self.say(f"removed {left}, left by a run that was killed")
        super().deploy()

    def down(self) -> None:
        """A namespace does not go while an object in it waits for Chaos Mesh: ours go first."""
        try:
            if self._api is not None and self._link is not None:
                self.mesh().sweep()
        except NatsproofError as problem:
            self.say(f"chaos objects may be left: {problem}")
        super().down()


def brings_chaos_mesh(file: Path) -> bool:
    """Whether a file of manifests has Chaos Mesh's controller."""
    wanted = {"app.kubernetes.io/name": "chaos-mesh", "app.kubernetes.io/component": "controller-manager"}
    return any(
        thing["kind"] == "Deployment" and wanted.items() <= (thing["metadata"].get("labels") or {}).items()
        for thing in addons.documents(file)
    )


def kind_class(addon_files: Sequence[Path], kept: Machine | None, workdir: Path) -> type[KindCluster]:
    """With Chaos Mesh if a file brings it, or if it runs in the cluster that an earlier run kept."""
    if kept is None:
        return KindWithChaosMesh if any(map(brings_chaos_mesh, addon_files)) else KindCluster
    api = Api(cache=workdir / "discovery.json", kubeconfig=kept.kubeconfig, context=kept.context)
    try:
        return KindWithChaosMesh if runs_in(api) else KindCluster
    finally:
        api.close()


def runs_in(api: Api, namespace: str = "default") -> bool:
    """Whether Chaos Mesh runs in a cluster that stands already."""
    try:
        ChaosMesh(api, namespace).check()
    except ClusterError:
        return False
    return True
