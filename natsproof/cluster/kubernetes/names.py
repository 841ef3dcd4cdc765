"""The servers' own names as a pod inside the cluster resolves them, of servers that are not Ready too."""

from __future__ import annotations

import re
from typing import Any

from natsproof.clock import wait_until
from natsproof.cluster.kubernetes.kind import KindCluster
from natsproof.cluster.kubernetes.operations import run_inside
from natsproof.cluster.kubernetes.platform import READY_S, Platform

#: Three readiness periods of 5 s with a time limit of 5 s each, and the endpoint controller.
UNREADY_S = 60.0


def resolved(cluster: KindCluster) -> dict[str, Any]:
    """The address of each server's name, with all Ready, and again while one is paused until it is not."""
    server = cluster.pod_names()[-1]
    seen: dict[str, Any] = {"server": server, "all_ready": _lookup(cluster)}
    cluster.pause(server)
    try:
        wait_until(f"{server} to be not Ready", lambda: not cluster.ready(server), within_s=UNREADY_S)
        seen["one_not_ready"] = _lookup(cluster)
        seen["not_ready"] = [name for name in cluster.pod_names() if not cluster.ready(name)]
    finally:
        cluster.resume(server)
    cluster.wait_ready(READY_S)
    return seen


def _lookup(cluster: Platform) -> dict[str, dict[str, Any]]:
    """Server to the pod's address and what its name resolves to, all asked by one pod."""
    domain = f"{cluster.contract.statefulset.service_name}.{cluster.namespace}.svc.cluster.local"
    pods = {name: address for name, (_, address) in cluster.addresses().items()}
    lines = ["set -u"]
    for server in pods:
        lines.append(f"echo 'natsproof {server}'; nslookup {server}.{domain} 2>&1")
    text = run_inside(cluster, "\n".join([*lines, "true"]))
    answers = {part.split()[0]: part for part in text.split("natsproof ")[1:]}
    return {
        server: {"pod": address, "name": _addresses(answers.get(server, ""))}
        for server, address in pods.items()
    }


def _addresses(said: str) -> list[str]:
    """What follows `Name:`; before it stands the address of the DNS server itself."""
    return re.findall(r"^Address(?: \d+)?:\s*([0-9a-f.:]+)\s*$", said.partition("Name:")[2], re.M)
