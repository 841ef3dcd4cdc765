"""Chaos Mesh objects as plain documents. Nothing here talks to a cluster.

Every builder takes the names of the pods to hurt (never labels: a claim knows whom it means) and gives a
body that the published CustomResourceDefinitions accept. Times are Go durations in text, as they want it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

API_VERSION = "chaos-mesh.org/v1alpha1"
#: kind -> plural, as the API paths want it.
PLURALS = {
    "PodChaos": "podchaos",
    "NetworkChaos": "networkchaos",
    "IOChaos": "iochaos",
    "TimeChaos": "timechaos",
    "StressChaos": "stresschaos",
}
#: Actions that happen once: there is nothing to recover from afterwards.
ONE_SHOT = ("pod-kill", "container-kill")

Body = dict[str, Any]


def selector(namespace: str, pods: Sequence[str]) -> Body:
    """Exactly these pods."""
    return {"pods": {namespace: list(pods)}}


def pods_of(body: Body) -> list[str]:
    """The pods a body names, sources and targets alike."""
    spec = body["spec"]
    chosen = [spec["selector"], (spec.get("target") or {}).get("selector") or {}]
    return list(dict.fromkeys(pod for one in chosen for pods in one.get("pods", {}).values() for pod in pods))


def needs_daemon(body: Body) -> bool:
    """Killing and failing pods goes through the API server; all else through the daemon on their nodes."""
    return body["spec"].get("action") not in ("pod-kill", "pod-failure")


def ends_after(body: Body, limit_s: float) -> Body:
    """The same, recovered by Chaos Mesh itself after `limit_s`: also if this process is killed."""
    return {**body, "spec": {**body["spec"], "duration": seconds(limit_s)}}


def seconds(value: float) -> str:
    """A Go duration, milliseconds exact: 1.5 -> 1500ms, 30 -> 30s."""
    return f"{value:.0f}s" if float(value).is_integer() else f"{round(value * 1000)}ms"


def chaos(kind: str, name: str, namespace: str, pods: Sequence[str], spec: Body) -> Body:
    """The frame that all kinds share."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "natsproof"},
        },
        "spec": {"mode": "all", "selector": selector(namespace, pods), **spec},
    }


def pod_kill(name: str, namespace: str, pods: Sequence[str], *, grace_s: int = 0) -> Body:
    return chaos("PodChaos", name, namespace, pods, {"action": "pod-kill", "gracePeriod": grace_s})


def pod_failure(name: str, namespace: str, pods: Sequence[str], *, for_s: float) -> Body:
    """Swaps the pods' images for one that only pauses, until it is over."""
    return chaos("PodChaos", name, namespace, pods, {"action": "pod-failure", "duration": seconds(for_s)})


def container_kill(name: str, namespace: str, pods: Sequence[str], *, container: str) -> Body:
    """SIGKILL for one container; the kubelet restarts it in its pod."""
    spec = {"action": "container-kill", "containerNames": [container]}
    return chaos("PodChaos", name, namespace, pods, spec)


def partition(
    name: str, namespace: str, pods: Sequence[str], others: Sequence[str], *, direction: str = "both"
) -> Body:
    """No packet between `pods` and `others`; `direction` to, from or both, seen from `pods`."""
    return _network(name, namespace, pods, others, {"action": "partition", "direction": direction})


def delay(
    name: str,
    namespace: str,
    pods: Sequence[str],
    others: Sequence[str],
    *,
    latency_s: float,
    jitter_s: float = 0.0,
) -> Body:
    how = {"latency": seconds(latency_s), "jitter": seconds(jitter_s), "correlation": "0"}
    return _network(name, namespace, pods, others, {"action": "delay", "direction": "both", "delay": how})


def loss(name: str, namespace: str, pods: Sequence[str], others: Sequence[str], *, percent: float) -> Body:
    how = {"loss": f"{percent:g}", "correlation": "0"}
    return _network(name, namespace, pods, others, {"action": "loss", "direction": "both", "loss": how})


def bandwidth(
    name: str, namespace: str, pods: Sequence[str], others: Sequence[str], *, bytes_per_s: int
) -> Body:
    """tc counts bits with `bps` as bytes a second; the bucket holds a tenth of a second."""
    how = {"rate": f"{bytes_per_s}bps", "limit": 1 << 20, "buffer": max(1600, bytes_per_s // 10)}
    return _network(
        name, namespace, pods, others, {"action": "bandwidth", "direction": "to", "bandwidth": how}
    )


def slow_disk(
    name: str,
    namespace: str,
    pods: Sequence[str],
    *,
    container: str,
    volume_path: str,
    delay_s: float,
    percent: int = 100,
) -> Body:
    spec: Body = {"action": "latency", "volumePath": volume_path, "delay": seconds(delay_s)}
    spec |= {"percent": percent, "containerNames": [container]}
    return chaos("IOChaos", name, namespace, pods, spec)


def failing_disk(
    name: str,
    namespace: str,
    pods: Sequence[str],
    *,
    container: str,
    volume_path: str,
    errno: int = 28,
    methods: Sequence[str] = ("write", "fsync"),
    percent: int = 100,
) -> Body:
    """File operations fail with `errno` (28: no space left). `volume_path` is where a volume is mounted,
    not a folder in it; the definition leaves `methods` open, the daemon knows them in small letters only."""
    spec: Body = {"action": "fault", "volumePath": volume_path, "errno": errno, "percent": percent}
    spec |= {"methods": list(methods), "containerNames": [container]}
    return chaos("IOChaos", name, namespace, pods, spec)


def clock_shift(name: str, namespace: str, pods: Sequence[str], *, container: str, offset_s: float) -> Body:
    """The wall clock of a container's processes, forward or back; the monotonic clock stays right."""
    sign = "-" if offset_s < 0 else ""
    spec: Body = {"timeOffset": sign + seconds(abs(offset_s)), "clockIds": ["CLOCK_REALTIME"]}
    spec["containerNames"] = [container]  # unnamed, it is the pod's first
    return chaos("TimeChaos", name, namespace, pods, spec)


def busy_cpu(
    name: str, namespace: str, pods: Sequence[str], *, container: str, workers: int, load_percent: int
) -> Body:
    spec: Body = {"stressors": {"cpu": {"workers": workers, "load": load_percent}}}
    spec["containerNames"] = [container]
    return chaos("StressChaos", name, namespace, pods, spec)


def full_memory(
    name: str, namespace: str, pods: Sequence[str], *, container: str, workers: int, size: str
) -> Body:
    """`size` per worker, as Chaos Mesh reads it: 256MB or 50%."""
    spec: Body = {"stressors": {"memory": {"workers": workers, "size": size}}}
    spec["containerNames"] = [container]
    return chaos("StressChaos", name, namespace, pods, spec)


def _network(name: str, namespace: str, pods: Sequence[str], others: Sequence[str], spec: Body) -> Body:
    target = {"target": {"mode": "all", "selector": selector(namespace, others)}}
    return chaos("NetworkChaos", name, namespace, pods, {**spec, **target})
