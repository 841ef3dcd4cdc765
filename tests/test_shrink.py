"""Shrinking on a runner of its own: no servers, so that what is found is the algorithm's doing."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from natsproof.certify import Certify
from natsproof.errors import UsageError
from natsproof.faults.network import OneWay, Partition
from natsproof.faults.process import Kill, Pause
from natsproof.faults.storage import PowerCut
from natsproof.options import read_options
from natsproof.report.run_folder import RunFolder
from natsproof.shrinking import Interrupted, as_test, shrink_claim
from natsproof.trial import Trial
from natsproof.trial.random_schedule import POWER, PROCESS, random_schedule
from natsproof.trial.shrink import Shrunk, shrink
from natsproof.verdict import Verdict, broken, holds
from natsproof.workloads.ledger import Ledger
from natsproof.workloads.register import Register
from tests.commands import pytest_arguments

SERVERS = ("nats-0", "nats-1", "nats-2")
CLIENTS = (Ledger(("message_state",)), Register(("message_state",)))
SEVEN = Trial(
    "seven",
    CLIENTS,
    (
        Kill("nats-0", at_s=1.5, down_s=1.0),
        Pause("nats-1", at_s=5.0, down_s=4.0),
        Kill("nats-2", at_s=7.0, down_s=0.5),
        Partition("nats-1", at_s=12.0, down_s=6.0),
        PowerCut("all", at_s=20.5, down_s=1.0),
        Kill("nats-0", at_s=24.0, down_s=0.5),
        Pause("nats-2", at_s=27.0, down_s=3.0),
    ),
    duration_s=38.0,
)


class Runner:
    """Fails where `broken` says so, in every `every`-th of such runs."""

    def __init__(self, broken: Callable[[Trial], bool], every: int = 1) -> None:
        self.broken, self.every = broken, every
        self.ran: list[Trial] = []
        self.could = 0

    def __call__(self, trial: Trial) -> bool:
        self.ran.append(trial)
        self.could += self.broken(trial)
        return self.broken(trial) and self.could % self.every == 0


def kinds(trial: Trial) -> list[str]:
    return [type(fault).__name__ for fault in trial.faults]


def test_of_seven_faults_the_one_that_matters_is_left() -> None:
    runner = Runner(lambda trial: "PowerCut" in kinds(trial))
    found = shrink(SEVEN, runner, within_s=60)
    assert kinds(found.trial) == ["PowerCut"]
    assert len(found.trial.workloads) == 1
    assert found.trial.faults[0].victim == "leader"
    assert found.trial.duration_s < 10, "the time of the faults that were dropped goes too"
    assert (found.failed, found.runs, found.again, found.in_time) == (5, 5, True, True)
    assert found.tried == len(runner.ran) <= 60


def test_two_faults_that_matter_only_together_stay_and_keep_their_places() -> None:
    """A kill while another sleeps: the pair is kept, one within the other."""

    def broken(trial: Trial) -> bool:
        pauses = [f for f in trial.faults if isinstance(f, Pause)]
        deaths = [f for f in trial.faults if type(f) is Kill]
        return any(p.at_s < k.at_s < p.at_s + (p.down_s or 0) for p in pauses for k in deaths)

    found = shrink(SEVEN, Runner(broken), within_s=60)
    assert sorted(kinds(found.trial)) == ["Kill", "Pause"]
    assert broken(found.trial)


def test_a_failure_that_needs_no_fault_is_shrunk_to_none() -> None:
    found = shrink(SEVEN, Runner(lambda trial: True), within_s=60)
    assert found.trial.faults == ()
    assert found.trial.duration_s >= 1.0


def test_a_workload_that_is_needed_stays() -> None:
    def broken(trial: Trial) -> bool:
        return any(isinstance(workload, Register) for workload in trial.workloads)

    found = shrink(SEVEN, Runner(broken), within_s=60)
    assert [type(workload).__name__ for workload in found.trial.workloads] == ["Register"]


def test_a_failure_of_every_second_run_is_still_shrunk_and_its_share_is_told() -> None:
    found = shrink(SEVEN, Runner(lambda trial: "PowerCut" in kinds(trial), every=2), within_s=60, tries=2)
    assert kinds(found.trial) == ["PowerCut"]
    assert found.runs == 5
    assert found.failed in (2, 3)


def test_what_does_not_fail_again_is_left_as_it_was() -> None:
    runner = Runner(lambda trial: False)
    found = shrink(SEVEN, runner, within_s=60, tries=3)
    assert found == Shrunk(SEVEN, 0, 0, 6, again=False), "3 runs with less time to settle, 3 as it was"


def test_what_was_found_when_runs_are_used_up_still_failed() -> None:
    runner = Runner(lambda trial: "PowerCut" in kinds(trial))
    found = shrink(SEVEN, runner, within_s=60, max_runs=5)
    assert not found.in_time
    assert runner.broken(found.trial)
    assert 1 <= len(found.trial.faults) < 7


def test_no_run_waits_long_for_what_a_broken_platform_never_does() -> None:
    """One that lost its streams acknowledges nothing more: all of both times would be waited for."""
    runner = Runner(lambda trial: "PowerCut" in kinds(trial))
    shrink(replace(SEVEN, settle_s=60.0, patience_s=30.0, evidence=25), runner, within_s=60)
    assert {(trial.settle_s, trial.patience_s) for trial in runner.ran} == {(8.0, 8.0)}


def interrupted_in_run(number: int) -> Runner:
    """Ctrl-C in that run."""

    def broken(trial: Trial) -> bool:
        if len(runner.ran) == number:
            raise KeyboardInterrupt
        return "PowerCut" in kinds(trial)

    runner = Runner(broken)
    return runner


def test_what_was_found_when_it_is_interrupted_is_kept() -> None:
    runner = interrupted_in_run(6)
    found = shrink(SEVEN, runner, within_s=60)
    assert found.interrupted and found.again
    assert "PowerCut" in kinds(found.trial)
    assert 1 <= len(found.trial.faults) < 7
    assert (found.failed, found.runs, len(runner.ran)) == (0, 0, 6), "nothing is run any more"


def test_an_interruption_before_the_trial_failed_again_leaves_it_as_it_was() -> None:
    found = shrink(SEVEN, interrupted_in_run(1), within_s=60)
    assert found == Shrunk(SEVEN, 0, 0, 1, again=False, interrupted=True)


def test_no_run_begins_when_time_is_up() -> None:
    runner = Runner(lambda trial: True)
    found = shrink(SEVEN, runner, within_s=0)
    assert found == Shrunk(SEVEN, 0, 0, 0, again=False, in_time=False)
    assert runner.ran == []


def test_a_candidate_is_not_run_twice_where_it_did_not_fail() -> None:
    runner = Runner(lambda trial: len(trial.faults) == 7)
    shrink(SEVEN, runner, within_s=60, tries=1, confirm=0)
    ran = [repr(trial) for trial in runner.ran]
    assert len(ran) == len(set(ran))


def test_trials_on_the_way_are_sound() -> None:
    """Faults in order, none after the end, no server struck while it is away if it was not before."""
    runner = Runner(lambda trial: "Partition" in kinds(trial))
    shrink(SEVEN, runner, within_s=60)
    for trial in runner.ran:
        ends = {}
        for fault in sorted(trial.faults, key=lambda fault: fault.at_s):
            assert fault.at_s >= ends.get(fault.victim, 0.0)
            assert fault.at_s < trial.duration_s
            ends[fault.victim] = fault.at_s + (fault.down_s or 0.0)


# the printed test ---------------------------------------------------------------------------------


def claim_of_a_constant(certify: object, contract: object) -> None:
    """The platform keeps
    what it has."""


def claim_of_a_trial(certify: object, trial: object, bucket: str) -> None:
    """It keeps."""


def test_the_minimal_trial_is_printed_as_a_test_that_can_be_pasted() -> None:
    little = shrink(SEVEN, Runner(lambda trial: "PowerCut" in kinds(trial)), within_s=60)
    given = {"certify": object(), "contract": object()}
    code = as_test(little, claim_of_a_constant, given, trial=SEVEN, seed=7, repeat="pytest x --seed 7")
    names: dict[str, object] = {}
    exec(compile(ast.parse(code), "minimal", "exec"), names)
    assert names["MINIMAL"] == little.trial
    assert "test_minimal" not in code
    assert "certify.instead = MINIMAL" in code
    assert "pytest x --seed 7" in code
    assert "5 of 5" in code


def test_a_claim_that_takes_its_trial_is_given_the_minimal_one() -> None:
    little = Shrunk(SEVEN, 1, 5, 9)
    given = {"certify": object(), "trial": SEVEN, "bucket": "retry_queue"}
    code = as_test(little, claim_of_a_trial, given, trial=SEVEN, seed=7, repeat="")
    assert "claim(certify=certify, trial=MINIMAL, bucket='retry_queue')" in code
    assert "instead" not in code


# random schedules ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds_drawn", [PROCESS, POWER])
def test_a_schedule_follows_from_its_seed(kinds_drawn: tuple[str, ...]) -> None:
    one = [random_schedule(seed, SERVERS, kinds=kinds_drawn) for seed in range(40)]
    assert one == [random_schedule(seed, SERVERS, kinds=kinds_drawn) for seed in range(40)]
    assert len({repr(faults) for faults in one}) > 35
    assert {type(fault).__name__ for faults in one for fault in faults} == set(kinds_drawn)


def test_a_schedule_leaves_what_the_promises_survive() -> None:
    """Two servers are away at most, unless all die; cuts stand alone, with a leader before them."""
    for seed in range(300):
        faults = random_schedule(seed, SERVERS, kinds=(*PROCESS, "PowerCut"), for_s=40)
        ended_s = -10.0
        for fault in faults:
            others = [f for f in faults if f is not fault and f.at_s <= fault.at_s < f.at_s + f.down_s]
            assert len(others) <= 1
            assert all(isinstance(f, Pause) and f.victim != fault.victim for f in others)
            if isinstance(fault, Partition):
                assert fault.at_s - ended_s >= 10.0
                assert not others
            ended_s = max(ended_s, fault.at_s + fault.down_s)


def test_nobody_leads_again_while_a_put_waits_in_a_route_that_was_cut() -> None:
    """That is a death of its own, partition-flapping, and other claims' matter (docs/findings.md, 39)."""
    followed = 0
    for seed in range(300):
        faults = random_schedule(seed, SERVERS, kinds=PROCESS, for_s=40)
        for cut, after in itertools.pairwise(faults):
            if isinstance(cut, Partition | OneWay):
                assert after.at_s - (cut.at_s + cut.down_s) >= cut.down_s + 2.5
                followed += 1
    assert followed > 100


