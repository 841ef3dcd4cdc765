"""`natsproof lint`: the rules that manifests alone decide, as `file:line: …` lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from natsproof import __version__
from natsproof.contract.loader import load
from natsproof.contract.rules import RULES
from natsproof.contract.rules.rule import Rule
from natsproof.report.record import Claim, Shown
from natsproof.report.sarif import findings_as_sarif
from natsproof.verdict import Status, Verdict

FORMATS = ("text", "github")
_LEVEL = {Status.BROKEN: "error", Status.UNKNOWN: "warning"}


def lint(manifests: str, sarif: Path | None = None, form: str = "text") -> tuple[int, str]:
    """(exit code, what to print): 0 all rules hold, 1 one is broken, 6 one is not decided.

    Raises ContractError for manifests that cannot be read.
    """
    contract = load(manifests)
    judged = [(rule, rule(contract)) for rule in RULES]
    if sarif is not None:
        claims = [_claim(rule, verdict) for rule, verdict in judged]
        sarif.write_text(findings_as_sarif(claims, __version__))
    counts = {status: sum(v.status is status for _, v in judged) for status in Status}
    lines = [line for rule, verdict in judged for line in _lines(rule, verdict, form)]
    lines.append(
        f"{manifests}: {len(judged)} rules: {counts[Status.HOLDS]} HOLDS, {counts[Status.BROKEN]} BROKEN, "
        f"{counts[Status.UNKNOWN]} UNKNOWN"
    )
    code = 1 if counts[Status.BROKEN] else 6 if counts[Status.UNKNOWN] else 0
    return code, "\n".join(lines)


def _lines(rule: Rule, verdict: Verdict, form: str) -> Iterator[str]:
    if verdict.status is Status.HOLDS:
        return
    placed = [(exhibit.place, exhibit.text) for exhibit in verdict.exhibits if exhibit.place]
    for place, text in placed or [("", verdict.reason)]:
        if form == "github":
            yield _annotation(_LEVEL[verdict.status], place, rule.name, text)
        else:
            where = f"{place}: " if place else ""
            yield f"{where}{verdict.status.value} {rule.name}: {text}"


def _annotation(level: str, place: str, name: str, text: str) -> str:
    """A workflow command that GitHub shows beside the line of the change."""
    file, _, line = place.rpartition(":")
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    where = f"file={file},line={line}," if file else ""
    return f"::{level} {where}title={name}::{escaped}"


def _claim(rule: Rule, verdict: Verdict) -> Claim:
    return Claim(
        name=rule.name,
        nodeid=rule.name,
        sentence=rule.title,
        status=verdict.status,
        reason=verdict.reason,
        exhibits=tuple(Shown(exhibit.text, exhibit.place) for exhibit in verdict.exhibits),
    )
