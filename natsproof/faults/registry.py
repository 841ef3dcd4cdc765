"""Faults by name, for trials that come from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from natsproof.faults.process import Kill, Pause, Stop

FAULTS: dict[str, Callable[..., Any]] = {it.__name__: it for it in (Kill, Pause, Stop)}
