"""summary.md: the run for a pull request."""

from __future__ import annotations

from natsproof.report.certificate import bound, grades
from natsproof.report.record import Run, Title
from natsproof.verdict import Status

MARKS = {Status.HOLDS: "✅ HOLDS", Status.BROKEN: "❌ BROKEN", Status.UNKNOWN: "❔ UNKNOWN"}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def summary(run: Run) -> str:
    """Markdown: what does not hold first, then what was not tested, then all that holds, folded."""
    head = run.header
    mark = "✅" if run.title is Title.CERTIFIED else "❌" if run.of(Status.BROKEN) else "❔"
    lines = [f"## {mark} {run.title.value}", ""]
    counted = ", ".join(f"{len(run.of(s))} {s.value}" for s in (Status.HOLDS, Status.BROKEN, Status.UNKNOWN))
    lines += [f"{counted}; {len(run.not_tested)} not tested, {len(run.never_judged)} never judged.", ""]
    bad = [*run.of(Status.BROKEN), *run.of(Status.UNKNOWN)]
    if bad:
        lines += ["| verdict | claim | what was seen |", "|---|---|---|"]
        lines += [f"| {MARKS[c.status]} | {_cell(c.sentence)} | {_cell(c.reason)} |" for c in bad]
        lines += ["", "Repeat the first: `" + bad[0].repeat.replace("`", "'") + "`", ""]
    levels = grades(run)
    if levels:
        lines += [
            "Durability: " + ", ".join(f"{grade} **{said}**" for grade, said in levels.items()) + ".",
            "",
        ]
    if run.not_tested or run.never_judged:
        lines += ["<details><summary>Not tested</summary>", ""]
        lines += [f"- {_cell(n.sentence or n.name)} ({_cell(n.reason)})" for n in run.not_tested]
        lines += [f"- `{name}` (never judged)" for name in run.never_judged]
        lines += ["", "</details>", ""]
    held = run.of(Status.HOLDS)
    if held:
        lines += [
            f"<details><summary>{len(held)} claims hold</summary>",
            "",
            "| claim | rests on |",
            "|---|---|",
        ]
        for claim in held:
            found = bound(claim)
            lines.append(f"| {_cell(claim.sentence)} | {found or _cell(claim.reason)} |")
        lines += ["", "</details>", ""]
    lines.append(
        f"<sub>seed {head.get('seed')}, depth {head.get('depth')}, cluster {head.get('cluster')}, "
        f"contract `{str(head.get('contract_digest', ''))[:16]}`, `{head.get('image', '')}`</sub>"
    )
    return "\n".join(lines) + "\n"
