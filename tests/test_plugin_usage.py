"""Wrong use of the plugin ends with words that help, and with pytest's code for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.sessions import HOLDS, Session, environment, lay_out, session

__all__ = ["session"]

DEEP = '''
@pytest.mark.depth("bottomless")
def test_deep(certify):
    """Deep."""
    certify.that(history(), all_is_well)
'''


def test_an_unknown_depth_of_a_claim_is_told_with_the_valid_ones(session: Session) -> None:
    done = session(DEEP)
    assert done.returncode == 4
    said = "test_it.py::test_deep: depth('bottomless'); valid: quick, standard, deep"
    assert said in done.stdout + done.stderr


def test_claims_elsewhere_need_their_manifests_when_several_workers_run(tmp_path: Path) -> None:
    lay_out(tmp_path, HOLDS)
    (tmp_path / "suites").rename(tmp_path / "claims")
    command = [sys.executable, "-m", "pytest", "claims", "-n", "2"]
    where: Any = {"cwd": tmp_path, "env": environment(tmp_path)}
    done = subprocess.run(command, **where, capture_output=True, text=True, timeout=60, check=False)
    assert "claims outside suites/ need --manifests when run with -n" in done.stdout
    assert "INTERNALERROR" not in done.stdout
    assert done.returncode == 4


def test_an_observation_that_the_old_run_lacks_makes_unknown(session: Session) -> None:
    session(HOLDS, "--cluster", "none")
    looks = HOLDS.replace("history()", 'certify.observe("weather", None)')
    done = session(looks, "--rejudge", "reports/latest")
    assert "has no observation 'weather'; run it again" in done.stdout
    assert done.returncode == 6
