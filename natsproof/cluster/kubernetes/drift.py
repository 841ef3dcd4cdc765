"""Two comparisons of documents: live objects against the Contract, and an overlay against the Contract."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from natsproof import units
from natsproof.cluster.kubernetes.api import Api
from natsproof.contract.model import Contract, KubernetesObject

#: Lists of Kubernetes whose elements are found by a key, not by their place.
LIST_KEYS = ("name", "mountPath", "containerPort", "topologyKey", "port")
#: Where elements nobody asked for matter: a sidecar or a variable that was slipped in.
CLOSED_LISTS = ("containers", "initContainers", "env")
_QUANTITIES = ("requests", "limits", "storage", "cpu", "memory", "sizeLimit")


def drift(api: Api, contract: Contract) -> list[str]:
    """What the API server holds differently from what the contract says, one text per field."""
    found: list[str] = []
    for thing in contract.objects:
        namespace = namespace_of(thing, contract)
        live = api.get(thing.kind, thing.name, namespace, api_version=thing.api_version)
        label = f"{thing.kind}/{thing.name}"
        if live is None:
            found.append(f"{label}: in the contract ({thing.place}) and not in the cluster")
            continue
        texts = missing_from(_comparable(thing.raw), live)
        if thing.kind == "Secret":  # say where, never what
            texts = (f"{text.partition(':')[0]}: differs from the contract" for text in texts)
        found += [f"{label} {text}" for text in texts]
    return found


def namespace_of(thing: KubernetesObject, contract: Contract) -> str | None:
    """The namespace an object goes to: its own, else the contract's for the namespaced kinds."""
    cluster_wide = ("Namespace", "StorageClass", "PriorityClass", "ClusterRole", "ClusterRoleBinding")
    if thing.kind in cluster_wide or thing.kind == "CustomResourceDefinition":
        return None
    return thing.namespace or contract.namespace


def differences(contract: Contract, applied: Contract) -> list[str]:
    """What `applied` (an overlay) says differently from `contract`, one text per field."""
    before = {(o.kind, o.name): o for o in contract.objects}
    after = {(o.kind, o.name): o for o in applied.objects}
    found = [f"{kind}/{name}: left out" for kind, name in before if (kind, name) not in after]
    for key, thing in after.items():
        label = f"{thing.kind}/{thing.name}"
        if key not in before:
            found.append(f"{label}: added{_provisioner(thing.raw)}")
            continue
        found += [f"{label} {text}" for text in changes(before[key].raw, thing.raw)]
    return found


def _provisioner(raw: Mapping[str, Any]) -> str:
    return f" (provisioner {raw['provisioner']})" if "provisioner" in raw else ""


def changes(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Fields that two documents have differently: `spec.replicas: 3 -> 1`."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            yield from changes(before.get(key), after.get(key), f"{path}.{key}".lstrip("."))
    elif _listed(before) and _listed(after):
        old, new = _by_key(before), _by_key(after)
        for key in {**old, **new}:
            yield from changes(old.get(key), new.get(key), f"{path}[{key}]")
    elif not _equal(before, after, path):
        yield f"{path}: {_short(before)} -> {_short(after)}"


def missing_from(want: Any, have: Any, path: str = "") -> Iterator[str]:
    """Fields of `want` that `have` lacks or has differently; what `have` adds is its own affair."""
    if isinstance(want, Mapping) and isinstance(have, Mapping):
        for key, value in want.items():
            yield from missing_from(value, have.get(key), f"{path}.{key}".lstrip("."))
    elif _listed(want) and _listed(have):
        wanted, found = _by_key(want), _by_key(have)
        for key, value in wanted.items():
            yield from missing_from(value, found.get(key), f"{path}[{key}]")
        if path.rsplit(".", 1)[-1] in CLOSED_LISTS:
            for key in found.keys() - wanted.keys():
                yield f"{path}[{key}]: not in the contract"
    elif not _equal(want, have, path) and not (_empty(want) and _empty(have)):
        yield f"{path}: the contract says {_short(want)}, the cluster has {_short(have)}"


def _comparable(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The document as the server stores it: `stringData` becomes `data`."""
    document = {key: value for key, value in raw.items() if key not in ("apiVersion", "kind")}
    if "stringData" in document:
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in document.pop("stringData").items()}
        document["data"] = {**document.get("data", {}), **encoded}
    return document


def _listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _by_key(items: Sequence[Any]) -> dict[str, Any]:
    """Elements by their name where they have one, else by their place."""
    for key in LIST_KEYS:
        names = [item.get(key) for item in items if isinstance(item, Mapping)]
        if names and None not in names and len(names) == len(items) == len(set(names)):
            return dict(zip(map(str, names), items, strict=True))
    return {str(i): item for i, item in enumerate(items)}


def _equal(one: Any, other: Any, path: str) -> bool:
    if one == other:
        return True
    if one is None or other is None:
        return False
    if any(part in _QUANTITIES for part in path.replace("[", ".").split(".")):
        try:
            return units.quantity(one) == units.quantity(other)
        except (ValueError, TypeError):
            return False
    return str(one) == str(other) if isinstance(one, int | str) and isinstance(other, int | str) else False


def _empty(value: Any) -> bool:
    return value is None or value == {} or value == [] or value is False or value in ("", 0)


def _short(value: Any) -> str:
    text = "absent" if value is None else repr(value) if not isinstance(value, str) else value
    if "\n" in text:
        return f"a text of {len(text.splitlines())} lines"
    return text if len(text) <= 80 else text[:77] + "..."
