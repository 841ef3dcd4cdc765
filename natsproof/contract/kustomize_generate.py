"""ConfigMaps that a kustomization makes from files and literals, and the hashes in their names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from natsproof.contract import kustomize_names as names
from natsproof.contract.kustomize_select import Document, text_of
from natsproof.contract.model import Place
from natsproof.contract.yaml_source import Node
from natsproof.errors import ContractError


def generate(item: Node, shared: Node | None, folder: Path) -> Document:
    """The ConfigMap of one configMapGenerator entry; `shared` are the generatorOptions."""
    for key in item.value if isinstance(item.value, dict) else ():
        if key not in ("name", "namespace", "files", "literals", "envs", "options", "behavior"):
            raise ContractError(f"{item.keys[key]}: natsproof does not read {key!r} of configMapGenerator")
    name = str(text_of(item, "name", required=True))
    if (text_of(item, "behavior") or "create") != "create":
        raise ContractError(
            f"{item.keys['behavior']}: natsproof reads behavior: create only; patch the ConfigMap instead"
        )
    metadata = Node(item.place, {})
    names.put(metadata, "name", name, item.place)
    if namespace := text_of(item, "namespace"):
        names.put(metadata, "namespace", namespace, item.place)
    data = Node(item.place, {})
    for key, text in _generated(item, folder):
        data.value[key] = text
        data.keys[key] = text.place
    document = Node(item.place, {"metadata": metadata, "data": data})
    names.put(document, "apiVersion", "v1", item.place)
    names.put(document, "kind", "ConfigMap", item.place)
    document.keys |= {"metadata": item.place, "data": item.place}
    hashed = True
    for options in (shared, item.get("options")):
        switch = options.get("disableNameSuffixHash") if options else None
        if switch is not None:
            hashed = not switch.value
        for key, field in (("labels", "labels"), ("annotations", "annotations")):
            pairs = options.get(key) if options else None
            if pairs is not None and isinstance(pairs.value, dict):
                target = names.child(metadata, field, pairs.place)
                target.value.update(pairs.value)
                target.keys.update(pairs.keys)
    return Document(document, hashed=hashed)


def _generated(item: Node, folder: Path) -> Iterator[tuple[str, Node]]:
    """Keys and texts of a generated ConfigMap; a file's lines are the lines of its text."""
    for key in ("files", "literals", "envs"):
        entries = item.get(key)
        for entry in entries.value if entries and isinstance(entries.value, list) else ():
            text = str(entry.value)
            name, equals, value = text.partition("=")
            if key == "literals":
                if not equals:
                    raise ContractError(f"{entry.place}: found {text!r}, expected KEY=VALUE")
                yield name, Node(entry.place, value.strip("\"'"), text=entry.place)
                continue
            path = folder / (value if equals else text)
            if not path.is_file():
                raise ContractError(f"{entry.place}: {path} does not exist")
            first = Place(str(path), 1)
            if key == "files":
                yield (name if equals else path.name), Node(first, read_text(path), text=first)
                continue
            for number, line in enumerate(read_text(path).splitlines(), start=1):
                left, _, right = line.partition("=")
                if left.strip() and not left.startswith("#"):
                    place = Place(str(path), number)
                    yield left, Node(place, right, text=place)


def add_hashes(found: list[Document]) -> None:
    """Names of generated ConfigMaps end in a hash of their contents, as kustomize makes it."""
    nodes = [document.node for document in found]
    renamed = {
        ("ConfigMap", names.name_of(d.node)): f"{names.name_of(d.node)}-{_hash(d.node)}"
        for d in found
        if d.hashed
    }
    if renamed:
        names.rename(nodes, renamed, nodes[0].place)


def _hash(node: Node) -> str:
    plain: dict[str, Any] = node.plain()
    # kustomize leaves the name empty here, and spells JSON as Go does.
    content = {"data": plain.get("data") or "", "kind": "ConfigMap", "name": ""}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return digest.translate(str.maketrans("013ae", "ghkmt"))


def read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"{file}:1: cannot be read as UTF-8 text: {error}") from None
