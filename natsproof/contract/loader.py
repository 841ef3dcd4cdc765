"""Reading manifests: a folder, a file, a kustomization or standard input, into one Contract."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from natsproof.contract import kustomize, schema_check, yaml_source
from natsproof.contract.assemble import assemble
from natsproof.contract.model import Contract, Place
from natsproof.contract.objects import kubernetes_object
from natsproof.contract.problems import Problems
from natsproof.contract.yaml_source import Node
from natsproof.errors import ContractError

SUFFIXES = (".yaml", ".yml", ".json")


def load(source: str | Path, *, promises_required: bool = True) -> Contract:
    """The Contract of a folder (its kustomization if it has one, else its files; sub-folders are not read),
    of a file, or of standard input (`-`).

    Raises ContractError that lists every problem as `file:line: what is wrong`.
    """
    folder = None if str(source) == "-" else _kustomization(Path(source))
    if folder is None:
        return load_documents(read_files(source), promises_required=promises_required)
    return load_nodes(
        _unlisted(kustomize.render(folder)),
        Place(str(folder), 1),
        Problems(),
        promises_required=promises_required,
    )


def load_all(sources: Sequence[str]) -> Contract:
    """The Contract of all these sources together, each as `load` takes it. Raises ContractError."""
    if len(sources) == 1:
        return load(sources[0])
    return load_documents([file for source in sources for file in read_files(source)])


def _kustomization(path: Path) -> Path | None:
    """The folder to render if the path is a kustomization or a folder with one."""
    if path.name in kustomize.FILES and path.is_file():
        return path.parent
    return path if path.is_dir() and kustomize.file_in(path) else None


def load_documents(files: Sequence[tuple[str, str]], *, promises_required: bool = True) -> Contract:
    """The Contract of texts in memory, each with the file name that messages shall use."""
    problems = Problems()
    nodes: list[Node] = []
    for file, text in files:
        try:
            nodes += _unlisted(yaml_source.documents(text, file))
        except ContractError as error:
            problems.add_text(str(error))
    return load_nodes(nodes, _whole(files), problems, promises_required=promises_required)


def load_nodes(
    nodes: Iterable[Node], source: Place, problems: Problems, *, promises_required: bool
) -> Contract:
    """The Contract of documents that are read already."""
    checked = [node for node in nodes if schema_check.check(node, problems)]
    problems.raise_if_any()
    if not checked:
        raise ContractError(f"{source}: no Kubernetes object here; expected manifests of the platform")
    objects = tuple(kubernetes_object(node, problems) for node in checked)
    return assemble(objects, source, problems, promises_required=promises_required)


def read_files(source: str | Path) -> list[tuple[str, str]]:
    """(file, text) of every manifest of a folder, of one file or of `-`. Raises ContractError."""
    if str(source) == "-":
        return [("<stdin>", standard_input())]
    path = Path(source)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
        if not found:
            raise ContractError(f"{path}: no manifests here; expected files *.yaml, *.yml or *.json")
    elif path.is_file():
        found = [path]
    else:
        raise ContractError(f"{path}: no such file or folder; give manifests with --manifests PATH")
    return [(str(file), read_text(file)) for file in found if file.name not in kustomize.FILES]


@cache
def standard_input() -> str:
    """All of standard input, read once a process: who asks later gets the same. Raises ContractError."""
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise ContractError(f"<stdin>:1: not UTF-8 text ({error.reason})") from None


def read_text(file: Path) -> str:
    """A file as UTF-8. Raises ContractError."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContractError(f"{file}:1: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise ContractError(f"{file}: cannot be read: {error.strerror}") from None


def _whole(files: Sequence[tuple[str, str]]) -> Place:
    if len(files) == 1:
        return Place(files[0][0], 1)
    folders = {str(Path(file).parent) for file, _ in files}
    return Place(folders.pop() if len(folders) == 1 else "<manifests>", 1)


def _unlisted(nodes: Iterable[Node]) -> Iterable[Node]:
    """Documents, with `kind: List` replaced by its items."""
    for node in nodes:
        kind, items = node.get("kind"), node.get("items")
        if kind is not None and kind.value == "List" and items is not None and isinstance(items.value, list):
            yield from items.value
        else:
            yield node
