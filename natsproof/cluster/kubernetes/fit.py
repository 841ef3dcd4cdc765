"""The contract as it fits a laptop: smaller requests, and storage that kind nodes can provide.

Done to the documents of any manifests, mutants included, so that no overlay has to be written for each.
Limits, volume and bucket sizes stay: kind's provisioner reserves nothing and the servers only count.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from natsproof import units
from natsproof.contract.model import Contract, KubernetesObject, OtherObject

CPU_REQUEST = "100m"
MEMORY_REQUEST = "128Mi"
LOCAL_PROVISIONER = "rancher.io/local-path"


def for_laptop(contract: Contract, *, storage_classes: Mapping[str, str] | None = None) -> Contract:
    """What to apply instead of `contract` on kind.

    `storage_classes` are those the cluster has (name: provisioner); a class that the claims name and nobody
    has is added on kind's own provisioner. None: not known yet, nothing is added.
    """
    objects = tuple(_smaller(thing) for thing in contract.objects)
    if storage_classes is not None:
        declared = {thing.name for thing in objects if thing.kind == "StorageClass"}
        for claim in contract.statefulset.claims:
            name = claim.storage_class
            if name and name not in declared and name not in storage_classes:
                declared.add(name)
                objects += (_local_class(name),)
    return replace(contract, objects=objects)


def _smaller(thing: KubernetesObject) -> KubernetesObject:
    if thing.kind not in ("StatefulSet", "Job", "Deployment", "DaemonSet"):
        return thing
    return _edited(thing, _shrink_requests)


def _edited(thing: KubernetesObject, edit: Callable[[dict[str, Any]], None]) -> KubernetesObject:
    raw: dict[str, Any] = json.loads(json.dumps(thing.raw))
    edit(raw)
    return replace(thing, raw=raw)


def _shrink_requests(raw: dict[str, Any]) -> None:
    pod = raw["spec"]["template"]["spec"]
    for container in (*pod.get("containers", ()), *pod.get("initContainers", ())):
        resources = container.get("resources") or {}
        requests = resources.setdefault("requests", {}) if resources else {}
        for name, most in (("cpu", CPU_REQUEST), ("memory", MEMORY_REQUEST)):
            # an absent request defaults to the limit, which is larger still
            asked = requests.get(name, (resources.get("limits") or {}).get(name))
            if asked is not None and units.quantity(asked) > units.quantity(most):
                requests[name] = most


def _local_class(name: str) -> OtherObject:
    raw = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "natsproof"}},
        "provisioner": LOCAL_PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
    }
    return OtherObject(kind="StorageClass", api_version="storage.k8s.io/v1", name=name, raw=raw)
