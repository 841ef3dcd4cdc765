"""What a run prints at its head and at its end."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from natsproof.report.record import Run, Title
from natsproof.verdict import Status

Line = tuple[str, dict[str, bool]]
LONGEST = 400


def header(facts: Mapping[str, Any]) -> list[str]:
    """Seed, contract, cluster, isolation, server: what a reader needs to repeat the run."""
    lines = [
        f"natsproof {facts['natsproof']}: seed {facts['seed']}, depth {facts['depth']}",
        f"contract: {', '.join(facts['manifests'])}, sha256 {str(facts['contract_digest'])[:16]}",
    ]
    if facts.get("rejudged"):
        return [*lines, f"rejudging {_relative(Path(facts['rejudged']))}: no cluster is started"]
    why = f" ({facts['isolation_why']})" if facts.get("isolation_why") else ""
    lines.append(f"cluster: {facts['cluster']}, isolation {facts.get('isolation', 'unknown')}{why}")
    for name, program in (("server", "nats-server"), ("cli", "nats CLI")):
        if binary := facts.get(name):
            version = binary["version"] or "of unknown version"
            lines.append(f"{program} {version} from {binary['origin']}, sha256 {binary['sha256'][:16]}")
    if facts.get("host_problem"):
        lines.append(f"no cluster can be started here: {facts['host_problem']}")
    return lines


def _one_line(text: str) -> str:
    """Not the logs of a platform that did not start: they stand above, and in the report."""
    return textwrap.shorten(text, LONGEST, placeholder=" ...")


def summary(run: Run, folder: Path, notes: list[str]) -> Iterator[Line]:
    """Lines with their style. Each claim that does not hold has a line that begins with its verdict."""
    plain: dict[str, bool] = {}
    style = {"green": True} if run.title is Title.CERTIFIED else {"yellow": True}
    if run.of(Status.BROKEN):
        style = {"red": True}
    yield "", plain
    yield f"natsproof: {run.title.value}", {**style, "bold": True}
    for status, colour in ((Status.BROKEN, "red"), (Status.UNKNOWN, "yellow")):
        for claim in run.of(status):
            yield f"{status.value} {claim.name}: {_one_line(claim.reason)}", {colour: True}
    judged_name = "never judged" + (" (interrupted)" if run.title is Title.INTERRUPTED else "")
    for name in run.never_judged:
        yield f"UNKNOWN {name.rsplit('::', 1)[-1]}: {judged_name}", {"yellow": True}
    for entry in run.not_tested:
        yield f"not tested {entry.name}: {_one_line(entry.reason)}", plain
    for problem in run.problems:
        yield f"problem: {_one_line(problem)}", {"red": True}
    counts = ", ".join(f"{len(run.of(status))} {status.value}" for status in (Status.HOLDS, Status.BROKEN))
    undecided = len(run.of(Status.UNKNOWN)) + len(run.never_judged)
    yield (
        f"verdicts: {counts}, {undecided} UNKNOWN; not tested {len(run.not_tested)}, "
        f"left out {len(run.left_out)}",
        plain,
    )
    for note in notes:
        yield note, plain
    yield f"report: {_relative(folder / 'report.html')}", plain
    yield f"repeat: {run.header.get('command', 'pytest suites/')}{_seed(run)}", plain


def _seed(run: Run) -> str:
    command = str(run.header.get("command", ""))
    return "" if "--seed" in command else f" --seed {run.header.get('seed')}"


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
