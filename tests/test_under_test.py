"""Suites are about the buckets of the manifests under test, whatever they are called."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from natsproof.certify import Certify, NotPromised
from natsproof.contract.loader import load
from natsproof.contract.promises import DISTURBANCES, RECOVERIES, SURVIVALS
from suites import loads, test_deployment
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


def claim_of(manifests: Path) -> Certify:
    return Certify(load(manifests), "quick", lambda: None, "", "")  # type: ignore[arg-type, return-value]


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
            assert re.search(called, text), f"no claim is about {word}"


@pytest.mark.parametrize("name", ["direct_get_late", "expiry_late", "p99"])
def test_a_bound_that_is_not_promised_breaks_nothing(foreign: Path, name: str) -> None:
    """Without the line the bound would be 0 s, or none: every claim about it asks, and is told."""

    def bound_s() -> float:
        certify = claim_of(foreign)
        told: float = getattr(certify, f"{name}_s")()
        assert certify.promises == [str(certify.contract.promises.at(f"{name}_s"))]
        return told

    assert bound_s() == getattr(load(foreign).promises, f"{name}_s")
    text = re.sub(rf"\n *{name}: .*", "", (foreign / "promises.yaml").read_text())
    (foreign / "promises.yaml").write_text(text)
    with pytest.raises(NotPromised, match=rf"promises\.yaml:\d+ has no {name}"):
        bound_s()
    asking = [f.name for f in (ROOT / "suites").glob("test_*.py") if f"promises.{name}_s" in f.read_text()]
    assert not asking, f"ask certify.{name}_s()"


def test_monitoring_that_is_not_promised_is_not_asked_for(foreign: Path) -> None:
    text = re.sub(r"\n *monitoring: .*", "", (foreign / "promises.yaml").read_text())
    (foreign / "promises.yaml").write_text(text)
    certify = claim_of(foreign)
    with pytest.raises(NotPromised, match=r"promises\.yaml:\d+ has no monitoring"):
        test_deployment.test_the_promised_monitoring_endpoints_answer_on_every_server(
            certify, certify.contract
        )


def test_a_budget_that_is_not_promised_is_not_promised_to_any_claim(foreign: Path) -> None:
    """A promises.yaml may have some budgets and not others: a claim that asked the map would stumble."""
    text = re.sub(r"\n *one-server-killed: .*", "", (foreign / "promises.yaml").read_text())
    (foreign / "promises.yaml").write_text(text)
    promises = replace(load(foreign).promises, buckets=load(ROOT / "manifests").promises.buckets)
    for trial in (partial(loads.one_pod_down, promises, "leader", 5.0), partial(loads.kills, promises, 3)):
        with pytest.raises(NotPromised, match=r"promises\.yaml:\d+ has no budget for one-server-killed"):
            trial()
    assert loads.capacity(promises, 60.0).duration_s > 60.0
    claims = (ROOT / "suites").glob("test_*.py")
    asking = [f.name for f in claims if "recovery_s[" in f.read_text()]
    assert not asking, "ask certify.recovery_s(fault): it says what is not promised, a map raises KeyError"
