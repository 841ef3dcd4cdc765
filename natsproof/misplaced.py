"""Claims outside suites/ on several workers: the controller, which collects nothing, would have to know.

A usage error in a worker shows as pytest's own INTERNALERROR without its words. So each such claim fails
with them, and the session ends with pytest's code for wrong use.
"""

from __future__ import annotations

from typing import Any

import pytest

SAID = "claims outside suites/ need --manifests when run with -n"
_KEY = "natsproof-misplaced"


class InWorker:
    """Registered in a worker that was not told that there would be claims."""

    def __init__(self, config: Any) -> None:
        config.workeroutput[_KEY] = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        pytest.fail(SAID, pytrace=False)


class InController:
    """Turns the workers' word into the exit code."""

    def __init__(self) -> None:
        self._misplaced = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._misplaced |= _KEY in getattr(node, "workeroutput", {})

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._misplaced:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
