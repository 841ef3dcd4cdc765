"""`natsproof doctor --cluster kind` says what is missing before anything starts; --keep reaches kind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from natsproof import pytest_plugin
from natsproof.cluster import kubernetes
from natsproof.cluster.kubernetes import ADDONS, ARCHIVES, preflight
from natsproof.cluster.kubernetes.collect import collect
from natsproof.cluster.kubernetes.machine import Machine
from natsproof.cluster.kubernetes.pool import Pool
from natsproof.contract.loader import load
from natsproof.errors import ClusterError, UsageError

ROOT = Path(__file__).parent.parent
MANIFESTS = ROOT / "manifests"
CONTRACT = load(MANIFESTS)


def test_doctor_names_what_kind_lacks_and_the_claims_that_need_no_cluster(tmp_path: Path) -> None:
    suites = tmp_path / "suites"
    suites.mkdir()
    (suites / "test_it.py").write_text(
        "def test_rule(certify, contract):\n    certify.that_rule(contract, None)\n\n\n"
        "def test_run(certify):\n    certify.run(None)\n"
    )
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["natsproof.pytest_plugin"]\n')
    words = [sys.executable, "-m", "natsproof.cli", "doctor", "--cluster", "kind"]
    done = subprocess.run(
        [*words, "--manifests", str(MANIFESTS)],
        cwd=tmp_path,
        env={**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 6, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "kind       MISSING  docker: not on PATH. Install docker" in lines
    assert any(line.startswith("cannot start     kind wants: kind, docker") for line in lines)
    assert "can    test_it.py::test_rule" in lines, done.stdout
    assert "cannot test_it.py::test_run: the cluster cannot start here" in lines


def test_an_image_that_nobody_has_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ARCHIVES, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    found = preflight.image_findings(CONTRACT)
    assert [f.name for f in found] == ["image nats:2.12.8-alpine", "image natsio/nats-box:0.18.0"]
    assert [f.ok for f in found] == [False, False]


def test_an_archive_that_is_none_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no.tar").write_text("x")
    monkeypatch.setenv(ARCHIVES, str(tmp_path / "no.tar"))
    (found,) = preflight.image_findings(CONTRACT)
    assert not found.ok
    assert "no image archive" in found.seen


def test_addons_are_found_by_the_names_of_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "chaos-mesh.yaml"
    monkeypatch.setenv(ADDONS, str(file))
    assert preflight.addon("chaos-mesh", "x").ok is False
    file.touch()
    assert preflight.addon("chaos-mesh", "x").ok
    assert preflight.addon("longhorn", "x").ok is False


def test_keep_reaches_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(kubernetes, "open_cluster", lambda *a, **options: asked.update(options))
    options: Any = SimpleNamespace(cluster="kind", storage_class=None, images=None, keep=True)
    pytest_plugin._open_cluster(options, CONTRACT, tmp_path, None)
    assert asked["keep"] is True


def test_a_kept_machine_is_lent_again_and_outlives_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    deleted: list[str] = []
    monkeypatch.setattr(Machine, "delete", lambda self: deleted.append(self.name))
    monkeypatch.setattr("atexit.register", lambda function: None)
    pool, kept, other = Pool(), Machine("natsproof-kept", Path()), Machine("natsproof-other", Path())
    pool.enter(kept, keep=True)
    pool.enter(other)
    pool.give_back(kept)
    assert pool.take() is kept
    pool.close()
    assert deleted == ["natsproof-other"]


def test_what_cannot_be_collected_is_written_down(tmp_path: Path) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise ClusterError("gone")

    class Gone:
        applied, namespace, job = CONTRACT, CONTRACT.namespace, None
        api = SimpleNamespace(get=refuse, list=refuse, request=refuse)
        monitor = staticmethod(refuse)

        def pod_names(self) -> tuple[str, ...]:
            return ("nats-platform-0",)

        def log(self, server: str) -> str:
            return "its log\n"

    cluster: Any = Gone()
    missing = collect(cluster, tmp_path)
    assert (tmp_path / "logs/nats-platform-0.log").read_text() == "its log\n"
    assert "live/pods.yaml: gone" in missing
    assert (tmp_path / "not-collected.txt").read_text().splitlines() == missing
    assert not list(tmp_path.rglob("*Secret*"))


def test_a_wrong_number_of_workers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kubernetes.WORKERS, "many")
    with pytest.raises(UsageError, match="NATSPROOF_KIND_WORKERS='many'"):
        kubernetes._workers()
    monkeypatch.setenv(kubernetes.WORKERS, "5")
    assert kubernetes._workers() == 5
