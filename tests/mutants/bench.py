"""Judges the claims of one mutant: real servers, short trials, the suites' own functions."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from natsproof.clock import as_seconds, now_ns
from natsproof.report.run_folder import RunFolder, slug
from natsproof.session import Ran, Session
from tests.mutants.claims import NOT_PROMISED, claims, judge
from tests.mutants.lying import lying
from tests.mutants.manifests import edited
from tests.mutants.mutant import Mutant, parted
from tests.mutants.short import QUICK, short

SEED = 11
Open = Callable[[Any, Path], Any]


@dataclass(frozen=True)
class Result:
    """`verdicts`: claim to (verdict, reason). `problem`: why it could not be judged, or empty."""

    name: str
    verdicts: dict[str, tuple[str, str]] = field(default_factory=dict)
    took_s: float = 0.0
    problem: str = ""

    def killed(self, mutant: Mutant) -> bool:
        """Whether every one of the mutant's claims came out as it must."""
        wanted = {"HOLDS", NOT_PROMISED} if mutant.family == "control" else {mutant.verdict}
        return not self.problem and bool(self.verdicts) and {v for v, _ in self.verdicts.values()} <= wanted


class Evidence:
    """What a claim asks its session for: trials in little, observations, or the mutant's `facts`."""

    def __init__(self, session: Session, facts: Any) -> None:
        self._session, self._facts = session, facts
        self.folder, self.seed = session.folder, session.seed

    def run(self, trial: Any) -> Ran:
        return self._session.run(short(trial))

    def observe(self, name: str, look: Callable[[Any], Any], *, fresh: bool = False) -> Any:
        if self._facts is not None:
            return copy.deepcopy(self._facts)
        return self._session.observe(name, look, fresh=fresh)

    def startup(self) -> dict[str, Any]:
        return self._session.startup()


def execute(mutant: Mutant, open_cluster: Open, keep: Path | None = None) -> Result:
    """Judge the mutant's claims. `keep`: where histories and logs are left; else they are deleted."""
    began_ns = now_ns()
    contract = edited((*mutant.setting, *mutant.edits))
    with tempfile.TemporaryDirectory(prefix="mutant-") as scratch:
        path = keep / slug(mutant.name) if keep else Path(scratch)
        shutil.rmtree(path, ignore_errors=True)  # an earlier run's trials would be taken for this one's
        for part in ("trials", "observations", "work"):
            (path / part).mkdir(parents=True, exist_ok=True)
        session = Session(
            RunFolder(path),
            contract,
            SEED,
            lying(lambda workdir: open_cluster(contract, workdir), mutant.lie),
            per_trial=True,
        )
        verdicts = {}
        try:
            with mutant.sabotage():
                for text in mutant.claims:
                    name, wanted = parted(text)
                    claim = claims()[name]
                    parameters = claim.example(wanted, QUICK)
                    verdicts[text] = judge(claim, parameters, contract, Evidence(session, mutant.facts))
        finally:
            session.close()
    return Result(mutant.name, verdicts, round(as_seconds(now_ns() - began_ns), 1))
