"""Kustomizations, rendered here so that every field keeps the file and line that decided it.

Read: resources (files and folders), namespace, namePrefix, nameSuffix, patches (strategic merge and JSON
6902), patchesStrategicMerge, patchesJson6902, images, replicas, labels, commonLabels, commonAnnotations,
configMapGenerator. Everything else is an error that names the way round: `kubectl kustomize`.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from pathlib import Path

from natsproof.contract import kustomize_names as names
from natsproof.contract import patching, yaml_source
from natsproof.contract.kustomize_generate import add_hashes, generate, read_text
from natsproof.contract.kustomize_select import Document, same_object, targets, text_of
from natsproof.contract.model import Place
from natsproof.contract.problems import closest, shown
from natsproof.contract.yaml_source import Node
from natsproof.errors import ContractError

FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_LISTS = (
    *("resources", "bases", "patches", "patchesStrategicMerge", "patchesJson6902", "images", "replicas"),
    *("labels", "configMapGenerator"),
)
_MAPS = ("commonLabels", "commonAnnotations", "generatorOptions")
_TEXTS = ("namespace", "namePrefix", "nameSuffix")
_IGNORED = ("apiVersion", "kind", "metadata", "sortOptions", "buildMetadata")
_KNOWN = (*_LISTS, *_MAPS, *_TEXTS, *_IGNORED)
_ELSEWHERE = frozenset(
    (
        *("components", "crds", "configurations", "generators", "helmCharts", "helmChartInflationGenerator"),
        *("helmGlobals", "openapi", "replacements", "secretGenerator", "transformers", "validators", "vars"),
    )
)
MAX_FOLDERS = 50


def file_in(folder: Path) -> Path | None:
    """The kustomization file of a folder, None if it has none."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def render(folder: Path) -> list[Node]:
    """All objects of a kustomization. Raises ContractError with `file:line`."""
    found = _Kustomization(folder, (), None).documents()
    add_hashes(found)
    return [document.node for document in found]


