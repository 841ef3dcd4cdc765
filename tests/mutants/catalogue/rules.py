"""Manifests made wrong for the rules: tests/mutants/contract/*.yaml, judged without a cluster."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.mutants.manifests import Edit
from tests.mutants.mutant import Mutant

FOLDER = Path(__file__).parent.parent / "contract"
MUTANTS = tuple(
    Mutant(
        entry["name"],
        "contract",
        tuple(f"test_{rule}" for rule in entry["breaks"]),
        edits=tuple(Edit(e["file"], e["find"], e["replace"]) for e in entry["edits"]),
        fast=True,
    )
    for file in sorted(FOLDER.glob("*.yaml"))
    for entry in yaml.safe_load(file.read_text())
)
