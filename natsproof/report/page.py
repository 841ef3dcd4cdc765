"""report.html: one page that needs nothing but a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from natsproof.errors import HistoryError
from natsproof.history_file import read
from natsproof.report import certificate
from natsproof.report.coverage import Coverage
from natsproof.report.logs import window
from natsproof.report.metrics import duration_s
from natsproof.report.record import Claim, Run
from natsproof.report.run_folder import RunFolder
from natsproof.report.timeline import COLUMNS, SAMPLE, timeline
from natsproof.verdict import Status

#: Single operations drawn in the whole page; trials share them.
TOTAL_SAMPLE = 60_000
#: Columns of all pictures together, and the fewest of one: a run of hours has hundreds of trials.
TOTAL_COLUMNS, FEWEST_COLUMNS = 80 * COLUMNS, 60
_PLACE = re.compile(r"(?P<file>.+?):(?P<line>[1-9]\d*)$")


def page(folder: RunFolder, run: Run) -> str:
    """The page as text. Reads every history of the run once; one that is damaged is named, not fatal."""
    trials, coverage, problems = _trials(folder, run)
    mutants = _mutants(folder.path)
    claims = [
        _claim_view(claim, folder, trials, mutants.get(claim.name.partition("[")[0], []))
        for claim in run.claims
    ]
    return render(
        "page.html.j2",
        run=run,
        head=run.header,
        title=run.title.value,
        counts=certificate.counts(run),
        groups=_groups([view for view in claims if view["status"] is Status.HOLDS]),
        bad=[v for s in (Status.BROKEN, Status.UNKNOWN) for v in claims if v["status"] is s],
        untested=_untested(run),
        grades=certificate.grades(run),
        capacity=certificate.capacity(run.claims),
        coverage=coverage.table(),
        problems=[*run.problems, *problems],
        took=_minutes(duration_s(run)),
        script=_text("page.js"),
        data=_embedded({name: view["picture"] for name, view in trials.items() if view.get("picture")}),
    )


def render(template: str, **values: Any) -> str:
    """A template of this folder with the style sheet in it."""
    text: str = _environment().get_template(template).render(css=_text("page.css"), **values)
    return text


def _trials(folder: RunFolder, run: Run) -> tuple[dict[str, dict[str, Any]], Coverage, list[str]]:
    """Views of all trials by name: picture, faults, log lines."""
    views: dict[str, dict[str, Any]] = {}
    coverage, problems = Coverage(), []
    sample = min(SAMPLE, TOTAL_SAMPLE // max(1, len(run.trials)))
    columns = min(COLUMNS, max(FEWEST_COLUMNS, TOTAL_COLUMNS // max(1, len(run.trials))))
    moments: dict[str, list[float]] = {}
    for claim in run.claims:
        for shown in claim.exhibits:
            if shown.trial and shown.at_s is not None:
                moments.setdefault(shown.trial, []).append(shown.at_s)
    for name, record in run.trials.items():
        path = folder.trial_folder(name)
        view: dict[str, Any] = {"name": name, "record": record}
        views[name] = view
        try:
            history = read(path / "history.jsonl")
        except FileNotFoundError:
            continue
        except (HistoryError, OSError) as problem:
            problems.append(f"history of trial {name}: {problem}")
            continue
        coverage.add(history)
        view["picture"] = timeline(history, sample, columns)
        view["logs"] = window(history, path / "logs", moments.get(name, ()))
    return views, coverage, problems


def _claim_view(
    claim: Claim, folder: RunFolder, trials: Mapping[str, Mapping[str, Any]], mutants: list[str]
) -> dict[str, Any]:
    names = [name for name in claim.trials if name in trials]
    return {
        "id": re.sub(r"[^A-Za-z0-9_-]+", "-", claim.nodeid),
        "claim": claim,
        "parameters": claim.name.partition("[")[2].removesuffix("]"),
        "status": claim.status,
        "group": _group(claim.nodeid),
        "bound": certificate.bound(claim),
        "promises": [{"text": text, "lines": _source(folder.path, text)} for text in claim.promises],
        "exhibits": [
            {"shown": shown, "lines": _source(folder.path, shown.place)} for shown in claim.exhibits
        ],
        "trials": [trials[name] for name in names],
        "marks": {
            name: [
                {"at_s": shown.at_s, "text": shown.text}
                for shown in claim.exhibits
                if shown.trial == name and shown.at_s is not None
            ]
            for name in names
        },
        "mutants": mutants,
    }


def _untested(run: Run) -> list[dict[str, Any]]:
    """What was not tested: twins of one sentence and reason in one row, promised ones and others apart."""
    rows: dict[tuple[str, str, bool], list[str]] = {}
    for entry in run.not_tested:
        key = (entry.sentence or entry.name, entry.reason, entry.promised)
        rows.setdefault(key, []).append(entry.name.partition("[")[2].removesuffix("]"))
    found = [
        {"sentence": sentence, "reason": reason, "promised": promised, "twins": [t for t in twins if t],
         "count": len(twins)}
        for (sentence, reason, promised), twins in rows.items()
    ]  # fmt: skip
    return [
        {"promised": promised, "rows": part, "count": sum(row["count"] for row in part)}
        for promised in (True, False)
        if (part := [row for row in found if row["promised"] is promised])
    ]


def _groups(views: list[dict[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for view in views:
        groups.setdefault(view["group"], []).append(view)
    return [{"name": name, "views": found} for name, found in groups.items()]


def _group(nodeid: str) -> str:
    """`suites/test_durability.py::…` is about durability."""
    stem = Path(nodeid.split("::", 1)[0]).stem.removeprefix("test_")
    return stem.replace("_", " ").capitalize() or "Claims"


def _source(folder: Path, place: str) -> list[dict[str, Any]]:
    """The manifest's lines around `file:line`, from the copy that the run kept."""
    match = _PLACE.match(place)
    if match is None:
        return []
    copy = folder / "manifests" / Path(match["file"]).name
    try:
        lines = copy.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    wanted = int(match["line"])
    return [
        {"number": number, "text": lines[number - 1][:200], "here": number == wanted}
        for number in range(max(1, wanted - 2), min(len(lines), wanted + 2) + 1)
    ]


def _mutants(folder: Path) -> dict[str, list[str]]:
    """Mutants seen to break each claim, as `make mutants ARGS=--write` left them in `suites/mutants.json`
    beside the folder of reports: `{"claims": {"test_name": ["mutant", ...]}}`."""
    try:
        data = json.loads((folder.parent.parent / "suites" / "mutants.json").read_text())
        return {str(k): [str(m) for m in v] for k, v in data["claims"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _embedded(data: object) -> str:
    """JSON that no HTML parser can read as markup."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


@cache
def _text(name: str) -> str:
    return files("natsproof.report").joinpath(name).read_text()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("natsproof", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    return environment
