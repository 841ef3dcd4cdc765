"""Which clusters are ChaosInjectable, and what they look at before they ask Chaos Mesh for anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from natsproof.cluster import ChaosInjectable
from natsproof.cluster.kubernetes import chaos_verbs
from natsproof.cluster.kubernetes.api import ApiError
from natsproof.cluster.kubernetes.chaos_verbs import KindWithChaosMesh, brings_chaos_mesh, kind_class, runs_in
from natsproof.cluster.kubernetes.kind import KindCluster
from natsproof.cluster.kubernetes.platform import Platform
from natsproof.contract.loader import load
from natsproof.errors import NotAvailableHere
from tests.kubernetes_in_memory import InMemoryApi
from tests.test_kubernetes_chaos import BODIES, POD, chaos_mesh_pod, plays

MANIFESTS = Path(__file__).parent.parent / "manifests"


def addon(folder: Path, component: str) -> Path:
    labels = {"app.kubernetes.io/name": "chaos-mesh", "app.kubernetes.io/component": component}
    thing = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": labels}}
    file = folder / f"{component}.yaml"
    file.write_text(yaml.safe_dump(thing))
    return file


def in_memory(folder: Path, api: InMemoryApi) -> KindWithChaosMesh:
    cluster = KindWithChaosMesh(load(MANIFESTS), workdir=folder, run_id="test")
    cluster._api = api  # type: ignore[assignment]
    return cluster


NODES = {POD[0]: ("a", "10.0.0.1"), "nats-platform-1": ("b", "10.0.0.2")}


def test_a_kind_cluster_can_do_it_if_a_file_brings_a_controller(tmp_path: Path) -> None:
    controller, dashboard = addon(tmp_path, "controller-manager"), addon(tmp_path, "chaos-dashboard")
    assert brings_chaos_mesh(controller)
    assert not brings_chaos_mesh(dashboard)
    assert kind_class([dashboard, controller], None, tmp_path) is KindWithChaosMesh
    assert kind_class([dashboard], None, tmp_path) is KindCluster
    assert issubclass(KindWithChaosMesh, ChaosInjectable)
    assert not issubclass(KindCluster, ChaosInjectable)


def test_a_cluster_that_stands_is_asked() -> None:
    api = InMemoryApi()
    assert not runs_in(api)  # type: ignore[arg-type]
    api.apply(chaos_mesh_pod("controller-manager"))
    assert runs_in(api)  # type: ignore[arg-type]
    with mock.patch.object(api, "list", side_effect=ApiError("forbidden", 403)):
        assert not runs_in(api)  # type: ignore[arg-type]


def test_a_daemon_must_run_where_the_victims_are(tmp_path: Path) -> None:
    api = InMemoryApi(plays())
    for pod in (chaos_mesh_pod("controller-manager"), chaos_mesh_pod("chaos-daemon", "b")):
        api.apply(pod)
    cluster = in_memory(tmp_path, api)
    with mock.patch.object(Platform, "addresses", return_value=NODES):
        with pytest.raises(NotAvailableHere, match="no chaos-daemon is Ready on a"):
            cluster.inject_chaos(BODIES["clock-shift"])
        assert not [kind for kind, _ in api.objects if kind == "TimeChaos"]
        cluster.inject_chaos(BODIES["pod-kill"])  # goes through the API server alone
    assert cluster.chaos_mesh == "Chaos Mesh 2.8.3, image chaos-mesh:v2.8.3"
    with mock.patch.object(KindCluster, "describe", return_value={"kind": "kind"}):
        assert cluster.describe()["chaos_mesh"] == cluster.chaos_mesh, "the certificate says which"


def test_what_a_killed_run_left_goes_before_the_platform_is_deployed(tmp_path: Path) -> None:
    api = InMemoryApi(plays())
    api.apply(BODIES["partition"])
    cluster = in_memory(tmp_path, api)

    def clean(_: Any) -> None:
        assert not api.objects

    with (
        mock.patch.object(KindWithChaosMesh, "connect"),
        mock.patch.object(KindCluster, "deploy", clean),
    ):
        cluster.deploy()


def test_chaos_goes_before_the_namespace_in_which_it_would_hang(tmp_path: Path) -> None:
    api = InMemoryApi(plays())
    api.apply(BODIES["partition"])
    cluster = in_memory(tmp_path, api)
    cluster._link = mock.Mock()

    def clean(_: Any) -> None:
        assert not api.objects

    with mock.patch.object(KindCluster, "down", clean):
        cluster.down()


def test_a_kept_cluster_is_asked_through_its_own_kubeconfig(tmp_path: Path) -> None:
    kept: Any = mock.Mock(kubeconfig=tmp_path / "kubeconfig", context="kind-x")
    with (
        mock.patch.object(chaos_verbs, "Api") as api,
        mock.patch.object(chaos_verbs, "runs_in", return_value=True),
    ):
        assert kind_class([], kept, tmp_path) is KindWithChaosMesh
    assert api.call_args.kwargs["context"] == "kind-x"
