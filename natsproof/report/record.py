"""What a run leaves behind, as data: claims with their verdicts, what was not tested, what was never judged.

These are the values between the plugin, which writes them while a run goes on, and the writers of reports,
which read them back from files at any later time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from natsproof.verdict import Status

SCHEMA = "natsproof.run/1"

#: Folder name -> why a verdict is not there.
State = str
RUNNING, COMPLETE, INTERRUPTED = "running", "complete", "interrupted"


@dataclass(frozen=True, slots=True)
class Shown:
    """One exhibit, with its operations written out so that it can be read without the history.

    `at_s` are seconds from the start of the trial `trial`, None where the exhibit is not a moment.
    """

    text: str
    place: str = ""
    trial: str = ""
    at_s: float | None = None
    operations: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim as judged in one run. `evidence` holds counts and measures, units last in the names."""

    name: str
    nodeid: str
    sentence: str
    status: Status
    reason: str
    file: str = ""
    line: int = 0
    promises: tuple[str, ...] = ()
    evidence: Mapping[str, int | float | str] = field(default_factory=dict)
    exhibits: tuple[Shown, ...] = ()
    checks: tuple[Mapping[str, Any], ...] = ()
    trials: tuple[str, ...] = ()
    grade: str = ""
    trouble: str = ""  # "cluster" if the cluster failed, "test" if the claim's own code did
    took_s: float = 0.0
    repeat: str = ""
    worker: str = "main"
    ended_at: str = ""

    @property
    def key(self) -> str:
        """Stable over runs: the test's path and name."""
        return self.nodeid

    def as_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["status"] = self.status.value
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Claim:
        values = dict(data)
        values["status"] = Status(values["status"])
        values["exhibits"] = tuple(
            Shown(**{**shown, "operations": tuple(shown.get("operations", ()))})
            for shown in values.get("exhibits", ())
        )
        for name in ("promises", "checks", "trials"):
            values[name] = tuple(values.get(name, ()))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class NotTested:
    """A claim this run did not decide, by name and with the reason. `promised` is false where the
    contract does not promise what the claim is about: leaving it out takes nothing from a certificate."""

    name: str
    nodeid: str
    reason: str
    sentence: str = ""
    grade: str = ""
    promised: bool = True


class Title(Enum):
    """What the certificate says at its top. CERTIFIED leaves nothing out."""

    CERTIFIED = "CERTIFIED"
    PARTIAL = "PARTIAL"
    NOT_CERTIFIED = "NOT CERTIFIED"
    INTERRUPTED = "INTERRUPTED"


@dataclass(frozen=True, slots=True)
class Run:
    """One run, read back from its folder. `header` is `run.json` without its state."""

    header: Mapping[str, Any]
    state: State
    claims: tuple[Claim, ...] = ()
    not_tested: tuple[NotTested, ...] = ()
    planned: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()  # deselected by the user (-k, an argument)
    trials: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()  # lines of the run's files that could not be read

    def of(self, status: Status) -> tuple[Claim, ...]:
        return tuple(claim for claim in self.claims if claim.status is status)

    @property
    def never_judged(self) -> tuple[str, ...]:
        judged = {claim.nodeid for claim in self.claims} | {entry.nodeid for entry in self.not_tested}
        return tuple(name for name in self.planned if name not in judged)

    @property
    def title(self) -> Title:
        if self.state == INTERRUPTED:
            return Title.INTERRUPTED
        if not self.claims or self.of(Status.BROKEN) or self.of(Status.UNKNOWN) or self.never_judged:
            return Title.NOT_CERTIFIED
        missing = any(entry.promised for entry in self.not_tested)
        if missing or self.left_out or self.problems or self.header.get("partial"):
            return Title.PARTIAL
        return Title.CERTIFIED

    @property
    def exit_code(self) -> int:
        """0 all judged claims hold; 1 broken; 2 interrupted; 3 the cluster failed; 6 not decided."""
        if self.state == INTERRUPTED:
            return 2
        if self.of(Status.BROKEN):
            return 1
        if any(claim.trouble == "cluster" for claim in self.claims):
            return 3
        if not self.claims or self.of(Status.UNKNOWN) or self.never_judged or self.problems:
            return 6
        return 0
