"""Every rule holds for the shipped manifests, and each has a mutant that breaks it and nothing else."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from natsproof.contract.loader import load_documents
from natsproof.contract.model import Contract, Probe
from natsproof.contract.rules import RULES, rule_named
from natsproof.contract.rules.health import Depth, depth_of
from natsproof.contract.rules.memory import go_memory_bytes
from natsproof.contract.rules.pinning import tag_of
from natsproof.contract.rules.shell import lines_of
from natsproof.errors import ContractError
from natsproof.verdict import Status

ROOT = Path(__file__).parent.parent
MUTANTS = ROOT / "tests" / "mutants" / "contract"


@cache
def shipped() -> tuple[tuple[str, str], ...]:
    files = sorted((ROOT / "manifests").glob("*.yaml"))
    return tuple((f.name, f.read_text()) for f in files if f.name != "kustomization.yaml")


def mutants() -> list[Any]:
    found = []
    for file in sorted(MUTANTS.glob("*.yaml")):
        for entry in yaml.safe_load(file.read_text()):
            found.append(pytest.param(entry, id=re.sub(r"\W+", "_", entry["name"])))
    return found


def mutated(edits: list[dict[str, str]]) -> Contract:
    texts = dict(shipped())
    for edit in edits:
        text = texts[edit["file"]]
        count = text.count(edit["find"])
        assert count == 1, f"{edit['find']!r} occurs {count} times in {edit['file']}"
        texts[edit["file"]] = text.replace(edit["find"], edit["replace"])
    return load_documents(list(texts.items()))


def by_status(contract: Contract, status: Status) -> list[str]:
    return sorted(rule.name for rule in RULES if rule.check(contract).status is status)


def test_every_rule_holds_for_the_shipped_manifests() -> None:
    contract = load_documents(list(shipped()))
    assert [(r.name, v.reason) for r in RULES if (v := r.check(contract)).status is not Status.HOLDS] == []


@pytest.mark.parametrize("mutant", mutants())
def test_a_mutant_breaks_exactly_its_claims(mutant: dict[str, Any]) -> None:
    contract = mutated(mutant["edits"])
    assert by_status(contract, Status.BROKEN) == sorted(mutant["breaks"])


@pytest.mark.parametrize("mutant", mutants())
def test_a_finding_names_file_and_line(mutant: dict[str, Any]) -> None:
    contract = mutated(mutant["edits"])
    files = {name for name, _ in shipped()}
    for name in mutant["breaks"]:
        verdict = rule_named(name).check(contract)
        assert verdict.exhibits
        for exhibit in verdict.exhibits:
            file, _, line = exhibit.place.partition(":")
            assert file in files, exhibit
            assert int(line) > 0
            assert exhibit.text


@pytest.mark.parametrize("file", [name for name, _ in shipped()])
def test_no_rule_raises_when_a_line_is_missing(file: str) -> None:
    lines = dict(shipped())[file].split("\n")
    judged = 0
    for number in range(3, len(lines), 5):
        texts = dict(shipped()) | {file: "\n".join(lines[:number] + lines[number + 1 :])}
        try:
            contract = load_documents(list(texts.items()))
        except ContractError:
            continue
        judged += sum(bool(rule.check(contract).reason) for rule in RULES)
    assert judged


def test_every_rule_has_a_mutant_that_breaks_it_alone() -> None:
    alone = {m.values[0]["breaks"][0] for m in mutants() if len(m.values[0]["breaks"]) == 1}
    assert {rule.name for rule in RULES} - alone == NOT_ALONE


# Without http_port the probes and the Services lead nowhere too: there is no smaller way to break it.
NOT_ALONE = {"monitoring_is_switched_on"}


def test_every_rule_is_one_claim_of_the_suite_with_its_title() -> None:
    tree = ast.parse((ROOT / "suites" / "test_contract.py").read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    claims = {f.name: " ".join((ast.get_docstring(f) or "").split()) for f in functions}
    assert claims == {f"test_{rule.name}": " ".join(rule.title.split()) for rule in RULES}
    assert len(functions) == len(RULES)


@pytest.mark.parametrize(
    ("path", "depth"),
    [
        ("/healthz", Depth.STREAMS),
        ("/healthz?js-server-only=true", Depth.LISTENING),
        ("/healthz?js-enabled-only=1", Depth.JETSTREAM),
        ("/healthz?js-enabled-only", Depth.STREAMS),
        ("/healthz?js-server-only=yes", Depth.STREAMS),
        ("/healthz?js-meta-only=true", Depth.META),
        ("/healthz?unknown=true", Depth.STREAMS),
        ("/varz", Depth.LISTENING),
    ],
)
def test_a_probe_asks_what_the_server_makes_of_it(path: str, depth: Depth) -> None:
    assert depth_of(Probe(action="http_get", path=path, port=8222)) is depth


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("nats", None),
        ("nats:2.12.8-alpine", "2.12.8-alpine"),
        ("registry.local:5000/nats", None),
        ("registry.local:5000/nats:2.12.8", "2.12.8"),
        ("nats:2.12.8@sha256:00", "2.12.8"),
    ],
)
def test_the_tag_of_an_image(image: str, tag: str | None) -> None:
    assert tag_of(image) == tag


@pytest.mark.parametrize(
    ("text", "size"),
    [("7GiB", 7 * 2**30), ("100", 100), ("1MiB", 2**20), ("7Gi", None), ("7 GiB", None), ("7GB", None)],
)
def test_gomemlimit_in_go_grammar(text: str, size: int | None) -> None:
    assert go_memory_bytes(text) == size


def test_lines_of_a_script_are_joined_and_without_comments() -> None:
    lines = lines_of("# first\nset -e # why\n\nnats kv add a \\\n  --ttl=1m\necho 'no # comment'\n")
    assert [(line.number, line.text) for line in lines] == [
        (2, "set -e"),
        (4, "nats kv add a    --ttl=1m"),
        (6, "echo 'no # comment'"),
    ]
