"""Judges of what only a real Kubernetes shows.

Each takes the plain data of `natsproof.cluster.kubernetes.operations`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from natsproof.contract.model import Contract
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown

Facts = Mapping[str, Any]


class SpreadOverNodes:
    """No two servers share a node."""

    def __init__(self, contract: Contract) -> None:
        self._replicas = contract.statefulset.replicas
        self._place = str(contract.statefulset.template.place)

    def __call__(self, facts: Facts) -> Verdict:
        nodes = facts["node_of"]
        if facts["schedulable_nodes"] < self._replicas:
            return unknown(
                f"{facts['schedulable_nodes']} nodes take pods: {self._replicas} servers cannot be spread"
            )
        if len(nodes) < self._replicas:
            return unknown(f"only {len(nodes)} of {self._replicas} servers are on a node")
        crowded = [node for node, number in Counter(nodes.values()).items() if number > 1]
        if crowded:
            both = [f"{pod} on {node}" for pod, node in nodes.items() if node in crowded]
            text = f"servers share a node: {', '.join(both)}; its loss takes them together"
            return broken(text, [Exhibit(text, place=self._place)])
        return holds("every server is on a node of its own", servers=len(nodes))


class ClaimsBound:
    """Every server's claim is bound to a volume of its own."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    def __call__(self, facts: Facts) -> Verdict:
        wrong = [f"{name} is {claim['phase']}" for name, claim in facts.items() if claim["phase"] != "Bound"]
        volumes = [claim["volume"] for claim in facts.values()]
        wrong += [f"{len(volumes)} claims share volumes"] if len(set(volumes)) < len(volumes) else []
        needed = self._contract.statefulset.replicas * len(self._contract.statefulset.claims)
        if not needed:
            return unknown("the contract has no volume claims")
        if wrong or len(facts) < needed:
            text = "; ".join(wrong) or f"{len(facts)} claims for {needed}"
            place = str(self._contract.statefulset.claims[0].place)
            return broken(f"volume claims: {text}", [Exhibit(text, place=place)])
        return holds("every claim is bound to a volume of its own", claims=len(facts))


def a_drain_takes_one_server_and_no_second(facts: Facts) -> Verdict:
    """One eviction is granted, a second refused while the first is away, and the rest has a leader."""
    problems = []
    if not facts["first_granted"]:
        problems.append(f"the eviction of {facts['first']} was refused with all servers Ready: a drain hangs")
    for key, when in (
        ("second_granted_at_once", "right after it"),
        ("second_granted_while_away", "while it was away"),
    ):
        if facts[key]:
            problems.append(
                f"the eviction of {facts['second']} was granted {when}: a drain takes two of three servers"
            )
    if problems:
        return broken("; ".join(problems), [Exhibit(problem) for problem in problems])
    if facts["first"] in facts["ready_while_away"]:
        return unknown(f"{facts['first']} was Ready again before the second eviction was asked for")
    if not facts["leader_while_away"]:
        return broken("with one server drained no other named a meta leader: the quorum was lost")
    return holds("one eviction was granted, the second refused", ready=len(facts["ready_while_away"]))


def the_job_may_run_again(facts: Facts) -> Verdict:
    """A second run of the set-up Job completes and leaves every bucket as it was."""
    if not facts["complete"]:
        return broken("the set-up Job failed on buckets that exist already", [Exhibit(facts["log"][-400:])])
    if not facts["streams_before"]:
        return unknown("there was no bucket before the second run")
    changed = [
        name
        for name, before in facts["streams_before"].items()
        if _config(facts["streams_after"].get(name, {})) != _config(before)
    ]
    if changed:
        return broken(f"the second run of the set-up Job changed {', '.join(sorted(changed))}")
    return holds("a second run changes nothing", buckets=len(facts["streams_before"]))


def _config(stream: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stream.items() if key != "last_seq"}


def a_new_pod_has_the_old_volume(facts: Facts) -> Verdict:
    """After a pod was deleted its successor is another pod, on the same volume, with the same streams."""
    before, after = facts["before"], facts["after"]
    if not before["uid"] or before["uid"] == after["uid"]:
        return unknown(f"{facts['server']} is still the same pod: its deletion did not land")
    volumes = {
        n: (c["volume"], after["claims"].get(n, {}).get("volume")) for n, c in before["claims"].items()
    }
    moved = [f"{name}: {old} then {new}" for name, (old, new) in volumes.items() if old != new]
    if moved:
        return broken(f"the new pod has another volume: {'; '.join(moved)}")
    if not before["streams"]:
        return unknown(f"{facts['server']} had no stream before")
    if lost := streams_cut_short(before, after):
        return broken(f"{facts['server']} came back without all of {', '.join(lost)}")
    return holds("the successor has the volume and all streams", streams=len(before["streams"]))


def streams_cut_short(before: Facts, after: Facts) -> list[str]:
    """The streams that ended later before than they do after, or are gone, by name."""
    return sorted(
        name
        for name, stream in before["streams"].items()
        if after["streams"].get(name, {}).get("last_seq", -1) < stream["last_seq"]
    )


def no_probe_kills_a_server(facts: Facts) -> Verdict:
    """The kubelet has killed no server because of a probe."""
    if facts["kills"]:
        return broken(
            f"probes killed servers {len(facts['kills'])} times", [Exhibit(kill) for kill in facts["kills"]]
        )
    if not facts["restarts"]:
        return unknown("no server was seen")
    return holds("no server was killed by a probe", failed_probes=facts["failed_probes"])


def all_ports_answer_inside(facts: Facts) -> Verdict:
    """Every monitoring path and client port, by the pods' own names, answers a pod inside the cluster."""
    failed = {what: said for what, said in facts["answers"].items() if said != "ok"}
    if failed:
        shown = [Exhibit(f"{what}: {said}") for what, said in list(failed.items())[:6]]
        return broken(f"{len(failed)} of {facts['asked']} addresses do not answer inside the cluster", shown)
    if not facts["asked"] or len(facts["answers"]) < facts["asked"]:
        return unknown(f"only {len(facts['answers'])} of {facts['asked']} questions were answered")
    return holds("every address answers inside the cluster", addresses=facts["asked"])


def the_live_objects_are_the_contract(facts: Facts) -> Verdict:
    """What the API server holds equals what was applied, field by field."""
    if facts["drift"]:
        shown = [Exhibit(text) for text in facts["drift"][:10]]
        return broken(f"{len(facts['drift'])} fields of the live objects differ from the contract", shown)
    if not facts["objects"]:
        return unknown("no object was compared")
    return holds("the live objects are the contract", objects=facts["objects"])
