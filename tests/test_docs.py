"""The documents against the code: commands, outputs, links, paths, examples, the generated reference."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from natsproof.certify import Certify
from natsproof.cli import main
from natsproof.cluster import CAPABILITIES, Cluster
from natsproof.contract.loader import load
from natsproof.history import History, Operations
from natsproof.trial import Trial, missing_capabilities, run
from natsproof.verdict import Status
from natsproof.workloads.ledger import Ledger
from tests import reference
from tests.commands import commands, no_test, wrong
from tests.documents import NAMES, PATH, ROOT, Block, anchors, blocks, example, examples, prose
from tests.loopback import LoopbackCluster
from tests.mutants import lies
from tests.mutants.catalogue.server import _lie

#: Run against a cluster by the kind suite; here its commands are only read.
RUNBOOK = "docs/runbook.md"
BASH = [block for name in NAMES for block in blocks(name, "bash")]
CHECKED = [block for block in BASH if block.document != RUNBOOK]
every_document = pytest.mark.parametrize("document", NAMES)


def test_every_finding_is_in_the_table_and_told() -> None:
    text = (ROOT / "docs/findings.md").read_text()
    told = [int(n) for n in re.findall(r"^## (\d+)\. ", text, re.MULTILINE)]
    listed = [int(n) for n in re.findall(r"^\| (\d+) \| ", text, re.MULTILINE)]
    assert told == listed == list(range(1, len(told) + 1))


# -- commands


@every_document
def test_every_block_is_bash(document: str) -> None:
    for block in blocks(document, "bash"):
        done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}: {done.stderr}"


@pytest.mark.parametrize("block", CHECKED, ids=str)
def test_what_a_command_names_is_there(block: Block) -> None:
    for words in commands(block.text):
        assert not (problem := wrong(words)), f"{block}: {' '.join(words)}: {problem}"


@pytest.mark.parametrize(
    "line",
    [
        "make nonsense",
        "make certify NONSENSE=1",
        ".venv/bin/pytest suites/test_nonsense.py",
        ".venv/bin/pytest suites/test_quorum.py::test_nonsense",
        ".venv/bin/pytest suites/ --nonsense",
        ".venv/bin/pytest suites/ --manifests nonsense",
        ".venv/bin/natsproof nonsense",
        "SEED=1 .venv/bin/natsproof lint --nonsense",
        "python -m natsproof.nonsense",
        "kubectl apply -f manifests/nonsense.yaml",
        "make certify && nonsense",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    assert any(wrong(words) for words in commands(line))


def test_the_runbook_names_files_that_are_there() -> None:
    text = (ROOT / RUNBOOK).read_text()
    for path in set(re.findall(r"\bmanifests/[\w./-]+\.yaml", text)):
        assert (ROOT / path).is_file(), path
    for module in set(re.findall(r"python -m ([\w.]+)", text)):
        assert not wrong(["python", "-m", module]), module


def test_claims_with_parameters_are_there() -> None:
    """One collection for all that the documents name."""
    wanted = sorted(
        {w for b in CHECKED for words in commands(b.text) for w in words if "::" in w and "[" in w}
    )
    assert wanted
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "--cluster", "none", *wanted],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert all(name in done.stdout for name in wanted), done.stdout + done.stderr


def test_set_up_makes_the_command_that_the_documents_call() -> None:
    """`.venv/bin/natsproof` comes from installing this project into the environment."""
    recipe = (ROOT / "Makefile").read_text().split("$(VENV)/.ready:")[1].split("\n\n")[0]
    assert re.search(r"\$\(PIP\) install .*--editable \.", recipe)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"natsproof": "natsproof.cli:main"}


# -- the tutorial, as a reader runs it


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a reader has: the repository, and an environment that was set up."""
    for name in ("natsproof", "suites", "pyproject.toml", "conftest.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "manifests").mkdir()
    for file in (ROOT / "manifests").glob("*.yaml"):
        (tmp_path / "manifests" / file.name).write_bytes(file.read_bytes())
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, module in (("pytest", "pytest"), ("natsproof", "natsproof.cli")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        (programs / name).chmod(0o755)
    return tmp_path


def test_the_tutorial_does_what_it_shows(clone: Path) -> None:
    for block in blocks("docs/tutorial.md", "bash"):
        if not block.runs:
            continue
        done = subprocess.run(
            ["bash", "-euc", block.text],
            cwd=clone,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{block}: {done.stdout}"
        assert not (missing := not_shown(block.output, done.stdout)), f"{block}: {missing!r}:\n{done.stdout}"


def not_shown(wanted: str, said: str) -> str:
    """The first line of `wanted` that `said` has not, in this order; `...` is anything."""
    lines = iter(said.splitlines())
    for line in wanted.splitlines():
        pattern = re.compile(re.escape(line).replace(re.escape("..."), ".*"))
        if not any(pattern.fullmatch(given) for given in lines):
            return line
    return ""


def test_an_output_that_differs_is_found() -> None:
    assert not not_shown("a: ... b\nd", "x\na: 1 b\nc\nd")
    assert not_shown("d\na", "a\nd") == "a"
    assert not_shown("a: ...", "b: 1") == "a: ..."


# -- links and paths


@every_document
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / document).parent / file if file else ROOT / document
        assert path.exists(), f"{document}: no {target}"
        assert not anchor or anchor in anchors(path), f"{document}: no heading {target}"


@every_document
def test_paths_and_tests_that_a_document_names_are_there(document: str) -> None:
    for path, inside in PATH.findall(prose(document)):
        assert not (problem := no_test(path.rstrip(".") + inside)), f"{document}: {problem}"


# -- what is written of the code


def test_the_readme_names_every_suite_and_command() -> None:
    text = (ROOT / "README.md").read_text()
    suites = {f"suites/{path.name}" for path in (ROOT / "suites").glob("test_*.py")}
    assert suites == set(re.findall(r"`(suites/test_\w+\.py)`", text))
    told = set(re.findall(r"`natsproof (\w+)", text))
    assert told == {"lint", "verify", "report", "trend", "doctor", "promises"}
    for name in told:
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])


