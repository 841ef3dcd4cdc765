"""Cuts: which pairs, which rules on which node, which policy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from natsproof.cluster.kubernetes import network
from natsproof.cluster.kubernetes.network import NodeWall, Partition, PolicyWall, cuts_between
from natsproof.errors import NotAvailableHere, UsageError
from tests.kubernetes_in_memory import InMemoryApi

ADDRESSES = {"n-0": ("node-a", "10.0.0.1"), "n-1": ("node-b", "10.0.1.1"), "n-2": ("node-c", "10.0.2.1")}


class Nodes:
    def __init__(self) -> None:
        self.scripts: list[tuple[str, str]] = []

    def run_on(self, node: str, *words: str, within_s: float = 20.0) -> str:
        self.scripts.append((node, words[-1]))
        return ""


class Ends:
    """A tunnel that only remembers what is stalled."""

    def __init__(self) -> None:
        self.state = (False, False)

    def stall(self, *, to_server: bool, to_client: bool) -> None:
        self.state = (to_server, to_client)


def test_groups_are_cut_from_each_other_in_both_directions() -> None:
    assert cuts_between([["n-0"], ["n-1", "n-2"]]) == {
        *(("n-0", "n-1"), ("n-1", "n-0")),
        *(("n-0", "n-2"), ("n-2", "n-0")),
    }
    assert cuts_between([["n-0", "n-1"]]) == frozenset()


def test_rules_are_written_where_the_packets_arrive_and_only_when_they_change() -> None:
    nodes = Nodes()
    wall = NodeWall(nodes)  # type: ignore[arg-type]
    wall.raise_for(frozenset({("n-0", "n-1")}), ADDRESSES)
    ((node, script),) = nodes.scripts
    assert node == "node-b"
    assert "-A NATSPROOF -s 10.0.0.1 -d 10.0.1.1 -j DROP" in script
    assert "-I FORWARD 1 -j NATSPROOF" in script
    wall.raise_for(frozenset({("n-0", "n-1")}), ADDRESSES)
    assert len(nodes.scripts) == 1
    wall.raise_for(frozenset({("n-0", "n-1")}), {**ADDRESSES, "n-1": ("node-b", "10.0.1.9")})
    assert "-d 10.0.1.9" in nodes.scripts[-1][1]


def test_healing_leaves_no_chain() -> None:
    nodes = Nodes()
    wall = NodeWall(nodes)  # type: ignore[arg-type]
    wall.raise_for(cuts_between([["n-0"], ["n-1"]]), ADDRESSES)
    wall.raise_for(frozenset(), ADDRESSES)
    last = dict(nodes.scripts[-2:])
    assert set(last) == {"node-a", "node-b"}
    assert all("-D FORWARD -j NATSPROOF" in s and "-X NATSPROOF" in s for s in last.values())


def partition(wall: Any) -> tuple[Partition, dict[str, Ends]]:
    ends = {name: Ends() for name in ADDRESSES}
    tunnels: dict[tuple[str, str], Any] = {(name, "client"): end for name, end in ends.items()}
    tunnels |= {(name, "monitor"): Ends() for name in ADDRESSES}
    return Partition(wall, tunnels), ends


def test_clients_are_cut_by_stalling_their_tunnels() -> None:
    nodes = Nodes()
    cutter, ends = partition(NodeWall(nodes))  # type: ignore[arg-type]
    cutter.set(cuts_between([["clients"], ["n-0"]]), ADDRESSES)
    assert {name: end.state for name, end in ends.items()} == {
        "n-0": (True, True),
        "n-1": (False, False),
        "n-2": (False, False),
    }
    cutter.set(frozenset({("clients", "n-1")}), ADDRESSES)
    assert (ends["n-0"].state, ends["n-1"].state) == ((False, False), (True, False))
    assert nodes.scripts == []


def test_an_unknown_name_cannot_be_cut_off() -> None:
    cutter, _ = partition(SimpleNamespace(raise_for=lambda cuts, addresses: None))
    with pytest.raises(UsageError, match="'n-9' cannot be cut off; known: clients, n-0, n-1, n-2"):
        cutter.set(cuts_between([["n-9"], ["n-0"]]), ADDRESSES)


def test_a_policy_wall_forbids_egress_and_heals_by_deleting() -> None:
    api = InMemoryApi()
    wall = PolicyWall(api, "space")  # type: ignore[arg-type]
    wall.raise_for(frozenset({("n-0", "n-1"), ("n-0", "n-2")}), ADDRESSES)
    ((_, name),) = api.objects
    assert name == "natsproof-cut-n-0"
    spec = api.objects["NetworkPolicy", name]["spec"]
    assert spec["podSelector"]["matchLabels"] == {network.POD_NAME_LABEL: "n-0"}
    (expression,) = spec["egress"][0]["to"][0]["podSelector"]["matchExpressions"]
    assert (expression["operator"], expression["values"]) == ("NotIn", ["n-1", "n-2"])
    wall.raise_for(frozenset(), ADDRESSES)
    assert not api.objects


def test_a_policy_wall_that_could_not_bite_is_refused() -> None:
    api = InMemoryApi()
    api.apply({"kind": "Pod", "metadata": {"name": "n-0", "labels": {"app": "nats"}}})
    spec = {"podSelector": {"matchLabels": {"app": "nats"}}, "policyTypes": ["Egress"]}
    api.apply({"kind": "NetworkPolicy", "metadata": {"name": "open"}, "spec": spec})
    with pytest.raises(NotAvailableHere, match="NetworkPolicy open allows egress of n-0"):
        PolicyWall(api, "space").raise_for(frozenset({("n-0", "n-1")}), ADDRESSES)  # type: ignore[arg-type]


def test_policies_of_a_killed_run_are_removed_and_others_stay() -> None:
    api = InMemoryApi()
    api.apply(network.policy("natsproof-cut-n-0", "space", "n-0", ["n-1"]))
    api.apply({"kind": "NetworkPolicy", "metadata": {"name": "theirs"}, "spec": {}})
    assert network.remove_policies(api, "space") == ["natsproof-cut-n-0"]  # type: ignore[arg-type]
    assert list(api.objects) == [("NetworkPolicy", "theirs")]
