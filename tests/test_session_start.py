"""What a session says of the platform's start, and what it does not: the host's trouble is no evidence.

The clusters are scripted: no real one fails on demand before its manifests are applied."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from natsproof.checkers.deployment import CameUp
from natsproof.contract.loader import load
from natsproof.errors import ClusterError, NotUp
from natsproof.report import run_folder
from natsproof.session import Session
from natsproof.verdict import Status
from tests.sessions import ROOT

CONTRACT = load(ROOT / "manifests")


class Scripted:
    """Starts as told; counts how many stand, for no two may."""

    kind, job = "scripted", None
    standing = started = 0

    def __init__(self, workdir: Path, problem: Exception | None = None) -> None:
        self.contract: Any = SimpleNamespace(statefulset=SimpleNamespace(pod_names=lambda: ()))
        self._problem, self._up = problem, False

    def up(self) -> None:
        if self._problem:
            raise self._problem
        assert Scripted.standing == 0, "a second cluster beside the first"
        Scripted.standing, Scripted.started, self._up = 1, Scripted.started + 1, True

    def down(self) -> None:
        if self._up:
            Scripted.standing, self._up = 0, False

    def events(self) -> list[Any]:
        return []

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind}


@pytest.fixture(autouse=True)
def _nothing_stands() -> None:
    Scripted.standing = Scripted.started = 0


def session(folder: Path, problem: Exception | None = None, *, per_trial: bool = False) -> Session:
    def make(workdir: Path) -> Any:
        return Scripted(workdir, problem)

    return Session(run_folder.create(folder, "scripted", 1), CONTRACT, 1, make, per_trial=per_trial)


def test_a_shared_platform_starts_once_and_its_own_start_is_the_evidence(tmp_path: Path) -> None:
    it = session(tmp_path)
    assert it.observe("kind", lambda cluster: cluster.describe()["kind"]) == "scripted"
    assert it.startup()["up"]
    assert it.observe("again", lambda cluster: 1) == 1
    assert Scripted.started == 1
    it.close()
    assert Scripted.standing == 0


def test_looking_at_the_start_first_leaves_the_shared_platform_for_the_trials(tmp_path: Path) -> None:
    it = session(tmp_path)
    assert it.startup()["up"]
    it.observe("kind", lambda cluster: 1)
    assert Scripted.started == 1
    it.close()


def test_with_a_platform_per_trial_the_one_looked_at_goes_at_once(tmp_path: Path) -> None:
    it = session(tmp_path, per_trial=True)
    assert it.startup()["up"]
    assert Scripted.standing == 0


@pytest.mark.parametrize("per_trial", [True, False])
def test_that_the_platform_did_not_come_up_is_a_fact(tmp_path: Path, per_trial: bool) -> None:
    it = session(tmp_path, NotUp("not Ready: nats-platform-1"), per_trial=per_trial)
    seen = it.startup()
    assert seen["error"] == "not Ready: nats-platform-1"
    assert CameUp(CONTRACT)(seen).status is Status.BROKEN


@pytest.mark.parametrize("per_trial", [True, False])
def test_that_the_host_failed_is_none(tmp_path: Path, per_trial: bool) -> None:
    it = session(
        tmp_path, ClusterError("create the kind cluster: node(s) already exist"), per_trial=per_trial
    )
    with pytest.raises(ClusterError, match="already exist"):
        it.startup()


@pytest.mark.parametrize("per_trial", [True, False])
def test_the_start_is_looked_at_though_trials_failed_to_start_before(tmp_path: Path, per_trial: bool) -> None:
    it = session(tmp_path, NotUp("the set-up Job failed"), per_trial=per_trial)
    for number in range(3):
        with pytest.raises(ClusterError):
            it.observe(f"look {number}", lambda cluster: 1, fresh=True)
    assert "the set-up Job failed" in it.startup()["error"]


@pytest.mark.parametrize("ended", [True, False])
def test_what_a_trial_recorded_stands_though_its_platform_does_not_go_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """Minutes of evidence are not lost to a volume that cannot be unmounted; that is told beside it."""
    history = SimpleNamespace(operations=[1, 2], complete=True, meta={})

    def recorded(*_: Any, **__: Any) -> Any:
        if not ended:
            raise ClusterError("the trial itself could not go on")
        return history

    def stuck(self: Scripted) -> None:
        raise ClusterError("volume of nats-platform-1 is busy")

    monkeypatch.setattr(Scripted, "down", stuck)
    monkeypatch.setattr("natsproof.trial.run", recorded)
    it = session(tmp_path, per_trial=True)
    trial: Any = SimpleNamespace(name="calm", faults=())
    if ended:
        assert it.run(trial).history is history
        (line,) = it.folder.read().problems
        assert "calm" in line and "volume of nats-platform-1 is busy" in line
    else:
        with pytest.raises(ClusterError):
            it.run(trial)