def test_schedules_of_unknown_faults_or_too_few_servers_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no faults to draw: Kil\. Valid: Kill"):
        random_schedule(1, SERVERS, kinds=("Kil",))
    with pytest.raises(UsageError, match="three servers or more, not 2"):
        random_schedule(1, SERVERS[:2])


# a claim's own function, judged again -------------------------------------------------------------


def no_power_was_cut(history: Any) -> Verdict:
    cut = [name for name in history.meta["faults"] if name == "PowerCut"]
    return broken("writes lost", lost=len(cut)) if cut else holds("none lost", lost=0)


def claim_in_full(certify: Any, contract: Any) -> None:
    """Nothing is lost."""
    certify.that(certify.run(SEVEN), no_power_was_cut)


class FakeSession:
    """Its platforms are nothing; `run` below writes down the trial's faults as history."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seed, self.keep, self.started = RunFolder(folder), 7, False, 0

    @contextmanager
    def cluster(self, evidence: Path, *, needs: object = ()) -> Iterator[None]:
        self.started += 1
        yield None


def remembered(trial: Trial, cluster: object, *, seed: int, path: Path) -> Any:
    return SimpleNamespace(meta={"faults": kinds(trial)})


def test_a_broken_claim_is_shrunk_by_its_own_function(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("natsproof.trial.run", remembered)
    session: Any = FakeSession(tmp_path)
    certify = Certify(SimpleNamespace(), "quick", lambda: session, "", "test_x")  # type: ignore[arg-type]
    told: list[str] = []
    said = shrink_claim(
        claim_in_full,
        {"certify": certify, "contract": None},
        certify,
        session,
        trial=SEVEN,
        within_s=60,
        folder=tmp_path / "shrunk",
        repeat="pytest x",
        tell=told.append,
    )
    assert "shrunk: from 7 to 1 faults" in said
    assert "failed 5 of 5 times" in said
    assert "PowerCut(victim='leader'" in said or "PowerCut(at_s=" in said
    assert (tmp_path / "shrunk" / "test_minimal.py").read_text().startswith('"""claim_in_full is broken by')
    assert certify.measures["shrunk_faults"] == "7 to 1"
    assert certify.measures["minimal_failed"] == "5 of 5"
    assert not certify.verdicts, "what was said of the claim is not touched"
    assert len(told) == session.started
    assert "BROKEN: writes lost" in told[0]
    assert not list(tmp_path.glob("shrunk/runs")), "work folders go"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (1, "shrink: interrupted in 1 runs of the same trial, nothing was taken away"),
        (6, "failed once, not run again; interrupted, a smaller one may exist"),
    ],
)
def test_an_interrupted_shrink_prints_the_smallest_so_far(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, said: str
) -> None:
    session: Any = FakeSession(tmp_path)

    def until_then(trial: Trial, cluster: object, *, seed: int, path: Path) -> Any:
        if session.started == number:
            raise KeyboardInterrupt
        return remembered(trial, cluster, seed=seed, path=path)

    monkeypatch.setattr("natsproof.trial.run", until_then)
    certify = Certify(SimpleNamespace(), "quick", lambda: session, "", "test_x")  # type: ignore[arg-type]
    folder = tmp_path / "shrunk"
    with pytest.raises(Interrupted) as end:
        shrink_claim(
            claim_in_full,
            {"certify": certify, "contract": None},
            certify,
            session,
            trial=SEVEN,
            within_s=60,
            folder=folder,
            repeat="pytest x",
            tell=lambda line: None,
        )
    assert said in str(end.value)
    assert ("MINIMAL = Trial(" in str(end.value)) == (folder / "test_minimal.py").exists() == (number > 1)
    assert not (folder / "runs").exists(), "work folders go"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--shrink", "60", "--cluster", "none"), "--shrink runs trials again"),
        (("--shrink", "soon"), "'soon' is no --shrink. Valid: a whole number from 1 to 86400."),
        (("--schedules", "0"), "'0' is no --schedules. Valid: a whole number from 1 to 1000."),
    ],
)
def test_senseless_options_are_refused(words: tuple[str, ...], message: str) -> None:
    parser = pytest_arguments()
    given = vars(parser.parse_args(list(words)))
    config: Any = SimpleNamespace(
        getoption=given.get,
        rootpath=Path.cwd(),
        invocation_params=SimpleNamespace(dir=Path.cwd()),
    )
    with pytest.raises(UsageError, match=re.escape(message)):
        read_options(config)
