"""The stand-in for Chaos Mesh on a kind cluster: pods are killed, failed and cut off for real.

    python -m tests.chaos_mesh_on_kind NAME NAMESPACE   # plays in a kept cluster until it is interrupted
    python -m tests.chaos_mesh_on_kind --addon FILE     # writes what NATSPROOF_ADDONS then installs

PodChaos as Chaos Mesh does it, by the same requests. container-kill and partition by the node's own tools:
Chaos Mesh goes through its daemon and, for a partition, into the pod's network. Loss and bandwidth by
iptables and tc there, a busy processor and full memory by processes in the container. Nothing else is played:
such objects stay without a finalizer's owner, and say that the daemon cannot do it.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import yaml

from natsproof.cluster.kubernetes.api import Api
from natsproof.cluster.kubernetes.machine import Machine, attach
from natsproof.cluster.kubernetes.network import Cuts, NodeWall
from natsproof.errors import ClusterError
from tests.chaos_mesh_stand_in import StandIn, Thing

DEFINITIONS = Path(__file__).parent.parent.parent / "shared" / "data"
VERSION = "stand-in-of-natsproof-tests"
#: Both are on the lab's nodes already.
IMAGE, PAUSE_IMAGE = "natsio/nats-box:0.18.0", "registry.k8s.io/pause:3.10.1"

#: What the node's runtime is asked with about a running container.
TASK = ("ctr", "-n", "k8s.io", "task")


def addon(definitions: Path = DEFINITIONS) -> list[dict[str, Any]]:
    """The published definitions, and pods with Chaos Mesh's labels that say what they are and do nothing."""
    things = [yaml.safe_load(file.read_text()) for file in sorted(definitions.glob("chaos-mesh.org_*.yaml"))]
    if not things:
        raise ClusterError(f"no definitions of Chaos Mesh in {definitions}")
    things.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "chaos-mesh"}})
    for kind, component in (("Deployment", "controller-manager"), ("DaemonSet", "chaos-daemon")):
        labels = {"app.kubernetes.io/name": "chaos-mesh", "app.kubernetes.io/component": component}
        metadata = {"name": component, "namespace": "chaos-mesh", "labels": labels}
        idle = {"name": "idle", "image": IMAGE, "command": ["sleep", "1000000"]}
        template = {
            "metadata": {"labels": {**labels, "app.kubernetes.io/version": VERSION}},
            "spec": {"containers": [idle], "terminationGracePeriodSeconds": 0},
        }
        spec: dict[str, Any] = {"selector": {"matchLabels": labels}, "template": template}
        if kind == "Deployment":
            spec["replicas"] = 1
        things.append({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec})
    return things


class ActsOnKind:
    """`honest=False`: says that all is done, and does nothing. `able=False`: as if its daemon were gone."""

    def __init__(self, api: Api, machine: Machine, namespace: str) -> None:
        self._api, self._machine, self._namespace = api, machine, namespace
        self._wall = NodeWall(machine)
        self._cuts: dict[str, Cuts] = {}
        self.honest = self.able = True

    def apply(self, thing: Thing, pod: str) -> None:
        if not self.able:
            raise ClusterError("rpc error: no connection to the daemon")
        if self.honest:
            self._act(thing, pod)

    def recover(self, thing: Thing, pod: str) -> None:
        if not self.able:
            raise ClusterError("rpc error: no connection to the daemon")
        action = thing["spec"].get("action")
        if action == "pod-failure":
            self._exchange_images(thing, pod, back=True)
        elif action == "partition":
            self._cuts.pop(thing["metadata"]["name"], None)
            self._raise_wall()
        elif self.honest:
            self._inside(thing, pod, back=True)

    def _act(self, thing: Thing, pod: str) -> None:
        action = thing["spec"].get("action", thing["kind"])
        if action == "pod-kill":
            self._api.delete("Pod", pod, self._namespace, grace_s=int(thing["spec"].get("gracePeriod", 0)))
        elif action == "container-kill":
            self._kill_container(pod, thing["spec"]["containerNames"][0])
        elif action == "pod-failure":
            self._exchange_images(thing, pod, back=False)
        elif action == "partition":
            self._cuts[thing["metadata"]["name"]] = _cuts_of(thing["spec"])
            self._raise_wall()
        else:
            self._inside(thing, pod, back=False)

    def _inside(self, thing: Thing, name: str, *, back: bool) -> None:
        spec, kind = thing["spec"], thing["kind"]
        scripts = _scripts(kind, spec)
        if not scripts:
            raise ClusterError(f"{kind} {spec.get('action', kind)}: the stand-in has no daemon for it")
        pod = self._pod(name)
        container = spec.get("containerNames", [pod["spec"]["containers"][0]["name"]])[0]
        identity, node = _identity(pod, container), pod["spec"]["nodeName"]
        if kind == "NetworkChaos":
            rows = self._machine.run_on(node, *TASK, "ls").splitlines()
            process = next(row.split()[1] for row in rows if row.startswith(identity))
            enter = ["nsenter", "-t", process, "-n"]
        else:
            enter = [*TASK, "exec", "--detach", "--exec-id", f"chaos-{time.monotonic_ns()}", identity]
        self._machine.run_on(node, *enter, "sh", "-c", scripts[back])

    def _pod(self, name: str) -> dict[str, Any]:
        pod = self._api.get("Pod", name, self._namespace)
        if pod is None:
            raise ClusterError(f"pod {name} is gone")
        return pod

    def _kill_container(self, name: str, container: str) -> None:
        pod = self._pod(name)
        words = (*TASK, "kill", "--signal", "SIGKILL", _identity(pod, container))
        self._machine.run_on(pod["spec"]["nodeName"], *words)

    def _exchange_images(self, thing: Thing, name: str, *, back: bool) -> None:
        """The image of each container goes into an annotation, and comes back from there."""
        pod = self._pod(name)
        kept = pod["metadata"].get("annotations") or {}
        containers: list[dict[str, Any]] = pod["spec"]["containers"]
        notes: dict[str, Any] = {}
        for container in containers:
            own = f"{thing['metadata']['name']}-pod-failure-{container['name']}"
            key = f"chaos-mesh-{own}-normal-image"  # the API server allows 63 letters
            if back and key in kept:
                container["image"], notes[key] = kept[key], None
            elif not back and key not in kept:
                container["image"], notes[key] = PAUSE_IMAGE, container["image"]
        change = {"metadata": {"annotations": notes}, "spec": {"containers": containers}}
        self._api.patch("Pod", name, self._namespace, change)

    def _raise_wall(self) -> None:
        addresses = {
            pod["metadata"]["name"]: (pod["spec"]["nodeName"], pod["status"]["podIP"])
            for pod in self._api.list("Pod", self._namespace)
            if pod["status"].get("podIP") and pod["spec"].get("nodeName")
        }
        self._wall.raise_for(frozenset().union(*self._cuts.values()), addresses)


