"""Strategic merge and JSON patches on YAML nodes; what a patch wrote keeps the patch's place."""

from __future__ import annotations

from natsproof.contract.model import Place
from natsproof.contract.problems import shown
from natsproof.contract.schema_table import table
from natsproof.contract.yaml_source import Node
from natsproof.errors import ContractError

_DIRECTIVE = "$patch"


def copy(node: Node) -> Node:
    """A deep copy, so that a document used twice is patched once."""
    if isinstance(node.value, dict):
        value: object = {key: copy(child) for key, child in node.value.items()}
    elif isinstance(node.value, list):
        value = [copy(child) for child in node.value]
    else:
        value = node.value
    return Node(node.place, value, dict(node.keys), node.text)


def merge_document(document: Node, patch: Node) -> Node | None:
    """A strategic merge patch on a whole object; None if the patch deletes it."""
    if _directive(patch) == "delete":
        return None
    version, kind = document.get("apiVersion"), document.get("kind")
    name = table()["kinds"].get(f"{version.value}/{kind.value}") if version and kind else None
    return _merge(document, patch, f"#{name}" if name else "o")


def _directive(patch: Node) -> str | None:
    node = patch.get(_DIRECTIVE)
    if node is None:
        return None
    if node.value not in ("delete", "replace", "merge"):
        raise ContractError(f"{node.place}: $patch: found {shown(node.plain())}, expected delete or replace")
    return str(node.value)


def _without_directive(patch: Node) -> Node:
    kept = {key: child for key, child in patch.value.items() if key != _DIRECTIVE}
    return Node(patch.place, kept, {key: patch.keys[key] for key in kept}, patch.text)


def _merge(base: Node, patch: Node, kind: str) -> Node:
    if not isinstance(base.value, dict) or not isinstance(patch.value, dict):
        return _cleaned(patch)
    if _directive(patch) == "replace":
        return _cleaned(_without_directive(patch))
    result = Node(base.place, dict(base.value), dict(base.keys), base.text)
    for key, value in patch.value.items():
        if key.startswith("$") and key != _DIRECTIVE:
            raise ContractError(
                f"{patch.keys[key]}: the directive {key} is not read; write the whole list in a JSON patch"
            )
        if key == _DIRECTIVE:
            continue
        if value.value is None:
            result.value.pop(key, None)
            result.keys.pop(key, None)
            continue
        old = base.value.get(key)
        child, merge_keys = _child(kind, key)
        if old is not None and merge_keys and isinstance(value.value, list) and isinstance(old.value, list):
            result.value[key] = _merge_list(old, value, child[1:], merge_keys)
        elif old is not None:
            result.value[key] = _merge(old, value, child)
            if not isinstance(value.value, dict):
                result.keys[key] = patch.keys[key]
        else:
            result.value[key] = _cleaned(value)
            result.keys[key] = patch.keys[key]
    return result


def _child(kind: str, key: str) -> tuple[str, list[str]]:
    """The type of a field, and the keys by which its elements are paired."""
    if kind[0] == "#":
        definition = table()["types"][kind[1:]]
        return definition["f"].get(key, "o"), definition.get("m", {}).get(key, [])
    return (kind[1:], []) if kind[0] == "{" else ("o", [])


def _cleaned(patch: Node) -> Node:
    """What a patch adds where nothing was: its nulls and directives mean nothing there."""
    if isinstance(patch.value, list):
        kept = [_cleaned(item) for item in patch.value if _directive(item) != "delete"]
        return Node(patch.place, kept, {}, patch.text)
    if not isinstance(patch.value, dict):
        return patch
    fields = {k: _cleaned(v) for k, v in patch.value.items() if v.value is not None and k != _DIRECTIVE}
    return Node(patch.place, fields, {key: patch.keys[key] for key in fields}, patch.text)


def _merge_list(base: Node, patch: Node, element: str, keys: list[str]) -> Node:
    if any(_directive(item) == "replace" and len(item.value) == 1 for item in patch.value):
        items = [item for item in patch.value if _directive(item) != "replace"]
        return Node(patch.place, [_cleaned(item) for item in items])
    rest = list(base.value)
    merged: list[Node] = []
    for item in patch.value:
        if item.get(keys[0]) is None:
            raise ContractError(
                f"{item.place}: an element of this list needs {keys[0]!r}, which pairs it with the base"
            )
        old = next((old for old in rest if _paired(old, item, keys)), None)
        rest = [other for other in rest if other is not old]
        if _directive(item) != "delete":
            merged.append(_cleaned(item) if old is None else _merge(old, item, element))
    # kustomize puts what the patch names first, in the patch's order.
    return Node(base.place, [*merged, *rest])


