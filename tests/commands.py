"""What a command of the documents names, checked without running it."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from natsproof import options
from natsproof.cli import _parser
from tests.documents import ROOT, examples, functions_of

#: In the documents for what a user has; here for something that is like it.
STANDS_FOR = {"path/to/your/manifests": "manifests", "reports/<run>": "reports"}
#: Programs of the system, whose words say nothing about this repository but the files they take.
SYSTEM = ("cp", "sed", "echo", "kubectl", "helm", "git", "python3", "locust", "docker", "true")
OPERATORS = re.compile(r"\|\||&&|[|;&()]")
MAKEFILE = (ROOT / "Makefile").read_text()
#: Made by the commands of a document themselves.
MADE = ("mine", "reports/latest", "chaos-mesh.yaml")


class Arguments(argparse.ArgumentParser):
    """Takes pytest's options and ours; says what is wrong instead of ending."""

    def getgroup(self, *_: str) -> Arguments:
        return self

    def addoption(self, *names: str, **more: Any) -> None:
        self.add_argument(*names, **more)

    def error(self, message: str) -> Any:
        raise ValueError(message)


def pytest_arguments() -> Arguments:
    parser = Arguments("pytest")
    options.add_options(parser)  # type: ignore[arg-type]
    for name in ("-k", "-m", "-n", "--dist"):
        parser.add_argument(name)
    for name in ("-q", "-x", "-v", "--collect-only", "--no-loadscope-reorder"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("tests", nargs="*")
    return parser


def commands(text: str) -> Iterator[list[str]]:
    """Words of each simple command of a shell text, without assignments before it."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if OPERATORS.fullmatch(word):
                if words := words[next((i for i, w in enumerate(words) if not _assigns(w)), len(words)) :]:
                    yield words
                words = []
            else:
                words.append(STANDS_FOR.get(word, word))


def _assigns(word: str) -> bool:
    return bool(re.match(r"[A-Z_]+=", word))


def wrong(words: list[str]) -> str:
    """What is wrong with a command; empty if nothing is."""
    program, rest = Path(words[0]).name, words[1:]
    if program == "python" and rest[:1] == ["-m"]:
        program, rest = rest[1], rest[2:]
        if program not in ("pytest", "natsproof.cli"):
            return "" if importlib.util.find_spec(program) else f"no module {program}"
    if program == "make":
        return _make(rest)
    if program == "pytest":
        return _pytest(rest)
    if program in ("natsproof", "natsproof.cli"):
        return _natsproof(rest)
    if program in SYSTEM:
        return _files(words)
    return f"no check is known for {program}; add one to tests/commands.py"


def _make(rest: list[str]) -> str:
    targets, variables = [w for w in rest if "=" not in w], [w.split("=")[0] for w in rest if "=" in w]
    for target in targets:
        if not re.search(rf"^{re.escape(target)}:", MAKEFILE, re.M):
            return f"make has no target {target}"
    unknown = [
        name for name in variables if f"$({name})" not in MAKEFILE and f"$(if $({name}" not in MAKEFILE
    ]
    return f"the Makefile has no {', '.join(unknown)}" if unknown else ""


def _pytest(rest: list[str]) -> str:
    try:
        chosen = pytest_arguments().parse_args(rest)
    except ValueError as problem:
        return str(problem)
    for test in chosen.tests:
        if problem := no_test(test.split("[")[0]):
            return problem
    return next((f"no {path}" for path in chosen.manifests or () if not _there(path)), "")


def no_test(name: str) -> str:
    """What is wrong with `path` or `path::test`."""
    file, *inside = name.split("::")
    if file in examples():
        return ""
    path = ROOT / file
    if not list(ROOT.glob(file.rstrip("/"))):
        return f"no {file}"
    return next((f"{file} has no {part}" for part in inside if part not in functions_of(path)), "")


def _natsproof(rest: list[str]) -> str:
    parser = _parser()
    try:
        parser.parse_args(rest)
    except SystemExit as ended:
        return f"natsproof does not take {' '.join(rest)} ({ended.code})"
    return ""


def _files(words: list[str]) -> str:
    """Of what is written like a path in the repository, all must be there."""
    paths = [word for word in words if re.match(r"(?:manifests|loadtests|docs)(?:/|$)", word)]
    return next((f"no {path}" for path in paths if not _there(path)), "")


def _there(path: str) -> bool:
    return path == "-" or (ROOT / path).exists() or path.split("/")[0] in MADE or path in MADE
