"""Chaos objects on a real kind cluster: the API server, the definitions, the finalizers and the NATS servers
are real; the controller is the stand-in. What the witnesses say is about real servers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from natsproof.clock import wait_until
from natsproof.cluster.kubernetes import ARCHIVES, NODE_IMAGE, chaos_bodies, machine, owned
from natsproof.cluster.kubernetes.chaos import ChaosMesh
from natsproof.cluster.kubernetes.chaos_verbs import KindWithChaosMesh, kind_class, runs_in
from natsproof.cluster.kubernetes.network import CHAIN
from natsproof.contract.loader import load
from natsproof.errors import ClusterError, FaultDidNotLand, NotAvailableHere
from natsproof.faults.chaos_mesh import (
    Chaos,
    ChaosClock,
    ChaosContainerKill,
    ChaosPartition,
    ChaosPodFailure,
    ChaosPodKill,
)
from natsproof.faults.chaos_mesh_hosts import ChaosBusyCpu, ChaosFullMemory
from natsproof.faults.chaos_mesh_links import ChaosBandwidth, ChaosDelay, ChaosLoss
from natsproof.faults.inside import look_s
from natsproof.faults.sight import look
from tests.chaos_mesh_on_kind import VERSION, ActsOnKind, addon
from tests.chaos_mesh_stand_in import StandIn
from tests.test_kubernetes_kind import MANIFESTS, why_not

pytestmark = [pytest.mark.kind, pytest.mark.cluster]


class Bed:
    def __init__(self, cluster: KindWithChaosMesh) -> None:
        self.cluster = cluster
        self.acts = ActsOnKind(cluster.api, cluster.machine, cluster.namespace)
        self.controller: StandIn | None = None

    def play(self) -> None:
        self.controller = StandIn(self.cluster.api, self.cluster.namespace, self.acts)
        self.thread = self.controller.run()

    def rest(self) -> None:
        if self.controller is not None:
            self.controller.end()
            self.thread.join(timeout=20)
            assert self.controller.problems == []
            self.controller = None

    def chaos(self) -> list[str]:
        found = []
        for kind in chaos_bodies.PLURALS:
            listed = self.cluster.api.list(kind, self.cluster.namespace, api_version=chaos_bodies.API_VERSION)
            found += [f"{kind}/{thing['metadata']['name']}" for thing in listed]
        return found

    def level(self) -> None:
        self.cluster.wait_ready(180)
        wait_until(
            "one picture", lambda: look(self.cluster).converged("KV_message_state"), within_s=90, every_s=0.5
        )


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    if reason := why_not():
        pytest.skip(reason)
    try:
        things = addon()
    except ClusterError as problem:
        pytest.skip(str(problem))
    folder = tmp_path_factory.mktemp("kind")
    file = folder / "chaos-mesh-stand-in.yaml"
    file.write_text(yaml.safe_dump_all(things))
    made = kind_class([file], None, folder)(
        load(MANIFESTS),
        workdir=folder,
        run_id=f"chaos-{os.getpid()}",
        node_image=os.environ[NODE_IMAGE],
        archives=[Path(name) for name in os.environ.get(ARCHIVES, "").split(os.pathsep) if name],
        addon_files=[file],
    )
    assert isinstance(made, KindWithChaosMesh)
    made.up()
    bed = Bed(made)
    bed.play()
    yield bed
    bed.rest()
    name = made.machine.name
    made.down()
    assert name not in machine.command("list", ["kind", "get", "clusters"])
    assert owned.find(name) is None


FAULTS = [
    ChaosPodKill("leader"),
    ChaosContainerKill("leader"),
    ChaosPodFailure("nats-platform-1", down_s=5.0),
    ChaosPartition("leader", down_s=5.0),
    ChaosPartition("leader", down_s=5.0, direction="to"),
    ChaosLoss("leader", down_s=5.0),
    ChaosBandwidth("leader", down_s=5.0),
    ChaosBusyCpu("leader", down_s=5.0, workers=1),
    ChaosFullMemory("leader", down_s=5.0, mbytes=128),
]


def carried_out(fault: Any, bed: Bed, target: str) -> str:
    before = fault.sight(bed.cluster, [target]) if hasattr(fault, "sight") else None
    fault.inject(bed.cluster, [target])
    if hasattr(fault, "witness_change"):
        return str(fault.witness_change(bed.cluster, [target], before))
    return str(fault.witness(bed.cluster, [target]))


def target_of(fault: Chaos, bed: Bed) -> str:
    if fault.victim != "leader":
        return fault.victim
    return str(wait_until("a leader", lambda: look(bed.cluster).leader("KV_message_state"), within_s=60))


def test_the_cluster_says_that_a_stand_in_plays(bed: Bed) -> None:
    assert runs_in(bed.cluster.api)
    assert VERSION in bed.cluster.mesh().check(daemon_on=bed.cluster.machine.workers())


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_it_bites_heals_and_leaves_nothing(bed: Bed, fault: Chaos) -> None:
    bed.level()
    target, began = target_of(fault, bed), time.monotonic()
    try:
        seen = carried_out(fault, bed, target)
        print(f"\n{type(fault).__name__}: {seen} ({time.monotonic() - began:.1f} s)")
        assert target in seen
    finally:
        if not fault.one_shot:
            fault.heal(bed.cluster, [target])
    assert bed.chaos() == []
    bed.level()
    print(f"{type(fault).__name__}: level again after {time.monotonic() - began:.1f} s")


SAID_ONLY = [
    ChaosPodKill("leader", back_s=3.0),
    ChaosPartition("leader", down_s=5.0),
    ChaosDelay("leader"),
    ChaosBandwidth("leader"),
    ChaosBusyCpu("leader"),
]


@pytest.mark.parametrize("fault", SAID_ONLY, ids=repr)
def test_a_controller_that_only_says_so_is_not_believed(
    bed: Bed, fault: Chaos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("natsproof.faults.chaos_mesh.SILENT_S", 3.0)
    monkeypatch.setattr("natsproof.faults.chaos_mesh_hosts.SEEN_WITHIN_S", 3.0)
    bed.level()
    monkeypatch.setattr(bed.acts, "honest", False)
    target = target_of(fault, bed)
    try:
        assert carried_out(fault, bed, target) == ""
    finally:
        if not fault.one_shot:
            fault.heal(bed.cluster, [target])
    assert bed.chaos() == []


def test_a_servers_volume_is_listed_from_inside(bed: Bed) -> None:
    """What ChaosSlowDisk is told by; nothing here can make the volume slow."""
    assert 0 <= look_s(bed.cluster, "nats-platform-0", "/data/jetstream") < 5
    with pytest.raises(ClusterError, match="exit code 3"):
        bed.cluster.run_inside("nats-platform-0", ["sh", "-c", "exit 3"], within_s=10)


def test_what_has_no_daemon_says_so_and_leaves_nothing(bed: Bed) -> None:
    fault = ChaosClock("nats-platform-0", offset_s=-600)
    body = fault.body(bed.cluster, ["nats-platform-0"])
    with pytest.raises(FaultDidNotLand, match="the stand-in has no daemon for it"):
        bed.cluster.mesh().inject(body, within_s=2)
    assert bed.chaos() == []


def test_a_sweep_ends_what_a_killed_run_left(bed: Bed) -> None:
    """The run is another process; it is killed while its partition is in force."""
    bed.level()
    target = target_of(ChaosPartition("leader"), bed)
    others = [name for name in bed.cluster.pod_names() if name != target]
    body = chaos_bodies.partition("natsproof-killed", bed.cluster.namespace, [target], others)
    run = (
        "import sys, json, time; from pathlib import Path; from natsproof.cluster.kubernetes.api import Api;"
        "from natsproof.cluster.kubernetes.chaos import ChaosMesh; a = json.loads(sys.argv[1]);"
        "api = Api(cache=Path(a['cache']), kubeconfig=Path(a['kubeconfig']), context=a['context']);"
        "ChaosMesh(api, a['namespace']).inject(a['body']); print('injected', flush=True); time.sleep(600)"
    )
    given = {
        "cache": str(bed.cluster.workdir / "other.json"),
        "kubeconfig": str(bed.cluster.machine.kubeconfig),
        "context": bed.cluster.machine.context,
        "namespace": bed.cluster.namespace,
        "body": body,
    }
    with subprocess.Popen(
        [sys.executable, "-c", run, json.dumps(given)], stdout=subprocess.PIPE, text=True
    ) as it:
        assert it.stdout is not None
        assert it.stdout.readline() == "injected\n"
        it.kill()
    assert bed.chaos() == ["NetworkChaos/natsproof-killed"]
    uids = {name: bed.cluster.uid(name) for name in bed.cluster.pod_names()}
    assert bed.cluster.mesh().sweep() == ["NetworkChaos/natsproof-killed"]
    assert uids == {name: bed.cluster.uid(name) for name in bed.cluster.pod_names()}
    for node in bed.cluster.machine.workers():
        assert CHAIN not in bed.cluster.machine.run_on(node, "iptables", "-S")
    bed.level()


def test_pods_are_replaced_when_the_daemon_is_gone(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its controller still works: the object is forced out, and what it did goes with the pod."""
    bed.level()
    fault = ChaosPodFailure("nats-platform-1", down_s=5.0)
    fault.inject(bed.cluster, ["nats-platform-1"])
    before = bed.cluster.uid("nats-platform-1")
    monkeypatch.setattr(bed.acts, "able", False)
    body = fault.body(bed.cluster, ["nats-platform-1"])
    with pytest.raises(ClusterError, match="was forced out, and nats-platform-1 replaced"):
        bed.cluster.mesh().recover(body, within_s=2, delete_s=2)
    assert bed.cluster.uid("nats-platform-1") not in ("", before)
    assert bed.chaos() == []
    bed.level()


