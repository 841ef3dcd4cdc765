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
}


def _changed(facts: Any, path: tuple[str, ...], value: Any) -> Any:
    changed = json.loads(json.dumps(facts))
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


def _mutant(what: str, path: tuple[str, ...], value: Any, status: Status) -> Mutant:
    facts = _changed(JUDGES[what][1], path, value)
    family = "contract" if status is Status.BROKEN else "harness"
    name = f"Kubernetes shows {what} with {'.'.join(path)} = {json.dumps(value)[:40]}"
    return Mutant(name, family, (CLAIMS[what],), status.value, facts=facts, fast=True, controlled=False)


MUTANTS = tuple(_mutant(*wrong) for wrong in WRONG)
