"""Operations and limits: what their judges say to good and bad evidence, and how manifests are changed."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from natsproof.checkers import limits, operations
from natsproof.cluster import runbook
from natsproof.contract.change import (
    with_config,
    with_image,
    with_resources,
    with_servers,
    with_sync_interval,
)
from natsproof.contract.loader import load
from natsproof.errors import NotAvailableHere, UsageError
from natsproof.faults.procedures import Desk, _must_stay
from natsproof.faults.upgrade import image_of, next_release
from natsproof.history import History, Injection, Kind, Observation, Outcome
from natsproof.verdict import Status
from tests.checking.small import MS, history, op
from tests.track_record import page

MANIFESTS = Path(__file__).parent.parent / "manifests"


@pytest.fixture(scope="module")
def contract() -> Any:
    return load(MANIFESTS)


def done(name: str, began: float, over: float) -> Injection:
    """An operation that is over when it is done."""
    return Injection(f"{name}()", ("b-0",), "all", int(began * MS), int(over * MS), None, True, "seen")


def test_the_sync_interval_is_changed_where_it_is_named_and_added_where_it_is_not(contract: Any) -> None:
    assert contract.config.sync_always
    slower = with_sync_interval(contract, "10s")
    assert (slower.config.sync_always, slower.config.sync_interval_s) == (False, 10.0)
    assert slower.config.routes == contract.config.routes
    told = with_config(contract, lambda text: f"# sync_interval: always, see the readme\n{text}")
    assert with_sync_interval(told, "10s").config.sync_interval_s == 10.0
    silent = with_config(contract, lambda text: text.replace("sync_interval: always", ""))
    assert (silent.config.sync_always, silent.config.sync_interval_s) == (False, None)
    assert with_sync_interval(silent, "always").config.sync_always


def test_five_servers_have_five_routes_and_three_again_the_old_ones(contract: Any) -> None:
    five = with_servers(contract, 5)
    assert (five.statefulset.replicas, len(five.config.routes)) == (5, 5)
    assert with_servers(five, 3).config.routes == contract.config.routes


def test_a_route_without_a_servers_ordinal_is_refused(contract: Any) -> None:
    four = with_servers(contract, 4)
    wrong = replace(four, statefulset=replace(four.statefulset, replicas=3))
    with pytest.raises(UsageError, match="one line for each of 3 servers"):
        with_servers(wrong, 5)


def test_twice_the_resources_are_twice_the_memory_limit(contract: Any) -> None:
    container = with_resources(contract, 2).server_container
    assert (
        container.resources.memory_limit_bytes == 2 * contract.server_container.resources.memory_limit_bytes
    )
    assert "14GiB" in [variable.value for variable in container.env]


def test_an_image_steps_up_to_the_next_line(contract: Any) -> None:
    assert next_release("nats:2.12.8-alpine").startswith("2.14.")
    assert image_of("nats:2.12.8-alpine", "2.14.5") == "nats:2.14.5-alpine"
    assert with_image(contract, "nats:2.14.5-alpine").server_container.image == "nats:2.14.5-alpine"
    with pytest.raises(UsageError, match=r"no release line after 2\.15"):
        next_release("nats:2.15.1-alpine")


def test_the_runbooks_procedures_are_run_as_they_stand(tmp_path: Path) -> None:
    backup = runbook.script("Backup", tmp_path)
    assert (
        "nats account backup" in backup and f"{tmp_path}/backup" in backup and "/tmp/backup.t" not in backup
    )
    restore = runbook.script("Restore into an empty platform", tmp_path)
    assert "nats stream restore" in restore and "kubectl apply" not in restore
    with pytest.raises(NotAvailableHere, match="no commands in a section 'Rollback'"):
        runbook.blocks("Rollback")


FAKE_NATS = """#!/bin/sh
# nats, as it was seen: the first restore of a bucket breaks off and leaves a stream without messages
echo "$1 $2 $3" | sed "s|/.*/||" >>"$(dirname "$0")/log"
case "$1 $2" in
  "kv info") exit 1 ;;
  "stream restore")
    name=$(basename "$3")
    [ ! -e "$0.$name" ] || { echo "Stream \\"$name\\" already exist" >&2; exit 1; }
    : >"$0.$name"
    [ -e "$0.tried.$name" ] || { : >"$0.tried.$name"; echo "nats: error: no answer" >&2; exit 1; } ;;
  "stream rm") [ "$4" = --force ] && rm "$0.$3" ;;
