"""Which tests are claims, what their markers say, and what a command line says of the suite."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

#: The test's id before xdist adds its group to it.
NODEID = pytest.StashKey[str]()


def nodeid_of(item: pytest.Item) -> str:
    return item.stash.get(NODEID, item.nodeid)


def sentence_of(item: pytest.Item) -> str:
    """The claim in words: the first paragraph of the test's docstring, else its name."""
    doc = inspect.getdoc(getattr(item, "function", None)) or ""
    first = " ".join(doc.split("\n\n")[0].split())
    return first or item.name.removeprefix("test_").replace("_", " ")


def grade_of(item: pytest.Item) -> str:
    """The grade of durability the claim is about, by its marker."""
    return next((str(mark.args[0]) for mark in item.iter_markers("grade") if mark.args), "")


def planted_of(item: pytest.Item) -> Any:
    """The trial that is to run beside the others from the beginning of the session, by the claim's marker."""
    return next((mark.args[0] for mark in item.iter_markers("planted") if mark.args), None)


def is_claim(item: pytest.Item) -> bool:
    """Whether a test certifies a platform: it lies in suites/ or uses the fixture `certify`."""
    return "suites" in item.path.parts[:-1] or "certify" in getattr(item, "fixturenames", ())


def whole_suite(arguments: Iterable[str], start: Path) -> bool:
    """Whether the arguments take in a whole folder `suites`, not some of its files."""
    for argument in arguments:
        path = (start / argument.split("::")[0]).resolve()
        if path.is_dir() and (path.name == "suites" or (path / "suites").is_dir()):
            return True
    return False


def names_suites(arguments: Iterable[str], start: Path) -> bool:
    """Whether any argument lies in a folder `suites`."""
    return any("suites" in (start / a.split("::")[0]).resolve().parts for a in arguments)


def command_line(config: pytest.Config) -> str:
    return shlex.join(["pytest", *(str(word) for word in config.invocation_params.args)])
