"""The plugin with real servers: one trial judged by several claims, kept, and judged again from its files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from natsproof.report.verify import verify
from tests.sessions import HOLDS, ROOT, USUAL, certificate, environment, lay_out, run_session

TRIAL = '''
from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.trial import Trial
from natsproof.workloads.ledger import Ledger

LEDGER = Ledger(("message_state",), writers=2, rate_hz=40.0)
CALM = Trial("calm", (LEDGER,), duration_s=1.0, replica_audit=False)

@pytest.mark.parametrize("number", [1, 2])
def test_nothing_is_lost(certify, number):
    """Nothing is lost."""
    certify.that(certify.run(CALM), no_acknowledged_put_is_lost)

def test_three_servers_stand(certify):
    """Three servers stand."""
    seen = certify.observe("names", lambda cluster: [server.name for server in cluster.servers])
    certify.that(seen, lambda names: holds("three stand") if len(names) == 3 else broken("not three"))

def test_it_came_up(certify):
    """It came up."""
    certify.that(certify.startup(), lambda seen: holds("up") if seen["up"] else broken("not up"))
'''
LOSES = TRIAL.replace("no_acknowledged_put_is_lost)", "one_is_lost)")
REAL = (f"--manifests={ROOT / 'manifests'}", "--seed", "42")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("run")
    return folder, run_session(folder, TRIAL, "-n", "2", usual=REAL)


@pytest.mark.cluster
def test_claims_of_one_trial_judge_one_history(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = run
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nats-server 2.12.8 from " in done.stdout
    found = certificate(folder)
    assert found["title"] == "CERTIFIED"
    (trial,) = found["trials"]
    assert trial["state"] == "complete"
    assert [claim["trials"] for claim in found["claims"] if claim["trials"]] == [[trial["name"]]] * 2
    assert verify(folder / "reports" / "latest" / "certificate.json") == []
    latest = folder / "reports" / "latest"
    assert (latest / "trials" / trial["name"] / "history.jsonl").is_file()
    assert not (latest / "trials" / trial["name"] / "logs").exists(), "logs are for what does not hold"
    assert not (latest / "work").exists()


@pytest.mark.cluster
def test_rejudging_needs_no_cluster_and_shows_what_changed(
    run: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    old = tmp_path / "reports" / "old"
    shutil.copytree(run[0] / "reports" / "latest", old)
    done = run_session(tmp_path, TRIAL, "--rejudge", "reports/old", usual=())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rejudging reports/old: no cluster is started" in done.stdout
    assert "rejudged old: 0 verdicts changed" in done.stdout
    assert "seed 42" in done.stdout
    assert verify(tmp_path / "reports" / "latest" / "certificate.json") == []
    done = run_session(tmp_path, LOSES, "--rejudge", "reports/old", usual=())
    assert done.returncode == 1
    assert "2 verdicts changed" in done.stdout
    assert "test_nothing_is_lost[1]: HOLDS -> BROKEN: 1 of 40 acknowledged puts was lost" in done.stdout


@pytest.mark.cluster
def test_a_history_that_was_never_recorded_is_unknown(
    run: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    other = TRIAL.replace('Trial("calm"', 'Trial("storm"')
    done = run_session(tmp_path, other, "--rejudge", str(run[0] / "reports" / "latest"), usual=())
    assert done.returncode == 6
    assert "has no history of trial storm-" in done.stdout


@pytest.mark.root
def test_a_full_disk_ends_the_run_and_what_was_judged_stays_readable(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    fills = (
        HOLDS
        + """
def test_it_fills_the_disk(certify):
    '''It fills.'''
    try:
        (certify.folder("big") / "file").write_bytes(bytes(10_000_000))
    except OSError:
        certify.that(history(), all_is_well, more_than_a_page="x" * 20_000)
"""
        + HOLDS.replace("nothing_is_lost", "later")
    )
    lay_out(tmp_path, fills)
    words = " ".join([sys.executable, "-m", "pytest", "suites", *USUAL])
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c",
         f"mount -t tmpfs -o size=512k tmpfs reports && {words}; code=$?; "
         "cat reports/latest/claims/*; exit $code"],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "No space left on device" in done.stdout
    assert "natsproof: INTERRUPTED" in done.stdout
    assert "UNKNOWN test_later: never judged (interrupted)" in done.stdout.splitlines()
    assert '"nodeid": "suites/test_it.py::test_nothing_is_lost"' in done.stdout
    assert "INTERNALERROR" not in done.stdout


def test_a_platform_that_cannot_start_exits_3_and_is_tried_twice(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    path = tmp_path / "manifests" / "statefulset.yaml"
    path.write_text(path.read_text().replace("image: nats:2.12.8-alpine", "image: nats:newest"))
    claims = "".join(
        f"def test_{i}(certify):\n    '''It.'''\n    certify.observe('x{i}', lambda c: 1)\n" for i in range(3)
    )
    done = run_session(tmp_path, claims, usual=())
    assert done.returncode == 3, done.stdout
    assert "no cluster can be started here: image 'nats:newest'" in done.stdout
    assert "UNKNOWN test_1: ClusterError: image" in done.stdout
    assert "UNKNOWN test_2: ClusterError: the platform did not start 2 times: " in done.stdout
