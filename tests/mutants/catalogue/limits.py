"""Limits, on platforms, servers and harnesses made wrong."""

from __future__ import annotations

from functools import partial

from natsproof.faults.process import Kill
from natsproof.workloads.limits import Crowd
from tests.mutants import lies, store_lies
from tests.mutants.catalogue.contract import PROMISES
from tests.mutants.catalogue.harness import _at_once, _nothing, instead
from tests.mutants.manifests import Edit
from tests.mutants.mutant import Mutant

STORM = "test_every_client_is_served_again_after_a_restart_of_all"

MUTANTS = (
    Mutant(
        "acknowledges values and keys of all sizes and stores none",
        "server",
        (
            "test_a_payload_is_refused_exactly_beyond_the_limit",
            "test_a_value_is_refused_exactly_beyond_the_buckets_limit",
            "test_a_key_is_stored_as_it_is_or_refused",
        ),
        lie=partial(lies.AcknowledgesBeforeStoring, after_s=0.0),
    ),
    Mutant(
        "two writes in three are refused to a crowd",
        "server",
        ("test_thousands_of_connections_are_served", "test_a_slow_consumer_is_cut_and_others_go_on"),
        lie=partial(lies.RefusesWrites, but_one_in=3),
    ),
    Mutant(
        "skips an event of many watchers",
        "server",
        ("test_many_watchers_see_every_write",),
        lie=partial(store_lies.SkipsEvents, 400),
    ),
    Mutant(
        "a crowd is promised to be back in 10 ms",
        "contract",
        (STORM,),
        edits=(Edit(PROMISES, "all-restarted: 20s", "all-restarted: 10ms"),),
    ),
    Mutant(
        "a storm without a restart",
        "harness",
        (STORM,),
        "UNKNOWN",
        sabotage=instead(Kill, "inject", _nothing),
    ),
    Mutant(
        "a crowd that stays away", "harness", (STORM,), "UNKNOWN", sabotage=instead(Crowd, "drive", _at_once)
    ),
)
