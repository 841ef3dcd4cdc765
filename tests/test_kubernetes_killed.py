"""A run that was killed with SIGKILL: the next run finds its kind cluster and removes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from natsproof.clock import wait_until
from natsproof.cluster.kubernetes import machine, owned
from tests.test_kubernetes_kind import why_not

pytestmark = [pytest.mark.kind, pytest.mark.cluster]

ROOT = Path(__file__).parent.parent
RUN = """
import sys
from pathlib import Path
from natsproof.cluster.kubernetes import open_cluster
from natsproof.contract.loader import load
cluster = open_cluster("kind", load("manifests"), Path(sys.argv[1]) / "killed" / "work" / "main")
print(cluster.machine.name, flush=True)
cluster.up()
print("up", flush=True)
import time
time.sleep(600)
"""


def containers(name: str) -> list[str]:
    words = ["docker", "ps", "--all", "--format", "{{.Names}}", "--filter", f"name=^{name}-"]
    return machine.command("list containers", words).split()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    if reason := why_not():
        pytest.skip(reason)
    monkeypatch.setenv("NATSPROOF_STATE", str(tmp_path / "state"))
    yield tmp_path
    assert machine.reap() == []


@pytest.mark.parametrize("when", ["while kind makes its nodes", "with the platform up"])
def test_the_next_run_removes_the_cluster_of_a_killed_one(state: Path, when: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(state)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        name = process.stdout.readline().strip()
        if when.startswith("while"):
            wait_until("a node", lambda: containers(name), within_s=120, every_s=0.2)
        else:
            assert process.stdout.readline().strip() == "up"
            assert len(containers(name)) == 4
        record = owned.find(name)
        assert record is not None
        assert record.owner_lives
        assert machine.reap() == [], "a living run's cluster stays"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        process.stdout.close()
    assert machine.reap() == [name]
    assert containers(name) == []
    assert owned.find(name) is None
    assert not (owned.state_dir() / name).exists()
