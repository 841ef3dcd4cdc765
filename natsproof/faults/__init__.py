"""What is done to a platform. A Fault is a value; it proves that it landed by an independent witness.

    Kill("leader", of="message_state", at_s=5, down_s=10)

The runner (trial.py) resolves `victim` to servers at the moment of injection, calls `inject`, then asks
`witness` (which must not rely on the verb that injected: probe the port, read the pid, compare the UID),
waits, and always calls `heal`, on Ctrl-C too. A fault that did not land makes HOLDS impossible.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from natsproof.errors import UsageError

#: What a victim may be besides a server's name.
VICTIMS = ("leader", "follower", "first-follower", "last-follower", "meta-leader", "random", "two", "all")


@runtime_checkable
class Fault(Protocol):
    """`victim`: leader, follower (any, or the first-follower or last-follower by name), meta-leader, random,
    two, all, or a server's name. `of`: the bucket whose stream's leader is meant (None: the first)."""

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


@runtime_checkable
class Sighted(Protocol):
    """A fault whose witness compares: `sight` is taken before the injection and given to `witness_change`,
    which is then asked instead of `witness`. What `inject` returns, if anything, replaces it: some things
    can only be measured once the victim is down."""

    def sight(self, cluster: Any, targets: Sequence[str]) -> Any: ...
    def witness_change(self, cluster: Any, targets: Sequence[str], before: Any) -> str: ...


@dataclass(frozen=True)
class Aimed:
    """The fields all faults share. `down_s=None` leaves it until the end of drive."""

    victim: str = "leader"
    of: str | None = None
    at_s: float = 1.0
    down_s: float | None = 5.0

    needs: ClassVar[tuple[str, ...]] = ()
    #: A one-shot fault is over when `inject` returns; there is nothing to heal.
    one_shot: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.victim not in VICTIMS and not re.fullmatch(r"[a-z0-9.-]+-\d+", self.victim):
            valid = ", ".join(VICTIMS)
            raise UsageError(
                f"{self.victim!r} is no victim. Valid: {valid}, or a server's name such as nats-platform-0"
            )
        if self.at_s < 0 or (self.down_s is not None and self.down_s < 0):
            raise UsageError(f"{self!r}: at_s and down_s are seconds from 0 up")
