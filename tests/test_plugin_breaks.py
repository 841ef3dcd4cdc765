"""What is written down when pytest, a plugin or Python itself breaks under a certification."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from natsproof import certification, parsing
from natsproof.certification import Certification
from tests.sessions import HOLDS, Session, certificate, session

__all__ = ["session"]


BREAKS = """
import pytest
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item, call):
    if call.when == "call" and "later" in item.name:
        raise SystemError("AST constructor recursion depth mismatch")
"""


@pytest.mark.parametrize("at_once", [("-n0",), ("-n2",)])
def test_the_certificate_says_what_broke_pytest(
    session: Session, tmp_path: Path, at_once: tuple[str, ...]
) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "conftest.py").write_text(BREAKS)
    done = session(HOLDS + HOLDS.replace("def test_", "def test_later_"), *at_once)
    assert done.returncode == 2, done.stdout[-2000:]
    found = certificate(tmp_path)
    assert found["title"] == "INTERRUPTED"
    assert (
        found["interrupted_by"] == "an internal error: SystemError: AST constructor recursion depth mismatch"
    )


def test_pytest_reads_sources_undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 3.11.7 a certification ended with SystemError while pytest described what a claim had raised."""
    monkeypatch.setattr(parsing, "VERSION", (3, 11, 7))
    monkeypatch.setattr(certification, "is_claim", lambda item: False)
    item: Any = SimpleNamespace()
    making = Certification.pytest_runtest_makereport(item, item, item)
    next(making)
    assert not gc.isenabled()
    with pytest.raises(StopIteration):
        making.send("report")
    assert gc.isenabled()
