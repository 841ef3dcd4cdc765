"""Judges of stuck pods, silent nodes, names of servers that are not Ready, volumes that grow, the runbook.

Each takes the plain data of `natsproof.cluster.kubernetes.stuck`, `names` or `volumes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from natsproof.checkers.kubernetes import streams_cut_short
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown

Facts = Mapping[str, Any]


def a_stuck_pod_costs_no_quorum(facts: Facts) -> Verdict:
    """While a pod is stuck in Terminating writes are acknowledged; released, it comes back as another pod."""
    server, stuck, after = facts["server"], facts["while_stuck"], facts["after"]
    if not stuck["acknowledged"]:
        return broken(
            f"with {server} stuck in Terminating no write was acknowledged: {stuck['problem']}",
            [Exhibit(f"meta leader named by the others: {stuck['leader'] or 'none'}")],
        )
    if not stuck["leader"]:
        return broken(f"with {server} stuck in Terminating the others named no meta leader")
    if not after["uid"]:
        return broken(f"{server}, released from {facts['held_by']}, did not come back: {facts['problem']}")
    if not stuck["terminating"]:
        return unknown(f"{server} was not stuck: {facts['held_by']} did not hold it")
    if after["uid"] == facts["before"]["uid"]:
        return unknown(f"{server} is still the same pod: its deletion did not land")
    return holds(
        f"{stuck['acknowledged']} writes were acknowledged meanwhile, and another pod came back",
        acknowledged=stuck["acknowledged"],
        back_s=facts["back_s"],
    )


def the_volume_outlives_the_nodes_outage(facts: Facts) -> Verdict:
    """After its node was silent a server has the volume and the streams that it had before."""
    before, after = facts["before"], facts["after"]
    if not after["uid"]:
        return broken(f"{facts['server']} did not come back: {facts['problem']}")
    if before["uid"] == after["uid"] or not facts["while_stuck"]["terminating"]:
        return unknown(f"{facts['server']} was not stuck on its node: the outage did not land")
    if not before["streams"]:
        return unknown(f"{facts['server']} had no stream before")
    moved = [
        f"{name}: {claim['volume']} then {after['claims'].get(name, {}).get('volume')}"
        for name, claim in before["claims"].items()
        if claim["volume"] != after["claims"].get(name, {}).get("volume")
    ]
    if moved:
        return broken(f"after the outage the claims have other volumes: {'; '.join(moved)}")
    if lost := streams_cut_short(before, after):
        return broken(f"{facts['server']} came back without all of {', '.join(lost)}")
    return holds("the same volume and all streams", streams=len(before["streams"]))


def names_resolve_ready_or_not(facts: Facts) -> Verdict:
    """Each server's own name is its pod's address inside the cluster, while it is not Ready too."""
    wrong = []
    for when in ("all_ready", "one_not_ready"):
        for server, seen in facts[when].items():
            if seen["name"] != [seen["pod"]]:
                said = ", ".join(seen["name"]) or "nothing"
                wrong.append(
                    f"{when.replace('_', ' ')}: {server} resolves to {said}, its pod has {seen['pod']}"
                )
    if wrong:
        return broken(f"{len(wrong)} names do not lead to their pods", [Exhibit(text) for text in wrong])
    if not facts["all_ready"] or facts["server"] not in facts["one_not_ready"]:
        return unknown("no name was asked for")
    if facts["not_ready"] != [facts["server"]]:
        return unknown(f"{facts['server']} was Ready when its name was asked for")
    return holds("every name leads to its pod, Ready or not", names=len(facts["all_ready"]))


def the_class_allows_expansion(facts: Facts) -> str | None:
    """A guard: why a claim cannot grow on this cluster."""
    if facts["expandable"]:
        return None
    return f"class {facts['storage_class']} here ({facts['provisioner']}) does not allow expansion"


def the_class_forbids_expansion(facts: Facts) -> str | None:
    """A guard: where claims can grow, nothing is to be refused."""
    return f"class {facts['storage_class']} here allows expansion" if facts["expandable"] else None


def a_claim_grows(facts: Facts) -> Verdict:
    """A class that allows expansion gives the claim what was asked for, and the server stays."""
    if facts["refused"] or facts["after_bytes"] < facts["asked_bytes"]:
        why = facts["refused"] or f"{facts['after_bytes']} bytes of {facts['asked_bytes']}"
        return broken(f"{facts['claim']} did not grow: {why}")
    if not facts["ready"]:
        return broken(f"{facts['claim']} grew and its server is not Ready")
    return holds("the claim has what was asked for", bytes=facts["after_bytes"])


def what_cannot_grow_is_refused(facts: Facts) -> Verdict:
    """Where the class does not allow expansion the API refuses it at once, and claim and server stay."""
    if facts["expandable"]:
        return unknown(f"class {facts['storage_class']} allows expansion: nothing was to be refused")
    if not facts["refused"]:
        return broken(f"class {facts['storage_class']} does not allow expansion and the claim was changed")
    if facts["phase"] != "Bound" or facts["after_bytes"] != facts["before_bytes"] or not facts["ready"]:
        return broken(f"{facts['claim']} was refused to grow and is not as before ({facts['phase']})")
    return holds("refused, and nothing changed", bytes=facts["after_bytes"])


class EveryCommandRuns:
    """Every block of the runbook ended without an error, or is listed with why it cannot run here.

    `blocks` is how many the runbook has.
    """

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks

    def __call__(self, facts: Facts) -> Verdict:
        ran = [block for block in facts["blocks"] if not block["left_out"]]
        failed = [block for block in ran if block["code"] != 0]
        if failed:
            shown = [Exhibit(f"{b['section']}, block {b['number']}: {b['said'][-400:]}") for b in failed]
            return broken(f"{len(failed)} of {len(ran)} blocks of the runbook ended with an error", shown)
        if not ran or len(facts["blocks"]) < self._blocks:
            return unknown(f"{len(facts['blocks'])} of {self._blocks} blocks of the runbook were reached")
        left_out = len(facts["blocks"]) - len(ran)
        return holds(f"{len(ran)} blocks ran as written", blocks=len(ran), left_out=left_out)
