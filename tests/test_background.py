"""Trials beside the session: started first, judged last, ended with it, and never taken for a verdict."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from natsproof.clock import wait_until
from tests.sessions import ROOT, certificate, environment, lay_out, run_session

REAL = (f"--manifests={ROOT / 'manifests'}", "--seed", "42")
CLAIMS = '''
from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.trial import Trial
from natsproof.workloads.ledger import Ledger

LEDGER = Ledger(("message_state",), writers=1, rate_hz=20.0)
BESIDE = Trial("beside", (LEDGER,), duration_s=LONG, replica_audit=False)

@pytest.mark.planted(BESIDE)
@pytest.mark.xdist_group("beside")
def test_what_takes_long(certify):
    """What takes long."""
    certify.that(certify.run(BESIDE), no_acknowledged_put_is_lost)

def test_nothing_is_lost(certify):
    """Nothing is lost."""
    certify.that(history(), all_is_well)

def test_nothing_else_is_lost(certify):
    """Nothing else is lost."""
    certify.that(history(), all_is_well)
'''


def claims(duration_s: float) -> str:
    return CLAIMS.replace("LONG", str(duration_s))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("run")
    return folder, run_session(folder, claims(1.0), "-n", "2", usual=REAL)


def _is_judged_last_from_beside(folder: Path) -> None:
    found = certificate(folder)
    ended = sorted(found["claims"], key=lambda claim: str(claim["ended_at"]))
    assert [claim["status"] for claim in ended] == ["HOLDS"] * 3
    assert ended[-1]["name"] == "test_what_takes_long"
    (trial,) = (folder / "reports" / "latest" / "trials").iterdir()
    assert json.loads((trial / "trial.json").read_text())["worker"] == "background"


@pytest.mark.cluster
def test_a_planted_trial_runs_beside_workers(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = run
    assert done.returncode == 0, done.stdout + done.stderr
    _is_judged_last_from_beside(folder)


@pytest.mark.cluster
def test_a_planted_trial_runs_beside_a_single_process(tmp_path: Path) -> None:
    done = run_session(tmp_path, claims(1.0), "-n", "0", usual=REAL)
    assert done.returncode == 0, done.stdout + done.stderr
    _is_judged_last_from_beside(tmp_path)


@pytest.mark.cluster
def test_rejudging_starts_nothing(run: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    shutil.copytree(run[0] / "reports" / "latest", tmp_path / "reports" / "old")
    done = run_session(tmp_path, claims(1.0), "--rejudge", "reports/old", "--keep", usual=())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rejudged old: 0 verdicts changed" in done.stdout
    assert not (tmp_path / "reports" / "latest" / "work" / "background").exists()


@pytest.mark.parametrize("selection", [("-k", "nothing"), ("--collect-only",)])
def test_what_is_not_selected_is_not_started(tmp_path: Path, selection: tuple[str, ...]) -> None:
    done = run_session(tmp_path, claims(60.0), *selection, "--keep", usual=REAL)
    assert done.returncode in (0, 5, 6), done.stdout + done.stderr
    assert not list(tmp_path.glob("reports/*/work/background/*"))


def _begun(folder: Path, *more: str) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A session whose long trial runs, and the process of that trial."""
    lay_out(folder, claims(60.0))
    session = subprocess.Popen(
        [sys.executable, "-m", "pytest", "suites", "-n", "0", *REAL, *more],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def under_way() -> psutil.Process | None:
        if not any(folder.glob("reports/*/trials/beside-*/history.jsonl")):
            return None
        children = psutil.Process(session.pid).children()
        return next((c for c in children if "natsproof.background_process" in c.cmdline()), None)

    found = wait_until("the trial beside", under_way, within_s=60)
    assert found is not None
    return session, found


@pytest.mark.cluster
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_session_ends_what_runs_beside_it(tmp_path: Path, number: signal.Signals) -> None:
    session, beside = _begun(tmp_path)
    family = [beside, *beside.children(recursive=True)]
    session.send_signal(number)
    said, _ = session.communicate(timeout=60)
    assert session.returncode == 2, said
    assert "natsproof: INTERRUPTED" in said
    assert "UNKNOWN test_what_takes_long: never judged" in said
    _, left = psutil.wait_procs(family, timeout=20)
    assert not left
    (ended,) = tmp_path.glob("reports/latest/trials/beside-*/history.jsonl")
    assert b'"record":"end"' in ended.read_bytes().splitlines()[-1]


@pytest.mark.cluster
def test_a_session_that_is_killed_takes_along_what_runs_beside_it(tmp_path: Path) -> None:
    session, beside = _begun(tmp_path)
    family = [beside, *beside.children(recursive=True)]
    session.kill()
    session.communicate(timeout=60)
    _, left = psutil.wait_procs(family, timeout=30)
    assert not left


@pytest.mark.cluster
def test_a_trial_beside_whose_process_dies_is_not_decided(tmp_path: Path) -> None:
    session, beside = _begun(tmp_path)
    os.kill(beside.pid, signal.SIGKILL)
    said, _ = session.communicate(timeout=60)
    assert session.returncode == 3, said
    assert "UNKNOWN test_what_takes_long: ClusterError: beside-" in said
    assert "its process ended early" in said
