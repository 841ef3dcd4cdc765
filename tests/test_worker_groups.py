"""pytest-xdist keeps tests of one group in one worker.

With pytest 9.2 and pytest-xdist 3.8 it silently did not: the group was written to an attribute that pytest no
longer reads, so every worker waited for the one that ran the trial.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = """
import os, pytest

@pytest.mark.xdist_group("one trial")
@pytest.mark.parametrize("n", range(12))
def test_in_a_group(n):
    print("worker", os.environ["PYTEST_XDIST_WORKER"])
"""


def test_tests_of_one_group_run_in_one_worker(tmp_path: Path) -> None:
    (tmp_path / "test_groups.py").write_text(SOURCE)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            "2",
            "--dist",
            "loadgroup",
            "-rP",
            "-p",
            "no:cacheprovider",
            ".",
        ],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    workers = {line for line in done.stdout.splitlines() if line.startswith("worker gw")}
    assert done.returncode == 0, done.stdout
    assert len(workers) == 1, f"the group was spread over {sorted(workers)}; see the module's docstring"


def test_claims_are_collected_without_xdist() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "suites/test_watch.py",
        "--collect-only",
        "-q",
        "-p",
        "no:xdist",
    ]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parent.parent,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
