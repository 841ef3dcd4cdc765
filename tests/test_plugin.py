"""The plugin: outcomes, exit codes, messages, scope. Each session is a process, without a cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from natsproof.clock import wait_until
from tests.sessions import (
    BROKEN,
    HOLDS,
    ROOT,
    UNKNOWN,
    USUAL,
    Session,
    certificate,
    environment,
    lay_out,
    run_session,
    session,
)

__all__ = ["session"]


def test_a_run_whose_claims_all_hold_exits_0_and_is_certified(session: Session, tmp_path: Path) -> None:
    done = session(HOLDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "natsproof: CERTIFIED" in done.stdout
    assert "seed 42, depth standard" in done.stdout
    found = certificate(tmp_path)
    assert found["title"] == "CERTIFIED"
    bound = {"violation": "lost", "counted": "acknowledged", "n": 40, "rate": 0.075}
    assert found["claims"][0]["bound_95"] == bound


def test_a_broken_claim_exits_1_and_says_what_was_promised_where(session: Session, tmp_path: Path) -> None:
    done = session(BROKEN + HOLDS)
    assert done.returncode == 1
    said = [line for line in done.stdout.splitlines() if line.startswith("BROKEN test_a_put_survives: ")]
    assert said[-1] == "BROKEN test_a_put_survives: 1 of 40 acknowledged puts was lost"
    assert "1 failed, 1 passed" in done.stdout
    assert re.search(r"promised: .*promises\.yaml:\d+", done.stdout)
    assert "manifests/promises.yaml:31: put #7 is absent from the final read (at 1.007 s)" in done.stdout
    assert "evidence: acknowledged 40" in done.stdout
    assert "repeat: pytest suites/test_it.py::test_a_put_survives --seed 42 --cluster none" in done.stdout
    assert certificate(tmp_path)["title"] == "NOT CERTIFIED"


def test_too_little_evidence_exits_6_and_is_shown_as_unknown(session: Session) -> None:
    done = session(UNKNOWN + HOLDS)
    assert done.returncode == 6
    line = "UNKNOWN test_there_was_enough: only 37 puts were acknowledged, 500 needed"
    assert line in done.stdout.splitlines()
    assert "1 passed, 1 unknown" in done.stdout


#: Name, body, and the line that the summary must have.
OUTCOMES = [
    (
        "fault_missed",
        "certify.that(history(landed=False), all_is_well)",
        "UNKNOWN test_fault_missed: the fault Kill on nats-platform-0 did not land: "
        "the independent witness saw nothing",
    ),
    (
        "no_end",
        "certify.that(history(complete=False), all_is_well)",
        "UNKNOWN test_no_end: the trial was interrupted: its history has no end",
    ),
    (
        "doubt_hides_nothing",
        "certify.that(history(landed=False), one_is_lost, given=[lambda h: 'too little'])",
        "BROKEN test_doubt_hides_nothing: 1 of 40 acknowledged puts was lost",
    ),
    (
        "worst_counts",
        "certify.that(history(), all_is_well); certify.that(history(), one_is_lost)",
        "BROKEN test_worst_counts: 1 of 40 acknowledged puts was lost",
    ),
    (
        "caught",
        "pytest.raises(errors.ClaimBroken, certify.that, history(), one_is_lost)",
        "BROKEN test_caught: 1 of 40 acknowledged puts was lost",
    ),
    ("nothing", "pass", "UNKNOWN test_nothing: the test checked nothing: it never called certify.that"),
    ("bare_skip", "pytest.skip('later')", "UNKNOWN test_bare_skip: Skipped: later"),
    (
        "no_verdict",
        "certify.that(history(), lambda h: None)",
        "UNKNOWN test_no_verdict: UsageError: <lambda> must return a Verdict, got NoneType",
    ),
    ("defect", "1 / 0", "UNKNOWN test_defect: ZeroDivisionError: division by zero"),
    (
        "no_cluster",
        "certify.run('no trial')",
        "UNKNOWN test_no_cluster: UsageError: this run has no cluster (--rejudge or --cluster none)",
    ),
    (
        "poor_host",
        "raise errors.NotAvailableHere('needs root')",
        "UNKNOWN test_poor_host: NotAvailableHere: needs root",
    ),
    (
        "stumble",
        "certify.that(history(), lambda h: h.nothing)",
        "UNKNOWN test_stumble: UNKNOWN <lambda> itself failed (AttributeError: 'History' object has no "
        "attribute 'nothing'); this is a defect of the check, nothing is said about the platform",
    ),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What one session with a claim of each kind prints."""
    claims = "from natsproof import errors\n"
    for name, body, _ in OUTCOMES:
        claims += f"def test_{name}(certify):\n    '''It.'''\n    {body}\n"
    return run_session(tmp_path_factory.mktemp("outcomes"), claims).stdout


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, _, line in OUTCOMES])
def test_what_becomes_of_a_claim(outcomes: str, name: str, line: str) -> None:
    assert [said for said in outcomes.splitlines() if f" test_{name}: " in said][-1] == line


