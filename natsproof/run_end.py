"""How a run ends: its state is written, its report built, its exit code chosen."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from natsproof.certification import Certification
from natsproof.errors import NatsproofError
from natsproof.report import compare, run_folder
from natsproof.report.build import build
from natsproof.report.record import COMPLETE, INTERRUPTED, Run
from natsproof.verdict import Status

if TYPE_CHECKING:
    import pytest

NOT_DECIDED = 6
NO_TESTS = 5
BROKEN_OFF, INTERNAL_ERROR, USAGE = 2, 3, 4
#: pytest's own ends that no verdict may replace.
PYTEST_ENDS = (BROKEN_OFF, INTERNAL_ERROR, USAGE)


def end_run(session: pytest.Session, certification: Certification) -> None:
    """Close the run's books. Whatever fails here is said and never hides what was judged."""
    status = int(session.exitstatus)
    if not certification.has_folder:
        if status in (0, NO_TESTS):
            session.exitstatus = NOT_DECIDED
        return
    folder = certification.folder
    state = INTERRUPTED if status in PYTEST_ENDS or certification.interrupted_by else COMPLETE
    try:
        folder.finish(state, interrupted_by=certification.interrupted_by)
        run = folder.read(state)
        _drop_what_nobody_needs(run, folder, certification.options.keep)
        certification.run = run
        certification.end_notes += build(folder, run, sign_key=certification.options.sign_key)
        certification.end_notes += _changes(run, certification)
        certification.end_notes += [
            f"{path.name} was interrupted; its report: natsproof report {path}"
            for path in run_folder.abandoned(certification.options.reports)
        ]
    except (OSError, NatsproofError) as problem:
        certification.end_notes.append(f"the report is not whole: {type(problem).__name__}: {problem}")
        certification.run = certification.run or folder.read(INTERRUPTED)
        session.exitstatus = max(status, NOT_DECIDED) if status not in PYTEST_ENDS else status
        return
    if status not in PYTEST_ENDS:
        session.exitstatus = run.exit_code or (1 if status == 1 else 0)
    elif status == INTERNAL_ERROR:
        session.exitstatus = BROKEN_OFF  # pytest's 3 would mean a failed cluster here


def _drop_what_nobody_needs(run: Run, folder: run_folder.RunFolder, keep: bool) -> None:
    """Work folders go; logs stay only where a claim that does not hold may need them."""
    if keep:
        return
    shutil.rmtree(folder.path / "work", ignore_errors=True)
    if run.state == INTERRUPTED or run.never_judged:
        return
    wanted = {trial for claim in run.claims if claim.status is not Status.HOLDS for trial in claim.trials}
    for name in run.trials:
        if name not in wanted:
            for part in ("logs", "live", "monitoring"):
                shutil.rmtree(folder.trial_folder(name) / part, ignore_errors=True)


def _changes(run: Run, certification: Certification) -> list[str]:
    """What differs from the run that was rejudged, or from the baseline."""
    notes = []
    for word, path in (
        ("rejudged", certification.options.rejudge),
        ("baseline", certification.options.baseline),
    ):
        if path is not None:
            before = run_folder.open_run(path).read()
            changes = compare.changes(before, run)
            notes.append(f"{word} {path.name}: {len(changes)} verdicts changed")
            notes += [f"  {change}" for change in changes]
    return notes
