"""Short reads from checked YAML nodes: null counts as absent, paths may be absent halfway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from natsproof.contract.model import Place
from natsproof.contract.yaml_source import Node


def plain(node: Node, *path: str | int) -> Any:
    """The plain value at a path, None if absent."""
    found = node.at(*path)
    return None if found is None else found.plain()


def text(node: Node, *path: str | int) -> str | None:
    value = plain(node, *path)
    return None if value is None else str(value)


def integer(node: Node, default: int, *path: str | int) -> int:
    value = plain(node, *path)
    return default if value is None else int(value)


def items(node: Node | None) -> list[Node]:
    """The nodes of a list, none if absent."""
    return node.value if node is not None and isinstance(node.value, list) else []


def strings(node: Node | None) -> tuple[str, ...] | None:
    """A list of text; None if absent."""
    if node is None or not isinstance(node.value, list):
        return None
    return tuple(str(item.value) for item in node.value)


def text_map(node: Node | None) -> Mapping[str, str]:
    if node is None or not isinstance(node.value, dict):
        return {}
    return {key: "" if item.value is None else str(item.value) for key, item in node.value.items()}


def places(node: Node, **paths: tuple[str | int, ...]) -> dict[str, Place]:
    """Where the key at the end of each path was written, under the name of the model's field."""
    found: dict[str, Place] = {}
    for name, path in paths.items():
        parent = node.at(*path[:-1])
        last = path[-1]
        if parent is None:
            continue
        if isinstance(last, str) and last in parent.keys:
            found[name] = parent.keys[last]
        elif isinstance(last, int) and (item := parent.at(last)) is not None:
            found[name] = item.place
    return found
