"""The documents as data: their fenced blocks, links and the paths they name."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
#: Stands before a block that takes too long for a test, with the reason.
NOT_RUN = re.compile(r"<!-- not run by the tests: .+ -->\s*$")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
TREES = "natsproof|suites|tests|docs|manifests|bench|loadtests"
PATH = re.compile(rf"`((?:{TREES})/[\w./*-]*)((?:::\w+)*)")


@dataclass(frozen=True)
class Block:
    """One fenced block. `output` is the ```text block right after it, if there is one."""

    document: str
    line: int
    language: str
    text: str
    runs: bool
    output: str = ""

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(document: str, language: str) -> list[Block]:
    text = (ROOT / document).read_text()
    found = list(FENCE.finditer(text))
    made = []
    for match, after in zip_longest(found, found[1:]):
        if match[1] != language:
            continue
        follows = after is not None and after[1] == "text" and not text[match.end() : after.start()].strip()
        line = text.count("\n", 0, match.start()) + 1
        runs = not NOT_RUN.search(text[: match.start()])
        output = after[2] if after is not None and follows else ""
        made.append(Block(document, line, language, match[2], runs, output))
    return made


def prose(document: str) -> str:
    """The text without its fenced blocks."""
    return FENCE.sub("", (ROOT / document).read_text())


def anchors(path: Path) -> set[str]:
    """Headings as GitHub names them in links."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@cache
def functions_of(path: Path) -> frozenset[str]:
    """Functions and classes of a Python file, in classes too."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(n.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, kinds))


@cache
def examples() -> dict[str, str]:
    """Python blocks of the documents that begin with the path of the file they are."""
    found = {}
    for document in NAMES:
        for block in blocks(document, "python"):
            first = block.text.splitlines()[0]
            if match := re.fullmatch(r"# ([\w/]+\.py)", first):
                found[match[1]] = block.text
    return found


def example(path: str) -> Iterator[ModuleType]:
    """The example file as a module that others can import, for as long as a test needs it."""
    name = path.removesuffix(".py").replace("/", ".")
    module = ModuleType(name)
    sys.modules[name] = module
    try:
        exec(compile(examples()[path], path, "exec", dont_inherit=True), module.__dict__)
        yield module
    finally:
        del sys.modules[name]
