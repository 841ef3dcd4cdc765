"""What follows from the evidence: HOLDS, BROKEN or UNKNOWN. There is no default value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType


class Status(Enum):
    """BROKEN outranks UNKNOWN outranks HOLDS when verdicts are combined."""

    HOLDS = "HOLDS"
    UNKNOWN = "UNKNOWN"
    BROKEN = "BROKEN"


_RANK = {Status.HOLDS: 0, Status.UNKNOWN: 1, Status.BROKEN: 2}


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One piece of evidence for a reader.

    `rows` are indices into the history's operations (empty where it is not about operations),
    `place` is `file:line` in the manifests or empty, `at_ns` the moment on the history's clock or None.
    """

    text: str
    rows: tuple[int, ...] = ()
    place: str = ""
    at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement with what it rests on.

    `reason` is one sentence that stands alone. `evidence` holds counts and measures by name, units
    last in the name (`acknowledged`, `recovery_s`). `exhibits` are few: the fewest that show it.
    """

    status: Status
    reason: str
    evidence: Mapping[str, int | float | str] = field(default_factory=lambda: MappingProxyType({}))
    exhibits: tuple[Exhibit, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.status, Status):
            raise TypeError(f"status must be a Status, got {self.status!r}")
        if not self.reason:
            raise ValueError("a verdict needs a reason")

    def __bool__(self) -> bool:
        raise TypeError("a verdict has three values: compare verdict.status with a Status")


def holds(reason: str, **evidence: int | float | str) -> Verdict:
    return Verdict(Status.HOLDS, reason, MappingProxyType(evidence))


def broken(reason: str, exhibits: Iterable[Exhibit] = (), **evidence: int | float | str) -> Verdict:
    return Verdict(Status.BROKEN, reason, MappingProxyType(evidence), tuple(exhibits))


def unknown(reason: str, exhibits: Iterable[Exhibit] = (), **evidence: int | float | str) -> Verdict:
    return Verdict(Status.UNKNOWN, reason, MappingProxyType(evidence), tuple(exhibits))


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst verdict, with all exhibits of that rank and the evidence of all.

    Of equal rank the first reason stands. Nothing to combine is UNKNOWN: no evidence was given.
    """
    all_of_them = tuple(verdicts)
    if not all_of_them:
        return unknown("no verdict was given to combine")
    worst = max(all_of_them, key=lambda verdict: _RANK[verdict.status])
    evidence: dict[str, int | float | str] = {}
    for verdict in reversed(all_of_them):
        evidence.update(verdict.evidence)
    exhibits = tuple(e for v in all_of_them if v.status is worst.status for e in v.exhibits)
    return Verdict(worst.status, worst.reason, MappingProxyType(evidence), exhibits)
