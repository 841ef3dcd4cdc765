"""What an observer of Kubernetes read, with one fact made wrong: for claims that only Kubernetes decides.

The facts are those of tests/test_kubernetes_claims.py; here the suites' own functions judge them.
"""

from __future__ import annotations

import json
from typing import Any

from natsproof.verdict import Status
from tests.mutants.mutant import Mutant
from tests.test_kubernetes_claims import JUDGES
from tests.test_kubernetes_claims import MUTANTS as WRONG

CLAIMS = {
    "spread": "test_servers_are_spread_over_nodes",
    "claims": "test_every_volume_claim_is_bound",
    "drain": "test_a_drain_takes_one_server_and_no_second",
    "job": "test_the_setup_job_may_run_again",
    "replaced": "test_a_volume_survives_the_deletion_of_its_pod",
    "probes": "test_no_probe_kills_a_server",
    "inside": "test_every_port_answers_inside_the_cluster",
    "drift": "test_the_live_objects_are_the_contract",
    "stuck": "test_a_pod_stuck_in_terminating_costs_no_quorum",
    "outage": "test_a_volume_outlives_the_outage_of_its_node",
    "names": "test_every_servers_name_leads_to_its_pod",
    "growth": "test_a_volume_grows",
    "refusal": "test_a_volume_that_cannot_grow_stays_as_it_is",
    "runbook": "test_every_command_of_the_runbook_runs",
}


def _changed(facts: Any, path: tuple[str | int, ...], value: Any) -> Any:
    changed = json.loads(json.dumps(facts))
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


def _mutant(what: str, path: tuple[str | int, ...], value: Any, status: Status) -> Mutant:
    facts = _changed(JUDGES[what][1], path, value)
    family = "contract" if status is Status.BROKEN else "harness"
    name = f"Kubernetes shows {what} with {'.'.join(map(str, path))} = {json.dumps(value)[:40]}"
    return Mutant(name, family, (CLAIMS[what],), status.value, facts=facts, fast=True, controlled=False)


MUTANTS = tuple(_mutant(*wrong) for wrong in WRONG)
