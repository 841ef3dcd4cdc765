"""The plugin in sessions of its own: outcomes, exit codes, messages, scope. No cluster is needed here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

SUITE = '''
"""Claims judged from literal evidence."""
import pytest
from natsproof.history import History, Injection, Operations
from natsproof.verdict import Exhibit, broken, holds, unknown

ROWS = [(0, 0, 0, 0, 1_000_000_000 + i * 1_000_000, 1_000_500_000 + i * 1_000_000, 0, i + 1, -1, i, -1, -1)
        for i in range(40)]
META = {"began_ns": 0, "clients": ["w0"], "servers": ["nats-platform-0"]}

def history(landed=True, complete=True):
    witness = "pid 7 is gone" if landed else ""
    kill = Injection("Kill", ("nats-platform-0",), "leader", 1, 2, 3, landed, witness)
    return History(META, Operations.from_rows(ROWS), injections=(kill,), complete=complete)

def all_is_well(seen):
    return holds("0 of 40 acknowledged puts were lost", acknowledged=40)

def one_is_lost(seen):
    lost = Exhibit("put #7 is absent from the final read", rows=(7,), place="manifests/promises.yaml:31")
    return broken("1 of 40 acknowledged puts was lost", [lost], acknowledged=40)
'''

Certify = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def suite(tmp_path: Path) -> Certify:
    """Write claims into suites/, run pytest there in a process of its own."""
    (tmp_path / "suites").mkdir()
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["natsproof.pytest_plugin"]\n')
    (tmp_path / "pyproject.toml").write_text(
        "[tool.pytest.ini_options]\n"
        'addopts = "--import-mode=importlib --strict-markers -p no:cacheprovider"\n'
        'filterwarnings = ["error"]\n'
    )

    def run(claims: str, *arguments: str, cwd: str = ".") -> subprocess.CompletedProcess[str]:
        (tmp_path / "suites" / "test_it.py").write_text(SUITE + claims)
        chosen = ["--manifests", str(ROOT / "manifests"), "--cluster", "none", "--seed", "42"]
        words = [a for a in arguments if a.startswith(("suites", "/"))] or ["suites"]
        options = [a for a in arguments if a not in words]
        chosen = [] if "--bare" in options else chosen
        return subprocess.run(
            [sys.executable, "-m", "pytest", *words, *chosen, *(o for o in options if o != "--bare")],
            cwd=tmp_path / cwd,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def certificate(tmp_path: Path) -> dict[str, object]:
    return dict(json.loads((tmp_path / "reports" / "latest" / "certificate.json").read_text()))


HOLDS = '''
def test_nothing_is_lost(certify):
    """Every acknowledged put is read back."""
    certify.that(history(), all_is_well)
'''
BROKEN = '''
def test_a_put_survives(certify, contract):
    """An acknowledged put survives."""
    certify.that(history(), one_is_lost, promise=contract.promises.at("survives"))
'''
UNKNOWN = '''
def test_there_was_enough(certify):
    """Enough was seen."""
    certify.that(history(), all_is_well, given=[lambda seen: "only 37 puts were acknowledged, 500 needed"])
'''


def test_a_run_whose_claims_all_hold_exits_0_and_is_certified(suite: Certify, tmp_path: Path) -> None:
    done = suite(HOLDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "natsproof: CERTIFIED" in done.stdout
    assert "seed 42, depth standard" in done.stdout
    found = certificate(tmp_path)
    assert found["title"] == "CERTIFIED"
    assert found["claims"][0]["bound_95"] == {"counted": "acknowledged", "n": 40, "rate": 0.075}  # type: ignore[index]


def test_a_broken_claim_exits_1_and_says_what_was_promised_where(suite: Certify, tmp_path: Path) -> None:
    done = suite(BROKEN + HOLDS)
    assert done.returncode == 1
    line = "BROKEN test_a_put_survives: 1 of 40 acknowledged puts was lost"
    assert line in done.stdout.splitlines()
    assert "1 failed, 1 passed" in done.stdout
    assert re.search(r"promised: .*promises\.yaml:\d+", done.stdout)
    assert "manifests/promises.yaml:31: put #7 is absent from the final read (at 1.007 s)" in done.stdout
    assert "repeat: pytest suites/test_it.py::test_a_put_survives --seed 42 --cluster none" in done.stdout
    assert certificate(tmp_path)["title"] == "NOT CERTIFIED"


def test_too_little_evidence_exits_6_and_is_shown_as_unknown(suite: Certify) -> None:
    done = suite(UNKNOWN + HOLDS)
    assert done.returncode == 6
    line = "UNKNOWN test_there_was_enough: only 37 puts were acknowledged, 500 needed"
    assert line in done.stdout.splitlines()
    assert "1 passed, 1 unknown" in done.stdout
