"""`natsproof promises`: what it drafts is read back as what the manifests say."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from natsproof.cli import main
from natsproof.contract.draft import draft
from natsproof.contract.loader import load, load_documents
from natsproof.contract.model import Bucket, Contract

MANIFESTS = Path(__file__).parent.parent / "manifests"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The shipped manifests without their promises."""
    shutil.copytree(
        MANIFESTS, tmp_path / "bare", ignore=shutil.ignore_patterns("promises.yaml", "kustom*", "patches")
    )
    return tmp_path / "bare"


def plain(bucket: Bucket) -> Bucket:
    return replace(bucket, place=Bucket(name="").place, places={})


def drafted(contract: Contract) -> Contract:
    files = [
        (f.name, f.read_text())
        for f in sorted(MANIFESTS.glob("*.yaml"))
        if f.stem not in ("promises", "kustomization")
    ]
    return load_documents([*files, ("promises.yaml", draft(contract))])


def test_a_draft_promises_what_the_job_makes(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(bare)]) == 4
    assert f"natsproof promises {bare}" in capsys.readouterr().err
    assert main(["promises", str(bare)]) == 0
    (bare / "promises.yaml").write_text(capsys.readouterr().out)
    assert main(["lint", str(bare)]) == 0, capsys.readouterr().out
    contract = load(bare)
    assert [plain(b) for b in contract.promises.buckets] == [plain(b) for b in contract.job_buckets]
    assert "power-loss-all" in contract.promises.survives


def test_power_loss_is_promised_only_where_it_is_survived(bare: Path) -> None:
    config = bare / "configmap.yaml"
    config.write_text(config.read_text().replace("sync_interval: always", 'sync_interval: "2m"'))
    assert "power-loss" not in draft(load(bare, promises_required=False))


@pytest.mark.parametrize(
    "bucket",
    [
        Bucket(
            name="odd", ttl_s=0.5, max_bytes=1001, replicas=1, storage="memory", history=7, max_value_bytes=3
        ),
        Bucket(name="days", ttl_s=172_800.0, max_bytes=3 << 20),
        Bucket(name="forever"),
    ],
    ids=lambda bucket: bucket.name,
)
def test_every_bucket_is_read_back_as_it_was(bare: Path, bucket: Bucket) -> None:
    contract = replace(load(bare, promises_required=False), job_buckets=(bucket,))
    assert [plain(b) for b in drafted(contract).promises.buckets] == [plain(bucket)]


def test_manifests_without_a_job_say_what_is_to_be_written(bare: Path) -> None:
    (bare / "kv-setup-job.yaml").unlink()
    assert "- {name: state" in draft(load(bare, promises_required=False))
