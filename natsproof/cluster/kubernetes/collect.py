"""Everything a reader needs later, written into a folder: live objects, events, logs, monitoring samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from natsproof.cluster.kubernetes.deploy import pod_log
from natsproof.cluster.kubernetes.drift import namespace_of
from natsproof.cluster.kubernetes.platform import Platform
from natsproof.errors import NatsproofError

SAMPLES = ("/varz", "/jsz?accounts=true&streams=true&config=true&raft=true", "/routez", "/healthz")


def collect(cluster: Platform, folder: Path) -> list[str]:
    """Write what can be had; returns what could not. Called while things fail, so nothing here raises."""
    missing: list[str] = []

    def write(name: str, make: Any) -> None:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if text := make():  # no container of before: no file
                target.write_text(text)
        except (NatsproofError, OSError) as problem:
            missing.append(f"{name}: {problem}")

    contract = cluster.applied
    for thing in contract.objects:
        if thing.kind == "Secret":
            continue
        place = namespace_of(thing, contract)
        write(
            f"live/{thing.kind}-{thing.name}.yaml",
            lambda thing=thing, place=place: _yaml(
                cluster.api.get(thing.kind, thing.name, place, api_version=thing.api_version)
            ),
        )
    write("live/events.yaml", lambda: _yaml(cluster.api.list("Event", cluster.namespace)))
    write("live/pods.yaml", lambda: _yaml(cluster.api.list("Pod", cluster.namespace)))
    for server in cluster.pod_names():
        write(f"logs/{server}.log", lambda server=server: cluster.log(server))
        write(
            f"logs/{server}.previous.log",
            lambda server=server: pod_log(cluster.api, server, cluster.namespace, previous=True),
        )
        for path in SAMPLES:
            name = path[1:].partition("?")[0]
            write(
                f"monitoring/{server}-{name}.json",
                lambda server=server, path=path: json.dumps(cluster.monitor(server, path), indent=1),
            )
    if cluster.job is not None:
        write("logs/job.log", lambda: cluster.job.log if cluster.job else "")
    if missing:
        write("not-collected.txt", lambda: "".join(f"{line}\n" for line in missing))
    return missing


def _yaml(thing: Any) -> str:
    """As the API server has it, without the bookkeeping of field managers."""
    for one in thing if isinstance(thing, list) else [thing]:
        if one:
            one.get("metadata", {}).pop("managedFields", None)
    return str(yaml.safe_dump(thing, sort_keys=False))
