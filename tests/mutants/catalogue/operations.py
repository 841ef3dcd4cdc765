"""What operators do, on platforms, servers and harnesses made wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from natsproof.errors import ClusterError
from natsproof.faults.procedures import BackUpAndRestore
from natsproof.faults.upgrade import Resize
from natsproof.workloads.operations import FullBucket
from tests.mutants import lies, store_lies
from tests.mutants.catalogue.contract import PROMISES
from tests.mutants.catalogue.harness import _at_once, _nothing, instead
from tests.mutants.catalogue.server import drops
from tests.mutants.manifests import Edit
from tests.mutants.mutant import Mutant
from tests.mutants.wire import Got, Lie, Link

RESIZED = "more CPU and memory"
PUT = f"test_an_acknowledged_put_survives_an_operation[{RESIZED}]"
REGISTERS = f"test_registers_stay_linearizable_through_an_operation[{RESIZED}]"
GAPS = f"test_an_operation_interrupts_writes_no_longer_than_the_budget[{RESIZED}]"
EQUAL = f"test_replicas_are_equal_after_an_operation[{RESIZED}]"
RESTORE = "test_a_restore_gives_back_what_was_acknowledged_before_the_backup"
RESTORED = "test_a_restored_platform_takes_writes"
REFUSES = "test_a_full_bucket_refuses_cleanly_and_works_again_with_room"
KEEPS = "test_a_full_bucket_keeps_what_it_had"


class AcknowledgesWhatItRefuses(lies.Acknowledging):
    """A write that a full bucket refuses is acknowledged."""

    def got(self, link: Link, message: Got) -> list[Got]:
        asked = link.asked.get(message.subject)
        if asked and lies.is_write(asked) and b"10077" in message.body:
            bucket = lies.bucket_of(asked)
            self.last[bucket] += 1
            message.body = orjson.dumps({"stream": f"KV_{bucket}", "seq": self.last[bucket]})
        return super().got(link, message)


_restore = BackUpAndRestore.inject


def _restored_for_a_moment(self: BackUpAndRestore, cluster: Any, targets: Sequence[str]) -> Any:
    """What a restore that was given up does to the next one (docs/findings.md, 58), without its chance."""
    done = _restore(self, cluster, targets)
    with tempfile.TemporaryDirectory(prefix="natsproof-mutant-") as name:
        code, said = cluster.administer("nats stream rm KV_integration_locks --force", folder=Path(name))
    if code:
        raise ClusterError(f"the bucket could not be deleted: {said[-300:]}")
    return done


class ShowsTheOldSize(Lie):
    """Monitoring goes on telling the size that a bucket had."""

    def monitor(self, server: str, path: str, answer: Any) -> Any:
        if path.startswith("/jsz"):
            for account in answer.get("account_details") or ():
                for stream in account.get("stream_detail") or ():
                    if stream["name"] == "KV_message_state" and "config" in stream:
                        stream["config"]["max_bytes"] = 10 << 30
        return answer


class ShowsTheNewLimit(Lie):
    """Monitoring tells a limit that the server does not run with yet."""

    def monitor(self, server: str, path: str, answer: Any) -> Any:
        if path.startswith("/varz"):
            answer["jetstream"]["config"]["max_memory"] = 777 << 20
        return answer


def _no_route(answer: Any) -> Any:
    return {**answer, "routes": []}


MUTANTS = (
    Mutant(
        "loses writes, ignores revisions and lacks messages through an operation",
        "server",
        (PUT, REGISTERS, EQUAL),
        lie=lambda: lies.Both(lies.Both(drops(), lies.IgnoresExpected()), store_lies.OneStoreLacksMessages()),
    ),
    Mutant(
        "an operation without a pause is promised",
        "contract",
        (GAPS, "test_two_drains_at_once_never_lose_the_quorum"),
        edits=(Edit(PROMISES, "rolling-restart: 10s", "rolling-restart: 10ms"),),
    ),
    Mutant(
        "the disruption budget lets two servers go",
        "contract",
        ("test_two_drains_at_once_never_take_two_servers",),
        edits=(Edit("pdb.yaml", "maxUnavailable: 1", "maxUnavailable: 2"),),
    ),
    Mutant(
        "a backup of a platform that loses writes",
        "server",
        (RESTORE, RESTORED),
        lie=lambda: lies.Both(drops(), store_lies.OneStoreLacksMessages()),
    ),
    Mutant(
        "a restored bucket is deleted again",
        "server",
        (RESTORE, RESTORED),
        sabotage=instead(BackUpAndRestore, "inject", _restored_for_a_moment),
    ),
    Mutant(
        "a full bucket acknowledges what it does not store",
        "server",
        (REFUSES, KEEPS),
        lie=AcknowledgesWhatItRefuses,
    ),
    Mutant(
        "a server has no routes when scaled",
        "server",
        ("test_five_servers_agree_and_three_again",),
        lie=partial(store_lies.Monitors, "/routez", _no_route),
    ),
    Mutant(
        "monitoring hides a bucket's new size",
        "server",
        ("test_a_bucket_edited_by_hand_is_found",),
        lie=ShowsTheOldSize,
    ),
    Mutant(
        "monitoring tells a limit before the restart",
        "server",
        ("test_a_configuration_that_is_not_rolled_out_is_found",),
        lie=ShowsTheNewLimit,
    ),
    Mutant(
        "an operation that does nothing",
        "harness",
        (PUT, REGISTERS, GAPS, EQUAL),
        "UNKNOWN",
        sabotage=instead(Resize, "inject", _nothing),
    ),
    Mutant(
        "a backup that nobody makes",
        "harness",
        (RESTORE, RESTORED),
        "UNKNOWN",
        sabotage=instead(BackUpAndRestore, "inject", _nothing),
    ),
    Mutant(
        "a bucket that nobody fills",
        "harness",
        (REFUSES,),
        "UNKNOWN",
        sabotage=instead(FullBucket, "drive", _at_once),
    ),
)
