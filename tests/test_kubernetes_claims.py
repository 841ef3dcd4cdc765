"""The judges of Kubernetes-only claims: each refutes its mutant, and says UNKNOWN where nothing was seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from natsproof.checkers import kubernetes as judge
from natsproof.checkers import outages
from natsproof.contract.loader import load
from natsproof.verdict import Status

CONTRACT = load(Path(__file__).parent.parent / "manifests")
SERVERS = CONTRACT.statefulset.pod_names()

PLACEMENT = {"node_of": dict(zip(SERVERS, ("a", "b", "c"), strict=True)), "schedulable_nodes": 3}
CLAIMS = {f"data-{s}": {"phase": "Bound", "volume": f"pvc-{s}", "storage_class": "longhorn"} for s in SERVERS}
DRAIN = {
    "first": SERVERS[2],
    "second": SERVERS[0],
    "first_granted": True,
    "second_granted_at_once": False,
    "second_granted_while_away": False,
    "ready_while_away": list(SERVERS[:2]),
    "leader_while_away": SERVERS[0],
}
STREAMS = {"KV_message_state": {"max_age": 900, "last_seq": 5}}
JOB = {"complete": True, "attempts": 1, "log": "x", "streams_before": STREAMS, "streams_after": STREAMS}
REPLACED = {
    "server": SERVERS[2],
    "before": {"uid": "1", "streams": STREAMS, "claims": CLAIMS},
    "after": {"uid": "2", "streams": STREAMS, "claims": CLAIMS},
}
PROBES = {"kills": [], "failed_probes": 2, "restarts": {SERVERS[0]: 0}}
INSIDE = {"asked": 2, "answers": {"nats-platform-0 /varz": "ok", "service client": "ok"}}
DRIFT = {"objects": 10, "drift": []}

STUCK = {
    "server": SERVERS[2],
    "held_by": "a finalizer",
    "before": {"uid": "1", "streams": STREAMS, "claims": CLAIMS},
    "while_stuck": {
        "terminating": True,
        "watched_s": 5.1,
        "acknowledged": 10,
        "problem": "",
        "leader": SERVERS[0],
    },
    "after": {"uid": "2", "streams": STREAMS, "claims": CLAIMS},
    "problem": "",
    "back_s": 5.0,
}
LOOKED_UP = {s: {"pod": f"10.0.0.{i}", "name": [f"10.0.0.{i}"]} for i, s in enumerate(SERVERS)}
NAMES = {
    "server": SERVERS[2],
    "all_ready": LOOKED_UP,
    "one_not_ready": LOOKED_UP,
    "not_ready": [SERVERS[2]],
}
GROWN = {
    "claim": "data-0",
    "storage_class": "longhorn",
    "provisioner": "driver.longhorn.io",
    "expandable": True,
    "asked_bytes": 2,
    "before_bytes": 1,
    "after_bytes": 2,
    "refused": "",
    "phase": "Bound",
    "ready": True,
}
REFUSED = {**GROWN, "expandable": False, "after_bytes": 1, "refused": "403"}
RUNBOOK = {
    "blocks": [
        {"section": "Tools", "number": 1, "left_out": "", "code": 0, "said": "", "took_s": 0.1},
        {"section": "Monitor", "number": 3, "left_out": "no image", "code": 0, "said": "", "took_s": 0.0},
    ]
}

JUDGES: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "spread": (judge.SpreadOverNodes(CONTRACT), PLACEMENT),
    "claims": (judge.ClaimsBound(CONTRACT), CLAIMS),
    "drain": (judge.a_drain_takes_one_server_and_no_second, DRAIN),
    "job": (judge.the_job_may_run_again, JOB),
    "replaced": (judge.a_new_pod_has_the_old_volume, REPLACED),
    "probes": (judge.no_probe_kills_a_server, PROBES),
    "inside": (judge.all_ports_answer_inside, INSIDE),
    "drift": (judge.the_live_objects_are_the_contract, DRIFT),
    "stuck": (outages.a_stuck_pod_costs_no_quorum, STUCK),
    "outage": (outages.the_volume_outlives_the_nodes_outage, STUCK),
    "names": (outages.names_resolve_ready_or_not, NAMES),
    "growth": (outages.a_claim_grows, GROWN),
    "refusal": (outages.what_cannot_grow_is_refused, REFUSED),
    "runbook": (outages.EveryCommandRuns(2), RUNBOOK),
}


@pytest.mark.parametrize("name", JUDGES)
def test_good_facts_hold(name: str) -> None:
    checker, facts = JUDGES[name]
    assert checker(facts).status is Status.HOLDS


#: judge, path to a fact, what it becomes, the verdict
MUTANTS: list[tuple[str, tuple[str | int, ...], Any, Status]] = [
    ("spread", ("node_of", SERVERS[1]), "a", Status.BROKEN),
    ("spread", ("schedulable_nodes",), 1, Status.UNKNOWN),
    ("spread", ("node_of",), {SERVERS[0]: "a"}, Status.UNKNOWN),
    ("claims", (f"data-{SERVERS[0]}", "phase"), "Pending", Status.BROKEN),
    ("claims", (f"data-{SERVERS[0]}", "volume"), f"pvc-{SERVERS[1]}", Status.BROKEN),
    ("drain", ("first_granted",), False, Status.BROKEN),
    ("drain", ("second_granted_at_once",), True, Status.BROKEN),
    ("drain", ("second_granted_while_away",), True, Status.BROKEN),
    ("drain", ("leader_while_away",), "", Status.BROKEN),
    ("drain", ("ready_while_away",), list(SERVERS), Status.UNKNOWN),
    ("job", ("complete",), False, Status.BROKEN),
    ("job", ("streams_after",), {}, Status.BROKEN),
    ("job", ("streams_after", "KV_message_state", "max_age"), 1, Status.BROKEN),
    ("job", ("streams_before",), {}, Status.UNKNOWN),
    ("replaced", ("after", "uid"), "1", Status.UNKNOWN),
    ("replaced", ("before", "streams"), {}, Status.UNKNOWN),
    ("replaced", ("after", "claims", f"data-{SERVERS[2]}", "volume"), "pvc-new", Status.BROKEN),
    ("replaced", ("after", "streams", "KV_message_state", "last_seq"), 4, Status.BROKEN),
    ("replaced", ("after", "streams"), {}, Status.BROKEN),
    ("probes", ("kills",), ["nats-platform-0: failed liveness probe"], Status.BROKEN),
    ("probes", ("restarts",), {}, Status.UNKNOWN),
    ("inside", ("answers", "service client"), "timeout", Status.BROKEN),
    ("inside", ("asked",), 3, Status.UNKNOWN),
    ("inside", ("answers",), {}, Status.UNKNOWN),
    ("drift", ("drift",), ["StatefulSet spec.replicas"], Status.BROKEN),
    ("drift", ("objects",), 0, Status.UNKNOWN),
    ("stuck", ("while_stuck", "acknowledged"), 0, Status.BROKEN),
    ("stuck", ("while_stuck", "leader"), "", Status.BROKEN),
    ("stuck", ("after", "uid"), "", Status.BROKEN),
    ("stuck", ("while_stuck", "terminating"), False, Status.UNKNOWN),
    ("stuck", ("after", "uid"), "1", Status.UNKNOWN),
    ("outage", ("after", "claims", f"data-{SERVERS[2]}", "volume"), "pvc-new", Status.BROKEN),
    ("outage", ("after", "streams", "KV_message_state", "last_seq"), 4, Status.BROKEN),
    ("outage", ("after", "uid"), "", Status.BROKEN),
    ("outage", ("while_stuck", "terminating"), False, Status.UNKNOWN),
    ("outage", ("before", "streams"), {}, Status.UNKNOWN),
    ("names", ("one_not_ready", SERVERS[2], "name"), [], Status.BROKEN),
    ("names", ("all_ready", SERVERS[0], "name"), ["10.96.0.1"], Status.BROKEN),
    ("names", ("not_ready",), [], Status.UNKNOWN),
    ("names", ("one_not_ready",), {}, Status.UNKNOWN),
    ("growth", ("refused",), "no room", Status.BROKEN),
    ("growth", ("after_bytes",), 1, Status.BROKEN),
    ("growth", ("ready",), False, Status.BROKEN),
    ("refusal", ("refused",), "", Status.BROKEN),
    ("refusal", ("phase",), "Lost", Status.BROKEN),
    ("runbook", ("blocks", 0, "code"), 1, Status.BROKEN),
    ("runbook", ("blocks",), [], Status.UNKNOWN),
    ("runbook", ("blocks", 0, "left_out"), "no image", Status.UNKNOWN),
]


@pytest.mark.parametrize(
    ("name", "path", "value", "status"), MUTANTS, ids=[f"{m[0]}-{'.'.join(map(str, m[1]))}" for m in MUTANTS]
)
def test_a_mutant_of_the_facts_is_seen(
    name: str, path: tuple[str | int, ...], value: Any, status: Status
) -> None:
    checker, facts = JUDGES[name]
    mutated = json.loads(json.dumps(facts))  # before and after share nothing any more
    place = mutated
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert checker(mutated).status is status
