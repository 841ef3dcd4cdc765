"""Placement: one node's loss, one drain or one update takes one server."""

from __future__ import annotations

import math
import re

from natsproof.contract.model import Contract, DisruptionBudget
from natsproof.contract.rules.network import selects
from natsproof.contract.rules.rule import Rule, at, judged, rule
from natsproof.verdict import Verdict, unknown

_PROMISE = "the loss of one node leaves a quorum"


def _count(value: int | str, of: int) -> int | None:
    """A number of pods, or a percentage of them rounded up as Kubernetes does; None for anything else."""
    match = re.fullmatch(r"(\d+)(%?)", str(value))
    if match is None:
        return None
    return math.ceil(of * int(match[1]) / 100) if match[2] else int(match[1])


def _allowed(budget: DisruptionBudget, servers: int) -> int:
    """How many of `servers` pods may be evicted at once; all of them if the budget cannot be read."""
    if budget.min_available is not None:
        least = _count(budget.min_available, servers)
        return servers if least is None else servers - least
    if budget.max_unavailable is None:
        return 0
    most = _count(budget.max_unavailable, servers)
    return servers if most is None else most


def _budgets(contract: Contract) -> list[DisruptionBudget]:
    return [b for b in contract.budgets if selects(b.selector, contract.statefulset.template.labels)]


@rule(_PROMISE)
def no_two_servers_share_a_node(contract: Contract) -> Verdict:
    """The scheduler must place every server on a node of its own, or leave it Pending."""
    pod = contract.statefulset.template
    hard = [
        spread
        for spread in pod.spreads
        if spread.hard
        and spread.topology_key == "kubernetes.io/hostname"
        and spread.max_skew == 1
        and selects(spread.match_labels, pod.labels)
    ]
    wrong = []
    if not hard:
        place = pod.spreads[0].place if pod.spreads else pod.place
        wrong.append(
            at(
                place,
                "nothing forbids two servers on one node. Add a topologySpreadConstraint over"
                " kubernetes.io/hostname, maxSkew 1, whenUnsatisfiable: DoNotSchedule, matchLabels"
                f" {dict(pod.labels)}",
            )
        )
    return judged(wrong, "servers are spread over nodes")


@rule(_PROMISE)
def a_drain_keeps_the_quorum(contract: Contract) -> Verdict:
    """A PodDisruptionBudget of the servers allows no more evictions at once than leave a majority."""
    servers = contract.statefulset.replicas
    spare = (servers - 1) // 2
    budgets = _budgets(contract)
    wrong = []
    if not budgets:
        other = ", ".join(f"{b.name} selects {dict(b.selector)}" for b in contract.budgets) or "there is none"
        wrong.append(
            at(contract.statefulset.place, f"no PodDisruptionBudget selects the servers ({other}). Add one")
        )
    elif min(_allowed(b, servers) for b in budgets) > spare:
        budget = budgets[0]
        text = f"budget {budget.name} allows {_allowed(budget, servers)} of {servers} servers to go at once"
        wrong.append(at(budget.place, f"{text}; a quorum bears {spare}. Set maxUnavailable: 1"))
    return judged(wrong, f"a drain takes at most {spare} of {servers} servers")


@rule("a node can be drained")
def a_drain_is_not_blocked_for_ever(contract: Contract) -> Verdict:
    """The budget allows one eviction, and a pod that is not Ready does not block it (AlwaysAllow)."""
    budgets = _budgets(contract)
    if not budgets:
        return unknown("no budget selects the servers: see a_drain_keeps_the_quorum")
    wrong = []
    for budget in budgets:
        if _allowed(budget, contract.statefulset.replicas) < 1:
            wrong.append(
                at(budget.place, f"budget {budget.name} allows no eviction at all. Set maxUnavailable: 1")
            )
        if budget.unhealthy_eviction != "AlwaysAllow":
            found = budget.unhealthy_eviction or "IfHealthyBudget, the default"
            text = f"unhealthyPodEvictionPolicy is {found}: pods that never get Ready block every drain"
            wrong.append(at(budget.at("unhealthy_eviction"), f"{text}. Set AlwaysAllow"))
    return judged(wrong, "a drain can go on")


@rule("the platform goes last when a node runs short")
def the_servers_are_evicted_last(contract: Contract) -> Verdict:
    """The servers have a priority class with a value above the default of zero, and it is among the
    manifests."""
    pod = contract.statefulset.template
    name = pod.priority_class
    values = {o.name: o.raw.get("value", 0) for o in contract.of_kind("PriorityClass")}
    wrong = []
    if name is None:
        wrong.append(
            at(pod.place, "no priorityClassName: the servers are evicted like any pod. Name a class")
        )
    elif not name.startswith("system-") and name not in values:
        known = ", ".join(values) or "none"
        wrong.append(
            at(pod.at("priority_class"), f"priority class {name!r} is not among the manifests: {known}")
        )
    elif not name.startswith("system-") and values[name] <= 0:
        text = f"priority class {name} has value {values[name]}; expected more than 0, which every pod has"
        wrong.append(at(pod.at("priority_class"), text))
    return judged(wrong, f"priority class {name}")


@rule("a planned change never stops the platform")
def an_update_restarts_one_server_at_a_time(contract: Contract) -> Verdict:
    """The update strategy replaces one server, and the next when it is Ready; none is left at the old
    version."""
    stateful = contract.statefulset
    wrong = []
    if stateful.update_strategy != "RollingUpdate":
        text = f"updateStrategy is {stateful.update_strategy}: a change reaches no pod. Use RollingUpdate"
        wrong.append(at(stateful.at("update_strategy"), text))
    if stateful.max_unavailable not in (None, 1):
        text = f"maxUnavailable is {stateful.max_unavailable}: an update may stop the quorum. Use 1"
        wrong.append(at(stateful.at("max_unavailable"), text))
    if stateful.partition:
        text = f"partition is {stateful.partition}: servers below it stay at the old version. Remove it"
        wrong.append(at(stateful.at("partition"), text))
    return judged(wrong, "an update goes server by server")


RULES: tuple[Rule, ...] = (
    no_two_servers_share_a_node,
    a_drain_keeps_the_quorum,
    a_drain_is_not_blocked_for_ever,
    the_servers_are_evicted_last,
    an_update_restarts_one_server_at_a_time,
)
