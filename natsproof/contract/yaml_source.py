"""YAML with the place of every node, read as Kubernetes reads it (YAML 1.1, JSON's types).

Built on libyaml's events rather than its composer: events are iterative, so nesting and alias bombs end in
an error of ours, and they tell where a block scalar's text begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import events

from natsproof.contract.model import Place
from natsproof.errors import ContractError

Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH = 64
MAX_NODES = 200_000
MAX_CHARS = 8_000_000

_NULLS = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"}
_FALSE = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)", re.ASCII)
_BASED = re.compile(r"([-+]?)0(?:x([0-9a-fA-F_]+)|b([01_]+)|o?([0-7_]+))", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_TAG = "tag:yaml.org,2002:"


@dataclass(slots=True)
class Node:
    """A map, a list or a scalar. `place` is where it begins; `keys` where a map's keys stand;
    `text` the first line of a scalar's text (below the `|` of a block scalar)."""

    place: Place
    value: Any  # dict[str, Node] | list[Node] | str | int | float | bool | None
    keys: dict[str, Place] = field(default_factory=dict)
    text: Place | None = None

    def plain(self) -> Any:
        """The same as plain dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def get(self, key: str) -> Node | None:
        """The value under a key of a map; None if this is no map or has no such key."""
        found = self.value.get(key) if isinstance(self.value, dict) else None
        return found if isinstance(found, Node) else None

    def at(self, *path: str | int) -> Node | None:
        """The node at a path of keys and indices, or None."""
        node: Node | None = self
        for step in path:
            if node is None:
                return None
            if isinstance(step, int):
                items = node.value if isinstance(node.value, list) else []
                node = items[step] if step < len(items) else None
            else:
                node = node.get(step)
        return node


def documents(text: str, file: str) -> list[Node]:
    """Every document of a YAML text that is not empty. Raises ContractError with `file:line`."""
    if len(text) > MAX_CHARS:
        raise ContractError(f"{file}:1: {len(text)} characters are no manifest; at most {MAX_CHARS} are read")
    try:
        return [node for node in _Composer(text, file).documents() if node.value is not None]
    except yaml.YAMLError as error:
        raise ContractError(_syntax_error(error, file, text.count("\n") + 1)) from None
    except (ValueError, UnicodeError) as error:
        raise ContractError(f"{file}:1: not readable as YAML: {error}") from None


def _syntax_error(error: yaml.YAMLError, file: str, last_line: int) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    line = min(mark.line + 1, last_line) if mark is not None else 1
    problem = " ".join(str(problem).split())
    where = f" {' '.join(str(context).split())}" if context else ""
    hint = " (indent with spaces, not tabs)" if "\\t" in problem or "tab" in problem else ""
    return f"{file}:{line}: not valid YAML: {problem}{where}{hint}"


class _Composer:
    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.text = text
        self.anchors: dict[str, Node] = {}
        self.nodes = 0

    def place(self, event: Any) -> Place:
        return Place(self.file, event.start_mark.line + 1)

    def fail(self, event: Any, text: str) -> ContractError:
        return ContractError(f"{self.place(event)}: {text}")

    def documents(self) -> Iterator[Node]:
        stream = iter(yaml.parse(self.text, Loader=Parser))
        for event in stream:
            if isinstance(event, events.DocumentStartEvent):
                self.anchors = {}
                yield self.node(next(stream), stream, 0)

    def count(self, event: Any, depth: int) -> None:
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise self.fail(event, f"nested deeper than {MAX_DEPTH} levels; no manifest needs that")
        if self.nodes > MAX_NODES:
            raise self.fail(event, f"more than {MAX_NODES} values (aliases expanded); no manifest needs that")

    def node(self, event: Any, stream: Iterator[Any], depth: int) -> Node:
        self.count(event, depth)
        if isinstance(event, events.AliasEvent):
            return self.alias(event)
        if isinstance(event, events.ScalarEvent):
            node = self.scalar(event)
        elif isinstance(event, events.SequenceStartEvent):
            self.check_tag(event, "seq")
            items: list[Node] = []
            while not isinstance(item := next(stream), events.SequenceEndEvent):
                items.append(self.node(item, stream, depth + 1))
            node = Node(self.place(event), items)
        else:
            self.check_tag(event, "map")
            node = self.mapping(event, stream, depth)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def alias(self, event: Any) -> Node:
        found = self.anchors.get(event.anchor)
        if found is None:
            known = ", ".join(f"&{name}" for name in self.anchors) or "none"
            raise self.fail(event, f"alias *{event.anchor} names no anchor before it; anchors: {known}")
        self.nodes += _size(found, MAX_NODES - self.nodes)
        self.count(event, 0)
        return found

    def check_tag(self, event: Any, expected: str) -> None:
        if event.tag and event.tag not in (_TAG + expected, "!"):
            raise self.fail(event, f"the tag {event.tag} has no meaning in a manifest; remove it")

    def mapping(self, event: Any, stream: Iterator[Any], depth: int) -> Node:
        result = Node(self.place(event), {})
        merged: list[tuple[Any, Node]] = []
        while not isinstance(key_event := next(stream), events.MappingEndEvent):
            key, place, is_merge = self.key(key_event)
            value = self.node(next(stream), stream, depth + 1)
            if is_merge:
                merged.append((key_event, value))
            elif key in result.value:
                raise self.fail(
                    key_event,
                    f"duplicate key {key!r}, first on line {result.keys[key].line}; keep one of the two",
                )
            else:
                result.value[key] = value
                result.keys[key] = place
        for key_event, value in merged:
            self.merge(result, key_event, value)
        return result

    def key(self, event: Any) -> tuple[str, Place, bool]:
        if isinstance(event, events.AliasEvent):
            node = self.alias(event)
        elif isinstance(event, events.ScalarEvent):
            node = self.scalar(event)
            if event.anchor:
                self.anchors[event.anchor] = node
        else:
            raise self.fail(event, "a map or list cannot be a key; quote it if it is text")
        if isinstance(node.value, (dict, list)):
            raise self.fail(event, "a map or list cannot be a key")
        merge = isinstance(event, events.ScalarEvent) and event.value == "<<" and not event.style
        if isinstance(event, events.ScalarEvent):
            return event.value, self.place(event), merge  # Kubernetes' JSON has text keys only
        return str(node.value), self.place(event), merge

    def merge(self, into: Node, event: Any, value: Node) -> None:
        sources = value.value if isinstance(value.value, list) else [value]
        for source in sources:
            if not isinstance(source.value, dict):
                raise self.fail(event, "`<<` merges maps; found something else")
            for key, node in source.value.items():
                if key not in into.value:
                    into.value[key] = node
                    into.keys[key] = source.keys[key]

    def scalar(self, event: Any) -> Node:
        place = self.place(event)
        first = Place(self.file, place.line + 1) if event.style in ("|", ">") else place
        return Node(place, self.resolve(event), text=first)

    def resolve(self, event: Any) -> Any:
        text, tag = event.value, event.tag
        if tag and tag != "!":
            if not tag.startswith(_TAG) or tag[len(_TAG) :] not in ("str", "int", "float", "bool", "null"):
                raise self.fail(event, f"the tag {tag} has no meaning in a manifest; remove it")
            value = text if tag == _TAG + "str" else plain_scalar(text)
            expected = {"str": str, "int": int, "float": (int, float), "bool": bool, "null": type(None)}
            if not isinstance(value, expected[tag[len(_TAG) :]]):  # type: ignore[arg-type]
                raise self.fail(event, f"{text!r} does not fit its tag {tag}")
            return value
        if not event.style and tag != "!":
            return plain_scalar(text)
        return text


def plain_scalar(text: str) -> str | int | float | bool | None:
    """An unquoted scalar as Kubernetes' YAML reader types it: y and n are booleans, dates and `1:30` text."""
    if text in _NULLS:
        return None
    first = text[0]
    if first.isalpha() and first not in "yYnNtTfFoO":
        return text
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if first not in "+-.0123456789" or len(text) > 100:
        return text
    if _INT.fullmatch(text):
        return int(text.replace("_", ""))
    based = _BASED.fullmatch(text)
    if based:
        return _based_int(text, based)
    if _FLOAT.fullmatch(text):
        value = float(text.replace("_", ""))
        return text if value in (float("inf"), float("-inf")) else value
    return text


def _based_int(text: str, match: re.Match[str]) -> int | str:
    sign = -1 if match[1] == "-" else 1
    for digits, base in ((match[2], 16), (match[3], 2), (match[4], 8)):
        if digits and digits.strip("_"):
            return sign * int(digits.replace("_", ""), base)
    return text


def _size(node: Node, limit: int) -> int:
    """Number of nodes below, counted up to `limit`."""
    stack, count = [node], 0
    while stack and count <= limit:
        current = stack.pop()
        count += 1
        if isinstance(current.value, dict):
            stack.extend(current.value.values())
        elif isinstance(current.value, list):
            stack.extend(current.value)
    return count