def _identity(pod: dict[str, Any], container: str) -> str:
    """Of a container, as the node's runtime calls it."""
    statuses = pod["status"].get("containerStatuses") or ()
    return str(next(s["containerID"] for s in statuses if s["name"] == container)).rpartition("://")[2]


def _scripts(kind: str, spec: dict[str, Any]) -> tuple[str, str] | None:
    """How it begins and how it ends: on the node in the pod's network, or in the container."""
    action, stress = spec.get("action"), spec.get("stressors", {})
    if action == "bandwidth":
        rate = spec["bandwidth"]
        shape = f"tbf rate {rate['rate']} burst {rate['buffer']} limit {rate['limit']}"
        return f"tc qdisc add dev eth0 root {shape}", "tc qdisc del dev eth0 root"
    if kind == "NetworkChaos" and action == "loss":
        lots = f"-m statistic --mode random --probability {float(spec['loss']['loss']) / 100:.3f} -j DROP"
        rules = [
            f"{way} -p tcp {end} 6222 {lots}" for way in ("INPUT", "OUTPUT") for end in ("--dport", "--sport")
        ]
        begin, end = (" && ".join(f"iptables -w {how} {rule}" for rule in rules) for how in ("-A", "-D"))
        return begin, end
    if "cpu" in stress:
        turns = ["sh -c 'while :; do :; done' natsproof-busy &"] * int(stress["cpu"]["workers"])
        return " ".join([*turns, "wait"]), "pkill -f natsproof-busy"
    if "memory" in stress:
        size = int(stress["memory"]["size"].removesuffix("MB")) << 20
        return (
            f"(head -c {size} /dev/zero; sleep 600) | tail > /dev/null 2>&1 &",
            "pkill tail; pkill sleep || :",
        )
    return None


def _cuts_of(spec: dict[str, Any]) -> Cuts:
    ours, theirs = (
        [pod for pods in chosen["pods"].values() for pod in pods]
        for chosen in (spec["selector"], spec["target"]["selector"])
    )
    to = {(one, other) for one in ours for other in theirs}
    back = {(other, one) for one, other in to}
    return frozenset({"to": to, "from": back, "both": to | back}[spec["direction"]])


def main() -> int:
    if sys.argv[1] == "--addon":
        Path(sys.argv[2]).write_text(yaml.safe_dump_all(addon()))
        return 0
    machine, namespace = attach(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory(prefix="chaos-mesh-stand-in-") as folder:
        cache = Path(folder) / "discovery.json"
        api = Api(cache=cache, kubeconfig=machine.kubeconfig, context=machine.context)
        controller = StandIn(api, namespace, ActsOnKind(api, machine, namespace))
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        thread = controller.run()
        while not ended.wait(1.0):
            while controller.problems:
                print(f"{type(controller.problems[0]).__name__}: {controller.problems.pop(0)}", flush=True)
        controller.end()
        thread.join(timeout=20)
        api.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
