"""Kustomizations are rendered as kubectl does it, and every field keeps the place that decided it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from natsproof.contract import Place, kustomize, load
from natsproof.errors import ContractError

ROOT = Path(__file__).parent.parent
FOLDER = Path(__file__).parent / "contracts/kustomized"
OVERLAY = FOLDER / "overlays/small"
needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, the oracle, is not on PATH"
)


def by_name(documents: list[Any]) -> dict[tuple[str, str], Any]:
    return {(d["kind"], d["metadata"]["name"]): d for d in documents}


def by_kubectl(folder: Path) -> dict[tuple[str, str], Any]:
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    return by_name([d for d in yaml.load_all(done.stdout, yaml.CSafeLoader) if d])


def rendered(folder: Path) -> dict[tuple[str, str], Any]:
    return by_name([node.plain() for node in kustomize.render(folder)])


@needs_kubectl
@pytest.mark.parametrize("folder", [FOLDER / "base", OVERLAY, ROOT / "manifests"], ids=lambda p: p.name)
def test_kubectl_renders_the_same(folder: Path) -> None:
    assert rendered(folder) == by_kubectl(folder)


PARTS: dict[str, str] = yaml.safe_load((FOLDER.parent / "kustomize-parts.yaml").read_text())


@needs_kubectl
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())
def test_each_part_is_rendered_as_kubectl_does(part: str, tmp_path: Path) -> None:
    shutil.copy(FOLDER / "base/nats.yaml", tmp_path)
    (tmp_path / "kustomization.yaml").write_text("resources: [nats.yaml]\n" + part)
    try:
        expected = by_kubectl(tmp_path)
    except subprocess.CalledProcessError:
        with pytest.raises(ContractError):
            rendered(tmp_path)
    else:
        assert rendered(tmp_path) == expected


def test_every_field_keeps_the_place_that_decided_it() -> None:
    contract = load(OVERLAY)
    base, overlay = FOLDER / "base/nats.yaml", OVERLAY / "kustomization.yaml"
    lines = overlay.read_text().splitlines()
    assert contract.statefulset.at("replicas") == Place(
        str(overlay), lines.index("- {name: nats, count: 5}") + 1
    )
    assert contract.server_container.at("image").file == str(overlay)
    assert contract.statefulset.at("pod_management_policy").file == str(base)
    memory = contract.server_container.resources.at("memory_limit_bytes")
    assert memory.file == str(OVERLAY / "memory.yaml")
    assert contract.promises.at("rate_floor_hz") == Place(str(FOLDER / "base/promised.yaml"), 6)
    assert contract.namespace == "small"
    assert contract.governing_service is not None and contract.governing_service.name == "s-nats-headless"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("resource: [a.yaml]", "yaml:1: unknown field 'resource' in a kustomization; did you mean"),
        ("resources: [none.yaml]", "none.yaml does not exist"),
        ("resources: ['https://example.test/x']", "on the network, which natsproof never reads"),
        ("resources: [nats.yml]", "did you mean nats.yaml?"),
        ("resources: nats.yaml", "expected a list"),
        ("helmCharts: []", "kubectl kustomize"),
        ("resources: [nats.yaml]\npatches: [{path: none.yaml}]", "none.yaml does not exist"),
        ("resources: [nats.yaml]\npatches: [{patch: '[]'}]", "needs a target"),
        ("resources: [nats.yaml]\npatches: [{target: {kind: Nope}, patch: '[]'}]", "selects nothing"),
        ("resources: [nats.yaml]\nreplicas: [{name: none, count: 3}]", "nothing named 'none'"),
        ("resources: [.]", "includes itself"),
        ("[]", "a kustomization is one map"),
        ("resources: [nats.yaml]\npatches: [{target: {kind: Job}, patch: '[{op: remove, path: /spec/no}]'}]",
         "the path /spec/no does not exist"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_kustomization_is_told_with_its_place(
    text: str, says: str, tmp_path: Path
) -> None:
    shutil.copy(FOLDER / "base/nats.yaml", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(text)
    with pytest.raises(ContractError) as error:
        load(tmp_path, promises_required=False)
    assert says in str(error.value)
    assert "kustomization.yaml:" in str(error.value)


def kustomizations() -> list[str]:
    """Every part with each of its values in turn replaced by something else."""
    found = []
    for part in PARTS.values():
        plain = yaml.safe_load(part)
        for key, value in plain.items():
            for wrong in (None, "text", 7, [], ["text"], [7], [[]], {}, {"a": "b"}, [{}], [{"a": [1]}]):
                found.append(yaml.safe_dump({"resources": ["nats.yaml"], key: wrong}))
            for inner in value[0] if isinstance(value, list) and isinstance(value[0], dict) else ():
                for wrong in (None, "text", 7, [], [7], {}, {"a": 1}, "- {op: add}", "[]", "{a: [", "[1]"):
                    edited = {"resources": ["nats.yaml"], key: [value[0] | {inner: wrong}]}
                    found.append(yaml.safe_dump(edited))
    return sorted(set(found))


def test_any_kustomization_is_loaded_or_refused_with_its_place(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "base/nats.yaml", tmp_path)
    refused = 0
    for text in kustomizations():
        (tmp_path / "kustomization.yaml").write_text(text)
        try:
            kustomize.render(tmp_path)
        except ContractError as error:
            refused += 1
            assert ":" in str(error)
    assert refused > 100