def _paired(old: Node, new: Node, keys: list[str]) -> bool:
    for key in keys:
        left, right = old.get(key), new.get(key)
        default = "TCP" if key == "protocol" else None
        if (left.value if left else default) != (right.value if right else default):
            return False
    return True


# -- JSON patch (RFC 6902) ---------------------------------------------------------------------------


def apply_json_patch(document: Node, operations: Node) -> Node:
    """The document after every operation. Raises ContractError at the operation that does not fit."""
    if not isinstance(operations.value, list):
        raise ContractError(f"{operations.place}: a JSON patch is a list of operations (- op: replace …)")
    result = copy(document)
    for operation in operations.value:
        result = _operate(result, operation)
    return result


def _text(operation: Node, key: str) -> str:
    node = operation.get(key)
    if node is None or not isinstance(node.value, str):
        raise ContractError(f"{operation.place}: a JSON patch operation needs {key!r} as text")
    return node.value


def _operate(document: Node, operation: Node) -> Node:
    name, place = _text(operation, "op"), operation.place
    steps = _steps(_text(operation, "path"), place)
    value = operation.get("value")
    if name in ("add", "replace", "test") and value is None:
        raise ContractError(f"{place}: {name} needs a value")
    if name in ("move", "copy"):
        source = _steps(_text(operation, "from"), place)
        value = copy(_found(document, source, place))
        if name == "move":
            document = _removed(document, source, place)
        return _added(document, steps, value, place)
    if name == "test":
        if value is not None and _found(document, steps, place).plain() != value.plain():
            found = shown(_found(document, steps, place).plain())
            raise ContractError(f"{place}: test of {_text(operation, 'path')} failed: found {found}")
        return document
    if name == "remove":
        return _removed(document, steps, place)
    if name in ("add", "replace") and value is not None:
        if name == "replace":
            _found(document, steps, place)
            if not steps:
                return copy(value)
            document = _removed(document, steps, place)
        return _added(document, steps, copy(value), place)
    raise ContractError(f"{place}: op {name!r} does not exist; known: add, remove, replace, move, copy, test")


def _steps(path: str, place: Place) -> list[str]:
    if path and not path.startswith("/"):
        raise ContractError(f"{place}: path {path!r} must begin with / (for example /spec/replicas)")
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]


def _found(document: Node, steps: list[str], place: Place) -> Node:
    node = document
    for depth, step in enumerate(steps):
        child: Node | None = None
        if isinstance(node.value, dict):
            child = node.value.get(step)
        elif (
            isinstance(node.value, list) and step.isascii() and step.isdigit() and int(step) < len(node.value)
        ):
            child = node.value[int(step)]
        if child is None:
            at = "/" + "/".join(steps[: depth + 1])
            raise ContractError(
                f"{place}: the path {at} does not exist in what is patched ({document.place})"
            )
        node = child
    return node


def _removed(document: Node, steps: list[str], place: Place) -> Node:
    _found(document, steps, place)
    if not steps:
        raise ContractError(f"{place}: the whole document cannot be removed by a JSON patch")
    parent, last = _found(document, steps[:-1], place), steps[-1]
    if isinstance(parent.value, dict):
        del parent.value[last]
        parent.keys.pop(last, None)
    else:
        del parent.value[int(last)]
    return document


def _added(document: Node, steps: list[str], value: Node, place: Place) -> Node:
    if not steps:
        return value
    parent, last = _found(document, steps[:-1], place), steps[-1]
    if isinstance(parent.value, dict):
        parent.value[last] = value
        parent.keys[last] = place
    elif isinstance(parent.value, list) and (last == "-" or (last.isascii() and last.isdigit())):
        at = len(parent.value) if last == "-" else int(last)
        if at > len(parent.value):
            raise ContractError(f"{place}: index {at} is beyond the {len(parent.value)} elements there")
        parent.value.insert(at, value)
    else:
        raise ContractError(
            f"{place}: nothing can be added at /{'/'.join(steps)}; its parent is no map or list"
        )
    return document
