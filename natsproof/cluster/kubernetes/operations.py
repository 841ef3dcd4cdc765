"""What an operator does to the platform on Kubernetes, with the facts of how it went.

Each function takes a platform that is up, acts, puts things right again, and returns plain data for
`natsproof.checkers.kubernetes`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from natsproof.clock import wait_until
from natsproof.cluster.kubernetes import drift
from natsproof.cluster.kubernetes.deploy import pod_log
from natsproof.cluster.kubernetes.kind import KindCluster
from natsproof.cluster.kubernetes.platform import READY_S, Platform
from natsproof.errors import ClusterError, NatsproofError

INSIDE_S = 60.0


def placement(cluster: Platform) -> dict[str, Any]:
    """The node of each server, and how many nodes take pods at all."""
    nodes = [n for n in cluster.api.list("Node") if not (n["spec"].get("taints") or ())]
    return {
        "node_of": {name: node for name, (node, _) in cluster.addresses().items()},
        "schedulable_nodes": len(nodes),
    }


def claims(cluster: Platform) -> dict[str, Any]:
    """Each server's volume claim: phase, class, size asked for."""
    found = {}
    for template in cluster.contract.statefulset.claims:
        for server in cluster.pod_names():
            name = f"{template.name}-{server}"
            live = cluster.api.get("PersistentVolumeClaim", name, cluster.namespace) or {}
            spec = live.get("spec") or {}
            found[name] = {
                "phase": (live.get("status") or {}).get("phase", "absent"),
                "storage_class": spec.get("storageClassName"),
                "asked": (spec.get("resources") or {}).get("requests", {}).get("storage"),
                "volume": spec.get("volumeName"),
            }
    return found


def compared(cluster: Platform) -> dict[str, Any]:
    """The live objects against what was applied, now."""
    return {"objects": len(cluster.applied.objects), "drift": drift.drift(cluster.api, cluster.applied)}


def drain(cluster: KindCluster) -> dict[str, Any]:
    """Cordon the highest server's node and evict it, then ask for a second eviction while it is away."""
    first, second = cluster.pod_names()[-1], cluster.pod_names()[0]
    node, uid = cluster.node_of(first), cluster.uid(first)
    cluster.cordon(node)
    try:
        granted = cluster.evict(first)
        # the budget counts Ready pods: the refusal must hold from the moment the first is granted
        again = cluster.evict(second)
        wait_until(f"{first} to leave {node}", lambda: cluster.uid(first) != uid, within_s=120)
        while_away = cluster.evict(second)
        ready = [name for name in cluster.pod_names() if cluster.ready(name)]
        leader = meta_leader(cluster, ready)
    finally:
        cluster.uncordon(node)
    cluster.wait_ready(READY_S)
    return {
        "first": first,
        "second": second,
        "first_granted": granted,
        "second_granted_at_once": again,
        "second_granted_while_away": while_away,
        "ready_while_away": ready,
        "leader_while_away": leader,
    }


def job_again(cluster: KindCluster) -> dict[str, Any]:
    """Run the set-up Job once more on the platform that has its buckets."""
    before = _streams(cluster)
    cluster.run_job_again()
    job = cluster.job
    return {
        "complete": bool(job and job.complete),
        "attempts": job.attempts if job else 0,
        "log": job.log[-2000:] if job else "",
        "streams_before": before,
        "streams_after": _streams(cluster),
    }


def pod_replaced(cluster: KindCluster) -> dict[str, Any]:
    """Delete one pod with its grace; is its successor another pod on the same volume, with its data?"""
    server = cluster.pod_names()[-1]
    before = {"uid": cluster.uid(server), "streams": streams_of(cluster, server), "claims": claims(cluster)}
    cluster.stop(server)
    cluster.start(server)
    cluster.wait_ready(READY_S)
    after = {"uid": cluster.uid(server), "streams": streams_of(cluster, server), "claims": claims(cluster)}
    return {"server": server, "before": before, "after": after}


def probe_kills(cluster: Platform) -> dict[str, Any]:
    """What the kubelets' probes have done to the servers so far, by the namespace's events."""
    events = [e for e in cluster.events() if e.what in ("killed-by-probe", "probe-failed")]
    return {
        "kills": [f"{e.pod}: {e.detail}" for e in events if e.what == "killed-by-probe"],
        "failed_probes": len([e for e in events if e.what == "probe-failed"]),
        "restarts": {name: cluster.restarts(name) for name in cluster.pod_names()},
    }