def test_the_reference_of_claims_is_current() -> None:
    written = reference.PAGE.read_text().splitlines()
    now = reference.page().splitlines()
    differing = next((pair for pair in zip(written, now, strict=False) if pair[0] != pair[1]), None)
    assert written == now, f"run `python -m tests.reference`; first difference: {differing}"


def test_the_layers_of_the_architecture_are_those_that_are_held() -> None:
    (layers,) = re.findall(r"## Layers\n```\n(.*?)```", (ROOT / "docs/architecture.md").read_text(), re.S)
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    held = [{name.strip() for name in layer.split("|")} for layer in contract["layers"]]
    order = [next(i for i, names in enumerate(held) if name in names) for name in re.findall(r"\w+", layers)]
    assert order == sorted(order)
    assert set(re.findall(r"\w+", layers)) == set().union(*held)


def exit_codes(heading: str) -> dict[int, list[str]]:
    """Code -> the tests named beside it, of one table in the decision on exit codes."""
    text = (ROOT / "docs/decisions/0004-three-verdicts-and-exit-codes.md").read_text()
    table = text.split(heading)[1].split("\n\n")[1]
    rows = re.findall(r"^\| (\d) \|.*\| ([^|]*) \|$", table, re.M)
    return {int(code): re.findall(r"`([^`]+::\w+)`", tests) for code, tests in rows}


@pytest.mark.parametrize(
    ("heading", "codes"),
    [("**`pytest suites/`**", {0, 1, 2, 3, 4, 6}), ("**`natsproof`**", {0, 1, 3, 4, 6})],
)
def test_every_exit_code_names_its_tests(heading: str, codes: set[int]) -> None:
    found = exit_codes(heading)
    assert set(found) == codes
    for code, tests in found.items():
        assert tests, f"no test for exit code {code} of {heading}"
        assert not [problem for test in tests if (problem := no_test(test))]


# -- examples


def test_every_example_has_a_test() -> None:
    assert set(examples()) == {
        "natsproof/checkers/refusals.py",
        "suites/test_calm.py",
        "natsproof/faults/crash.py",
        "natsproof/cluster/addresses.py",
    }


