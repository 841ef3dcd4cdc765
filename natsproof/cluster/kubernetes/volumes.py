"""Where a claim's bytes lie, for provisioners that keep them in a directory of one node; and growing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from natsproof import units
from natsproof.clock import wait_until
from natsproof.cluster.kubernetes.api import Api, ApiError
from natsproof.cluster.kubernetes.platform import Platform
from natsproof.errors import ClusterError, DeadlineExceeded, NotAvailableHere

GROW_S = 120.0


@dataclass(frozen=True, slots=True)
class Volume:
    claim: str
    node: str
    path: str


def volume_of(api: Api, namespace: str, claim: str) -> Volume:
    """The directory behind a bound claim. Raises NotAvailableHere for block devices and networks."""
    found = api.get("PersistentVolumeClaim", claim, namespace)
    name = ((found or {}).get("spec") or {}).get("volumeName")
    if not name:
        raise ClusterError(f"claim {namespace}/{claim} is not bound to a volume")
    spec = (api.get("PersistentVolume", name) or {}).get("spec") or {}
    path = (spec.get("hostPath") or spec.get("local") or {}).get("path")
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    nodes = [
        value
        for term in terms
        for expression in (*term.get("matchExpressions", ()), *term.get("matchFields", ()))
        for value in expression["values"]
    ]
    if not path or len(nodes) != 1:
        raise NotAvailableHere(
            f"volume {name} of {claim} is no directory of one node: its bytes are out of reach"
        )
    return Volume(claim, str(nodes[0]), str(path))


def grown(cluster: Platform) -> dict[str, Any]:
    """Ask for 1 GiB more on the highest server's claim; what the class allows, and what became of it."""
    template = cluster.applied.statefulset.claims[0]
    claim = f"{template.name}-{cluster.pod_names()[-1]}"
    before = cluster.api.get("PersistentVolumeClaim", claim, cluster.namespace) or {}
    storage_class = (before.get("spec") or {}).get("storageClassName") or ""
    live = cluster.api.get("StorageClass", storage_class, api_version="storage.k8s.io/v1") or {}
    asked = _bytes((before.get("spec") or {}).get("resources", {}).get("requests", {})) + (1 << 30)
    change = {"spec": {"resources": {"requests": {"storage": str(asked)}}}}
    refused = ""
    try:
        cluster.api.patch("PersistentVolumeClaim", claim, cluster.namespace, change)
    except ApiError as problem:
        refused = str(problem)

    def capacity() -> int:
        now = cluster.api.get("PersistentVolumeClaim", claim, cluster.namespace) or {}
        return _bytes((now.get("status") or {}).get("capacity") or {})

    if not refused:
        try:
            wait_until(f"{claim} to grow", lambda: capacity() >= asked, within_s=GROW_S, every_s=1.0)
        except DeadlineExceeded as late:
            refused = str(late)
    now = cluster.api.get("PersistentVolumeClaim", claim, cluster.namespace) or {}
    return {
        "claim": claim,
        "storage_class": storage_class,
        "provisioner": live.get("provisioner", ""),
        "expandable": bool(live.get("allowVolumeExpansion")),
        "asked_bytes": asked,
        "before_bytes": _bytes((before.get("status") or {}).get("capacity") or {}),
        "after_bytes": capacity(),
        "refused": refused,
        "phase": (now.get("status") or {}).get("phase", ""),
        "ready": cluster.ready(cluster.pod_names()[-1]),
    }


def _bytes(quantities: dict[str, Any]) -> int:
    return units.quantity_bytes(str(quantities.get("storage", "0")))
