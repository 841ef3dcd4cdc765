"""Suites are about the buckets of the manifests under test, whatever they are called."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from natsproof.certify import Certify, NotPromised
from natsproof.contract.loader import load
from natsproof.contract.promises import DISTURBANCES, RECOVERIES, SURVIVALS
from suites import loads
from tests.sessions import environment

ROOT = Path(__file__).parent.parent


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """The shipped manifests with a bucket of another name and one bucket less."""
    folder = tmp_path / "manifests"
    shutil.copytree(ROOT / "manifests", folder, ignore=shutil.ignore_patterns("kustom*", "patches"))
    for file in folder.glob("*.yaml"):
        kept = [line for line in file.read_text().splitlines() if "dead_letter" not in line]
        file.write_text("\n".join(kept).replace("message_state", "orders") + "\n")
    return folder


def test_claims_are_made_for_the_buckets_of_other_manifests(foreign: Path) -> None:
    command = [sys.executable, "-m", "pytest", "suites/", "--collect-only", "-q", "--cluster", "none"]
    done = subprocess.run(
        [*command, "--manifests", str(foreign)],
        cwd=ROOT,
        env=environment(foreign.parent),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_a_bucket_is_as_promised[orders]" in done.stdout + done.stderr
    assert "message_state" not in done.stdout and "dead_letter" not in done.stdout


def test_a_load_whose_buckets_are_not_there_is_not_promised(foreign: Path) -> None:
    with pytest.raises(NotPromised, match="no bucket dead_letter_queue, message_state"):
        loads.all_pods(load(foreign).promises, 10.0)


def test_a_load_without_a_promised_rate_is_not_promised(foreign: Path) -> None:
    text = (foreign / "promises.yaml").read_text().replace("rate_floor_hz: 200", "")
    (foreign / "promises.yaml").write_text(text)
    with pytest.raises(NotPromised, match="no rate_floor_hz"):
        loads.all_pods(load(foreign).promises, 10.0)


@pytest.mark.parametrize("word", [*SURVIVALS, *DISTURBANCES, *RECOVERIES])
def test_every_word_that_may_be_promised_is_judged_by_some_claim(word: str) -> None:
    """A promise that is accepted and that nothing judges would be taken for one that was kept."""
    asks = {
        "survives": (SURVIVALS, "survives", "_survives"),
        "linearizable": (DISTURBANCES, "linearizable"),
        "recovery": (RECOVERIES, "recovery_s"),
    }
    for words, *verbs in asks.values():
        if word in words:
            called = rf"""\b(?:{"|".join(verbs)})\((?:certify, )?(?:"[a-z-]+", )*"{word}\""""
            text = "".join(file.read_text() for file in sorted((ROOT / "suites").glob("*.py")))
            assert re.search(called, text) or f'recovery_s["{word}"]' in text, f"no claim is about {word}"


def test_where_direct_gets_are_not_promised_to_be_fresh_nothing_is_said_of_them(foreign: Path) -> None:
    def certify() -> Certify:
        return Certify(load(foreign), "quick", lambda: None, "", "")  # type: ignore[arg-type, return-value]

    assert certify().direct_get_late_s() == 2.0
    text = (foreign / "promises.yaml").read_text().replace("direct_get_late: 2s", "")
    (foreign / "promises.yaml").write_text(text)
    with pytest.raises(NotPromised, match=r"promises\.yaml:\d+ has no direct_get_late"):
        certify().direct_get_late_s()
