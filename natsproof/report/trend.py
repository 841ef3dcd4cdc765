"""Many runs side by side: verdict flips, recovery times, capacity, run time."""

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
from natsproof.report.record import Run
from natsproof.report.run_folder import open_run
from natsproof.verdict import Status

#: Measures whose course over runs is worth a line.
FOLLOWED = ("_s", "_hz", "_per_s")


@dataclass(frozen=True, slots=True)
class Night:
    """One run of many."""

    name: str
    run: Run

    @property
    def counts(self) -> dict[str, int]:
        return {status.value: len(self.run.of(status)) for status in Status}


def nights(reports: Path) -> list[Night]:
    """The runs under `reports`, oldest first. Raises UsageError if there is none."""
    if not reports.is_dir():
        raise UsageError(f"{reports}: no such folder; give the folder with the runs (reports/)")
    found = []
    for path in sorted(reports.iterdir()):
        if path.is_symlink() or not (path / "run.json").is_file():
            continue
        try:
            found.append(Night(path.name, open_run(path).read()))
        except NatsproofError:
            continue
    if not found:
        raise UsageError(f"{reports}: no run here; pytest suites/ leaves one")
    return sorted(found, key=lambda night: str(night.run.header.get("started_at", night.name)))


@dataclass(frozen=True, slots=True)
class Flip:
    """A claim whose verdict changed from one run to the next that judged it."""

    claim: str
    night: str
    before: str
    after: str


def flips(runs: Sequence[Night]) -> list[Flip]:
    last: dict[str, str] = {}
    found = []
    for night in runs:
        for claim, said in verdicts(night.run).items():
            if said not in ("HOLDS", "BROKEN", "UNKNOWN"):
                continue
            if claim in last and last[claim] != said:
                found.append(Flip(claim, night.name, last[claim], said))
            last[claim] = said
    return found


def series(runs: Sequence[Night]) -> dict[str, list[float | None]]:
    """Run time, rates and recovery times: a value per run, None where the run has none. A measure that
    several claims of a run have is shown at its worst (slowest, lowest rate)."""
    names: dict[str, None] = {}
    rows: list[dict[str, float]] = []
    for night in runs:
        row = {"run_time_s": duration_s(night.run)}
        for name, value in _measures(night.run):
            worst = min if name in capacity(night.run.claims) else max
            row[name] = worst(row[name], value) if name in row else value
        rows.append(row)
        names.update(dict.fromkeys(row))
    return {name: [row.get(name) for row in rows] for name in names}


def _measures(run: Run) -> Iterator[tuple[str, float]]:
    for claim in run.claims:
        for name, value in claim.evidence.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and name.endswith(FOLLOWED):
                yield name, float(value)


def as_text(runs: Sequence[Night]) -> str:
    """A table for the terminal."""
    lines = [f"{'run':44} {'title':14} {'HOLDS':>5} {'BROKEN':>6} {'UNKNOWN':>7} {'time':>8}"]
    for night in runs:
        counts = night.counts
        lines.append(
            f"{night.name:44} {night.run.title.value:14} {counts['HOLDS']:5} {counts['BROKEN']:6} "
            f"{counts['UNKNOWN']:7} {duration_s(night.run):6.0f} s"
        )
    changed = flips(runs)
    lines += ["", f"{len(changed)} verdict flips"]
    lines += [f"  {flip.night}: {flip.claim}: {flip.before} -> {flip.after}" for flip in changed]
    lines.append("")
    for name, values in series(runs).items():
        known = [value for value in values if value is not None]
        lines.append(
            f"{name}: {known[0]:.4g} -> {known[-1]:.4g} (least {min(known):.4g}, most {max(known):.4g})"
        )
    return "\n".join(lines) + "\n"


def as_page(runs: Sequence[Night]) -> str:
    """One self-contained page."""
    return render(
        "trend.html.j2",
        nights=[{"night": night, "took_s": duration_s(night.run)} for night in runs],
        flips=flips(runs),
        plots=[plot(name, values) for name, values in series(runs).items()],
    )


def plot(name: str, values: Sequence[float | None]) -> dict[str, Any]:
    """A polyline in a box of 600 by 90, broken where runs lack the value; y from 0."""
    known = [value for value in values if value is not None]
    top = max([*known, 1e-12])
    step = 600 / max(1, len(values) - 1)
    points = [
        None if v is None else (round(i * step, 1), round(88 - v / top * 84, 1)) for i, v in enumerate(values)
    ]
    return {
        "name": name,
        "lines": [" ".join(f"{x},{y}" for x, y in part) for part in _parts(points)],
        "dots": [point for point in points if point],
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
