"""Holding a document against the table of Kubernetes kinds: unknown fields, wrong types, missing fields."""

from __future__ import annotations

from typing import Any

from natsproof import units
from natsproof.contract.problems import Problems, closest, shown
from natsproof.contract.schema_table import table
from natsproof.contract.yaml_source import Node

_EXAMPLES = {
    "s": ("text", 'a word, or a number in quotes: "8"'),
    "i": ("an integer", "3"),
    "n": ("a number", "0.5"),
    "b": ("true or false", "true"),
    "x": ("an integer or text", '1 or "50%"'),
    "q": ("a quantity", "500m, 8Gi"),
    "[": ("a list", "- item"),
    "{": ("a map", "key: value"),
    "#": ("a map", "key: value"),
}


def kinds() -> dict[str, str]:
    """`apps/v1/StatefulSet` and so on, with the name of their definition."""
    found: dict[str, str] = table()["kinds"]
    return found


def check(document: Node, problems: Problems) -> bool:
    """Report all that is wrong with a document's shape; True if nothing is.

    A field that is null counts as absent, as it does for Kubernetes.
    """
    before = problems.count
    if not isinstance(document.value, dict):
        problems.add(document.place, f"found {shown(document.plain())}, expected a Kubernetes object, a map")
        return False
    kind, version = document.get("kind"), document.get("apiVersion")
    for key, node in (("apiVersion", version), ("kind", kind)):
        if node is None or not isinstance(node.value, str):
            problems.add(
                document.place, f"a Kubernetes object needs `{key}` as text (for example {_example(key)})"
            )
    if kind is None or version is None or problems.count > before:
        return False
    name = kinds().get(f"{version.value}/{kind.value}")
    if name is None:
        problems.add(document.keys["kind"], _unknown_kind(str(version.value), str(kind.value)))
        return False
    _check_map(document, name, str(kind.value), problems)
    metadata = document.get("metadata")
    if metadata is None or not isinstance(metadata.value, dict) or metadata.get("name") is None:
        problems.add(document.place, f"the {kind.value} has no metadata.name; give it one")
    return problems.count == before


def _example(key: str) -> str:
    return "apps/v1" if key == "apiVersion" else "StatefulSet"


def _unknown_kind(version: str, kind: str) -> str:
    for known in kinds():
        group, _, name = known.rpartition("/")
        if name == kind:
            return f"found apiVersion {version!r} for kind {kind}, expected {group!r}"
    names = sorted({known.rpartition("/")[2] for known in kinds()})
    near = closest(kind, names)
    return f"unknown kind {kind!r} ({version}){near}; known kinds: {', '.join(names)}"


def _check(node: Node, expected: str, path: str, problems: Problems) -> None:
    value, head, rest = node.value, expected[0], expected[1:]
    if value is None:
        return
    if head == "o":
        return
    if head == "[" and isinstance(value, list):
        for number, item in enumerate(value):
            if item.value is None:
                problems.add(item.place, f"{path}[{number}] is empty; remove the dash or fill it in")
            _check(item, rest, f"{path}[{number}]", problems)
    elif head == "{" and isinstance(value, dict):
        for key, item in value.items():
            _check(item, rest, f"{path}.{key}", problems)
    elif head == "#" and isinstance(value, dict):
        _check_map(node, rest, path, problems)
    else:
        _check_scalar(node, expected, path, problems)


def _check_map(node: Node, name: str, path: str, problems: Problems) -> None:
    definition = table()["types"][name]
    fields: dict[str, str] = definition["f"]
    for key, value in node.value.items():
        expected = fields.get(key)
        if expected is None:
            near = closest(key, fields) or f"; known: {_some(fields)}"
            problems.add(node.keys[key], f"unknown field {key!r} in {path}{near}")
        else:
            _check(value, expected, f"{path}.{key}" if path else key, problems)
    for key in definition.get("r", ()):
        child = node.value.get(key)
        if child is None or child.value is None:
            problems.add(node.place, f"{path} lacks the field {key!r}")


def _some(fields: dict[str, str]) -> str:
    names = sorted(fields)
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")


def _check_scalar(node: Node, expected: str, path: str, problems: Problems) -> None:
    value, head = node.value, expected[0]
    text = isinstance(value, str)
    integer = isinstance(value, int) and not isinstance(value, bool)
    number = integer or isinstance(value, float)
    if head == "=":
        words = expected[1:].split("|")
        if value not in words:
            near = closest(value, words) if isinstance(value, str) else ""
            problems.add(
                node.place, f"{path}: found {shown(node.plain())}, expected one of {', '.join(words)}{near}"
            )
        return
    if head == "q" and (text or number):
        try:
            units.quantity(value)
        except ValueError as error:
            problems.add(node.place, f"{path}: {error}")
        return
    fits = {"s": text, "i": integer, "n": number, "b": isinstance(value, bool), "x": text or integer}
    if not fits.get(head, False):
        name, example = _EXAMPLES[head]
        if head == "s" and isinstance(value, bool):
            example = "quote words such as y, n, on, off, yes, no"
        problems.add(
            node.place, f"{path}: found {shown(node.plain())}, expected {name} (for example {example})"
        )
    elif head == "i" and len(expected) > 1:
        _check_range(node, expected[1:], path, problems)


def _check_range(node: Node, bounds: str, path: str, problems: Problems) -> None:
    least, _, most = bounds.partition("..")
    value: Any = node.value
    if value < int(least) or (most and value > int(most)):
        wanted = f"{least} to {most}" if most else f"{least} or more"
        problems.add(node.place, f"{path}: found {value}, expected {wanted}")
