"""Promises: what is promised can be kept at all."""

from __future__ import annotations

from natsproof.contract.model import Contract
from natsproof.contract.rules.rule import Rule, at, judged, rule
from natsproof.verdict import Verdict

_PROMISE = "what is promised can be kept"
ENDPOINTS = (
    "/", "/varz", "/connz", "/routez", "/gatewayz", "/leafz", "/subsz", "/stacksz", "/accountz", "/accstatz",
    "/jsz", "/healthz", "/ipqueuesz", "/raftz", "/debug/vars",
)  # fmt: skip
LONGEST_ELECTION_S = 9.0  # raft elects after 4 to 9 s without a heartbeat; not configurable
EXPIRY_TICK_S = 0.25
_NEED_AN_ELECTION = ("one-server-killed", "leader-paused")


@rule(_PROMISE)
def every_recovery_budget_allows_an_election(contract: Contract) -> Verdict:
    """The recovery budgets after the sudden loss of a leader are longer than raft's longest election timeout
    of 9 s."""
    wrong = [
        at(
            contract.promises.at("recovery_s"),
            f"recovery {name} is {seconds:g} s; raft alone may take {LONGEST_ELECTION_S:g} s. Promise more,"
            " 20s is kept",
        )
        for name, seconds in contract.promises.recovery_s.items()
        if name in _NEED_AN_ELECTION and seconds <= LONGEST_ELECTION_S
    ]
    return judged(wrong, f"{len(contract.promises.recovery_s)} recovery budgets allow an election")


@rule(_PROMISE)
def every_promised_monitoring_path_exists(contract: Contract) -> Verdict:
    """Each promised monitoring path is one that nats-server serves; /metrics is not."""
    wrong = [
        at(
            contract.promises.at("monitoring"),
            f"{path} is promised, nats-server does not serve it (404). It has {', '.join(ENDPOINTS[1:])}",
        )
        for path in contract.promises.monitoring
        if path.split("?")[0].rstrip("/") not in ENDPOINTS
    ]
    return judged(wrong, f"{len(contract.promises.monitoring)} paths exist")


@rule("the promised monitoring answers")
def monitoring_is_switched_on(contract: Contract) -> Verdict:
    """nats.conf opens the monitoring port if the promises name monitoring paths."""
    wrong = []
    if contract.promises.monitoring and contract.config.http_port is None:
        wrong.append(
            at(contract.config.place, "monitoring is promised but nats.conf has no http_port. Set 8222")
        )
    return judged(wrong, f"monitoring is on port {contract.config.http_port}")


@rule("a lease outlives a failover")
def every_ttl_outlasts_a_recovery(contract: Contract) -> Verdict:
    """Each TTL is at least twice the longest recovery budget: else a failover alone makes a lock or a state
    expire."""
    longest_s = max(contract.promises.recovery_s.values(), default=0.0)
    wrong = [
        at(
            bucket.at("ttl_s"),
            f"bucket {bucket.name} has a TTL of {bucket.ttl_s:g} s, a recovery may take {longest_s:g} s:"
            " expected"
            f" {2 * longest_s:g} s or more",
        )
        for bucket in contract.promises.buckets
        if bucket.ttl_s is not None and bucket.ttl_s < 2 * longest_s
    ]
    return judged(wrong, f"TTLs outlast a recovery of {longest_s:g} s")


@rule(_PROMISE)
def the_expiry_bound_allows_the_servers_tick(contract: Contract) -> Verdict:
    """The promised lateness of expiry is longer than the quarter of a second in which the server looks
    again."""
    bound_s = contract.promises.expiry_late_s
    if bound_s is None:
        return judged([], "no expiry_late is promised")
    wrong = []
    if bound_s <= EXPIRY_TICK_S:
        text = f"expiry_late is {bound_s:g} s; the server looks every {EXPIRY_TICK_S:g} s. Promise 1s or more"
        wrong.append(at(contract.promises.at("expiry_late_s"), text))
    return judged(wrong, f"expiry may be {bound_s:g} s late")


RULES: tuple[Rule, ...] = (
    every_recovery_budget_allows_an_election,
    every_promised_monitoring_path_exists,
    monitoring_is_switched_on,
    every_ttl_outlasts_a_recovery,
    the_expiry_bound_allows_the_servers_tick,
)
