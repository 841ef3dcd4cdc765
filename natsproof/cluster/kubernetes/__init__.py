"""Kubernetes clusters: `KindCluster` (made and removed by us) and `KubernetesCluster` (the user's own)."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from natsproof.errors import NotAvailableHere, UsageError

if TYPE_CHECKING:
    from natsproof.cluster.kubernetes.platform import Platform
    from natsproof.contract.model import Contract

#: Node image for kind (--image), where kind's own default is not to be had.
NODE_IMAGE = "NATSPROOF_NODE_IMAGE"
#: Image archives, separated by the path separator, beside --images.
ARCHIVES = "NATSPROOF_IMAGE_ARCHIVES"
#: Files of manifests to install first (Longhorn, Chaos Mesh), separated likewise.
ADDONS = "NATSPROOF_ADDONS"
#: A kind cluster that an earlier run kept: deploy into it and leave it.
ATTACH = "NATSPROOF_KIND_CLUSTER"
#: Worker nodes of a new kind cluster (3); five servers, as the runbook scales to, need five.
WORKERS = "NATSPROOF_KIND_WORKERS"
#: Clusters of one process have different names: two may stand at once.
_NUMBER = itertools.count()


def open_cluster(
    cluster: str,
    contract: Contract,
    workdir: Path,
    *,
    storage_class: str | None = None,
    images: Path | None = None,
    keep: bool = False,
) -> Platform:
    """A cluster for `--cluster kind` or `--cluster context:NAME` that is not up yet.

    Raises NotAvailableHere where the host has no kind or docker, UsageError for any other `cluster`.
    """
    if cluster.startswith("context:"):
        from natsproof.cluster.kubernetes.existing import KubernetesCluster

        return KubernetesCluster(contract, context=cluster.partition(":")[2], workdir=workdir)
    if cluster != "kind":
        raise UsageError(f"{cluster!r} is no Kubernetes cluster. Valid: kind, context:NAME")
    for program in ("kind", "docker"):
        if shutil.which(program) is None:
            raise NotAvailableHere(f"--cluster kind: no program {program!r} on PATH; install it")
    from natsproof.cluster.kubernetes.chaos_verbs import kind_class
    from natsproof.cluster.kubernetes.machine import attach
    from natsproof.cluster.kubernetes.pool import POOL
    from natsproof.cluster.kubernetes.preflight import docker_answers

    archives = [*([Path(images)] if images else []), *files_of(ARCHIVES)]
    if not (docker := docker_answers()).ok:
        raise NotAvailableHere(f"--cluster kind: {docker}")
    kept, addons = os.environ.get(ATTACH), files_of(ADDONS)
    machine = attach(kept) if kept else None
    return kind_class(addons, machine, workdir)(
        contract,
        workdir=workdir,
        run_id=f"{Path(workdir).parent.parent.name}-{os.getpid()}-{next(_NUMBER)}",
        keep=keep,
        node_image=os.environ.get(NODE_IMAGE),
        archives=archives,
        storage_class=storage_class,
        machine=machine,
        pool=POOL,
        addon_files=addons,
        workers=_workers(),
    )


def _workers() -> int:
    text = os.environ.get(WORKERS, "3")
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{WORKERS}={text!r} is no number of worker nodes. Valid: 1 and more; 3 without it")
    return int(text)


def files_of(variable: str) -> list[Path]:
    """The files that an environment variable lists."""
    return [Path(name) for name in os.environ.get(variable, "").split(os.pathsep) if name]
