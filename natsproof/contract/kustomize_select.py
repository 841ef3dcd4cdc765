"""Which objects a patch of a kustomization is for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from natsproof.contract import kustomize_names as names
from natsproof.contract.model import Place
from natsproof.contract.problems import closest, shown
from natsproof.contract.yaml_source import Node
from natsproof.errors import ContractError


@dataclass(slots=True)
class Document:
    node: Node
    hashed: bool = False  # its name gets a suffix made from its contents
    former: set[str] = field(default_factory=set)  # names before a prefix or suffix; patches may use them
    former_namespaces: set[str] = field(default_factory=set)

    def is_named(self, name: str | None) -> bool:
        return name is not None and (name == names.name_of(self.node) or name in self.former)

    def is_in(self, namespace: str) -> bool:
        return namespace == names.namespace_of(self.node) or namespace in self.former_namespaces


def text_of(node: Node, key: str, *, required: bool = False) -> str | None:
    found = node.get(key)
    if found is None or found.value is None:
        if required:
            raise ContractError(f"{node.place}: {key!r} is missing")
        return None
    if isinstance(found.value, (dict, list, bool)):
        raise ContractError(f"{found.place}: {key}: found {shown(found.plain())}, expected text")
    return str(found.value)


def same_object(found: list[Document], patch: Node) -> list[Document]:
    identity = (names.kind_of(patch), names.name_of(patch))
    namespace = patch.at("metadata", "namespace")
    chosen = [
        d
        for d in found
        if names.kind_of(d.node) == identity[0]
        and d.is_named(identity[1])
        and d.is_in(str(namespace.value) if namespace and namespace.value else "default")
    ]
    if len(chosen) != 1:
        known = ", ".join(f"{names.kind_of(d.node)} {names.name_of(d.node)}" for d in found)
        raise ContractError(
            f"{patch.place}: the patch is for {' '.join(identity)}, of which there are {len(chosen)};"
            f" objects: {known}"
        )
    return chosen


def targets(found: list[Document], target: Node) -> list[Document]:
    """Documents a target selects; kind, name and namespace are anchored regular expressions."""
    if not isinstance(target.value, dict):
        raise ContractError(f"{target.place}: target: found {shown(target.plain())}, expected kind and name")
    fields = {"group", "version", "kind", "name", "namespace", "labelSelector", "annotationSelector"}
    for key in target.value:
        if key not in fields:
            raise ContractError(
                f"{target.keys[key]}: unknown field {key!r} of a target{closest(key, fields)}"
            )
    chosen = [document for document in found if selected(document, target)]
    if not chosen:
        known = ", ".join(f"{names.kind_of(d.node)} {names.name_of(d.node)}" for d in found)
        raise ContractError(f"{target.place}: the target {target.plain()} selects nothing; objects: {known}")
    return chosen


def selected(candidate: Document, target: Node) -> bool:
    document = candidate.node
    version = document.get("apiVersion")
    group, _, number = str(version.value if version else "").rpartition("/")
    values = {
        "group": group,
        "version": number,
        "kind": names.kind_of(document),
    }
    options = {key: {value} for key, value in values.items()}
    options["name"] = {names.name_of(document), *candidate.former}
    options["namespace"] = {names.namespace_of(document), *candidate.former_namespaces}
    for key, possible in options.items():
        wanted = text_of(target, key)
        try:
            if wanted and not any(re.fullmatch(wanted, value) for value in possible):
                return False
        except re.error as error:
            raise ContractError(f"{target.keys[key]}: {wanted!r} is no regular expression: {error}") from None
    for key, where in (("labelSelector", "labels"), ("annotationSelector", "annotations")):
        wanted = text_of(target, key)
        if wanted and not labels_match(document.at("metadata", where), wanted, target.keys[key]):
            return False
    return True


def labels_match(labels: Node | None, selector: str, place: Place) -> bool:
    for term in selector.split(","):
        match = re.fullmatch(r"\s*([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)\s*", term)
        if match is None:
            raise ContractError(f"{place}: the selector {term!r} is not read; use key=value or key!=value")
        found = labels.get(match[1]) if labels else None
        if ((found.plain() if found else None) == match[3]) != (match[2] != "!="):
            return False
    return True
