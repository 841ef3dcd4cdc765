"""What a wrong kustomization is told: the place, what was found, what was expected."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from natsproof.contract import load
from natsproof.errors import ContractError
from tests.test_contract_kustomize import FOLDER

#: What stands beside `resources: [nats.yaml]`, and what is said of it.
WRONG = [
    ("replicas: [{name: nats}]", "replicas need a count (for example count: 3)"),
    ("configMapGenerator: [{name: c, literals: [x]}]", "found 'x', expected KEY=VALUE"),
    ("patches: [{target: {name: no}, patch: '[]'}]", "found false, expected text"),
    ("patches: [{target: Job, patch: '[]'}]", "found 'Job', expected kind and name"),
    ("patches: [{target: {kind: Job}}]", "a patch needs either path or patch"),
    ("patches: [patch: '{kind: Job, apiVersion: v1, metadata: {name: none}}']", "the patch is for Job none"),
    ("patches: [{target: {name: xy}, patch: '[]'}]", "selects nothing; objects:"),
    ("patches: [{target: {name: '['}, patch: '[]'}]", "'[' is no regular expression"),
    ("patches: [{target: {labelSelector: a in b}, patch: '[]'}]", "use key=value or key!=value"),
]
#: A patch of the StatefulSet, and what is said of it.
PATCHES = [
    ("{$patch: keep}", "found 'keep', expected delete or replace"),
    ("{spec: {$retainKeys: [a]}}", "the directive $retainKeys is not read; write the whole list"),
    ("[{op: remove}]", "a JSON patch operation needs 'path' as text"),
    ("[{op: test, path: /kind, value: Job}]", "test of /kind failed: found 'StatefulSet'"),
    ("[{op: add, path: /kind/x, value: 1}]", "nothing can be added at /kind/x; its parent is no map or list"),
    ('[{op: remove, path: ""}]', "the whole document cannot be removed by a JSON patch"),
    ("[{op: swap, path: /kind, value: 1}]", "does not exist; known: add, remove, replace, move, copy, test"),
    ("[{op: add, path: /kind}]", "needs a value"),
]
WRONG += [
    (f"patches: [{{target: {{kind: StatefulSet}}, patch: '{patch}'}}]", said) for patch, said in PATCHES
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_wrong_in_a_kustomization_is_quoted(text: str, said: str, tmp_path: Path) -> None:
    shutil.copy(FOLDER / "base/nats.yaml", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(f"resources: [nats.yaml]\n{text}\n")
    with pytest.raises(ContractError) as told:
        load(tmp_path, promises_required=False)
    assert said in str(told.value)
    assert "kustomization.yaml:" in str(told.value)


def test_a_folder_without_a_kustomization_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "kustomization.yaml").write_text("resources: [empty]\n")
    with pytest.raises(ContractError, match=r"has no kustomization\.yaml; name its files instead"):
        load(tmp_path, promises_required=False)
