"""The runbook block by block: what ran, what failed, what was left out; and the table of agreement."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from natsproof.cluster import runbook
from natsproof.cluster.kubernetes import manual
from tests import agreement


def cluster(tmp_path: Path, *, workers: int = 3, images: tuple[str, ...] = ()) -> Any:
    nodes = [{"status": {"images": [{"names": list(images)}]}}]
    return SimpleNamespace(
        machine=SimpleNamespace(workers=lambda: ["w"] * workers),
        api=SimpleNamespace(list=lambda kind: nodes, get=lambda *a, **o: {"allowVolumeExpansion": False}),
        applied=SimpleNamespace(
            statefulset=SimpleNamespace(claims=[SimpleNamespace(storage_class="longhorn")])
        ),
        kubeconfig=tmp_path / "kubeconfig",
    )


def section(tmp_path: Path, title: str, *own: str, **options: Any) -> list[tuple[int, int, bool]]:
    found = manual._section(cluster(tmp_path, **options), tmp_path, title, own, "set -eu\nfive=5\n")
    return [(b["number"], b["code"], bool(b["left_out"])) for b in found]


def test_the_blocks_of_a_section_share_one_shell(tmp_path: Path) -> None:
    assert section(tmp_path, "Verify", "six=6\n", '[ "$five$six" = 56 ]\n') == [(1, 0, False), (2, 0, False)]


def test_a_block_that_fails_is_told_and_what_follows_was_not_reached(tmp_path: Path) -> None:
    seen = section(tmp_path, "Verify", "true\n", "echo told; exit 3\n", "true\n")
    assert seen == [(1, 0, False), (2, 3, False), (3, 3, False)]


def test_what_cannot_run_is_left_out_with_its_reason(tmp_path: Path) -> None:
    assert section(tmp_path, "Scale from three to five", "exit 9\n") == [(1, 0, True)]
    assert section(tmp_path, "Scale from three to five", "exit 9\n", workers=5) == [(1, 9, False)]
    assert section(tmp_path, "Grow the volumes", "exit 9\n") == [(1, 0, True)]
    exporter = "true; : prometheus-exporter.yaml\n"
    assert section(tmp_path, "Monitor", "true\n", exporter) == [(1, 0, False), (2, 0, True)]
    images = ("natsio/prometheus-nats-exporter:0.20.1",)
    assert section(tmp_path, "Monitor", "true\n", exporter, images=images)[1] == (2, 0, False)


def test_every_section_with_commands_is_found_in_the_runbooks_order() -> None:
    found = manual.sections(runbook.RUNBOOK.read_text())
    assert list(found)[:3] == ["Tools", "Deploy", "Verify"]
    assert "The quorum is lost" not in found, "it has no commands"
    assert manual.number_of_blocks() == sum(map(len, found.values()))
    assert set(manual.BEFORE) <= set(found)


def test_kubectl_applies_requests_that_fit_and_leaves_the_rest(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        manual.main(["cat", "manifests/statefulset.yaml"])
    assert ended.value.code == 0
    said = capfd.readouterr().out
    assert "requests:\n              cpu: 100m\n              memory: 128Mi\n" in said
    assert 'limits:\n              cpu: "4"\n              memory: 8Gi\n' in said
    assert said.count("\n") == Path("manifests/statefulset.yaml").read_text().count("\n")


def verdict_of(word: str) -> dict[str, Any]:
    return {"took_s": 1.0, "error": "", "verdicts": {"test_it": [word, "why"]}}


def test_the_table_of_agreement_counts_and_explains_what_differs() -> None:
    name, other = agreement.CHOSEN[:2]
    seen = {
        agreement.CONTROL: {"embedded": verdict_of("HOLDS"), "kind": verdict_of("HOLDS")},
        name: {"embedded": verdict_of("BROKEN"), "kind": verdict_of("BROKEN")},
        other: {"embedded": verdict_of("BROKEN"), "kind": verdict_of("UNKNOWN")},
    }
    text, apart = agreement.page(seen)
    assert apart == 1
    assert "2 of 3 deployments" in text
    assert f"**{other}** differs" in text
    assert f"**{name}** differs" not in text
    assert agreement.CHOSEN[2] in text.partition("Not run on both yet")[2]


def test_every_chosen_mutant_exists_and_its_manifests_can_be_read() -> None:
    for edits in agreement.chosen().values():
        assert agreement.edited(edits, namespace="agree-1").namespace == "agree-1"