def test_a_cluster_that_fails_exits_3(session: Session) -> None:
    claim = (
        "def test_it(certify):\n    raise __import__('natsproof').errors.ClusterError('no quorum in 30 s')\n"
    )
    done = session(claim + HOLDS)
    assert done.returncode == 3
    assert "UNKNOWN test_it: ClusterError: no quorum in 30 s" in done.stdout.splitlines()


def test_what_is_not_promised_is_listed_and_takes_nothing_away(session: Session, tmp_path: Path) -> None:
    claim = "def test_it(certify):\n    '''It.'''\n    certify.not_promised('manifests/promises.yaml:9')\n"
    done = session(claim + HOLDS)
    assert done.returncode == 0, done.stdout
    assert "not tested test_it: not promised: manifests/promises.yaml:9" in done.stdout.splitlines()
    assert certificate(tmp_path)["title"] == "CERTIFIED"


SCOPED = '''
@pytest.mark.needs("PowerCuttable")
@pytest.mark.grade("power loss")
def test_power(certify):
    """Power."""
    certify.that(history(), all_is_well)

@pytest.mark.depth("deep")
def test_deep(certify):
    """Deep."""
    certify.that(history(), all_is_well)
'''


def test_what_a_cluster_cannot_decide_is_named_and_makes_it_partial(session: Session, tmp_path: Path) -> None:
    done = session(SCOPED + HOLDS)
    assert done.returncode == 0, done.stdout
    assert "natsproof: PARTIAL" in done.stdout
    lines = done.stdout.splitlines()
    assert "not tested test_power: the none cluster here is not PowerCuttable" in lines
    assert "not tested test_deep: needs --depth deep; this run is standard" in lines
    found = certificate(tmp_path)
    assert set(found["durability"].values()) == {"not tested"}
    assert {"power loss", "power-loss-one", "process-kill-all"} <= set(found["durability"])
    assert {entry["name"] for entry in found["not_tested"]} == {
        "suites/test_it.py::test_power",
        "suites/test_it.py::test_deep",
    }


def test_a_part_of_the_suite_is_partial_and_names_what_was_left_out(session: Session, tmp_path: Path) -> None:
    done = session(BROKEN + HOLDS, "-k", "nothing_is_lost")
    assert done.returncode == 0
    assert "natsproof: PARTIAL" in done.stdout
    assert certificate(tmp_path)["left_out"] == ["suites/test_it.py::test_a_put_survives"]


def test_nothing_selected_is_not_decided(session: Session) -> None:
    assert session(HOLDS, "-k", "no_such_claim").returncode == 6


def test_stopping_at_the_first_failure_leaves_the_rest_never_judged(session: Session, tmp_path: Path) -> None:
    done = session(UNKNOWN + HOLDS, "-x")
    assert done.returncode == 6
    assert "UNKNOWN test_nothing_is_lost: never judged" in done.stdout
    assert certificate(tmp_path)["never_judged"] == ["suites/test_it.py::test_nothing_is_lost"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--cluster", "kindd", "'kindd' is not a --cluster. Valid: none, embedded, kind, context:NAME."),
        ("--depth", "abyssal", "'abyssal' is not a --depth. Valid: quick, standard, deep."),
        ("--seed", "x1", "'x1' is not a --seed. Valid: a whole number from 0 to 9223372036854775807."),
        ("--rejudge", "nowhere", "--rejudge nowhere: no such folder (looked at "),
        ("--server-binary", "nowhere", "--server-binary nowhere: no such file (looked at "),
    ],
)
def test_a_wrong_option_exits_4_and_names_the_valid_ones(
    session: Session, tmp_path: Path, option: str, value: str, message: str
) -> None:
    done = session(HOLDS, option, value, usual=())
    assert done.returncode == 4
    assert message in done.stderr
    assert not (tmp_path / "reports").exists()


def test_one_kind_cluster_is_not_shared_by_workers(session: Session) -> None:
    done = session(HOLDS, "--cluster", "kind", "-n", "2", usual=USUAL[:1])
    assert done.returncode == 4
    assert "--cluster kind is one cluster: run without -n" in done.stderr


