"""The driver against a controller that works step by step in a thread of its own, as Chaos Mesh's does."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from natsproof.cluster.kubernetes import chaos_bodies
from natsproof.cluster.kubernetes.chaos import ChaosMesh
from natsproof.errors import ClusterError, FaultDidNotLand
from tests.chaos_mesh_stand_in import StandIn, Thing
from tests.kubernetes_in_memory import InMemoryApi
from tests.test_kubernetes_chaos import BODIES, NS, OTHERS, POD

READY = {"conditions": [{"type": "Ready", "status": "True"}]}


class Ward:
    """Acts on pods in memory: notes whom it hurt. Its daemon may fail on one node, and for ever."""

    def __init__(self, api: InMemoryApi) -> None:
        self.api = api
        self.hurt: dict[tuple[str, str], set[str]] = {}
        self.fails_on: tuple[str, ...] = ()
        self.recovers = True

    def apply(self, thing: Thing, pod: str) -> None:
        if pod in self.fails_on:
            raise ClusterError(f"unable to flush ip sets for pod {pod}")
        self.hurt.setdefault((thing["kind"], thing["metadata"]["name"]), set()).add(pod)

    def recover(self, thing: Thing, pod: str) -> None:
        if not self.recovers:
            raise ClusterError("the daemon does not answer")
        self.hurt[thing["kind"], thing["metadata"]["name"]].discard(pod)

    def in_force(self) -> set[str]:
        return set().union(*self.hurt.values())


class PodsThatComeBack(InMemoryApi):
    """A deleted pod is made anew, with another UID and without what was done to the old one."""

    generation = 1
    ward: Ward

    def delete(self, kind: str, name: str, namespace: str | None = None, **options: Any) -> bool:
        was = super().delete(kind, name, namespace, **options)
        if was and kind == "Pod":
            self.generation += 1
            self.add(name)
            for pods in self.ward.hurt.values():
                pods.discard(name)
        return was

    def add(self, name: str) -> None:
        metadata = {"name": name, "uid": f"uid-{self.generation}"}
        self.apply({"kind": "Pod", "metadata": metadata, "spec": {}, "status": READY})


class Scenery:
    def __init__(self) -> None:
        self.api = PodsThatComeBack()
        self.ward = self.api.ward = Ward(self.api)
        for name in (*POD, *OTHERS):
            self.api.add(name)
        self.mesh = ChaosMesh(self.api, NS)  # type: ignore[arg-type]
        self.clock_s = 0.0
        self.controller = StandIn(self.api, NS, self.ward, now=lambda: self.clock_s)
        self.thread: threading.Thread | None = None

    def start(self) -> Scenery:
        self.thread = self.controller.run(every_s=0.005)
        return self

    def end(self) -> None:
        self.controller.end()
        if self.thread is not None:
            self.thread.join(timeout=10)
        assert self.controller.problems == []

    def uids(self) -> dict[str, str]:
        return {name: self.api.get("Pod", name)["metadata"]["uid"] for name in (*POD, *OTHERS)}

    def chaos(self) -> list[str]:
        return [name for kind, name in self.api.objects if kind in chaos_bodies.PLURALS]


@pytest.fixture
def scenery() -> Iterator[Scenery]:
    made = Scenery()
    yield made
    made.end()


@pytest.mark.parametrize("name", BODIES)
def test_every_kind_is_injected_recovered_and_leaves_nothing(scenery: Scenery, name: str) -> None:
    scenery.start()
    before = scenery.uids()
    scenery.mesh.inject(BODIES[name])
    assert scenery.ward.in_force() == set(chaos_bodies.pods_of(BODIES[name]))
    scenery.mesh.recover(BODIES[name])
    assert scenery.ward.in_force() == set()
    assert scenery.chaos() == []
    assert scenery.uids() == before, "nothing was forced"


def test_what_fails_in_one_pod_is_taken_back_in_the_others(scenery: Scenery) -> None:
    scenery.ward.fails_on = (OTHERS[1],)
    scenery.start()
    with pytest.raises(FaultDidNotLand, match="unable to flush ip sets for pod nats-platform-2"):
        scenery.mesh.inject(BODIES["partition"], within_s=0.3)
    assert scenery.ward.in_force() == set()
    assert scenery.chaos() == []


def test_one_pod_of_several_that_is_not_there_did_not_land(scenery: Scenery) -> None:
    """Chaos Mesh is content with the pods it finds."""
    scenery.start()
    body = chaos_bodies.pod_kill("natsproof-b", NS, [*POD, "nats-platform-9"])
    with pytest.raises(FaultDidNotLand, match="not injected into vrsky-platform/nats-platform-9"):
        scenery.mesh.inject(body)


def test_that_nothing_was_selected_is_told_by_an_event_only(scenery: Scenery) -> None:
    scenery.start()
    told = {"kind": "PodChaos", "name": "natsproof-b"}
    message = "Failed to select targets: no target has been selected"
    scenery.api.apply(
        {
            "kind": "Event",
            "metadata": {"name": "e"},
            "involvedObject": told,
            "reason": "Failed",
            "message": message,
        }
    )
    with pytest.raises(FaultDidNotLand, match="no target has been selected"):
        scenery.mesh.inject(chaos_bodies.pod_kill("natsproof-b", NS, ["nobody"]), within_s=0.1)


def test_pods_are_replaced_when_what_was_done_to_them_cannot_be_taken_back(scenery: Scenery) -> None:
    scenery.start()
    scenery.mesh.inject(BODIES["partition"])
    scenery.ward.recovers = False
    before = scenery.uids()
    with pytest.raises(
        ClusterError, match="forced out, and nats-platform-0, nats-platform-1, nats-platform-2"
    ):
        scenery.mesh.recover(BODIES["partition"], within_s=0.1, delete_s=0.1)
    assert scenery.chaos() == []
    assert scenery.ward.in_force() == set(), "a new pod has none of the old one's rules"
    assert all(uid != before[name] for name, uid in scenery.uids().items())


def test_a_sweep_after_a_killed_run_recovers_what_it_left(scenery: Scenery) -> None:
    """The run is gone, the controller is not."""
    scenery.start()
    scenery.mesh.inject(BODIES["partition"])
    scenery.mesh.inject(BODIES["clock-shift"])
    before = scenery.uids()
    later = ChaosMesh(scenery.api, NS)  # type: ignore[arg-type]
    assert later.sweep() == ["NetworkChaos/natsproof-a", "TimeChaos/natsproof-a"]
    assert scenery.ward.in_force() == set()
    assert scenery.uids() == before
    assert later.sweep() == []


def test_a_sweep_without_a_controller_replaces_the_pods(scenery: Scenery) -> None:
    """Both the run and the controller are gone, and the partition is in force."""
    scenery.start()
    scenery.mesh.inject(BODIES["partition"])
    scenery.end()
    before = scenery.uids()
    assert scenery.mesh.sweep(within_s=0.05) == [
        "NetworkChaos/natsproof-a",
        *(f"Pod/{p}" for p in (*POD, *OTHERS)),
    ]
    assert scenery.ward.in_force() == set()
    assert not set(before.values()) & set(scenery.uids().values())


def test_a_one_shot_that_is_stuck_replaces_no_pod(scenery: Scenery) -> None:
    body = copy.deepcopy(BODIES["pod-kill"])
    body["metadata"]["finalizers"] = ["chaos-mesh/records"]
    body["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "natsproof"}
    scenery.api.apply(body)
    before = scenery.uids()
    assert scenery.mesh.sweep(within_s=0.05) == ["PodChaos/natsproof-a"]
    assert scenery.uids() == before


def test_chaos_mesh_ends_what_nobody_ends(scenery: Scenery) -> None:
    scenery.start()
    body = chaos_bodies.ends_after(BODIES["partition"], 130)
    scenery.mesh.inject(body)
    scenery.clock_s = 131.0
    scenery.mesh.recover(body)
    assert scenery.ward.in_force() == set()