@pytest.fixture
def refusals() -> Iterator[ModuleType]:
    yield from example("natsproof/checkers/refusals.py")


@pytest.fixture
def calm(refusals: ModuleType) -> Iterator[ModuleType]:
    yield from example("suites/test_calm.py")


@pytest.fixture
def crash() -> Iterator[ModuleType]:
    yield from example("natsproof/faults/crash.py")


@pytest.fixture
def addresses() -> Iterator[ModuleType]:
    yield from example("natsproof/cluster/addresses.py")


def history(*outcomes: int, **marks: int) -> History:
    rows = [
        (0, 0, 0, 0, i * 10, i * 10 + 5, outcome, i + 1, -1, i, -1, -1) for i, outcome in enumerate(outcomes)
    ]
    return History({"began_ns": 0, "clients": ["w"]}, Operations.from_rows(rows), marks=marks)


def test_the_example_checker_finds_what_it_names(refusals: ModuleType) -> None:
    assert refusals.no_put_is_refused(history(0, 0)).status is Status.HOLDS
    verdict = refusals.no_put_is_refused(history(0, 1, 0))
    assert (verdict.status, verdict.reason) == (Status.BROKEN, "1 put of 3 refused")
    assert verdict.exhibits[0].rows == (1,)


def test_the_example_checker_leaves_out_what_was_tried_until_every_server_answered(
    refusals: ModuleType,
) -> None:
    verdict = refusals.no_put_is_refused(history(1, 1, 0, drive=15))
    assert (verdict.status, verdict.evidence["puts"]) == (Status.HOLDS, 1)
    assert refusals.no_put_is_refused(history(1, 0, 1, drive=15)).status is Status.BROKEN


def test_the_example_mutant_is_one() -> None:
    (text,) = re.findall(r"`(_lie\(.*\))`", (ROOT / "docs/add-a-claim.md").read_text())
    mutant = eval(text, {"_lie": _lie, "partial": partial, "lies": lies})
    assert mutant.claims == ("test_no_put_is_refused_without_a_fault",)
    assert isinstance(mutant.lie(), lies.RefusesWrites)


@pytest.fixture(scope="module")
def servers() -> Iterator[LoopbackCluster]:
    with LoopbackCluster() as running:
        yield running


@pytest.mark.cluster
def test_the_example_claim_holds_on_the_example_cluster(
    calm: ModuleType, addresses: ModuleType, servers: LoopbackCluster, tmp_path: Path
) -> None:
    hosts = [(server.client_url, server.monitor_url) for server in servers.servers]
    cluster = addresses.AddressedCluster(servers.contract, [s.name for s in servers.servers], hosts)
    assert isinstance(cluster, Cluster)
    assert not any(isinstance(cluster, kind) for kind in CAPABILITIES.values())
    cluster.up()
    session = SimpleNamespace(
        run=lambda trial: SimpleNamespace(
            name=trial.name, history=run(trial, cluster, seed=1, path=tmp_path / "history.jsonl")
        ),
        folder=SimpleNamespace(trial_folder=lambda name: tmp_path),  # where a failure says its history is
    )
    certify = Certify(load(ROOT / "manifests"), "quick", lambda: session, "", "")  # type: ignore[arg-type, return-value]
    calm.test_no_put_is_refused_without_a_fault(certify, certify.contract)
    assert certify.verdict.status is Status.HOLDS


@pytest.mark.cluster
def test_the_example_fault_lands_and_one_that_does_nothing_does_not(
    crash: ModuleType, servers: LoopbackCluster, tmp_path: Path
) -> None:
    fault: Any = crash.Crash("follower", at_s=0.2)
    trial = Trial("crash", (Ledger(("message_state",), rate_hz=20.0),), (fault,), duration_s=2.0)
    assert missing_capabilities(trial, servers) == ()
    (injection,) = run(trial, servers, seed=1, path=tmp_path / "history.jsonl").injections
    assert injection.landed, injection.error
    names = [server.name for server in servers.servers]
    quick = crash.Crash("follower", back_s=0.3)
    assert quick.witness_change(servers, names, quick.sight(servers, names)) == ""
