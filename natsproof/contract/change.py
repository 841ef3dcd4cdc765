"""The manifests as an operator edits them: more resources, another image, more servers.

Each function gives a new Contract, read again from the changed documents; places are those of the
new text, so keep the old Contract for messages.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import yaml

from natsproof.contract.loader import load_documents
from natsproof.contract.model import Contract
from natsproof.errors import UsageError

Edit = Callable[[dict[str, Any]], None]
#: The setting with what stands before its value, outside comments.
SYNC_INTERVAL = re.compile(r"^([^#\n]*\bsync(?:_interval)?\s*[:=]?\s*)[\w.\"']+", re.M)


def with_image(contract: Contract, image: str) -> Contract:
    """The server's container runs `image`."""

    def edit(document: dict[str, Any]) -> None:
        _server(contract, document)["image"] = image

    return _changed(contract, {("StatefulSet", contract.statefulset.name): edit})


def with_resources(contract: Contract, factor: int) -> Contract:
    """`factor` times the CPU and memory, and GOMEMLIMIT with them where it is written out."""

    def edit(document: dict[str, Any]) -> None:
        container = _server(contract, document)
        for bounds in (container.get("resources") or {}).values():
            for name in ("cpu", "memory"):
                if name in bounds:
                    bounds[name] = _times(str(bounds[name]), factor)
        for variable in container.get("env") or ():
            if variable["name"] == "GOMEMLIMIT" and "value" in variable:
                variable["value"] = _times(str(variable["value"]), factor)

    return _changed(contract, {("StatefulSet", contract.statefulset.name): edit})


def with_servers(contract: Contract, replicas: int) -> Contract:
    """`replicas` servers, each with its route. Raises UsageError where no route ends in a pod's ordinal."""
    name, was = contract.statefulset.name, contract.statefulset.replicas

    def edit_set(document: dict[str, Any]) -> None:
        document["spec"]["replicas"] = replicas

    routed = with_config(contract, lambda text: _with_routes(text, name, was, replicas))
    return _changed(routed, {("StatefulSet", name): edit_set})


def with_config(contract: Contract, edit: Callable[[str], str]) -> Contract:
    """nats.conf as `edit` makes it."""

    def change(document: dict[str, Any]) -> None:
        data = document["data"]
        key = next(k for k, text in data.items() if "routes" in text)
        data[key] = edit(str(data[key]))

    return _changed(contract, {("ConfigMap", contract.config_map.name): change})


def with_sync_interval(contract: Contract, interval: str) -> Contract:
    """nats.conf with `sync_interval` at `interval` (`always`, `10s`, `2m`), where it names it or not."""

    def edit(text: str) -> str:
        changed, found = re.subn(SYNC_INTERVAL, rf'\g<1>"{interval}"', text)
        if not found:
            changed, found = re.subn(
                r"(\bjetstream\s*[:=]?\s*\{)", rf'\1\n  sync_interval: "{interval}"\n', text, count=1
            )
        if found != 1:
            raise UsageError(f"nats.conf: one sync_interval or one jetstream block expected, found {found}")
        return changed

    return with_config(contract, edit)


def _with_routes(text: str, name: str, was: int, replicas: int) -> str:
    """One line a route, as the runbook's `sed` expects and leaves them."""
    pattern = re.compile(rf"^.*{re.escape(name)}-(\d+)[.:].*$", re.M)
    lines = {int(found[1]): found[0] for found in pattern.finditer(text)}
    if sorted(lines) != list(range(was)):
        raise UsageError(
            f"routes of {name}: expected one line for each of {was} servers, found ordinals {sorted(lines)}"
        )
    last = lines[was - 1]
    if replicas < was:
        for ordinal in range(replicas, was):
            text = text.replace(lines[ordinal] + "\n", "")
        return text
    added = [last.replace(f"{name}-{was - 1}", f"{name}-{n}") for n in range(was, replicas)]
    return text.replace(last, "\n".join([last, *added]))


def _changed(contract: Contract, edits: dict[tuple[str, str], Edit]) -> Contract:
    documents = []
    for thing in contract.objects:
        document = copy.deepcopy(_plain(thing.raw))
        if edit := edits.get((thing.kind, thing.name)):
            edit(document)
        documents.append(document)
    return load_documents([("<changed>", yaml.safe_dump_all(documents, sort_keys=False))])


def _plain(value: Any) -> Any:
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _server(contract: Contract, document: dict[str, Any]) -> dict[str, Any]:
    name = contract.server_container.name
    containers: list[dict[str, Any]] = document["spec"]["template"]["spec"]["containers"]
    return next(c for c in containers if c["name"] == name)


def _times(quantity: str, factor: int) -> str:
    """`4Gi` times 2 is `8Gi`, `500m` is `1000m`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(\D*)", quantity)
    if not found:
        raise UsageError(f"{quantity!r} is no quantity such as 4Gi, 500m or 2")
    amount = float(found[1]) * factor
    return f"{amount:g}{found[2]}"
