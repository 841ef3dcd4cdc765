"""A real kind cluster, once for all tests here: comes up, is hurt, heals, leaves nothing.

Needs docker, kind and a node image; NATSPROOF_NODE_IMAGE and NATSPROOF_IMAGE_ARCHIVES name them where no
registry is in reach.
"""

from __future__ import annotations

import asyncio
import copy
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import nats.js.errors
import pytest
import yaml

from natsproof.clock import until, wait_until
from natsproof.cluster.kubernetes import ARCHIVES, NODE_IMAGE, chaos_bodies, machine, owned
from natsproof.cluster.kubernetes.chaos import ChaosMesh
from natsproof.cluster.kubernetes.existing import HARMING, KubernetesCluster
from natsproof.cluster.kubernetes.guard import OPT_IN_LABEL
from natsproof.cluster.kubernetes.kind import KindCluster
from natsproof.contract.loader import load
from natsproof.errors import ClusterError, FaultDidNotLand, NotAvailableHere, UsageError
from natsproof.faults.sight import knock, look
from tests.test_kubernetes_chaos import BODIES, DEFINITIONS

pytestmark = [pytest.mark.kind, pytest.mark.cluster]

MANIFESTS = Path(__file__).parent.parent / "manifests"


def why_not() -> str:
    for program in ("docker", "kind"):
        if shutil.which(program) is None:
            return f"no {program} on PATH"
    done = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        return "docker does not answer"
    if NODE_IMAGE not in os.environ:
        return f"{NODE_IMAGE} is not set: a kind cluster takes two minutes, so it is asked for by name"
    return ""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KindCluster]:
    if reason := why_not():
        pytest.skip(reason)
    kind = KindCluster(
        load(MANIFESTS),
        workdir=tmp_path_factory.mktemp("kind"),
        run_id=f"tests-{os.getpid()}",
        node_image=os.environ[NODE_IMAGE],
        archives=[Path(name) for name in os.environ.get(ARCHIVES, "").split(os.pathsep) if name],
    )
    kind.up()
    yield kind
    name = kind.machine.name
    kind.down()
    assert name not in machine.command("list", ["kind", "get", "clusters"])
    assert owned.find(name) is None


async def put(cluster: KindCluster, key: str, value: bytes) -> int:
    """The revision of an acknowledged put; tried again while a leader is being elected."""
    urls = [server.client_url for server in cluster.servers]
    connection = await nats.connect(urls, connect_timeout=5, error_cb=_quiet)
    try:
        jetstream = connection.jetstream(timeout=2)

        async def once() -> int:
            try:
                return await (await jetstream.key_value("message_state")).put(key, value)
            except (nats.errors.Error, nats.js.errors.Error) as problem:
                raise ClusterError(f"no acknowledgement: {problem}") from None

        return await until("an acknowledged put", once, within_s=40)
    finally:
        await connection.close()


async def _quiet(problem: Exception) -> None:
    """Disconnections are expected here."""


def leader_seen_by(cluster: KindCluster, server: str) -> str:
    view = look(cluster).servers[server]
    return view.streams["KV_message_state"].leader if view else ""


def test_a_put_through_the_tunnels_is_acknowledged(cluster: KindCluster) -> None:
    assert asyncio.run(put(cluster, "first", b"1")) >= 1
    assert cluster.job is not None
    assert cluster.job.complete


def test_the_live_objects_are_what_was_applied(cluster: KindCluster) -> None:
    assert cluster.drift == []
    described = cluster.describe()
    assert described["storage"] == "StorageClass longhorn: rancher.io/local-path"
    assert len(described["differences"]) == 3


def test_a_killed_server_stays_down_until_it_is_started(cluster: KindCluster) -> None:
    server = cluster.servers[1]
    before = cluster.uid(server.name)
    cluster.kill(server.name)
    try:
        assert not cluster.running(server.name)
        assert knock(server.client_url) in ("closed", "refused")
        with pytest.raises(ClusterError):
            cluster.monitor(server.name, "/varz")
        assert asyncio.run(put(cluster, "one-down", b"2")) > 0
    finally:
        cluster.start(server.name)
    cluster.wait_ready(120)
    assert cluster.uid(server.name) not in ("", before)
    assert knock(server.client_url) == "answers", "the same local port leads to the new pod"
    assert [e.what for e in cluster.events() if e.pod == server.name].count("held") == 1


