"""Workloads by name, for trials that come from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from natsproof.workloads.ledger import Ledger

WORKLOADS: dict[str, Callable[..., Any]] = {it.__name__: it for it in (Ledger,)}
