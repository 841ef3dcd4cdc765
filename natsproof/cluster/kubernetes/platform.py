"""The platform on any Kubernetes: connected to, watched, asked, and hurt by what the API itself offers.

What is here needs no access to nodes, so it works on a cluster far away. `KindCluster` adds the rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from natsproof import clock
from natsproof.cluster import JobResult, PodEvent, Server
from natsproof.cluster.kubernetes import deploy, drift, network
from natsproof.cluster.kubernetes.api import Api, ApiError, Guard
from natsproof.cluster.kubernetes.link import Link
from natsproof.cluster.kubernetes.monitoring import get_json
from natsproof.cluster.kubernetes.tunnel import Tunnel
from natsproof.cluster.kubernetes.watch import PodWatch, container_status, is_ready, is_running, uid
from natsproof.contract.model import Contract
from natsproof.errors import ClusterError, NotUp, UsageError

log = logging.getLogger("natsproof.kubernetes")

#: The quick deploy's own `kubectl wait --timeout=300s`.
READY_S = 300.0
#: How long a pod may take from allowed to running: scheduling, volume, container.
START_S = 90.0
#: The set-up Job's own wait for JetStream ends after 240 s.
JOB_S = 300.0
#: Stands where no tunnel may be: nobody listens on it, connections are refused.
CLOSED_PORT = 9


class Platform:
    """Common part of KubernetesCluster and KindCluster.

    `applied` is what runs where an overlay changed the contract (None: the contract itself).
    """

    kind = "context"

    def __init__(
        self,
        contract: Contract,
        *,
        workdir: Path,
        context: str | None,
        namespace: str | None = None,
        kubeconfig: Path | None = None,
        applied: Contract | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.contract = contract
        self.applied = applied or contract
        self.workdir, self.context, self.kubeconfig = Path(workdir), context, kubeconfig
        self.namespace = namespace or contract.namespace
        self.container = contract.server_container.name
        self.replicas = contract.statefulset.replicas
        self.phases_s: dict[str, float] = {}
        self.drift: list[str] = []
        self._guard = guard
        self._job: JobResult | None = None
        self._api: Api | None = None
        self._link: Link | None = None
        self._watch: PodWatch | None = None
        self._tunnels: dict[tuple[str, str], Tunnel] = {}
        self._cutter: network.Partition | None = None
        self._last_logs: dict[str, str] = {}
        self._last_events: tuple[PodEvent, ...] = ()

    # -- connecting

    @property
    def api(self) -> Api:
        if self._api is None:
            raise ClusterError("the cluster is not up: call up() first")
        return self._api

    @property
    def watch(self) -> PodWatch:
        if self._watch is None:
            raise ClusterError("the cluster is not up: call up() first")
        return self._watch

    def connect(self) -> None:
        """Open the API, the watch and one tunnel per server and port."""
        if self._api is None:
            self._api = Api(
                cache=self.workdir / "discovery.json",
                kubeconfig=self.kubeconfig,
                context=self.context,
                guard=self._guard,
            )
            self._reached()
        if self._link is None:
            self._link = Link(self._api.configuration)
            selector = ",".join(f"{k}={v}" for k, v in self.contract.statefulset.selector.items())
            self._watch = PodWatch(
                self._link, self.namespace, selector, self.container, self.workdir / "logs"
            )
            self._watch.on_change = self._pod_changed
        self._open_tunnels()

    def disconnect(self) -> None:
        """Close tunnels and watch; what was seen stays readable. Idempotent."""
        if self._watch is not None:
            self._last_events = self._watch.events
            self._last_logs = {name: self.log(name) for name in self.pod_names()}
        for tunnel in self._tunnels.values():
            tunnel.close()
        self._tunnels.clear()
        if self._link is not None:
            self._link.close()
        self._link, self._watch = None, None
        if self._api is not None:
            self._api.close()

    def _reached(self) -> None:
        """Called once the API can be asked, before anything is opened."""

    def _ports(self) -> tuple[str, ...]:
        """The ports of each server that this process may reach."""
        return ("client", "monitor")

    def _open_tunnels(self) -> None:
        assert self._link is not None
        config = self.contract.config
        for name in self.pod_names():
            for port in self._ports():
                number = (config.port or 4222) if port == "client" else (config.http_port or 8222)
                if (name, port) not in self._tunnels:
                    self._tunnels[name, port] = Tunnel(self._link, self.namespace, name, number)

    def _pod_changed(self, name: str, pod: Mapping[str, Any] | None) -> None:
        """Called on the link's thread; subclasses follow a pod that moved."""

    def say(self, text: str) -> None:
        log.info("%s", text)

    # -- the Cluster protocol

    def up(self) -> None:
        """Attach to the platform that runs there; nothing is created or changed.

        Raises NotUp if the contract's StatefulSet is absent or its pods are not Ready.
        """
        began = time.monotonic()
        self.connect()
        sets = self.api.get(
            "StatefulSet", self.contract.statefulset.name, self.namespace, api_version="apps/v1"
        )
        if sets is None:
            raise NotUp(
                f"{self.api.host}: no StatefulSet {self.contract.statefulset.name} in namespace "
                f"{self.namespace}: deploy the platform there first"
            )
        self.watch.start()
        self._patience(60).until_ready(self.pod_names())
        self._read_job()
        self.drift = drift.drift(self.api, self.applied)
        self.phases_s["attach"] = round(time.monotonic() - began, 3)

    def down(self) -> None:
        """Let go; the platform itself stays as it is."""
        self.disconnect()

    @property
    def servers(self) -> tuple[Server, ...]:
        return tuple(
            Server(name, ordinal, *self._urls(name, "local_port"), self._urls(name, "witness_port"))
            for ordinal, name in enumerate(self.pod_names())
        )

    def _urls(self, server: str, which: str) -> tuple[str, str]:
        client, monitor = (self._port(server, port, which) for port in ("client", "monitor"))
        return f"nats://127.0.0.1:{client}", f"http://127.0.0.1:{monitor}"

    def _port(self, server: str, port: str, which: str) -> int:
        return int(getattr(self._tunnels.get((server, port)), which, CLOSED_PORT))

    @property
    def job(self) -> JobResult | None:
        return self._job

    def pod_names(self) -> tuple[str, ...]:
        return tuple(f"{self.contract.statefulset.name}-{i}" for i in range(self.replicas))

    def pod(self, server: str) -> Mapping[str, Any] | None:
        """The newest picture of a server's pod. Raises UsageError for a name that is no server."""
        if server not in self.pod_names():
            raise UsageError(f"{server!r} is no server; servers: {', '.join(self.pod_names())}")
        return self.watch.pod(server)

    def ready(self, server: str) -> bool:
        return is_ready(self.pod(server))

    def running(self, server: str) -> bool:
        return is_running(self.pod(server), self.container)

    def wait_ready(self, within_s: float) -> float:
        """Until every server is Ready; the seconds it took. Raises ClusterError with each pod's state."""
        return self._patience(within_s).until_ready(self.pod_names())

    def uid(self, server: str) -> str:
        """The pod's UID, "" while there is no pod: another UID is another pod."""
        return uid(self.pod(server))

    def restarts(self, server: str) -> int:
        """How often the kubelet has restarted the server's container in this pod."""
        return int(container_status(self.pod(server), self.container).get("restartCount", 0))

    def monitor(self, server: str, path: str, *, timeout_s: float = 2.0) -> Any:
        self.pod(server)
        port = self._port(server, "monitor", "witness_port")
        return get_json(port, path, label=server, timeout_s=timeout_s)

    def log(self, server: str) -> str:
        if self._watch is None:
            return self._last_logs.get(server, "")
        file = self._watch.log_file(server)
        return file.read_text(errors="replace") if file.is_file() else ""

    def events(self) -> Sequence[PodEvent]:
        return self._watch.events if self._watch is not None else self._last_events

    def describe(self) -> Mapping[str, Any]:
        described: dict[str, Any] = {
            "kind": self.kind,
            "context": self.context,
            "namespace": self.namespace,
            "differences": drift.differences(self.contract, self.applied),
            "drift": list(self.drift),
            "phases_s": dict(self.phases_s),
            "path": "port-forward through the API server, one websocket per connection",
            "isolation": "namespaces of Kubernetes",
        }
        if self._api is not None:
            described["api_server"] = self._api.host
            described["images"] = self._live_images()
        return described

    def collect(self, folder: Path) -> None:
        """Live objects, events, logs and monitoring samples into `folder`, as far as they can be had."""
        from natsproof.cluster.kubernetes.collect import collect

        if self._api is not None and self._link is not None:
            collect(self, folder)

    # -- what the API itself can do to a platform

    def kill(self, server: str) -> None:
        """Delete the pod without grace. Kubernetes brings it back by itself: `start` only waits for that.

        The kubelet ends a force-deleted container by SIGTERM and, a second or so later, SIGKILL.
        """
        self._delete(server, grace_s=0)

    def stop(self, server: str) -> None:
        """Delete the pod with its own grace period: preStop, SIGTERM, SIGKILL at the end."""
        self._delete(server, grace_s=None)

    def start(self, server: str) -> None:
        """Wait until the server's container runs again."""
        self._wait_running(server)

    def evict(self, server: str) -> bool:
        """Ask for a voluntary eviction; False if the disruption budget refuses it."""
        self.pod(server)
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": server, "namespace": self.namespace},
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{server}/eviction"
        try:
            self.api.request("POST", path, body=body)
        except ApiError as problem:
            if problem.status == 429:
                return False
            raise
        return True

    def scale(self, replicas: int) -> None:
        """Set the StatefulSet's replicas and wait until as many pods are Ready."""
        name = self.contract.statefulset.name
        self.api.patch(
            "StatefulSet", name, self.namespace, {"spec": {"replicas": replicas}}, api_version="apps/v1"
        )
        gone = [n for n in self.pod_names() if int(n.rsplit("-", 1)[1]) >= replicas]
        self.replicas = replicas
        self._open_tunnels()
        clock.wait_until(
            f"pods {', '.join(gone)} to go",
            lambda: not any(self.watch.pod(n) for n in gone),
            within_s=READY_S,
        )
        for key in [key for key in self._tunnels if key[0] in gone]:
            self._tunnels.pop(key).close()
        self._patience(READY_S).until_ready(self.pod_names())

    def rollout_restart(self) -> None:
        """As `kubectl rollout restart statefulset/...`: the controller replaces one pod after the other."""
        stamp = {"kubectl.kubernetes.io/restartedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        name = self.contract.statefulset.name
        self.api.patch(
            "StatefulSet",
            name,
            self.namespace,
            {"spec": {"template": {"metadata": {"annotations": stamp}}}},
            api_version="apps/v1",
        )

    def rolled_out(self) -> bool:
        """Whether the controller has seen the newest template and every pod of it is Ready."""
        live = self.api.get(
            "StatefulSet", self.contract.statefulset.name, self.namespace, api_version="apps/v1"
        )
        status = (live or {}).get("status") or {}
        return (
            live is not None
            and status.get("observedGeneration") == live["metadata"]["generation"]
            and status.get("currentRevision") == status.get("updateRevision")
            and status.get("readyReplicas") == self.replicas
        )

    def partition(self, *groups: Sequence[str]) -> None:
        """Servers of different groups cannot exchange packets; "clients" names this process.

        Adds to the cuts in force; `heal` takes all away.
        """
        now = self._partition()
        now.set(now.cuts | network.cuts_between(groups), self.addresses())

    def cut(self, source: str, target: str) -> None:
        """Packets from `source` do not arrive at `target`; the other direction stays."""
        now = self._partition()
        now.set(now.cuts | {(source, target)}, self.addresses())

    def heal(self) -> None:
        """Take all cuts away."""
        if self._cutter is not None:
            self._cutter.set(frozenset(), self.addresses())

    def addresses(self) -> dict[str, tuple[str, str]]:
        """Node and pod address of each server that has them."""
        found = {}
        for name in self.pod_names():
            pod = self.watch.pod(name)
            node = ((pod or {}).get("spec") or {}).get("nodeName")
            address = ((pod or {}).get("status") or {}).get("podIP")
            if node and address:
                found[name] = (str(node), str(address))
        return found

    # -- parts

    def _wall(self) -> network.Wall:
        return network.PolicyWall(self.api, self.namespace)

    def _partition(self) -> network.Partition:
        if self._cutter is None:
            self._cutter = network.Partition(self._wall(), self._tunnels)
        return self._cutter

    def _delete(self, server: str, *, grace_s: int | None) -> None:
        before = uid(self.pod(server))
        self.api.delete("Pod", server, self.namespace, grace_s=grace_s)
        limit_s = 30.0 + (
            0 if grace_s == 0 else self.contract.statefulset.template.termination_grace_period_s
        )
        clock.wait_until(
            f"pod {server} ({before}) to go", lambda: self.uid(server) != before, within_s=limit_s
        )

    def _wait_running(self, server: str) -> None:
        clock.wait_until(f"{server} to run again", lambda: self.running(server), within_s=START_S)

    def _patience(self, within_s: float) -> deploy.Patience:
        return deploy.Patience(self.watch, self.container, self.say, within_s)

    def _read_job(self) -> None:
        """What an earlier deploy's Job left behind, if it is still there."""
        job = self.contract.job
        live = job and self.api.get("Job", job.name, self.namespace, api_version="batch/v1")
        if job is None or not live:
            return
        attempts, text = deploy.job_log(self.api, job.name, self.namespace)
        self._job = JobResult(deploy.job_state(live) == "Complete", attempts, text, 0.0)

    def _live_images(self) -> dict[str, str]:
        """Image and image id of each server, as its kubelet reports them."""
        pods = self._watch.pods if self._watch is not None else {}
        statuses = {name: container_status(pod, self.container) for name, pod in pods.items()}
        return {name: f"{s.get('image')} {s.get('imageID')}" for name, s in statuses.items() if s}
