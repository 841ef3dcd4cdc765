"""The memory of those who run and generate a load, second by second: a soak must not grow."""

from __future__ import annotations

from contextlib import suppress

import psutil

from natsproof.clock import Deadline
from natsproof.recorder import Recorder

EVERY_S = 1.0


class Footprint:
    """Leaves an observation `memory` a second: {"runner": bytes, "locust": bytes, "generators": bytes}.

    Resident memory of this process, of the Locust process `pid`, and of its children together.
    """

    def __init__(self, recorder: Recorder, pid: int) -> None:
        self._recorder, self._own, self._next = recorder, psutil.Process(), Deadline.within(0)
        self._locust = psutil.Process(pid)

    def look(self) -> None:
        """Look, if a second has passed since the last time; a process that ends meanwhile is left out."""
        if not self._next.passed:
            return
        self._next = Deadline.within(EVERY_S)
        with suppress(psutil.Error):
            resident = {
                "runner": self._own.memory_info().rss,
                "locust": self._locust.memory_info().rss,
                "generators": sum(child.memory_info().rss for child in self._locust.children()),
            }
            self._recorder.observe("memory", resident)
