"""metrics.prom: the run as OpenMetrics text, for a textfile collector or a push gateway."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from natsproof.report.certificate import counts
from natsproof.report.record import Claim, Run
from natsproof.verdict import Status

_VALUE = {Status.HOLDS: 1, Status.BROKEN: 0, Status.UNKNOWN: -1}


def _quoted(text: object) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _labels(**values: object) -> str:
    return "{" + ",".join(f"{name}={_quoted(value)}" for name, value in values.items()) + "}"


def metrics(run: Run) -> str:
    """OpenMetrics 1.0. Verdicts are 1 HOLDS, 0 BROKEN, -1 UNKNOWN."""
    head = run.header
    lines = [
        "# TYPE natsproof_run info",
        "# HELP natsproof_run What was certified.",
        "natsproof_run_info"
        + _labels(
            title=run.title.value,
            cluster=head.get("cluster", ""),
            depth=head.get("depth", ""),
            seed=head.get("seed", ""),
            contract=head.get("contract_digest", ""),
            image=head.get("image", ""),
        )
        + " 1",
        "# TYPE natsproof_claims gauge",
        "# HELP natsproof_claims Claims by what became of them.",
    ]
    lines += [f"natsproof_claims{_labels(verdict=name)} {count}" for name, count in counts(run).items()]
    lines += [
        "# TYPE natsproof_claim_verdict gauge",
        "# HELP natsproof_claim_verdict 1 HOLDS, 0 BROKEN, -1 UNKNOWN.",
    ]
    lines += [f"natsproof_claim_verdict{_labels(claim=c.nodeid)} {_VALUE[c.status]}" for c in run.claims]
    lines += [
        "# TYPE natsproof_claim_measure gauge",
        "# HELP natsproof_claim_measure Numbers a verdict rests on; the unit is last in `measure`.",
        *_measures(run.claims),
        "# TYPE natsproof_run_duration_seconds gauge",
        "# UNIT natsproof_run_duration_seconds seconds",
        f"natsproof_run_duration_seconds {duration_s(run):.3f}",
        "# EOF",
    ]
    return "\n".join(lines) + "\n"


def _measures(claims: Iterable[Claim]) -> list[str]:
    return [
        f"natsproof_claim_measure{_labels(claim=claim.nodeid, measure=name)} {value}"
        for claim in claims
        for name, value in claim.evidence.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def duration_s(run: Run) -> float:
    """Wall time of the run; of its claims where it has no end."""
    try:
        began, ended = (
            datetime.fromisoformat(str(run.header[key]).replace("Z", "+00:00"))
            for key in ("started_at", "ended_at")
        )
    except (KeyError, ValueError):
        return sum(claim.took_s for claim in run.claims)
    return (ended - began).total_seconds()
