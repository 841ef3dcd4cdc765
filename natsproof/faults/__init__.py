"""What is done to a platform. A Fault is a value; it proves that it landed by an independent witness.

    Kill("leader", of="message_state", at_s=5, down_s=10)

The runner (trial.py) resolves `victim` to servers at the moment of injection, calls `inject`, then asks
`witness` (which must not rely on the verb that injected: probe the port, read the pid, compare the UID),
waits, and always calls `heal`, on Ctrl-C too. A fault that did not land makes HOLDS impossible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable


@runtime_checkable
class Fault(Protocol):
    """`victim`: leader, follower, meta-leader, random, two, all, or a server's name. `of`: the bucket
    whose stream's leader is meant (None: the first bucket of the trial)."""

    needs: ClassVar[tuple[str, ...]]  # names in natsproof.cluster.CAPABILITIES
    victim: str
    of: str | None
    at_s: float  # after the start of drive
    down_s: float | None  # seconds from landing to healing; None: one-shot

    def inject(self, cluster: Any, targets: Sequence[str]) -> None: ...
    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        """What an independent observer sees ("" if it does not confirm the fault)."""
        ...

    def heal(self, cluster: Any, targets: Sequence[str]) -> None: ...
