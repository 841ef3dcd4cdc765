"""The contract as it fits a laptop: smaller requests, and storage that kind nodes can provide.

Done to the documents of any manifests, mutants included, so that no overlay has to be written for each.
Limits, volume and bucket sizes stay: kind's provisioner reserves nothing and the servers only count.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from natsproof import units
from natsproof.contract.model import Contract, KubernetesObject, OtherObject

CPU_REQUEST = "100m"
MEMORY_REQUEST = "128Mi"
MANAGED_BY = "app.kubernetes.io/managed-by"
LOCAL_PROVISIONER = "rancher.io/local-path"


def for_laptop(
    contract: Contract,
    storage_classes: Sequence[Mapping[str, Any]] = (),
    *,
    storage_class: str | None = None,
) -> Contract:
    """What to apply instead of `contract` on kind.

    `storage_classes` are those the cluster has; a class that the claims name and nobody else made is added
    on kind's own provisioner, under its own name. `storage_class` replaces the name instead.
    """
    objects = tuple(_smaller(thing) for thing in contract.objects)
    if storage_class is not None:
        chosen = storage_class
        objects = tuple(_with_class(thing, chosen) for thing in objects)
        return replace(contract, objects=objects)
    present = {
        found["metadata"]["name"]
        for found in storage_classes
        if (found["metadata"].get("labels") or {}).get(MANAGED_BY) != "natsproof"
    } | {thing.name for thing in objects if thing.kind == "StorageClass"}
    wanted = dict.fromkeys(claim.storage_class for claim in contract.statefulset.claims)
    added = tuple(_local_class(name) for name in wanted if name and name not in present)
    return replace(contract, objects=objects + added)


def _with_class(thing: KubernetesObject, name: str) -> KubernetesObject:
    def edit(raw: dict[str, Any]) -> None:
        for claim in raw["spec"].get("volumeClaimTemplates", ()):
            claim["spec"]["storageClassName"] = name

    return _edited(thing, edit) if thing.kind == "StatefulSet" else thing


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
        "metadata": {"name": name, "labels": {MANAGED_BY: "natsproof"}},
        "provisioner": LOCAL_PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
    }
    return OtherObject(kind="StorageClass", api_version="storage.k8s.io/v1", name=name, raw=raw)
