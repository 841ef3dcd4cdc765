"""Certification sessions in processes of their own, for the tests of the plugin and of reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    return holds("0 of 40 acknowledged puts were lost", acknowledged=40, lost=0)

def one_is_lost(seen):
    lost = Exhibit("put #7 is absent from the final read", rows=(7,), place="manifests/promises.yaml:31")
    return broken("1 of 40 acknowledged puts was lost", [lost], acknowledged=40)
'''

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
#: What makes a session here quick and the same each time.
USUAL = (f"--manifests={ROOT / 'manifests'}", "--cluster", "none", "--seed", "42")

Session = Callable[..., subprocess.CompletedProcess[str]]


def lay_out(folder: Path, claims: str) -> None:
    """A project with suites/test_it.py."""
    (folder / "suites").mkdir(exist_ok=True)
    (folder / "conftest.py").write_text('pytest_plugins = ["natsproof.pytest_plugin"]\n')
    (folder / "pyproject.toml").write_text(
        "[tool.pytest.ini_options]\n"
        'addopts = "--import-mode=importlib --strict-markers -p no:cacheprovider"\n'
        'filterwarnings = ["error"]\n'
    )
    (folder / "suites" / "test_it.py").write_text(SUITE + claims)


def environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("NATSPROOF_CACHE", "XDG_CACHE_HOME") if name in os.environ}
    cache = {"NATSPROOF_CACHE": str(Path.home() / ".cache" / "natsproof")}
    return {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder), **cache, **kept}


def run_session(
    folder: Path, claims: str, *arguments: str, usual: tuple[str, ...] = USUAL, cwd: str = "."
) -> subprocess.CompletedProcess[str]:
    """`pytest` on these claims in a process of its own, in `folder`."""
    lay_out(folder, claims)
    words = arguments if any("suites" in a for a in arguments) or cwd != "." else ("suites", *arguments)
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words, *usual],
        cwd=folder / cwd,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """`session(claims, *arguments)`: `run_session` in the test's own folder."""

    def run(claims: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run_session(tmp_path, claims, *arguments, **options)

    return run


def certificate(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "reports" / "latest" / "certificate.json").read_text()))