def test_a_paused_server_is_silent_and_goes_on(cluster: KindCluster) -> None:
    server = cluster.servers[2]
    cluster.pause(server.name)
    try:
        assert cluster.process_state(server.name) == "T"
        assert knock(server.client_url) == "silent"
    finally:
        cluster.resume(server.name)
    wait_until("an answer", lambda: cluster.monitor(server.name, "/varz"), within_s=10)


def test_a_partitioned_leader_is_replaced_and_heals(cluster: KindCluster) -> None:
    leader = wait_until("a leader", lambda: look(cluster).leader("KV_message_state"), within_s=20)
    assert leader is not None
    rest = [name for name in cluster.pod_names() if name != leader]
    cluster.partition([leader], rest)
    try:
        wait_until(
            "another leader among the rest",
            lambda: leader_seen_by(cluster, rest[0]) in rest,
            within_s=40,
            every_s=0.5,
        )
    finally:
        cluster.heal()
    wait_until("one picture", lambda: look(cluster).converged("KV_message_state"), within_s=60, every_s=0.5)
    for node in cluster.machine.workers():
        assert "NATSPROOF" not in cluster.machine.run_on(node, "iptables", "-S")


def test_clients_are_cut_off_without_a_closed_connection(cluster: KindCluster) -> None:
    server, other = cluster.servers[:2]
    cluster.partition(["clients"], [server.name])
    cluster.partition([server.name], [other.name])
    try:
        assert knock(server.client_url) == "silent", "a second partition adds to the first"
        assert cluster.monitor(server.name, "/varz")
        node = cluster.node_of(other.name)
        assert "DROP" in cluster.machine.run_on(node, "iptables", "-S", "NATSPROOF")
    finally:
        cluster.heal()
    assert knock(server.client_url) == "answers"


def test_a_wiped_volume_comes_back_full(cluster: KindCluster) -> None:
    server = cluster.pod_names()[2]
    with pytest.raises(ClusterError, match="runs"):
        cluster.wipe_volume(server)
    cluster.kill(server)
    try:
        assert (cluster.volume_path(server) / "jetstream").is_dir()
        cluster.wipe_volume(server)
        assert not list(cluster.volume_path(server).iterdir())
    finally:
        cluster.start(server)
    cluster.wait_ready(120)
    wait_until("the replica", lambda: look(cluster).converged("KV_message_state"), within_s=60, every_s=0.5)


@pytest.fixture(scope="module")
def definitions(cluster: KindCluster) -> None:
    files = sorted(DEFINITIONS.glob("chaos-mesh.org_*.yaml"))
    if not files:
        pytest.skip(f"the definitions of Chaos Mesh are not beside this checkout ({DEFINITIONS})")
    for file in files:
        cluster.api.apply(yaml.load(file.read_text(), Loader=yaml.CSafeLoader))

    def known() -> bool:
        cluster.api.forget_discovery()
        return bool(
            cluster.api.list("StressChaos", cluster.namespace, api_version=chaos_bodies.API_VERSION) == []
        )

    wait_until("the definitions to be served", known, within_s=30, every_s=0.5)


@pytest.mark.parametrize("name", BODIES)
def test_the_api_server_accepts_a_chaos_object(definitions: None, cluster: KindCluster, name: str) -> None:
    cluster.api.apply(BODIES[name], dry_run=True)


def test_the_api_server_refuses_a_misspelt_action(definitions: None, cluster: KindCluster) -> None:
    body = copy.deepcopy(BODIES["partition"])
    body["spec"]["action"] = "partitoin"
    with pytest.raises(ClusterError, match="Unsupported value"):
        cluster.api.apply(body, dry_run=True)