def test_objects_of_a_dead_controller_are_cleared(bed: Bed) -> None:
    """Nobody plays any more: deletion waits on the finalizer for ever."""
    bed.level()
    names = bed.cluster.pod_names()
    body = chaos_bodies.partition("natsproof-stuck", bed.cluster.namespace, names[:1], names[1:2])
    bed.cluster.mesh().inject(body)
    bed.rest()
    before = {name: bed.cluster.uid(name) for name in names}
    removed = bed.cluster.mesh().sweep(within_s=2)
    assert removed == ["NetworkChaos/natsproof-stuck", f"Pod/{names[0]}", f"Pod/{names[1]}"]
    after = {name: bed.cluster.uid(name) for name in names}
    assert [name for name in names if after[name] != before[name]] == list(names[:2])
    assert bed.chaos() == []
    with pytest.raises(FaultDidNotLand, match="Selected"):
        bed.cluster.mesh().inject(
            chaos_bodies.pod_kill("natsproof-x", bed.cluster.namespace, names[:1]), within_s=1
        )


def test_without_a_ready_controller_nothing_is_tried(bed: Bed) -> None:
    api: Any = bed.cluster.api
    api.patch(
        "Deployment", "controller-manager", "chaos-mesh", {"spec": {"replicas": 0}}, api_version="apps/v1"
    )
    wait_until("the controller to go", lambda: not runs_in(api), within_s=60)
    with pytest.raises(NotAvailableHere, match="no controller runs"):
        ChaosPodKill("nats-platform-0").inject(bed.cluster, ["nats-platform-0"])
    assert ChaosMesh(api, bed.cluster.namespace).sweep() == []
