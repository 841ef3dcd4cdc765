"""The platform on a kind cluster of our own: what Platform can do, and what takes a hand on the nodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from natsproof import clock
from natsproof.cluster import binaries
from natsproof.cluster.kubernetes import addons, deploy, drift, images, machine, owned
from natsproof.cluster.kubernetes.api import ApiError
from natsproof.cluster.kubernetes.fit import for_laptop
from natsproof.cluster.kubernetes.machine import Machine
from natsproof.cluster.kubernetes.network import NodeWall, Wall
from natsproof.cluster.kubernetes.platform import JOB_S, READY_S, START_S, Platform
from natsproof.cluster.kubernetes.pool import Pool
from natsproof.cluster.kubernetes.volumes import Volume, volume_of
from natsproof.cluster.kubernetes.watch import container_status
from natsproof.contract.model import Contract
from natsproof.errors import ClusterError, FaultDidNotLand, NatsproofError, NotUp, UsageError


class KindCluster(Platform):
    """Makes a kind cluster named after the run, deploys, and removes it.

    `fit`: shrink requests and stand in for a missing storage class (fit.py); without it the contract is
    applied as it is. `storage_class`: used instead of the one the claims name. `machine`: a kind cluster
    to deploy into, made by somebody else, who also removes it. `keep`: leave the cluster and the platform;
    a later run attaches with `machine.attach(name)`. `pool`: lends a machine from trial to trial and
    deletes it at the end, unless it is to be kept. `archives`: image archives, for air-gapped use.
    `addon_files`: manifests (Longhorn, Chaos Mesh) to install before the platform.
    """

    kind = "kind"

    def __init__(
        self,
        contract: Contract,
        *,
        workdir: Path,
        run_id: str,
        keep: bool = False,
        node_image: str | None = None,
        archives: Sequence[Path] = (),
        fit: bool = True,
        storage_class: str | None = None,
        machine: Machine | None = None,
        pool: Pool | None = None,
        addon_files: Sequence[Path] = (),
        workers: int = 3,
    ) -> None:
        name = owned.cluster_name(run_id)
        self.machine = machine or Machine(name, owned.state_dir() / name / "kubeconfig")
        super().__init__(
            contract,
            workdir=workdir,
            context=self.machine.context,
            kubeconfig=self.machine.kubeconfig,
        )
        self.fit, self.storage_class = fit, storage_class
        self.run_id, self.keep, self.workers = run_id, keep, workers
        self._owns_machine, self._pool = machine is None, pool
        self._addons = tuple(Path(a) for a in addon_files)
        self._node_image, self._archives = node_image, tuple(Path(a) for a in archives)
        self._pooled = False
        self._sources: tuple[images.ImageSource, ...] = ()
        self._held_nodes: dict[str, str] = {}
        self._lost_nodes: dict[str, str] = {}
        self._lock = threading.Lock()

    # -- life

    def up(self) -> None:
        """From nothing to a platform whose set-up Job is complete; leftovers of dead runs go first."""
        try:
            lent = self._pool.take() if self._pool and self._owns_machine else None
            if lent is not None:
                self._use(lent)
            elif self._owns_machine:
                self._make_machine()
            self.clear_the_place()
            self.deploy()
        except BaseException:
            if not self.keep:
                self.down()
            raise

    def down(self) -> None:
        """Remove what was made: the cluster, or in somebody else's cluster the platform's namespace."""
        self._release_nodes()
        self.disconnect()
        if self.keep:
            if self._pool is not None and self._pooled:
                self._pooled = False
                self._pool.give_back(self.machine)
            return
        with self._phase("delete"):
            if not self._owns_machine:
                self._remove_platform()
            elif self._pool is not None and self._pooled:
                self._pooled = False
                self._give_back(self._pool)
            elif owned.find(self.machine.name) is not None:
                self.machine.delete()

    def _use(self, machine: Machine) -> None:
        """Deploy into a machine that the pool lends."""
        self.machine, self._pooled = machine, True
        self.context, self.kubeconfig = machine.context, machine.kubeconfig

    def _give_back(self, pool: Pool) -> None:
        try:
            self._remove_platform()
        except NatsproofError as problem:
            self.say(f"{problem}: the kind cluster goes too")
            pool.discard(self.machine)
            self.machine.delete()
        else:
            pool.give_back(self.machine)

    def _make_machine(self) -> None:
        for name in machine.reap():
            self.say(f"removed {name}, left by a run that was killed")
        wanted = images.images_of(self.applied, also=[i for a in self._addons for i in addons.images_of(a)])
        self._sources = images.choose(
            wanted, self._archives, cache=binaries.cache_dir() / "images", export=machine.export_image
        )
        for source in self._sources:
            self.say(f"image {source.image}: {source.how}, {source.detail}")
        with self._phase("create"):
            self.machine.create(
                self.run_id, node_image=self._node_image, workers=self.workers, keep=self.keep
            )
        if self._pool is not None:
            self._pool.enter(self.machine, keep=self.keep)
            self._pooled = True
        self.connect()
        with ThreadPoolExecutor(1) as pool, self._phase("load_images_and_nodes_ready"):
            loading = pool.submit(self.machine.load, self._sources)
            self.machine.wait_for_nodes(self.api)
            loading.result()
        for addon in self._addons:
            with self._phase(f"install_{addon.stem}"):
                addons.install(self.api, addon, say=self.say)

    def deploy(self) -> None:
        """The quick deploy into the connected cluster, then the comparison with the contract."""
        self.connect()
        if self.fit:
            classes = self.api.list("StorageClass", api_version="storage.k8s.io/v1")
            self.applied = for_laptop(self.contract, classes, storage_class=self.storage_class)
        with self._phase("apply"):
            deploy.apply_platform(self.api, self.applied)
        self.watch.start()
        with self._phase("pods_ready"):
            self._patience(READY_S).until_ready(self.pod_names())
        with self._phase("job"):
            self._job = deploy.run_job(self.api, self.applied, say=self.say, within_s=JOB_S)
        if self._job is not None and not self._job.complete:
            raise NotUp(f"the set-up Job did not complete:\n{self._job.log[-2000:]}")
        self.drift = drift.drift(self.api, self.applied)

    def configure(self, contract: Contract) -> None:
        """Apply the ConfigMap of nats.conf as `contract` has it; servers read it when they are restarted."""
        self.api.apply(deploy.document(contract.config_map, contract))

    def run_job_again(self) -> None:
        """Delete and apply the set-up Job once more, as the runbook says."""
        self._job = deploy.run_job(self.api, self.applied, say=self.say, within_s=JOB_S)

    def clear_the_place(self) -> None:
        """A cluster that was kept may still have a platform: claims about a start need an empty place."""
        self.connect()
        if self.api.get("Namespace", self.namespace) is not None:
            with self._phase("remove_the_platform_that_was_kept"):
                self._remove_platform()

    def _remove_platform(self) -> None:
        """The namespace and all in it, volumes too; the kind cluster stays for the next trial."""
        self.connect()
        try:
            name = self.contract.statefulset.name
            self.api.delete("StatefulSet", name, self.namespace, api_version="apps/v1")
            for pod in self.pod_names():  # what is thrown away needs no lame duck
                self.api.delete("Pod", pod, self.namespace, grace_s=0)
            self.api.delete("Namespace", self.namespace)
            clock.wait_until(
                f"namespace {self.namespace} to go",
                lambda: self.api.get("Namespace", self.namespace) is None,
                within_s=180,
                every_s=0.2,
            )
        finally:
            self.disconnect()

    # -- one server

    def kill(self, server: str) -> None:
        """SIGKILL the server's process through its node's container runtime, then hold the pod down.

        Holding: the node is cordoned and the dead pod deleted, so its successor stays Pending (its volume
        and the spread rule tie it to that node) with the volume untouched, until `start`.
        """
        self.kill_together([server])

    def kill_together(self, servers: Sequence[str]) -> None:
        """`kill` of several at one moment: all are held first, then all signals leave side by side."""
        nodes = {server: self._hold(server) for server in servers}
        with ThreadPoolExecutor(len(nodes)) as pool:
            for step in (lambda s: self._signal(s, "SIGKILL"), lambda s: self._delete(s, grace_s=0)):
                list(pool.map(step, servers))
        for server, node in nodes.items():
            self._refuse_if_moved(server, node)

    def crash(self, server: str) -> None:
        """SIGKILL once and let the kubelet restart the container in its pod."""
        self._signal(server, "SIGKILL")

    def stop(self, server: str) -> None:
        """Delete the pod with its grace (preStop, SIGTERM, SIGKILL) and hold it down until `start`."""
        node = self._hold(server)
        self._delete(server, grace_s=None)
        self._refuse_if_moved(server, node)

    def start(self, server: str) -> None:
        """Let the pod be scheduled again and wait until it is. Several servers then start side by side."""
        with self._lock:
            node = self._held_nodes.pop(server, None)
            still = node in self._held_nodes.values()
        if node is not None and not still:
            self._cordon(node, False)

        def placed() -> bool:
            return bool(((self.pod(server) or {}).get("spec") or {}).get("nodeName"))

        clock.wait_until(f"{server} to be scheduled", placed, within_s=START_S)

    def pause(self, server: str) -> None:
        """SIGSTOP the container's processes. A liveness probe may kill what is paused for long."""
        self._signal(server, "SIGSTOP")

    def resume(self, server: str) -> None:
        self._signal(server, "SIGCONT")

    def process_state(self, server: str) -> str:
        """What the node's kernel says of the server's process: R, S, T (stopped), "" (none)."""
        node, identity = self._container(server)
        if not node or not identity:
            return ""
        script = (
            f"pid=$(ctr -n k8s.io task ls | awk '$1==\"{identity}\" {{print $2}}'); "
            "awk '{print $3}' \"/proc/$pid/stat\" 2>/dev/null || true"
        )
        return self.machine.run_on(node, "sh", "-c", script).strip()

    def volume_path(self, server: str) -> Path:
        """A copy of the server's data directory, newest state at the moment of the call; stop it first."""
        volume = self._volume(server)
        target = self.workdir / "volumes" / f"{server}-{time.monotonic_ns()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        self.machine.copy_from(volume.node, volume.path, target)
        return target

    def wipe_volume(self, server: str) -> None:
        """Empty the data directory. Raises ClusterError while the server runs."""
        if self.running(server):
            raise ClusterError(f"{server} runs: stop it before its volume is wiped")
        volume = self._volume(server)
        self.machine.run_on(volume.node, "find", volume.path, "-mindepth", "1", "-delete")
        self.watch.tell(server, "volume-lost", f"{volume.node}:{volume.path}")

    def node_of(self, server: str) -> str:
        """The node of a server's pod. Raises ClusterError while it has none."""
        node, _ = self._container(server)
        if not node:
            raise ClusterError(f"{server} is on no node: {self._patience(0).state(server)}")
        return node

    def cordon(self, node: str) -> None:
        """No new pod comes to a node: the first half of a drain."""
        self._cordon(node, True)

    def uncordon(self, node: str) -> None:
        self._cordon(node, False)

    def lose_node(self, server: str) -> None:
        """Freeze the server's whole node, kubelet and all; NotReady after 45 s, its pod stays 5 minutes."""
        node = self.node_of(server)
        self._lost_nodes[server] = node
        self.machine.pause_node(node)

    def restore_node(self, server: str) -> None:
        node = self._lost_nodes.pop(server, None)
        if node is not None:
            self.machine.resume_node(node)

    def describe(self) -> Mapping[str, Any]:
        described = dict(super().describe())
        described |= {
            "cluster_name": self.machine.name,
            "node_image": self._node_image or "kind's default",
            "workers": self.workers,
            "image_sources": [f"{s.image}: {s.how}, {s.detail}" for s in self._sources],
        }
        if self._link is not None:
            described["kubernetes"] = machine.server_version(self.api)
            described["storage"] = self._storage()
        return described

    # -- parts

    def _wall(self) -> Wall:
        return NodeWall(self.machine)

    def _pod_changed(self, name: str, pod: Mapping[str, Any] | None) -> None:
        """A pod that came back has another address: the cuts in force must follow it."""
        cutter, address = self._cutter, ((pod or {}).get("status") or {}).get("podIP")
        if cutter is not None and cutter.cuts and address:
            threading.Thread(target=self._keep_cuts, name="natsproof-cuts", daemon=True).start()

    def _keep_cuts(self) -> None:
        if self._cutter is not None and self._watch is not None:
            try:
                self._cutter.keep(self.addresses())
            except ClusterError as problem:
                self.say(f"the cuts could not follow a pod: {problem}")

    def _signal(self, server: str, signal: str) -> None:
        node, identity = self._container(server)
        if not node or not identity:
            raise FaultDidNotLand(f"{server} has no container to send {signal} to")
        self.machine.run_on(
            node, "ctr", "-n", "k8s.io", "task", "kill", "--all", "--signal", signal, identity
        )

    def _container(self, server: str) -> tuple[str, str]:
        """Node and container id of the server, "" where there is none."""
        pod = self.pod(server) or {}
        identity = str(container_status(pod, self.container).get("containerID") or "")
        return str((pod.get("spec") or {}).get("nodeName") or ""), identity.rpartition("://")[2]

    def _hold(self, server: str) -> str:
        node = self.node_of(server)
        with self._lock:
            self._held_nodes[server] = node
        self._cordon(node, True)
        self.watch.tell(server, "held", f"node {node} is cordoned")
        return node

    def _refuse_if_moved(self, server: str, node: str) -> None:
        """The hold is one only if the successor waits; where nothing ties it to the node it would move."""
        now = str(((self.pod(server) or {}).get("spec") or {}).get("nodeName") or "")
        if now and now != node:
            raise FaultDidNotLand(
                f"{server} moved from {node} to {now} at once: neither its volume nor a spread rule ties it "
                "to its node, so it cannot be held down"
            )

    def _cordon(self, node: str, on: bool) -> None:
        self.api.patch("Node", node, None, {"spec": {"unschedulable": True if on else None}})

    def _release_nodes(self) -> None:
        for server in tuple(self._lost_nodes):
            self.restore_node(server)
        with self._lock:
            nodes = set(self._held_nodes.values())
            self._held_nodes.clear()
        if self._api is not None:
            for node in nodes:
                try:
                    self._cordon(node, False)
                except ApiError as problem:
                    self.say(f"node {node} stays cordoned: {problem}")

    def _volume(self, server: str) -> Volume:
        claims = self.contract.statefulset.claims
        if not claims:
            raise UsageError(f"{server} has no volume claim in the contract")
        return volume_of(self.api, self.namespace, f"{claims[0].name}-{server}")

    def _storage(self) -> str:
        name = self.applied.statefulset.claims[0].storage_class if self.applied.statefulset.claims else None
        live = name and self.api.get("StorageClass", name, api_version="storage.k8s.io/v1")
        return f"StorageClass {name}: {live['provisioner']}" if live else f"StorageClass {name}: absent"

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        self.say(f"{name} ...")
        try:
            yield
        finally:
            self.phases_s[name] = round(time.monotonic() - began, 3)
            self.say(f"{name}: {self.phases_s[name]:.1f} s")
