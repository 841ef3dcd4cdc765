"""Many runs side by side: verdict flips, recovery times, capacity, run time.

Only like is compared with like: a course holds whole runs on one cluster at one depth. Parts of the suite,
rejudged, interrupted and unfinished runs are listed with what they are, and stand in no course.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from natsproof.errors import NatsproofError, UsageError
from natsproof.report.certificate import capacity
from natsproof.report.compare import verdicts
from natsproof.report.metrics import duration_s
from natsproof.report.page import render
from natsproof.report.record import COMPLETE, Run
from natsproof.report.run_folder import open_run
from natsproof.verdict import Status

#: What a name begins with whose course over runs is worth a line, beside the rates of `capacity`.
#: Budgets and bounds are promises; they have no course.
FOLLOWED = ("recovery", "served_again", "elected", "longest")
LEAST = ("_min_s", "_median_s")
WHOLE, PART, REJUDGED = "whole", "part", "rejudged"


@dataclass(frozen=True, slots=True)
class Night:
    """One run of many."""

    name: str
    run: Run

    @property
    def counts(self) -> dict[str, int]:
        return {status.value: len(self.run.of(status)) for status in Status}

    @property
    def kind(self) -> str:
        """`whole`, `part` (some files, or more left out than planned), `rejudged`, or its state."""
        if self.run.header.get("rejudged"):
            return REJUDGED
        if self.run.state != COMPLETE:
            return self.run.state
        few = len(self.run.left_out) > len(self.run.planned)
        return PART if self.run.header.get("partial") or few else WHOLE

    @property
    def group(self) -> str:
        """What its figures may be compared with: `embedded, quick`."""
        return f"{self.run.header.get('cluster', '?')}, {self.run.header.get('depth', '?')}"


@dataclass(frozen=True, slots=True)
class Flip:
    """A claim whose verdict changed from one run of a group to the next that judged it. `contract_changed`:
    between them the manifests changed too."""

    claim: str
    night: str
    before: str
    after: str
    group: str
    contract_changed: bool = False


@dataclass(frozen=True, slots=True)
class Reports:
    """The runs of a folder, oldest first, and what could not be read, a line each."""

    nights: tuple[Night, ...]
    unreadable: tuple[str, ...] = ()


def nights(reports: Path) -> Reports:
    """Raises UsageError if there is no run that can be read."""
    if not reports.is_dir():
        raise UsageError(f"{reports}: no such folder; give the folder with the runs (reports/)")
    found, unreadable = [], []
    for path in sorted(reports.iterdir()):
        if path.is_symlink() or not (path / "run.json").is_file():
            continue
        try:
            found.append(Night(path.name, open_run(path).read()))
        except (NatsproofError, OSError) as problem:
            unreadable.append(f"{path.name}: {problem}")
    if not found:
        also = f" ({'; '.join(unreadable)})" if unreadable else ""
        raise UsageError(f"{reports}: no run here; pytest suites/ leaves one{also}")
    found.sort(key=lambda night: str(night.run.header.get("started_at", night.name)))
    return Reports(tuple(found), tuple(unreadable))


def groups(runs: Iterable[Night]) -> dict[str, list[Night]]:
    """Whole runs by group, the group with most runs first."""
    found: dict[str, list[Night]] = {}
    for night in runs:
        if night.kind == WHOLE:
            found.setdefault(night.group, []).append(night)
    return dict(sorted(found.items(), key=lambda entry: -len(entry[1])))


def flips(runs: Iterable[Night]) -> list[Flip]:
    """Over every run that judged a platform, parts too: a rejudged history is no new look at it."""
    last: dict[tuple[str, str], tuple[str, str]] = {}
    found = []
    for night in runs:
        if night.kind == REJUDGED:
            continue
        contract = str(night.run.header.get("contract_digest", ""))
        for claim, said in verdicts(night.run).items():
            if said not in ("HOLDS", "BROKEN", "UNKNOWN"):
                continue
            key = (night.group, claim)
            before, then = last.get(key, (said, contract))
            if before != said:
                found.append(Flip(claim, night.name, before, said, night.group, then != contract))
            last[key] = said, contract
    return found


def series(runs: Sequence[Night]) -> dict[str, list[float | None]]:
    """Run time, recovery times and rates: a value per run, None where the run has none. A measure that
    several claims of a run have is shown at its worst (slowest, lowest rate)."""
    rows: list[dict[str, float]] = []
    for night in runs:
        row = {"run_time_s": duration_s(night.run)}
        rates = capacity(night.run.claims)
        for name, value in _measures(night.run, rates):
            worst = min if name in rates else max
            row[name] = worst(row[name], value) if name in row else value
        rows.append(row)
    names = sorted({name for row in rows for name in row}, key=lambda n: (n != "run_time_s", n))
    return {name: [row.get(name) for row in rows] for name in names}


def _measures(run: Run, rates: Iterable[str]) -> Iterator[tuple[str, float]]:
    for claim in run.claims:
        for name, value in claim.evidence.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if name in rates or (
                name.startswith(FOLLOWED) and name.endswith("_s") and not name.endswith(LEAST)
            ):
                yield name, float(value)


def as_text(reports: Reports) -> str:
    """Tables for the terminal."""
    runs = reports.nights
    lines = [
        f"{'run':44} {'of':24} {'title':14} {'HOLDS':>5} {'BROKEN':>6} {'UNKNOWN':>7} {'time':>8}",
    ]
    for night in runs:
        counts = night.counts
        of = night.group if night.kind == WHOLE else f"{night.group}, {night.kind}"
        lines.append(
            f"{night.name:44} {of:24} {night.run.title.value:14} {counts['HOLDS']:5} {counts['BROKEN']:6} "
            f"{counts['UNKNOWN']:7} {duration_s(night.run):6.0f} s"
        )
    lines += [f"not readable: {problem}" for problem in reports.unreadable]
    changed = flips(runs)
    lines += ["", f"{len(changed)} verdict flip{'' if len(changed) == 1 else 's'}"]
    for flip in changed:
        why = " (the manifests changed too)" if flip.contract_changed else ""
        lines.append(f"  {flip.night}: {flip.claim}: {flip.before} -> {flip.after}{why}")
    for group, members in groups(runs).items():
        lines += ["", f"{group}: {len(members)} whole run{'' if len(members) == 1 else 's'}"]
        for name, values in series(members).items():
            known = [value for value in values if value is not None]
            lines.append(
                f"  {name}: {known[0]:.4g} -> {known[-1]:.4g} (least {min(known):.4g}, most {max(known):.4g})"
            )
    return "\n".join(lines) + "\n"


def as_page(reports: Reports) -> str:
    """One self-contained page."""
    return render(
        "trend.html.j2",
        nights=[{"night": night, "took_s": duration_s(night.run)} for night in reports.nights],
        unreadable=reports.unreadable,
        flips=flips(reports.nights),
        groups=[
            {
                "name": group,
                "nights": members,
                "plots": [plot(name, values, members) for name, values in series(members).items()],
            }
            for group, members in groups(reports.nights).items()
        ],
    )


def plot(name: str, values: Sequence[float | None], runs: Sequence[Night]) -> dict[str, Any]:
    """A polyline in a box of 600 by 90, broken where runs lack the value; y from 0."""
    known = [value for value in values if value is not None]
    top = max([*known, 1e-12])
    step = 592 / max(1, len(values) - 1)
    points = [
        None if v is None else (round(4 + i * step, 1), round(88 - v / top * 84, 1))
        for i, v in enumerate(values)
    ]
    return {
        "name": name,
        "lines": [" ".join(f"{x},{y}" for x, y in part) for part in _parts(points)],
        "dots": [
            {"x": point[0], "y": point[1], "value": value, "run": night.name}
            for point, value, night in zip(points, values, runs, strict=True)
            if point
        ],
        "first": known[0],
        "last": known[-1],
        "least": min(known),
        "most": max(known),
    }


def _parts(points: Iterable[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    parts: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            parts.append([])
        else:
            parts[-1].append(point)
    return [part for part in parts if len(part) > 1]
