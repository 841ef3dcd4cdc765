"""Expiry in real time, on twins and in watches: platforms, servers and harnesses made wrong.

"Real time" takes seconds here: manifests that promise locks of 4 s.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from natsproof.faults.process import Kill
from natsproof.workloads import overwrites
from natsproof.workloads.expiry import Expiry
from tests.mutants import expiry_lies, lies
from tests.mutants.catalogue.contract import JOB, PROMISES
from tests.mutants.catalogue.harness import _at_once, _canary_nobody_watches, _nothing, instead
from tests.mutants.manifests import Edit
from tests.mutants.mutant import Mutant

REAL_TIME = ("test_values_expire_on_time_in_real_time[canaries in integration_locks]",)
TWIN = "test_a_ttl_is_configured_and_a_twin_of_its_bucket_expires"
TOLD = "test_watchers_are_told_of_each_expiry_as_their_bucket_is_made"
MARKED, UNMARKED = f"{TOLD}[expiry watched with markers]", f"{TOLD}[expiry watched]"
KILLED = f"{TOLD}[expiry watched through a leader kill]"
LEAVES_MARKERS = (Edit(JOB, "--ttl=1h --max", "--ttl=1h --marker-ttl=10s --max"),)
KEPT = "test_a_value_written_as_its_key_expires_is_kept"
FAULTS = (
    "test_values_expire_on_time_through_a_fault[expiry through the loss of quorum]",
    "test_values_expire_on_time_through_a_fault[expiry through a restart of all]",
)


async def _nobody(*_: Any) -> list[Any]:
    return []


def _locks(ttl: str, ttl_s: int) -> tuple[Edit, ...]:
    """The Job makes integration_locks with that TTL, and checks it."""
    made = "add integration_locks --replicas=3 --storage=file --history=1 --ttl="
    return (
        Edit(JOB, f"{made}5m", f"{made}{ttl}"),
        Edit(JOB, "verify integration_locks 300", f"verify integration_locks {ttl_s}"),
    )


PROMISED = Edit(PROMISES, "integration_locks, ttl: 5m", "integration_locks, ttl: 4s")
FOUR_SECONDS = (PROMISED, *_locks("4s", 4))


def _real_time(name: str, family: str, **more: Any) -> Mutant:
    return Mutant(name, family, REAL_TIME, setting=FOUR_SECONDS, **more)


def _wrong_job(name: str, ttl: str, ttl_s: int) -> Mutant:
    """Its control is that of the others, whose Job is right."""
    return Mutant(name, "contract", REAL_TIME, edits=(PROMISED, *_locks(ttl, ttl_s)), controlled=False)


def _twin(name: str, family: str, bucket: str = "dead_letter_queue", **more: Any) -> Mutant:
    return Mutant(name, family, (f"{TWIN}[{bucket}]",), **more)


def _told(name: str, lie: Any, *claims: str) -> Mutant:
    return Mutant(name, "server", claims, lie=lie)


MUTANTS = (
    _wrong_job("locks live twice as long as promised, in real time", "8s", 8),
    _wrong_job("locks live half as long as promised, in real time", "2s", 2),
    _real_time("reads show what has expired, in real time", "server", lie=expiry_lies.ShowsWhatHasExpired),
    _real_time(
        "one replica shows what has expired, in real time",
        "server",
        lie=expiry_lies.OneReplicaShowsWhatHasExpired,
        fast=True,
    ),
    _real_time(
        "real-time canaries that nobody plants",
        "harness",
        verdict="UNKNOWN",
        sabotage=instead(Expiry, "_canary", _canary_nobody_watches),
    ),
    _real_time(
        "real-time canaries that nobody watches",
        "harness",
        verdict="UNKNOWN",
        sabotage=instead(Expiry, "_until_gone", _at_once),
    ),
    _twin(
        "a dead letter is kept six days, not seven",
        "contract",
        edits=(
            Edit(JOB, "--ttl=168h", "--ttl=144h"),
            Edit(JOB, "verify dead_letter_queue 604800", "verify dead_letter_queue 518400"),
        ),
    ),
    _twin("twins expire at half their time", "server", lie=partial(lies.ChangesTheTtl, 0.5)),
    _twin("twins that lie in memory", "harness", verdict="UNKNOWN", lie=expiry_lies.MakesOtherTwins),
    _told(
        "no watcher is told of an expiry", partial(expiry_lies.TellsExpiries, lambda one: []), MARKED, KILLED
    ),
    _told("each expiry is told twice", partial(expiry_lies.TellsExpiries, lambda one: [one, one]), MARKED),
    _told("expiries that have not been are told", expiry_lies.InventsExpiries, UNMARKED),
    Mutant(
        "watchers of expiries that nobody starts",
        "harness",
        (MARKED, UNMARKED),
        verdict="UNKNOWN",
        sabotage=instead(Expiry, "_watch", _nobody),
    ),
    Mutant(
        "a bucket leaves markers",
        "contract",
        (KEPT,),
        edits=LEAVES_MARKERS,
    ),
    Mutant(
        "values written anew live half their time",
        "server",
        (KEPT,),
        lie=partial(lies.ChangesTheTtl, 0.5),
    ),
    Mutant(
        "values written anew before they are due",
        "harness",
        (KEPT,),
        verdict="UNKNOWN",
        sabotage=instead(overwrites, "_since_s", lambda _: 0.5),
    ),
    Mutant(
        "values never expire, through deaths",
        "server",
        FAULTS,
        lie=partial(lies.ChangesTheTtl, 0.0),
    ),
    Mutant(
        "deaths that do nothing to expiry",
        "harness",
        FAULTS,
        verdict="UNKNOWN",
        sabotage=instead(Kill, "inject", _nothing),
    ),
)
