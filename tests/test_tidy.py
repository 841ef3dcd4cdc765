"""House rules that a machine can hold: sizes, names, waits, skips, addresses."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("natsproof", "suites", "loadtests", "tests", "bench")
FILES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
IDS = [str(p.relative_to(ROOT)) for p in FILES]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70

#: Where waiting is the subject, not a shortcut. Each with its reason.
MAY_SLEEP: dict[str, str] = {
    "natsproof/clock.py": "the place that waits",
}


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_a_file_stays_small(path: Path) -> None:
    text = path.read_text()
    lines = text.count("\n") + 1
    assert lines <= MAX_FILE_LINES, f"{path}:{lines}: over {MAX_FILE_LINES} lines, split it by idea"
    for function in functions(ast.parse(text)):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        assert length <= MAX_FUNCTION_LINES, (
            f"{path}:{function.lineno}: {function.name} has {length} lines, at most {MAX_FUNCTION_LINES}"
        )


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_no_file_is_a_kitchen_drawer(path: Path) -> None:
    assert not re.search(r"util|helper|manager|common|misc", path.stem), f"{path}: name the idea"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_every_skip_gives_its_reason(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pytest.skip", "pytest.mark.skip"):
            given = node.args or [k for k in node.keywords if k.arg == "reason"]
            assert given, f"{path}:{node.lineno}: a skip without a reason is a defect"


@pytest.mark.parametrize("path", [p for p in FILES if "suites" in p.parts], ids=str)
def test_a_suite_states_claims_and_does_nothing_else(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path}: say the property, the promise and what is not here"
    for function in functions(tree):
        if not function.name.startswith("test_"):
            continue
        assert ast.get_docstring(function), f"{path}:{function.lineno}: the docstring is the claim"
        for node in ast.walk(function):
            assert not isinstance(node, ast.Try | ast.While | ast.If), (
                f"{path}:{node.lineno}: no try, if or while in a claim; put it in a workload or a checker"
            )


def test_no_loop_waits_without_the_clock() -> None:
    offenders = []
    for path in FILES:
        name = str(path.relative_to(ROOT))
        if name in MAY_SLEEP or not name.startswith("natsproof/"):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"\btime\.sleep\(", line) and "deadline" not in line:
                offenders.append(f"{name}:{number}: {line.strip()}")
    assert not offenders, "use natsproof.clock (wait_until, sleep_s):\n" + "\n".join(offenders)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-setup.lock", "requirements-dev.lock"])
def test_a_lock_has_hashes_and_names_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert text.count("--hash=sha256:") >= text.count("==") > 0


def test_the_locks_agree() -> None:
    """What runs a certification is a part of what developers have, in the same versions."""
    run, setup, dev = (
        set(re.findall(r"^([\w.-]+==[^ ;]+)", (ROOT / f"requirements{name}.lock").read_text(), re.M))
        for name in ("", "-setup", "-dev")
    )
    assert run | setup <= dev
    assert not {name for name in run if name.startswith(("mypy", "ruff", "sigstore"))}


def test_layers_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