def test_chaos_without_a_controller_is_noticed_and_swept(definitions: None, cluster: KindCluster) -> None:
    mesh = ChaosMesh(cluster.api, cluster.namespace)
    with pytest.raises(NotAvailableHere, match="no controller runs"):
        mesh.check()
    with pytest.raises(FaultDidNotLand, match="Selected"):
        mesh.inject(BODIES["partition"], within_s=0.5)
    stuck = copy.deepcopy(BODIES["delay"])
    stuck["metadata"]["finalizers"] = ["chaos-mesh/records"]
    cluster.api.apply(stuck)
    pods = [f"Pod/{name}" for name in cluster.pod_names()]  # forced out, so what it may have done goes too
    assert mesh.sweep(within_s=0.5) == ["NetworkChaos/natsproof-a", *pods]
    cluster.wait_ready(120)
    assert mesh.sweep() == []


@pytest.fixture
def guest(cluster: KindCluster, tmp_path: Path) -> Iterator[KubernetesCluster]:
    """The same platform as a user's own cluster."""
    guest = KubernetesCluster(
        cluster.contract,
        context=cluster.machine.context,
        kubeconfig=cluster.machine.kubeconfig,
        workdir=tmp_path,
    )
    yield guest
    guest.down()


def changes(guest: KubernetesCluster) -> list[str]:
    return [f"{call.method} {call.path}" for call in guest.api.calls if not call.reads]


def label(cluster: KindCluster, value: str | None) -> None:
    cluster.api.patch("Namespace", cluster.namespace, None, {"metadata": {"labels": {OPT_IN_LABEL: value}}})


def test_a_cluster_that_is_not_ours_is_only_read(cluster: KindCluster, guest: KubernetesCluster) -> None:
    assert guest.capabilities() == frozenset()
    guest.up()
    assert guest.monitor("nats-platform-0", "/varz")
    assert knock(guest.servers[0].client_url) == "refused", "no way to write, not even by mistake"
    for harm in (guest.kill, guest.stop, guest.evict):
        with pytest.raises(UsageError, match="natsproof refuses"):
            harm("nats-platform-0")
    with pytest.raises(UsageError, match="natsproof refuses"):
        guest.scale(5)
    with pytest.raises(UsageError, match="natsproof refuses"):
        guest.partition(["nats-platform-0"], ["nats-platform-1"])
    with pytest.raises(NotAvailableHere, match=f"kubectl label namespace vrsky-platform {OPT_IN_LABEL}=true"):
        guest.require_load_allowed()
    assert changes(guest) == []


def test_in_an_expendable_namespace_only_the_platform_is_touched(
    cluster: KindCluster, guest: KubernetesCluster
) -> None:
    label(cluster, "true")
    try:
        assert guest.capabilities() == HARMING
        guest.up()
        guest.require_load_allowed()
        guest.partition(["nats-platform-0"], ["nats-platform-1", "nats-platform-2"])
        guest.heal()
        guest.kill("nats-platform-1")
        guest.start("nats-platform-1")
        guest.wait_ready(120)
        asyncio.run(put(cluster, "theirs", b"x"))
        asyncio.run(put(cluster, "t1234.w0.a", b"x"))
        asyncio.run(put(cluster, "t1234.w1.b", b"x"))
        assert guest.remove_keys(["message_state"], "t1234") == 2, "theirs stays"
        with pytest.raises(UsageError, match="natsproof refuses"):
            guest.api.delete("ConfigMap", "nats-platform-config", guest.namespace)
        with pytest.raises(UsageError, match="natsproof refuses"):
            guest.api.delete("Pod", "nats-platform-1", "default")
    finally:
        label(cluster, None)
    space = "/namespaces/vrsky-platform/"
    names = ("pods/nats-platform-1", "networkpolicies/natsproof-cut-nats-platform-")
    assert changes(guest)
    assert all(any(f"{space}{name}" in change for name in names) for change in changes(guest)), changes(guest)
    policies: Any = cluster.api.list("NetworkPolicy", cluster.namespace, api_version="networking.k8s.io/v1")
    assert [p["metadata"]["name"] for p in policies] == ["nats-platform"]
