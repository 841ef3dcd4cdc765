"""NetworkPolicies: what may reach the servers' ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from natsproof.contract.model import Contract, KubernetesObject
from natsproof.contract.rules.network import selects
from natsproof.contract.rules.rule import Rule, at, judged, rule
from natsproof.verdict import Exhibit, Verdict, holds

_PROMISE = "only those who must reach a port can"


def _policies(contract: Contract) -> list[KubernetesObject]:
    """The policies that judge what enters the servers' pods."""
    labels = contract.statefulset.template.labels
    found = []
    for policy in contract.of_kind("NetworkPolicy"):
        spec = policy.raw.get("spec") or {}
        if "Ingress" not in (spec.get("policyTypes") or ["Ingress"]):
            continue
        if _matches(spec.get("podSelector") or {}, labels):
            found.append(policy)
    return found


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """matchLabels only; a selector with expressions is taken to match, as it may."""
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())


def _sources(contract: Contract, port: int) -> Iterator[Mapping[str, Any]]:
    """Every peer that some policy lets in at `port`; {} for anyone."""
    names = {p.name: p.container_port for p in contract.server_container.ports}
    for policy in _policies(contract):
        for entry in (policy.raw.get("spec") or {}).get("ingress") or []:
            ports = entry.get("ports") or []
            if ports and not any(_covers(one, port, names) for one in ports):
                continue
            yield from entry.get("from") or [{}]


def _covers(one: Mapping[str, Any], port: int, names: Mapping[str | None, int]) -> bool:
    if one.get("protocol", "TCP") != "TCP":
        return False
    first = one.get("port")
    if first is None:
        return True
    if isinstance(first, str):
        return names.get(first) == port
    return bool(first <= port <= one.get("endPort", first))


def _lets_in(peer: Mapping[str, Any], labels: Mapping[str, str], *, any_namespace: bool) -> bool:
    """Whether `peer` admits pods with `labels` in the platform's namespace (or in every one)."""
    if not peer:
        return True
    if "ipBlock" in peer:
        return False
    namespaces = peer.get("namespaceSelector")
    if any_namespace and namespaces != {}:
        return False
    if namespaces:  # some namespaces by label: Kubernetes labels each with its own name
        return False
    pods = peer.get("podSelector")
    return pods is None or _matches(pods, labels)


def _judge(
    contract: Contract, port: int, labels: Mapping[str, str], who: str, *, any_namespace: bool = False
) -> Verdict:
    policies = _policies(contract)
    if not policies:
        return holds(f"no NetworkPolicy limits {who}")
    wrong: list[Exhibit] = []
    if not any(_lets_in(peer, labels, any_namespace=any_namespace) for peer in _sources(contract, port)):
        policy = policies[0]
        text = (
            f"NetworkPolicy {policy.name} does not let {who} reach port {port}. Add an ingress entry for them"
        )
        wrong.append(at(policy.place, text))
    return judged(wrong, f"{who} may reach port {port}")


@rule(_PROMISE)
def the_network_policy_lets_servers_reach_each_other(contract: Contract) -> Verdict:
    """Servers may open routes to each other through the NetworkPolicies."""
    labels = contract.statefulset.template.labels
    return _judge(contract, contract.config.cluster_port or 6222, labels, "the servers")


@rule(_PROMISE)
def the_network_policy_lets_clients_in(contract: Contract) -> Verdict:
    """The NetworkPolicies let clients of every namespace, and the set-up Job, reach the client port."""
    return _judge(contract, contract.config.port or 4222, {}, "clients of all namespaces", any_namespace=True)


@rule(_PROMISE)
def the_network_policy_lets_monitoring_in(contract: Contract) -> Verdict:
    """The monitoring port may be reached from the cluster's namespaces through the NetworkPolicies."""
    return _judge(contract, contract.config.http_port or 8222, {}, "monitoring", any_namespace=True)


@rule(_PROMISE)
def only_servers_reach_the_routes(contract: Contract) -> Verdict:
    """A NetworkPolicy keeps all but the servers off the cluster port: a route needs no password and sees
    every account."""
    port = contract.config.cluster_port or 6222
    labels = contract.statefulset.template.labels
    policies = _policies(contract)
    if not policies:
        return judged([at(contract.statefulset.place, f"no NetworkPolicy guards port {port}; add one")], "")
    wrong = []
    for peer in _sources(contract, port):
        chosen = (peer.get("podSelector") or {}).get("matchLabels") or {}
        if not selects(chosen, labels) or peer.get("namespaceSelector") is not None or "ipBlock" in peer:
            text = f"port {port} of the routes is open to {dict(peer) or 'anyone'}. Allow {dict(labels)} only"
            wrong.append(at(policies[0].place, text))
    return judged(wrong, f"only the servers reach port {port}")


RULES: tuple[Rule, ...] = (
    the_network_policy_lets_servers_reach_each_other,
    the_network_policy_lets_clients_in,
    the_network_policy_lets_monitoring_in,
    only_servers_reach_the_routes,
)
