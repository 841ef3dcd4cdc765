"""The shipped manifests with edits: each text to find must be there exactly once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from natsproof.contract.loader import load_documents
from natsproof.contract.model import Contract

FOLDER = Path(__file__).parent.parent.parent / "manifests"


@dataclass(frozen=True)
class Edit:
    file: str
    find: str
    replace: str


@cache
def shipped() -> tuple[tuple[str, str], ...]:
    files = sorted(FOLDER.glob("*.yaml"))
    return tuple((f.name, f.read_text()) for f in files if f.name != "kustomization.yaml")


#: The namespace the shipped manifests name throughout.
NAMESPACE = "vrsky-platform"


def edited(edits: Iterable[Edit], *, namespace: str = NAMESPACE) -> Contract:
    """The manifests so edited, in `namespace`.

    Raises LookupError if a text to find is not there exactly once: the mutant would be none.
    """
    texts = dict(shipped())
    for edit in edits:
        found = texts[edit.file].count(edit.find)
        if found != 1:
            raise LookupError(f"{edit.find!r} occurs {found} times in {edit.file}; make the edit unique")
        texts[edit.file] = texts[edit.file].replace(edit.find, edit.replace)
    return load_documents([(file, text.replace(NAMESPACE, namespace)) for file, text in texts.items()])
