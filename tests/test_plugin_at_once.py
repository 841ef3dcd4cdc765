"""Two runs at once on one host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from natsproof.report.verify import verify
from tests.sessions import HOLDS, USUAL, environment, lay_out

WAITS_FOR_BOTH = '''
def test_both_are_there(certify):
    """Both are there."""
    import os, pathlib
    from natsproof.clock import wait_until
    pathlib.Path(f"here-{os.getpid()}").touch()
    wait_until("the other run", lambda: len(list(pathlib.Path().glob("here-*"))) == 2, within_s=90)
    certify.that(history(), all_is_well)
'''


def test_two_runs_at_once_keep_apart(tmp_path: Path) -> None:
    """Each has its folder and its verdicts; `latest` is one of them, whole; neither calls the other dead."""
    lay_out(tmp_path, HOLDS + WAITS_FOR_BOTH)
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", "suites", *USUAL],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        said = [run.communicate(timeout=100)[0] for run in runs]
    finally:
        for run in runs:
            run.kill()
            run.wait()
    assert [run.returncode for run in runs] == [0, 0], said
    assert "was interrupted" not in "".join(said)
    folders = [path for path in (tmp_path / "reports").iterdir() if not path.is_symlink()]
    assert len(folders) == 2
    assert (tmp_path / "reports" / "latest").resolve() in folders
    for folder in folders:
        assert verify(folder / "certificate.json") == []
        assert json.loads((folder / "certificate.json").read_text())["counts"]["HOLDS"] == 2