esac
"""


def test_a_restore_that_breaks_off_is_begun_anew(tmp_path: Path) -> None:
    """The real CLI cannot be made to break off at will: it is stood in for by a script."""
    tools = tmp_path / "bin"
    tools.mkdir()
    sleep = '#!/bin/sh\necho "sleep $1" >>"$(dirname "$0")/log"\n'
    for name, text in {"nats": FAKE_NATS, "sleep": sleep}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    subprocess.run(["tar", "czf", "nats-backup.tar.gz", "-T", "/dev/null"], cwd=tmp_path, check=True)
    script = runbook.script("Restore into an empty platform", tmp_path).replace("within 120", "within 5")
    path = {"PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    restored = [file.name.removeprefix("nats.") for file in tools.glob("nats.KV_*")]
    assert len(restored) == 4
    # Finding 58: a try that was given up deletes a stream of its name that is made 5 s later or sooner.
    steps = "\n".join(line for line in (tools / "log").read_text().splitlines() if "kv info" not in line)
    for name in restored:
        waited = re.search(f"stream rm {name}\n((?:sleep .*\n)+)stream restore {name}", steps)
        assert waited and sum(map(int, re.findall("[0-9]+", waited[1]))) >= 10, steps


def test_what_failed_first_is_told_beside_what_was_given_up() -> None:
    said = runbook.shortened(f"first{'x' * 5000}last")
    assert said.startswith("first") and said.endswith("last") and len(said) < 1000


PUT_1 = op(Kind.PUT, 0, 1, value=1, revision=1)
LATE = op(Kind.PUT, 12, 13, value=2, revision=2, key=1)
FOUND = op(Kind.FINAL_GET, 50, 51, value=1, revision=1)
LATE_GONE = op(Kind.FINAL_GET, 50, 51, key=1)
LATE_FOUND = op(Kind.FINAL_GET, 50, 51, value=2, revision=2, key=1)
BACKUP = [done("BackUpAndRestore", 10, 20)]


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([PUT_1, LATE, FOUND, LATE_GONE], Status.HOLDS),  # what came after the backup began may be lost
        ([PUT_1, LATE, FOUND, LATE_FOUND], Status.HOLDS),
        ([PUT_1, LATE, op(Kind.FINAL_GET, 50, 51), LATE_FOUND], Status.BROKEN),
        ([LATE, LATE_GONE], Status.UNKNOWN),
    ],
)
def test_a_restore_owes_what_was_acknowledged_before_the_backup(rows: list[Any], status: Status) -> None:
    seen = history(rows, keys=2, injections=BACKUP)
    assert operations.every_write_before_the_backup_is_restored(seen).status is status


def filled(*rows: Any, held: int = 90) -> History:
    marks = {"full": 10.0, "room": 20.0, "refilled": 30.0}
    seen = history(list(rows), errors=(operations.FULL, "TimeoutError", "no responders"), marks=marks)
    facts = {"bucket": seen.keys[0].bucket, "max_bytes": 100}
    states = {"b-0": {f"KV_{seen.keys[0].bucket}": [1, 2, 2, held, {}]}}
    return replace(
        seen, observations=(Observation("small_twin", 0, facts), Observation("replicas", 0, states))
    )


REFUSED = op(Kind.PUT, 11, 12, value=2, outcome=Outcome.FAILED, error=0)
AGAIN = op(Kind.PUT, 21, 22, value=3, revision=3)


def test_a_full_bucket_that_refuses_for_its_size_holds() -> None:
    assert operations.a_full_bucket_refuses_cleanly(filled(PUT_1, REFUSED, AGAIN)).status is Status.HOLDS


@pytest.mark.parametrize(("others", "wanted"), [(4, Status.HOLDS), (3, Status.BROKEN)])
def test_few_writes_without_an_answer_say_nothing_about_a_full_bucket(others: int, wanted: Status) -> None:
    """A fifth at most; who refuses by silence does not refuse cleanly (docs/findings.md, 54)."""
    refused = [op(Kind.PUT, 11, 12, value=10 + n, outcome=Outcome.FAILED, error=0) for n in range(others)]
    again = [op(Kind.PUT, 21, 22, value=20 + n, revision=3 + n) for n in range(others)]
    unanswered = op(Kind.PUT, 11, None, value=5, error=1)
    nobody = op(Kind.PUT, 22, 23, value=6, outcome=Outcome.FAILED, error=2)
    for silent in (unanswered, nobody):
        seen = filled(PUT_1, *refused, silent, *again)
        assert operations.a_full_bucket_refuses_cleanly(seen).status is wanted


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (filled(PUT_1, op(Kind.PUT, 11, 12, value=2, revision=2), AGAIN), "acknowledged by a full bucket"),
        (filled(PUT_1, op(Kind.PUT, 11, None, value=2, error=1), AGAIN), "not refused as"),
        (
            filled(PUT_1, REFUSED, op(Kind.PUT, 21, 22, value=3, outcome=Outcome.FAILED, error=0)),
            "room had been",
        ),
        (filled(PUT_1, REFUSED, AGAIN, held=101), "more than its 100"),
    ],
)
def test_a_full_bucket_that_does_not_is_told(seen: History, said: str) -> None:
    verdict = operations.a_full_bucket_refuses_cleanly(seen)
    assert verdict.status is Status.BROKEN
    assert said in verdict.reason


def departures(*events: tuple[float, str, str]) -> History:
    seen = history([PUT_1], injections=[done("Drains", 0, 100)], servers=["b-0", "b-1"])
    facts = [Observation("pod", int(at * MS), {"pod": pod, "what": what}) for at, pod, what in events]
    return replace(seen, observations=tuple(facts))


def test_two_servers_away_at_once_are_told() -> None:
    one = [(1, "b-0", "deleting"), (2, "b-0", "exited"), (5, "b-0", "ready"), (6, "b-1", "deleting")]
    assert operations.never_two_servers_are_away(departures(*one)).status is Status.HOLDS
    two = [(1, "b-0", "deleting"), (2, "b-1", "deleting"), (5, "b-0", "ready")]
    assert operations.never_two_servers_are_away(departures(*two)).status is Status.BROKEN
    assert operations.never_two_servers_are_away(departures(one[0])).status is Status.UNKNOWN


class AllReady:
    """As much of a cluster as the desk asks."""

    def __init__(self, contract: Any) -> None:
        self.contract = contract

    def ready(self, server: str) -> bool:
        return True


def test_the_budget_lets_one_server_go_at_a_time(contract: Any) -> None:
    desk = Desk(AllReady(contract), contract.statefulset.pod_names())
    names = contract.statefulset.pod_names()
    assert [desk.asks(name) for name in names] == [True, False, False]
    desk.gone(names[0])
    assert desk.asks(names[1])


def test_percentages_of_a_budget_are_rounded_up(contract: Any) -> None:
    budget = contract.budgets[0]
    assert _must_stay(budget, 3) == 2
    assert _must_stay(replace(budget, max_unavailable="40%"), 3) == 1
    assert _must_stay(replace(budget, max_unavailable=None, min_available="50%"), 3) == 2


def answer(size: int, *, stored: str = "equal", said: str = "answer", **more: Any) -> dict[str, Any]:
    acknowledged = stored == "equal"
    facts = {"size": size, "said": said, "text": "", "acknowledged": acknowledged, "err_code": None}
    return facts | {"stored": stored} | more


def test_payloads_are_judged_on_both_sides_of_the_limit() -> None:
    beyond = answer(101, stored="absent", said="refused", text="Maximum Payload Violation")
    facts = {"limit": 100, "told": 100, "at": answer(100), "beyond": beyond, "after": answer(10)}
    judge = limits.payloads_end_exactly_at_the_limit
    assert judge({"payload": facts}).status is Status.HOLDS
    assert judge({"payload": facts | {"told": 99}}).status is Status.BROKEN
    assert judge({"payload": facts | {"at": answer(100, stored="other")}}).status is Status.BROKEN
    assert judge({"payload": facts | {"beyond": beyond | {"stored": "equal"}}}).status is Status.BROKEN
    assert (
        judge({"payload": facts | {"beyond": beyond | {"said": "no answer", "text": ""}}}).status
        is Status.BROKEN
    )


def test_each_client_must_be_served_again() -> None:
    rows = [
        op(Kind.PUT, 0, 1, value=1, revision=1, client=0),
        op(Kind.PUT, 0, 1, value=2, revision=2, client=1),
        op(Kind.PUT, 30, 31, value=3, revision=3, client=0),
        op(Kind.PUT, 30, 35, value=4, revision=4, client=1),
    ]
    fault = Injection("Kill()", ("b-0",), "all", 10 * MS, 10 * MS, 20 * MS, True, "seen")
    seen = history(rows, injections=[fault], clients=["w0.a", "w0.b"])
    assert limits.every_client_is_served_again_within(0.1)(seen).status is Status.HOLDS
    assert limits.every_client_is_served_again_within(0.012)(seen).status is Status.BROKEN
    assert limits.every_client_is_served_again_within(0.1, at_least=3)(seen).status is Status.UNKNOWN


def test_the_track_record_is_what_was_kept() -> None:
    assert page.PAGE.read_text() == page.text()


def test_a_config_that_names_the_sync_interval_twice_is_refused(contract: Any) -> None:
    twice = with_config(
        contract, lambda text: text.replace("sync_interval: always", "sync_interval: always\n  sync: 10s")
    )
    with pytest.raises(UsageError, match="one sync_interval or one jetstream block expected, found 2"):
        with_sync_interval(twice, "2m")