def test_manifests_that_cannot_be_read_exit_4_and_nothing_is_started(
    session: Session, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("apiVersion: apps/v1\nkind: StatefulSet\nspec: [1\n")
    done = session(HOLDS, "--manifests", "bad.yaml", usual=())
    assert done.returncode == 4
    assert re.search(r"bad\.yaml:\d+", done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("where", ["root", "inside", "absolute"])
def test_it_works_from_wherever_it_is_called(session: Session, tmp_path: Path, where: str) -> None:
    if where == "root":
        done = session(HOLDS, "suites/")
    elif where == "inside":
        (tmp_path / "suites").mkdir()
        done = session(HOLDS, cwd="suites")
    else:
        done = session(HOLDS, str(tmp_path / "suites"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert certificate(tmp_path)["title"] == "CERTIFIED"


def test_two_workers_give_one_report(session: Session, tmp_path: Path) -> None:
    done = session(HOLDS + BROKEN + UNKNOWN, "-n", "2")
    assert done.returncode == 1, done.stdout
    assert "verdicts: 1 HOLDS, 1 BROKEN, 1 UNKNOWN; not tested 0, left out 0" in done.stdout
    names = [claim["nodeid"] for claim in certificate(tmp_path)["claims"]]
    assert names == [
        "suites/test_it.py::test_nothing_is_lost",
        "suites/test_it.py::test_a_put_survives",
        "suites/test_it.py::test_there_was_enough",
    ]


def test_claims_of_one_trial_go_to_one_worker(session: Session, tmp_path: Path) -> None:
    claims = '''
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("victim", ["leader", "follower"])
def test_it(certify, victim, number):
    """It."""
    certify.that(history(), all_is_well)

@pytest.mark.parametrize("victim", ["leader", "follower"])
def test_twin(certify, victim):
    """Twin."""
    certify.that(history(), all_is_well)
'''
    assert session(claims, "-n", "2").returncode == 0
    found = {claim["name"]: claim["worker"] for claim in certificate(tmp_path)["claims"]}
    assert len(found) == 8
    assert set(found.values()) <= {"gw0", "gw1"}


def test_a_worker_that_dies_leaves_its_claim_undecided(session: Session) -> None:
    dies = "def test_dies(certify):\n    '''Dies.'''\n    import os; os.kill(os.getpid(), 9)\n"
    done = session(HOLDS + dies, "-n", "1")
    assert done.returncode == 6, done.stdout
    assert "UNKNOWN test_dies: never judged" in done.stdout


def test_tests_that_certify_nothing_are_left_alone(tmp_path: Path) -> None:
    lay_out(tmp_path, HOLDS)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_plain.py").write_text(
        "import os\ndef test_it():\n    assert os.readlink('/proc/self/ns/net') == os.environ['NET']\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests", "-q"],
        cwd=tmp_path,
        env={**environment(tmp_path), "NET": str(Path("/proc/self/ns/net").readlink())},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "natsproof" not in done.stdout
    assert not (tmp_path / "reports").exists()


WAITS = '''
def test_it_waits(certify):
    """It waits."""
    import pathlib
    pathlib.Path("waiting").touch()
    pytest.importorskip("threading").Event().wait(60)
'''


#: A script's background commands begin like this.
DEAF = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")


def _interrupted(tmp_path: Path, number: int, *begun_by: str) -> tuple[int, str]:
    lay_out(tmp_path, HOLDS + WAITS)
    process = subprocess.Popen(
        [*begun_by, sys.executable, "-m", "pytest", "suites", *USUAL],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until("the claim to wait", (tmp_path / "waiting").exists, within_s=30)
        os.kill(process.pid, number)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    return process.returncode, said


@pytest.mark.parametrize("begun_by", [(), DEAF], ids=["", "deaf"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_claims_nothing_more(
    tmp_path: Path, number: signal.Signals, begun_by: tuple[str, ...]
) -> None:
    code, said = _interrupted(tmp_path, number, *begun_by)
    assert code == 2
    assert "natsproof: INTERRUPTED" in said
    assert "UNKNOWN test_it_waits: never judged (interrupted)" in said.splitlines()
    found = certificate(tmp_path)
    assert found["title"] == "INTERRUPTED"
    assert found["interrupted_by"] == signal.Signals(number).name
    assert [claim["status"] for claim in found["claims"]] == ["HOLDS"]


def test_a_killed_run_is_found_out_later(tmp_path: Path) -> None:
    code, _ = _interrupted(tmp_path, signal.SIGKILL)
    assert code == -signal.SIGKILL
    folder = tmp_path / "reports" / "latest"
    assert json.loads((folder / "run.json").read_text())["state"] == "running"
    done = subprocess.run(
        [sys.executable, "-m", "natsproof.cli", "report", str(folder)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "INTERRUPTED" in done.stdout
    found = certificate(tmp_path)
    assert found["title"] == "INTERRUPTED"
    assert found["interrupted_by"] == "the death of its process"
    assert found["never_judged"] == ["suites/test_it.py::test_it_waits"]


def test_two_runs_of_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    from natsproof.report.run_folder import create

    paths = {create(tmp_path, "embedded", 42).path for _ in range(5)}
    assert len(paths) == 5
    assert (tmp_path / "latest").resolve() in paths


def test_the_next_run_names_one_that_was_killed(session: Session, tmp_path: Path) -> None:
    _interrupted(tmp_path, signal.SIGKILL)
    killed = (tmp_path / "reports" / "latest").resolve().name
    done = session(HOLDS)
    assert f"{killed} was interrupted; its report: natsproof report" in done.stdout


def test_the_command_line_offers_its_options(session: Session) -> None:
    done = session(HOLDS, "--help", usual=())
    assert done.returncode == 0
    for option in ("--manifests", "--cluster", "--seed", "--depth", "--rejudge", "--baseline", "--sign-key"):
        assert option in done.stdout


assert ROOT.is_dir()
