"""Add-ons from a file: read, ordered, their images named, awaited by the controllers' own numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from natsproof.cluster.kubernetes import addons
from natsproof.errors import UsageError

TEXT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: manager, namespace: chaos-mesh}
spec:
  replicas: 1
  template:
    spec:
      initContainers: [{name: first, image: "a/first:1"}]
      containers: [{name: main, image: "a/main:1"}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: podchaos.chaos-mesh.org}
---
apiVersion: v1
kind: Namespace
metadata: {name: chaos-mesh}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "chaos-mesh.yaml").write_text(TEXT)
    return tmp_path / "chaos-mesh.yaml"


def test_definitions_and_namespaces_come_first(file: Path) -> None:
    kinds = [thing["kind"] for thing in addons.documents(file)]
    assert kinds == ["Namespace", "CustomResourceDefinition", "Deployment"]


def test_the_images_of_a_file_are_those_of_its_pods(file: Path) -> None:
    assert addons.images_of(file) == ("a/first:1", "a/main:1")


@pytest.mark.parametrize("text", ["just words", "- a list", "", "kind: Pod", "a: [unclosed"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"x\.yaml"):
        addons.documents(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("kind", "status", "ready"),
    [
        ("Deployment", {"observedGeneration": 2, "replicas": 1, "readyReplicas": 1}, True),
        ("Deployment", {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1}, False),
        ("Deployment", {"observedGeneration": 2, "replicas": 1}, False),
        ("Deployment", {}, False),
        ("DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 4, "numberReady": 4}, True),
        ("DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 4, "numberReady": 3}, False),
    ],
)
def test_a_workload_is_ready_when_its_controller_says_so(kind: str, status: Any, ready: bool) -> None:
    live = {"kind": kind, "metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}
    assert addons.is_ready(live) is ready
    assert not addons.is_ready(None)
