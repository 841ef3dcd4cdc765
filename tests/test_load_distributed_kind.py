"""Distributed load on a real kind cluster: the image is built and loaded, master and workers are the Jobs of
`loadtests/kubernetes`, the platform is ours. Nothing is pulled."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from natsproof.clock import wait_until
from natsproof.cluster.kubernetes import ARCHIVES, NODE_IMAGE, deploy, files_of
from natsproof.cluster.kubernetes.kind import KindCluster
from natsproof.cluster.kubernetes.machine import command
from natsproof.contract import kustomize
from natsproof.contract.loader import load
from tests.test_kubernetes_kind import MANIFESTS, why_not

pytestmark = [pytest.mark.kind, pytest.mark.cluster]

ROOT = MANIFESTS.parent
IMAGE, BASE = "natsproof-load:dev", "natsproof-load-base:dev"
RATE_HZ, LOADED_S = 60, 20
#: For two cores and twenty seconds; all else is as shipped.
SETTINGS = {
    "NATSPROOF_SHAPE": "steady",
    "NATSPROOF_RATE_HZ": str(RATE_HZ),
    "NATSPROOF_STAGE_S": str(LOADED_S),
    "NATSPROOF_OBJECTIVE_S": "60",
}
DONE = ("Complete", "Failed")


def build(folder: Path) -> Path:
    """The image of loadtests/Dockerfile as an archive. Its base is this Python: no registry is in reach."""
    base = folder / "base.tar"
    with base.open("wb") as file:
        subprocess.run(
            [sys.executable, "loadtests/base_image.py"], cwd=ROOT, stdout=file, timeout=120, check=True
        )
    command("import the base", ["docker", "import", "-c", "ENV PATH=/usr/local/bin:/bin", str(base), BASE])
    words = ["docker", "build", "--build-arg", f"BASE={BASE}", "-f", str(ROOT / "loadtests" / "Dockerfile")]
    command("build the image", [*words, "-t", IMAGE, str(ROOT)], within_s=300)
    archive = folder / "load.tar"
    command("save the image", ["docker", "save", "-o", str(archive), IMAGE], within_s=120)
    return archive


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KindCluster]:
    if reason := why_not():
        pytest.skip(reason)
    archive = build(tmp_path)
    kind = KindCluster(
        load(MANIFESTS),
        workdir=tmp_path / "kind",
        run_id=f"load-{os.getpid()}",
        node_image=os.environ[NODE_IMAGE],
        archives=files_of(ARCHIVES),
    )
    kind.up()
    try:
        nodes = ",".join(kind.machine.workers())
        words = ["kind", "load", "image-archive", "--name", kind.machine.name, "--nodes", nodes, str(archive)]
        command("load the image", words, within_s=300)
        yield kind
    finally:
        kind.down()


def objects() -> list[dict[str, Any]]:
    """As `kubectl apply -k loadtests/kubernetes` sends them, with the settings and requests of this test."""
    found: list[dict[str, Any]] = [
        node.plain() for node in kustomize.render(ROOT / "loadtests" / "kubernetes")
    ]
    for thing in found:
        if thing["kind"] == "ConfigMap":
            thing["data"] |= SETTINGS
        if thing["kind"] == "Job":
            (container,) = thing["spec"]["template"]["spec"]["containers"]
            container["resources"]["requests"] = {"cpu": "100m", "memory": "128Mi"}
            container["args"] = [word if word != "60" else "5" for word in container["args"]]
    return found


def state(cluster: KindCluster, job: str) -> str:
    live = cluster.api.get("Job", job, cluster.namespace, api_version="batch/v1") or {}
    return deploy.job_state(live)


def test_three_workers_load_the_platform_and_the_load_ends(cluster: KindCluster) -> None:
    for thing in objects():
        cluster.api.apply(thing)
    master = "natsproof-load-master"
    wait_until("the load to be over", lambda: state(cluster, master), within_s=240, every_s=1.0)
    _, said = deploy.job_log(cluster.api, master, cluster.namespace)
    assert state(cluster, master) == "Complete", said[-3000:]
    wait_until(
        "the workers to end", lambda: state(cluster, "natsproof-load-worker"), within_s=60, every_s=1.0
    )
    _, workers = deploy.job_log(cluster.api, "natsproof-load-worker", cluster.namespace)
    assert state(cluster, "natsproof-load-worker") == "Complete", workers[-3000:]
    total = re.search(r"Aggregated\s+(\d+)\s+(\d+)\(", said)
    assert total, said[-3000:]
    assert int(total[1]) >= 0.7 * RATE_HZ * LOADED_S
    assert int(total[2]) == 0, "no operation failed"