class _Kustomization:
    def __init__(self, folder: Path, visiting: tuple[Path, ...], asked: Place | None) -> None:
        self.folder, self.visiting = folder, (*visiting, folder.resolve())
        if folder.resolve() in visiting or len(visiting) > MAX_FOLDERS:
            raise ContractError(f"{asked}: {folder} includes itself; remove one of the two")
        file = file_in(folder)
        if file is None:
            raise ContractError(f"{asked or folder}: {folder} has no {FILES[0]}; name its files instead")
        self.file = file
        roots = yaml_source.documents(read_text(file), str(file))
        if len(roots) != 1 or not isinstance(roots[0].value, dict):
            raise ContractError(
                f"{file}:1: a kustomization is one map (for example resources: [service.yaml])"
            )
        self.root = roots[0]
        self.check()

    def check(self) -> None:
        for key, value in self.root.value.items():
            place = self.root.keys[key]
            if key in _ELSEWHERE:
                raise ContractError(
                    f"{place}: natsproof does not read {key!r} of a kustomization; render it first:"
                    f" kubectl kustomize {self.folder} | pytest suites --manifests -"
                )
            if key not in _KNOWN:
                raise ContractError(
                    f"{place}: unknown field {key!r} in a kustomization{closest(key, _KNOWN)}"
                )
            expected: type | tuple[type, ...] = list if key in _LISTS else dict if key in _MAPS else str
            if key in _IGNORED or value.value is None:
                continue
            if not isinstance(value.value, expected):
                word = {list: "a list", dict: "a map", str: "text"}[expected]  # type: ignore[index]
                raise ContractError(f"{place}: {key}: found {shown(value.plain())}, expected {word}")

    def items(self, key: str) -> list[Node]:
        node = self.root.get(key)
        return node.value if node is not None and isinstance(node.value, list) else []

    # -- in kustomize's order -----------------------------------------------------------------------------

    def documents(self) -> list[Document]:
        found = [document for item in self.resources() for document in self.resource(item)]
        for item in self.items("configMapGenerator"):
            found.append(generate(item, self.root.get("generatorOptions"), self.folder))
        for item in self.items("patchesStrategicMerge"):
            found = self.strategic(found, self.nodes_of(item), None)
        for item in self.items("patches"):
            found = self.patch(found, item)
        nodes = [document.node for document in found]
        namespace = self.root.get("namespace")
        if namespace is not None and namespace.value:
            for document in found:
                document.former_namespaces.add(names.namespace_of(document.node))
            names.set_namespace(nodes, str(namespace.value), self.root.keys["namespace"])
        self.rename(found)
        self.label(nodes)
        for item in self.items("patchesJson6902"):
            found = self.patch(found, item)
        nodes = [document.node for document in found]
        self.scale(found)
        self.images(nodes)
        return found

    def resources(self) -> Iterator[Node]:
        for key in ("resources", "bases"):
            yield from self.items(key)

    def resource(self, item: Node) -> list[Document]:
        if not isinstance(item.value, str):
            raise ContractError(
                f"{item.place}: found {shown(item.plain())}, expected the name of a file or folder"
            )
        if "://" in item.value or item.value.startswith(("github.com/", "git@")):
            raise ContractError(
                f"{item.place}: {item.value} is on the network, which natsproof never reads; copy it here"
            )
        path = Path(os.path.normpath(self.folder / item.value))
        if path.is_dir():
            return _Kustomization(path, self.visiting, item.place).documents()
        if not path.is_file():
            near = closest(path.name, [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else [])
            raise ContractError(f"{item.place}: {path} does not exist{near}")
        found = [Document(patching.copy(node)) for node in yaml_source.documents(read_text(path), str(path))]
        for document in found:
            if not isinstance(document.node.value, dict):
                raise ContractError(f"{document.node.place}: expected a Kubernetes object, a map")
        return found

    # -- patches ------------------------------------------------------------------------------------------

    def nodes_of(self, item: Node) -> list[Node]:
        """The documents of a patch: a file's, or those of text written in place."""
        text = item.value
        if not isinstance(text, str):
            raise ContractError(
                f"{item.place}: found {shown(item.plain())}, expected a file or a patch as text"
            )
        if "\n" not in text and (self.folder / text).is_file():
            return yaml_source.documents(read_text(self.folder / text), str(self.folder / text))
        if "\n" not in text and ":" not in text and not text.startswith("["):
            raise ContractError(f"{item.place}: the patch {self.folder / text} does not exist")
        first = item.text or item.place
        return yaml_source.documents("\n" * (first.line - 1) + text, first.file)

    def patch(self, found: list[Document], item: Node) -> list[Document]:
        if not isinstance(item.value, dict):
            raise ContractError(
                f"{item.place}: found {shown(item.plain())}, expected path or patch, and target"
            )
        for key in item.value:
            if key not in ("path", "patch", "target", "options"):
                raise ContractError(
                    f"{item.keys[key]}: unknown field {key!r} of a patch; known: path, patch, target"
                )
        source = item.get("path") or item.get("patch")
        if source is None or (item.get("path") and item.get("patch")):
            raise ContractError(f"{item.place}: a patch needs either path or patch")
        patches, target = self.nodes_of(source), item.get("target")
        if patches and isinstance(patches[0].value, list):
            if target is None:
                raise ContractError(f"{item.place}: a JSON patch needs a target (kind and name)")
            chosen = targets(found, target)
            for document in chosen:
                document.node = patching.apply_json_patch(document.node, patches[0])
            return found
        return self.strategic(found, patches, target)

    def strategic(self, found: list[Document], patches: list[Node], target: Node | None) -> list[Document]:
        for patch in patches:
            if not isinstance(patch.value, dict):
                raise ContractError(f"{patch.place}: found {shown(patch.plain())}, expected a patch, a map")
            chosen = targets(found, target) if target else same_object(found, patch)
            for document in chosen:
                kept = _without_identity(patch) if target else patch
                merged = patching.merge_document(document.node, kept)
                if merged is None:
                    found = [other for other in found if other is not document]
                else:
                    document.node = merged
        return found

    # -- the rest -----------------------------------------------------------------------------------------

    def rename(self, found: list[Document]) -> None:
        prefix, suffix = text_of(self.root, "namePrefix") or "", text_of(self.root, "nameSuffix") or ""
        if not prefix and not suffix:
            return
        place = self.root.keys["namePrefix" if prefix else "nameSuffix"]
        renamed: dict[tuple[str, str], str] = {}
        for document in found:
            kind, name = names.kind_of(document.node), names.name_of(document.node)
            if kind != "Namespace":
                renamed[kind, name] = prefix + name + suffix
                document.former.add(name)
        nodes = [document.node for document in found]
        names.rename(nodes, renamed, place)

    def label(self, nodes: list[Node]) -> None:
        for item in self.items("labels"):
            pairs = item.get("pairs")
            if pairs is None or not isinstance(pairs.value, dict):
                raise ContractError(f"{item.place}: labels need pairs (for example pairs: {{team: core}})")
            for key in item.value:
                if key not in ("pairs", "includeSelectors", "includeTemplates"):
                    raise ContractError(f"{item.keys[key]}: natsproof does not read {key!r} of labels")
            selectors, templates = (item.get(k) for k in ("includeSelectors", "includeTemplates"))
            names.add_labels(
                nodes,
                pairs,
                selectors=bool(selectors and selectors.value),
                templates=bool(templates and templates.value),
            )
        common = self.root.get("commonLabels")
        if common is not None and isinstance(common.value, dict):
            names.add_labels(nodes, common, selectors=True, templates=True)
        annotations = self.root.get("commonAnnotations")
        if annotations is not None and isinstance(annotations.value, dict):
            names.add_annotations(nodes, annotations)

    def scale(self, found: list[Document]) -> None:
        for item in self.items("replicas"):
            name, count = text_of(item, "name", required=True), item.get("count")
            if count is None or not isinstance(count.value, int):
                raise ContractError(f"{item.place}: replicas need a count (for example count: 3)")
            chosen = [
                d.node
                for d in found
                if d.is_named(name) and names.kind_of(d.node) in ("StatefulSet", "Deployment", "ReplicaSet")
            ]
            if not chosen:
                raise ContractError(f"{item.place}: nothing named {name!r} has replicas")
            for node in chosen:
                names.put(names.child(node, "spec", item.place), "replicas", count.value, count.place)

    def images(self, nodes: list[Node]) -> None:
        for item in self.items("images"):
            name = text_of(item, "name", required=True)
            new = {key: text_of(item, key) for key in ("newName", "newTag", "digest")}
            names.set_image(nodes, str(name), {k: v for k, v in new.items() if v is not None}, item.place)


def _without_identity(patch: Node) -> Node:
    """A patch with a target may carry any name and kind: they do not rename."""
    kept = {key: child for key, child in patch.value.items() if key not in ("apiVersion", "kind")}
    metadata = kept.get("metadata")
    if metadata is not None and isinstance(metadata.value, dict):
        fields = {key: child for key, child in metadata.value.items() if key not in ("name", "namespace")}
        kept["metadata"] = Node(metadata.place, fields, {k: metadata.keys[k] for k in fields})
        if not fields:
            del kept["metadata"]
    return Node(patch.place, kept, {key: patch.keys[key] for key in kept})
