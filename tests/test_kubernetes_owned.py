"""Ownership of kind clusters: a killed run's are found, a living or kept one's are not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from natsproof.cluster.kubernetes import machine, owned
from natsproof.cluster.kubernetes.machine import Machine
from natsproof.cluster.kubernetes.pool import Pool
from natsproof.errors import ClusterError, UsageError


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NATSPROOF_STATE", str(tmp_path))
    return tmp_path / "kind"


def orphan(state: Path, name: str, **changes: object) -> None:
    """A record whose owner is a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(30)
    owned.enter(name, "run", Path("/nowhere"), keep=False)
    file = state / f"{name}.json"
    record = json.loads(file.read_text()) | {"pid": child.pid} | changes
    file.write_text(json.dumps(record))


def test_a_cluster_of_this_process_is_no_leftover() -> None:
    owned.enter("natsproof-a", "run", Path("/nowhere"), keep=False)
    assert owned.leftovers() == []


def test_a_dead_owners_cluster_is_a_leftover_unless_it_was_kept(state: Path) -> None:
    orphan(state, "natsproof-dead")
    orphan(state, "natsproof-kept", keep=True)
    assert [record.name for record in owned.leftovers()] == ["natsproof-dead"]


def test_a_process_id_that_now_belongs_to_another_is_not_the_owner(state: Path) -> None:
    record = owned.enter("natsproof-a", "run", Path("/nowhere"), keep=False)
    file = state / "natsproof-a.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"started_s": record.started_s - 100}))
    assert [found.name for found in owned.leftovers()] == ["natsproof-a"]


def test_a_damaged_record_owns_nothing(state: Path) -> None:
    owned.enter("natsproof-a", "run", Path("/nowhere"), keep=False)
    (state / "natsproof-a.json").write_text('{"name": ')
    assert list(owned.all_owned()) == []


def test_the_next_run_removes_what_a_killed_one_left(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def record_command(what: str, words: list[str], **options: object) -> str:
        ran.append(words)
        return ""

    monkeypatch.setattr(machine, "command", record_command)
    monkeypatch.setattr(machine, "ENGINE_SETTLES_S", 0.0)
    orphan(state, "natsproof-dead")
    assert machine.reap() == ["natsproof-dead"]
    assert ran == [["kind", "delete", "cluster", "--name", "natsproof-dead", "--kubeconfig", "/nowhere"]]
    assert machine.reap() == []


def test_nodes_that_appear_after_the_deletion_are_deleted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    late = [["natsproof-a-worker"], []]
    deletions: list[str] = []
    monkeypatch.setattr(machine, "command", lambda what, words, **o: deletions.append(what) or "")
    monkeypatch.setattr(Machine, "nodes", lambda self: late.pop(0) if late else [])
    owned.enter("natsproof-a", "run", Path("/nowhere"), keep=False)
    Machine("natsproof-a", Path("/nowhere")).delete(settle_s=0.01)
    assert len(deletions) == 2
    assert owned.find("natsproof-a") is None


def test_a_cluster_that_nobody_wrote_down_is_never_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "command", lambda *a, **k: pytest.fail("a command ran"))
    with pytest.raises(UsageError, match="was not made by natsproof"):
        Machine("somebodys", Path("/nowhere")).delete()


def test_attaching_to_an_unknown_cluster_names_the_known(state: Path) -> None:
    orphan(state, "natsproof-kept", keep=True)
    with pytest.raises(UsageError, match="known: natsproof-kept"):
        machine.attach("natsproof-other")
    assert machine.attach("natsproof-kept").context == "kind-natsproof-kept"


@pytest.mark.parametrize("run_id", ["20261123T1604-kind-1563543788-4711", "Ä/ö x", "", "a"])
def test_a_cluster_name_is_a_host_name(run_id: str) -> None:
    name = owned.cluster_name(run_id)
    assert name.startswith("natsproof-")
    assert len(name) <= 40
    assert all(c.isascii() and (c.isalnum() or c == "-") for c in name)
    assert owned.cluster_name("x" * 60) != owned.cluster_name("x" * 59 + "y")


def test_a_pool_lends_what_is_given_back_and_forgets_what_is_discarded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deleted: list[str] = []
    monkeypatch.setattr(Machine, "delete", lambda self: deleted.append(self.name))
    monkeypatch.setattr("atexit.register", lambda function: None)
    pool, one, two = Pool(), Machine("natsproof-1", Path()), Machine("natsproof-2", Path())
    assert pool.take() is None
    pool.enter(one)
    assert pool.take() is None
    pool.give_back(one)
    assert pool.take() is one
    pool.enter(two)
    pool.discard(one)
    pool.close()
    assert deleted == ["natsproof-2"]


def test_a_machine_that_resists_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def delete(self: Machine) -> None:
        asked.append(self.name)
        if self.name == "natsproof-1":
            raise ClusterError("docker is gone")

    monkeypatch.setattr(Machine, "delete", delete)
    monkeypatch.setattr("atexit.register", lambda function: None)
    pool = Pool()
    pool.enter(Machine("natsproof-1", Path()))
    pool.enter(Machine("natsproof-2", Path()))
    pool.close()
    assert asked == ["natsproof-1", "natsproof-2"]
