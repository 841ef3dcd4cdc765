"""Two runs side by side: which verdicts changed."""

from __future__ import annotations

from natsproof.report.record import Run

ABSENT = "not judged"


def verdicts(run: Run) -> dict[str, str]:
    """Verdict by claim; claims without one are `not judged`."""
    found = dict.fromkeys(run.never_judged, ABSENT)
    found |= {entry.nodeid: "not tested" for entry in run.not_tested}
    return found | {claim.nodeid: claim.status.value for claim in run.claims}


def changes(before: Run, after: Run) -> list[str]:
    """One line a claim whose verdict differs, with the reason of the newer one. New claims are changes,
    claims that only the older run had are not (this run may be a part)."""
    old, new = verdicts(before), verdicts(after)
    reasons = {claim.nodeid: claim.reason for claim in after.claims}
    lines = []
    for name, now in new.items():
        was = old.get(name, "absent")
        if was != now:
            reason = f": {' '.join(reasons[name].split())}" if name in reasons else ""
            lines.append(f"{name.rsplit('::', 1)[-1]}: {was} -> {now}{reason}")
    return lines
