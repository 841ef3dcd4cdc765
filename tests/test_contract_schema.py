"""Our table of Kubernetes kinds against kubernetes-validate, which it is made from."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from natsproof.contract import schema_check, schema_table, yaml_source
from natsproof.contract.problems import Problems

ROOT = Path(__file__).parent.parent
FILES = [*sorted((ROOT / "manifests").glob("*.yaml")), ROOT / "tests/contracts/kustomized/base/nats.yaml"]
DOCUMENTS = [
    document
    for file in FILES
    if file.name != "kustomization.yaml"
    for document in yaml.load_all(file.read_text(), yaml.CSafeLoader)
    if document
]


def test_the_table_is_the_one_the_library_gives() -> None:
    assert schema_table.build() == json.loads(schema_table.TABLE.read_text())


def refused_by_us(document: Any) -> bool:
    problems = Problems()
    text = yaml.dump(document, Dumper=yaml.CSafeDumper)
    schema_check.check(yaml_source.documents(text, "m.yaml")[0], problems)
    return bool(problems)


def refused_by_the_library(document: Any) -> bool:
    try:
        kubernetes_validate.validate(document, schema_table.KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError:
        return True
    return False


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: f"{d['kind']}-{d['metadata']['name']}")
def test_good_documents_pass_both(document: Any) -> None:
    assert not refused_by_us(document)
    assert not refused_by_the_library(document)


def paths(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(node, dict | list):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield (*at, key)
            yield from paths(child, (*at, key))


def test_what_the_library_refuses_we_refuse() -> None:
    """Seeded edits: a wrong type, a misspelt field. We may be stricter (words, ranges), never laxer."""
    choose = random.Random(20261123)
    refused = 0
    for _ in range(40):
        document = copy.deepcopy(choose.choice(DOCUMENTS))
        path = choose.choice([p for p in paths(document) if len(p) > 1])
        parent = document
        for step in path[:-1]:
            parent = parent[step]
        if choose.random() < 0.4 and isinstance(parent, dict):
            parent[f"{path[-1]}x"] = parent.pop(path[-1])
        else:
            parent[path[-1]] = choose.choice(["text", 7, True, [1], {"k": "v"}, 1.5])
        if refused_by_the_library(document):
            refused += 1
            assert refused_by_us(document), path
    assert refused > 10
