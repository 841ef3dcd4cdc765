"""Workloads by name, for trials that come from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from natsproof.workloads.expiry import Expiry
from natsproof.workloads.ledger import Ledger
from natsproof.workloads.limits import Crowd
from natsproof.workloads.locks import Locks
from natsproof.workloads.operations import FullBucket
from natsproof.workloads.overwrites import Overwrites
from natsproof.workloads.register import Register
from natsproof.workloads.watch import Watch

WORKLOADS: dict[str, Callable[..., Any]] = {
    it.__name__: it for it in (Crowd, Expiry, FullBucket, Ledger, Locks, Overwrites, Register, Watch)
}
