"""Where a claim's bytes lie, for provisioners that keep them in a directory of one node."""

from __future__ import annotations

from dataclasses import dataclass

from natsproof.cluster.kubernetes.api import Api
from natsproof.errors import ClusterError, NotAvailableHere


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
