"""Longhorn and Chaos Mesh, put into a kind cluster from a file of manifests at a pinned version.

A file, not a download: the same on a laptop, in CI and on an air-gapped host. docs/kubernetes.md says how
it is made (`helm template` with the values kind needs). Its images come from image archives like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from natsproof.clock import wait_until
from natsproof.cluster.kubernetes.api import Api, ApiError
from natsproof.cluster.kubernetes.deploy import ORDER
from natsproof.errors import ClusterError, UsageError

LONGHORN = "1.12.1"
CHAOS_MESH = "2.8.3"
READY_S = 600.0
#: What each workload kind calls the number of its ready pods, and the number it wants.
_READY = {
    "Deployment": ("readyReplicas", "replicas"),
    "DaemonSet": ("numberReady", "desiredNumberScheduled"),
    "StatefulSet": ("readyReplicas", "replicas"),
}


def documents(file: Path) -> list[dict[str, Any]]:
    """The objects of a file, definitions first. Raises UsageError."""
    try:
        loaded = [d for d in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader) if d]
    except (OSError, yaml.YAMLError) as problem:
        raise UsageError(f"{file}: cannot be read as manifests: {problem}") from None
    odd = [d for d in loaded if not (isinstance(d, dict) and {"apiVersion", "kind", "metadata"} <= d.keys())]
    if odd or not loaded:
        raise UsageError(f"{file}: expected Kubernetes objects, found {odd[:1] or 'nothing'}")
    return sorted(loaded, key=lambda d: ORDER.index(d["kind"]) if d["kind"] in ORDER else len(ORDER))


def images_of(file: Path) -> tuple[str, ...]:
    """Every image the file's pods name."""
    found: dict[str, None] = {}

    def walk(value: Any) -> None:
        if isinstance(value, Mapping):
            if isinstance(value.get("image"), str):
                found[value["image"]] = None
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    walk(documents(file))
    return tuple(found)


def install(api: Api, file: Path, *, say: Callable[[str], None], within_s: float = READY_S) -> None:
    """Apply a file and wait until all its workloads are Ready. Raises ClusterError naming those that lag."""
    things = documents(file)
    for thing in things:
        _apply_when_known(api, thing)
    waiting = [thing for thing in things if thing["kind"] in _READY]

    def all_ready() -> bool:
        return not [thing for thing in waiting if not is_ready(_live(api, thing))]

    say(f"{file.name}: {len(things)} objects applied, {len(waiting)} workloads awaited")
    try:
        wait_until(f"the workloads of {file.name}", all_ready, within_s=within_s, every_s=1.0)
    except Exception:
        late = [t["metadata"]["name"] for t in waiting if not is_ready(_live(api, t))]
        raise ClusterError(f"{file}: not Ready within {within_s:g} s: {', '.join(late)}") from None


def is_ready(live: Mapping[str, Any] | None) -> bool:
    """Whether a Deployment, DaemonSet or StatefulSet has all its pods, of its newest template."""
    if live is None:
        return False
    status = live.get("status") or {}
    have, want = _READY[live["kind"]]
    wanted = status.get(want, (live.get("spec") or {}).get("replicas", 1))
    seen = status.get("observedGeneration") == live["metadata"].get("generation")
    return bool(seen and status.get(have, 0) == wanted)


def _live(api: Api, thing: Mapping[str, Any]) -> Mapping[str, Any] | None:
    metadata = thing["metadata"]
    return api.get(
        thing["kind"], metadata["name"], metadata.get("namespace"), api_version=thing["apiVersion"]
    )


def _apply_when_known(api: Api, thing: Mapping[str, Any]) -> None:
    """A kind defined a moment ago may not be served yet."""

    def applied() -> bool:
        try:
            api.apply(thing)
        except ApiError as problem:
            if problem.status != 404:
                raise UsageError(f"{thing['kind']} {thing['metadata']['name']}: {problem}") from None
            api.forget_discovery()
            raise
        return True

    wait_until(f"{thing['kind']} to be served", applied, within_s=30, every_s=0.5)
