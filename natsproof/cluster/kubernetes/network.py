"""Cutting servers off: packets dropped by the nodes, or NetworkPolicy where nodes are out of reach.

Node rules cut established connections too and can cut one way. A NetworkPolicy adds permissions and never
takes any away, so it can only forbid what no other policy allows: here egress, which the platform's own
policy leaves open. How quickly, and whether on open connections, is up to the cluster's CNI.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from natsproof.cluster.kubernetes.api import Api, ApiError
from natsproof.cluster.kubernetes.machine import Machine
from natsproof.cluster.kubernetes.tunnel import Tunnel
from natsproof.errors import ClusterError, NotAvailableHere, UsageError

CLIENTS = "clients"
CHAIN = "NATSPROOF"
POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POLICY_PREFIX = "natsproof-cut-"

#: One-way cuts: (source, target), names of servers.
Cuts = frozenset[tuple[str, str]]


class Wall(Protocol):
    """Makes exactly `cuts` true; none of them heals. `addresses` maps servers to (node, pod address)."""

    def raise_for(self, cuts: Cuts, addresses: Mapping[str, tuple[str, str]]) -> None: ...


def cuts_between(groups: Iterable[Sequence[str]]) -> Cuts:
    """Both directions between members of different groups."""
    listed = [tuple(group) for group in groups]
    return frozenset(
        (one, other)
        for i, group in enumerate(listed)
        for j, far in enumerate(listed)
        if i != j
        for one in group
        for other in far
    )


class NodeWall:
    """iptables on the nodes of a kind cluster, in a chain of our own before all others."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._lock = threading.Lock()
        self._written: dict[str, tuple[str, ...]] = {}

    def raise_for(self, cuts: Cuts, addresses: Mapping[str, tuple[str, str]]) -> None:
        rules: dict[str, set[str]] = {}
        for source, target in cuts:
            if source in addresses and target in addresses:
                (_, source_ip), (target_node, target_ip) = addresses[source], addresses[target]
                rules.setdefault(target_node, set()).add(f"-A {CHAIN} -s {source_ip} -d {target_ip} -j DROP")
        with self._lock:
            for node in {**rules, **self._written}:
                wanted = tuple(sorted(rules.get(node, ())))
                if self._written.get(node, ()) != wanted:
                    self._write(node, wanted)
                    self._written[node] = wanted

    def _write(self, node: str, rules: Sequence[str]) -> None:
        """Replace our chain's rules in one step; the jump to it is put first and taken away with the last."""
        table = "\n".join(["*filter", f":{CHAIN} - [0:0]", *rules, "COMMIT", ""])
        jump = f"-C FORWARD -j {CHAIN} 2>/dev/null || iptables -w 5 -I FORWARD 1 -j {CHAIN}"
        script = f"printf '%s' '{table}' | iptables-restore -w 5 --noflush && iptables -w 5 {jump}"
        if not rules:
            script += f"; iptables -w 5 -D FORWARD -j {CHAIN}; iptables -w 5 -X {CHAIN}"
        self._machine.run_on(node, "sh", "-c", script)


class PolicyWall:
    """NetworkPolicies on the source of each cut, naming the pods by the StatefulSet's own label."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace

    def raise_for(self, cuts: Cuts, addresses: Mapping[str, tuple[str, str]]) -> None:
        wanted: dict[str, set[str]] = {}
        for source, target in cuts:
            wanted.setdefault(source, set()).add(target)
        for server, (_, _) in addresses.items():
            name = POLICY_PREFIX + server
            if server in wanted:
                self._refuse_if_allowed_elsewhere(server)
                self._api.apply(policy(name, self._namespace, server, sorted(wanted[server])))
            else:
                self._api.delete("NetworkPolicy", name, self._namespace, api_version="networking.k8s.io/v1")

    def _refuse_if_allowed_elsewhere(self, server: str) -> None:
        pod = self._api.get("Pod", server, self._namespace)
        labels = ((pod or {}).get("metadata") or {}).get("labels") or {}
        for other in self._api.list("NetworkPolicy", self._namespace, api_version="networking.k8s.io/v1"):
            name, spec = other["metadata"]["name"], other["spec"]
            chosen = (spec.get("podSelector") or {}).get("matchLabels") or {}
            ours = name.startswith(POLICY_PREFIX)
            if not ours and "Egress" in spec.get("policyTypes", ()) and chosen.items() <= labels.items():
                raise NotAvailableHere(
                    f"NetworkPolicy {name} allows egress of {server}; policies only add permissions, so a "
                    "partition by NetworkPolicy cannot bite here. Use kind or Chaos Mesh"
                )


def policy(name: str, namespace: str, source: str, targets: Sequence[str]) -> dict[str, Any]:
    """Egress of pod `source` to everywhere but the pods `targets`."""
    not_those = {"key": POD_NAME_LABEL, "operator": "NotIn", "values": list(targets)}
    elsewhere = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [namespace]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "natsproof"},
        },
        "spec": {
            "podSelector": {"matchLabels": {POD_NAME_LABEL: source}},
            "policyTypes": ["Egress"],
            "egress": [
                {"to": [{"podSelector": {"matchExpressions": [not_those]}}]},
                {"to": [{"namespaceSelector": {"matchExpressions": [elsewhere]}}]},
            ],
        },
    }


def remove_policies(api: Api, namespace: str) -> list[str]:
    """Delete every policy of ours in a namespace, also of a run that was killed."""
    removed = []
    for one in api.list("NetworkPolicy", namespace, api_version="networking.k8s.io/v1"):
        name = one["metadata"]["name"]
        if name.startswith(POLICY_PREFIX):
            try:
                api.delete("NetworkPolicy", name, namespace, api_version="networking.k8s.io/v1")
            except ApiError as problem:
                raise ClusterError(f"NetworkPolicy {name} stays behind: {problem}") from None
            removed.append(name)
    return removed


class Partition:
    """The cuts in force, between servers (by a wall) and to this process (by stalled tunnels).

    Only client ports are stalled for `clients`: monitoring stays readable, for witnesses.
    """

    def __init__(self, wall: Wall, tunnels: Mapping[tuple[str, str], Tunnel]) -> None:
        self._wall, self._tunnels = wall, tunnels
        self.cuts: Cuts = frozenset()

    def set(self, cuts: Cuts, addresses: Mapping[str, tuple[str, str]]) -> None:
        """Make exactly these cuts true. Raises UsageError for a name that is no server."""
        known = {server for server, _ in self._tunnels} | {CLIENTS}
        for name in {end for cut in cuts for end in cut}:
            if name not in known:
                raise UsageError(f"{name!r} cannot be cut off; known: {', '.join(sorted(known))}")
        self.cuts = cuts
        self.keep(addresses)
        for (server, port), tunnel in self._tunnels.items():
            if port == "client":
                tunnel.stall(to_server=(CLIENTS, server) in cuts, to_client=(server, CLIENTS) in cuts)

    def keep(self, addresses: Mapping[str, tuple[str, str]]) -> None:
        """Raise the wall again for pods that came back at other addresses."""
        self._wall.raise_for(frozenset(c for c in self.cuts if CLIENTS not in c), addresses)