def from_inside(cluster: Platform) -> dict[str, Any]:
    """Every promised monitoring path of every server, and its client port, asked by a pod inside.

    The pod is of the set-up Job's image. Answers: `{"pod path": "ok" or what failed}`.
    """
    contract = cluster.contract
    domain = f"{contract.statefulset.service_name}.{cluster.namespace}.svc.cluster.local"
    http_port, port = contract.config.http_port or 8222, contract.config.port or 4222
    lines = ["set -u"]
    for server in cluster.pod_names():
        for path in contract.promises.monitoring:
            url = f"http://{server}.{domain}:{http_port}{path}"
            lines.append(_ask(f"{server} {path}", f"wget -q -T 5 -O /dev/null '{url}'"))
        url = f"nats://{server}.{domain}:{port}"
        lines.append(_ask(f"{server} client", f"nats --server '{url}' rtt 1 >/dev/null"))
    if contract.client_service is not None:
        service = f"nats://{contract.client_service.name}.{cluster.namespace}.svc.cluster.local:{port}"
        lines.append(_ask("service client", f"nats --server '{service}' rtt 1 >/dev/null"))
    text = run_inside(cluster, "\n".join([*lines, "wait"]))
    answers = [line.split("\t", 2)[1:] for line in text.splitlines() if line.startswith("natsproof\t")]
    return {"asked": len(lines) - 1, "answers": dict(answers)}


def run_inside(cluster: Platform, script: str, *, within_s: float = INSIDE_S) -> str:
    """The output of a shell script in a pod of the set-up Job's image; the pod is removed."""
    job = cluster.contract.job
    if job is None:
        raise ClusterError("the contract has no set-up Job: no image to run a script in")
    name = f"natsproof-inside-{secrets.token_hex(3)}"
    cluster.api.apply(_inside_pod(name, cluster.namespace, job.template.containers[0].image, script))
    try:
        wait_until(
            f"pod {name} to end",
            lambda: _phase(cluster, name) in ("Succeeded", "Failed"),
            within_s=within_s,
            every_s=0.3,
        )
        return pod_log(cluster.api, name, cluster.namespace)
    except NatsproofError as problem:
        said = pod_log(cluster.api, name, cluster.namespace)
        raise ClusterError(f"{problem}; the pod said: {said[-800:]}") from None
    finally:
        cluster.api.delete("Pod", name, cluster.namespace, grace_s=0)


def _inside_pod(name: str, namespace: str, image: str, script: str) -> dict[str, Any]:
    """Within the strictest pod security standard, as the platform's namespace wants it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "inside",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/bin/sh", "-c"],
                    "args": [script],
                    "env": [{"name": "HOME", "value": "/tmp"}, {"name": "USER", "value": "natsproof"}],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def _ask(what: str, command: str) -> str:
    """Asked side by side: what is cut off costs one timeout, not one for each question."""
    tell = f"printf 'natsproof\\t%s\\t%s\\n' '{what}'"
    failed = f'{tell} "$(echo $said | tail -c 200)"'
    return f"if said=$({command} 2>&1); then {tell} ok; else {failed}; fi &"


def _phase(cluster: Platform, pod: str) -> str:
    live = cluster.api.get("Pod", pod, cluster.namespace) or {}
    return str((live.get("status") or {}).get("phase", ""))


def _streams(cluster: Platform) -> dict[str, Any]:
    """Streams of the first server: name to configuration."""
    return streams_of(cluster, cluster.pod_names()[0])


def streams_of(cluster: Platform, server: str) -> dict[str, Any]:
    """Streams in a server's own store: name to configuration and `last_seq`."""
    jsz = cluster.monitor(server, "/jsz?accounts=true&streams=true&config=true")
    details = [d for account in jsz.get("account_details") or () for d in account.get("stream_detail") or ()]
    return {d["name"]: {**d.get("config", {}), "last_seq": d["state"]["last_seq"]} for d in details}


def meta_leader(cluster: Platform, servers: Sequence[str]) -> str:
    """The meta leader that the first of `servers` to answer names; "" if none does."""
    for server in servers:
        try:
            leader = (cluster.monitor(server, "/jsz").get("meta_cluster") or {}).get("leader")
        except ClusterError:
            continue
        if leader:
            return str(leader)
    return ""
