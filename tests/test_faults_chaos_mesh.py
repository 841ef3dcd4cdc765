"""Faults through Chaos Mesh: each is confirmed by what it did, and not where a controller only says so."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from natsproof.cluster import Server
from natsproof.cluster.kubernetes.chaos import ChaosMesh
from natsproof.cluster.kubernetes.chaos_bodies import Body, pods_of
from natsproof.errors import ClusterError, UsageError
from natsproof.faults import chaos_mesh
from natsproof.faults.chaos_mesh import (
    Chaos,
    ChaosClock,
    ChaosContainerKill,
    ChaosPartition,
    ChaosPodFailure,
    ChaosPodKill,
)
from natsproof.faults.registry import FAULTS
from tests.chaos_mesh_stand_in import StandIn, Thing
from tests.kubernetes_in_memory import InMemoryApi

NS = "platform"
SERVERS = ("nats-0", "nats-1", "nats-2")


class Port:
    """Greets as a server does, or hangs up as the tunnel to a pod that is not there."""

    def __init__(self) -> None:
        self.up = True
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.number = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                wire, _ = self._listening.accept()
            except OSError:
                return
            with wire:
                if self.up:
                    wire.sendall(b"INFO {}\r\n")

    def close(self) -> None:
        self._listening.close()


class Bed:
    """A platform in memory whose pods the stand-in hurts, if `honest`: else it only says so."""

    container, namespace = "nats", NS
    contract = SimpleNamespace(
        statefulset=SimpleNamespace(template=SimpleNamespace(termination_grace_period_s=0))
    )

    def __init__(self) -> None:
        self.honest = True
        self.api = InMemoryApi()
        self.ports = {name: Port() for name in SERVERS}
        self.pods = {
            name: {"uid": f"{name}-uid-1", "restarts": 0, "id": 1, "ahead_s": 0.0} for name in SERVERS
        }
        self.cut: set[str] = set()
        for name in SERVERS:
            self.api.apply({"kind": "Pod", "metadata": {"name": name, "uid": f"{name}-uid-1"}, "spec": {}})
        self.controller = StandIn(self.api, NS, self)
        self.thread = self.controller.run(every_s=0.005)

    def end(self) -> None:
        self.controller.end()
        self.thread.join(timeout=10)
        for port in self.ports.values():
            port.close()
        assert self.controller.problems == []

    # -- what the controller does

    def apply(self, thing: Thing, name: str) -> None:
        if not self.honest:
            return
        pod, action = self.pods[name], thing["spec"].get("action", thing["kind"])
        if action == "pod-kill":
            pod |= {"uid": f"{name}-uid-2", "restarts": 0, "id": pod["id"] + 1}
        elif action == "container-kill":
            pod |= {"restarts": pod["restarts"] + 1, "id": pod["id"] + 1}
        elif action == "pod-failure":
            self.ports[name].up = False
        elif action == "partition":
            self.cut.add(name)
        else:
            pod["ahead_s"] = float(thing["spec"]["timeOffset"].removesuffix("s"))

    def recover(self, thing: Thing, name: str) -> None:
        self.ports[name].up = True
        self.pods[name]["ahead_s"] = 0.0
        self.cut.discard(name)

    # -- what a cluster is asked

    @property
    def servers(self) -> tuple[Server, ...]:
        urls = [f"127.0.0.1:{self.ports[name].number}" for name in SERVERS]
        return tuple(Server(n, i, f"nats://{urls[i]}", f"http://{urls[i]}") for i, n in enumerate(SERVERS))

    def inject_chaos(self, body: Body) -> None:
        ChaosMesh(self.api, NS).inject(body)  # type: ignore[arg-type]

    def recover_chaos(self, body: Body) -> None:
        ChaosMesh(self.api, NS).recover(body)  # type: ignore[arg-type]

    def uid(self, server: str) -> str:
        return str(self.pods[server]["uid"])

    def restarts(self, server: str) -> int:
        return int(self.pods[server]["restarts"])

    def running(self, server: str) -> bool:
        return self.ports[server].up

    def monitor(self, server: str, path: str, *, timeout_s: float = 2.0) -> Any:
        if path == "/varz":
            pod = self.pods[server]
            now = datetime.fromtimestamp(time.time() + pod["ahead_s"], UTC).isoformat()
            return {"server_id": str(pod["id"]), "now": now}
        if path.startswith("/healthz"):
            if self.cut:
                raise ClusterError("503: JetStream has not established contact with a meta leader")
            return {"status": "ok"}
        return {"server_id": "x", "meta_cluster": {}, "account_details": []}


@pytest.fixture
def bed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setattr(chaos_mesh, "SILENT_S", 0.3)
    made = Bed()
    yield made
    made.end()


ALL = [
    ChaosPodKill("nats-0", back_s=0.3),
    ChaosContainerKill("nats-0", back_s=0.3),
    ChaosPodFailure("nats-0", down_s=1.0),
    ChaosPartition("nats-0", down_s=1.0),
    ChaosClock("nats-0", down_s=1.0, offset_s=-600),
]


def carried_out(fault: Chaos, bed: Bed) -> str:
    """What the witness says, as a trial asks it."""
    before = fault.sight(bed, ["nats-0"]) if hasattr(fault, "sight") else None
    fault.inject(bed, ["nats-0"])
    return fault.witness(bed, ["nats-0"]) if before is None else fault.witness_change(bed, ["nats-0"], before)  # type: ignore[attr-defined]


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: type(fault).__name__)
def test_it_lands_and_heals_and_leaves_nothing(bed: Bed, fault: Chaos) -> None:
    assert "nats-0" in carried_out(fault, bed)
    if not getattr(fault, "one_shot", False):
        assert [kind for kind, _ in bed.api.objects if kind != "Pod"]
        fault.heal(bed, ["nats-0"])
        assert not bed.cut
        assert bed.running("nats-0")
        assert bed.pods["nats-0"]["ahead_s"] == 0.0
    assert {kind for kind, _ in bed.api.objects} == {"Pod"}


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: type(fault).__name__)
def test_a_controller_that_only_says_so_is_not_believed(bed: Bed, fault: Chaos) -> None:
    """The mutant of every claim on these faults: all conditions true, nothing done."""
    bed.honest = False
    assert carried_out(fault, bed) == ""


def test_a_pod_that_was_killed_is_no_container_that_was(bed: Bed) -> None:
    kill = ChaosContainerKill("nats-0", back_s=0.2)
    before = kill.sight(bed, ["nats-0"])
    bed.pods["nats-0"] |= {"uid": "another", "restarts": 1, "id": 9}
    assert kill.witness_change(bed, ["nats-0"], before) == ""


def test_a_clock_that_moved_otherwise_is_not_this_fault(bed: Bed) -> None:
    shift = ChaosClock("nats-0", offset_s=600)
    before = shift.sight(bed, ["nats-0"])
    bed.pods["nats-0"]["ahead_s"] = 300.0
    assert shift.witness_change(bed, ["nats-0"], before) == ""


def test_sides_that_did_not_hear_each_other_before_show_nothing(bed: Bed) -> None:
    cut = ChaosPartition("nats-0")
    bed.cut.add("nats-1")
    before = cut.sight(bed, ["nats-0"])
    assert before
    assert cut.witness_change(bed, ["nats-0"], before) == ""


def test_heal_finds_what_inject_made_and_another_fault_does_not() -> None:
    fault = ChaosPartition("leader", at_s=2.0)
    assert fault.name(["nats-0"]) == replace(fault).name(["nats-0"])
    assert fault.name(["nats-0"]) != fault.name(["nats-1"])
    assert fault.name(["nats-0"]) != replace(fault, at_s=9.0).name(["nats-0"])
    assert fault.name(["nats-0"]).startswith("natsproof-"), "the guard knows ours by this"


def test_a_pod_failure_can_write_its_annotation() -> None:
    """Its controller keeps a container's image under a name that may not be longer than 63 letters."""
    name = ChaosPodFailure("nats-0").name(["nats-0"])
    assert len(f"chaos-mesh-{name}-pod-failure-nats-normal-image") <= 63


def test_a_lasting_fault_ends_by_itself_after_its_time(bed: Bed) -> None:
    ChaosPartition("nats-0", down_s=10.0).inject(bed, ["nats-0"])
    (made,) = (o for (kind, _), o in bed.api.objects.items() if kind == "NetworkChaos")
    assert made["spec"]["duration"] == "130s"
    assert pods_of(made) == list(SERVERS)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ChaosPodFailure(down_s=None), "needs an end"),
        (lambda: ChaosPartition(direction="out"), "Valid: both, to, from"),
        (lambda: ChaosPartition("all"), "no other side"),
        (lambda: ChaosClock(offset_s=1), "cannot be told from none"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(make: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()


def test_trials_from_files_know_them() -> None:
    assert {type(fault).__name__ for fault in ALL} <= FAULTS.keys()
