"""Certifications of the shipped manifests, one after the other: is any claim ever not HOLDS?

Prints `certifications: C of N without BROKEN or UNKNOWN`. Each run is written down as it ends
(suites/certifications.json, docs/certifications.md), so a series may go on another day: seeds count on.
Nothing is repeated or left out.

    python -m bench.certifications [times] [kind] [make's variables, such as CLAIMS=suites/test_quorum.py]
"""

from __future__ import annotations

import datetime
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import groupby, takewhile
from pathlib import Path

import orjson

from bench.__main__ import machine
from natsproof.report.record import COMPLETE

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "suites" / "certifications.json"
TABLE = ROOT / "docs" / "certifications.md"
LATEST = ROOT / "reports" / "latest"
TIMES = 20
#: The target of make to the longest that one run may take.
LIMIT_S = {"certify": 1500, "kind": 4500}
#: Trials of each certification that cut the power of servers.
POWER_CUT = "power-cut-"
WRONG = ("BROKEN", "UNKNOWN")
#: How the cause of a verdict begins that is true of what was certified.
PLATFORM = "nats-server"


@dataclass
class Run:
    """One certification: its exit code, seconds, counts by verdict, claims that do not hold, load. `cause`
    is entered by hand once it is known: whose it was, and the finding."""

    target: str
    variables: str
    seed: int
    code: int
    took_s: float
    counts: dict[str, int]
    wrong: list[str] = field(default_factory=list)
    power_cuts: int = 0
    load: float = 0.0
    date: str = ""
    commit: str = ""
    machine: str = ""
    cause: str = ""

    @property
    def is_false_alarm(self) -> bool:
        return not self.good and not self.cause.startswith(PLATFORM)

    @property
    def good(self) -> bool:
        return self.code == 0 and not self.wrong

    @property
    def series(self) -> tuple[str, str]:
        return self.target, self.variables


def known() -> list[Run]:
    return [Run(**row) for row in orjson.loads(RUNS.read_bytes())] if RUNS.is_file() else []


def certify(target: str, seed: int, variables: list[str]) -> Run:
    began, before = time.monotonic(), LATEST.resolve()
    command = ["make", target, f"SEED={seed}", *variables]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S[target], check=False
    )
    took_s = time.monotonic() - began
    folder = LATEST.resolve()
    if folder == before or not (folder / "certificate.json").is_file():
        said = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode} and left no certificate:\n{said}")
    certificate = orjson.loads((folder / "certificate.json").read_bytes())
    claims = certificate["claims"]
    counts: dict[str, int] = {}
    for claim in claims:
        counts[claim["status"]] = counts.get(claim["status"], 0) + 1
    wrong = [f"{c['status']} {c['name']}: {c['reason']}" for c in claims if c["status"] in WRONG]
    if certificate["state"] != COMPLETE:
        wrong.append(f"{certificate['title']}: {certificate['interrupted_by'] or 'nobody says why'}")
    run = Run(
        target=target,
        variables=" ".join(variables),
        seed=seed,
        code=done.returncode,
        took_s=round(took_s, 1),
        counts=counts,
        wrong=wrong,
        power_cuts=sum(t.name.startswith(POWER_CUT) for t in (folder / "trials").iterdir()),
        load=round(os.getloadavg()[1], 1),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        commit=commit(),
        machine=machine(),
    )
    if run.good:
        shutil.rmtree(folder / "trials")  # the evidence of what does not hold is kept
    else:
        (folder / "output.txt").write_text(f"{done.stdout}\n{done.stderr}")
    return run


def commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return told.stdout.strip()


def page(runs: list[Run]) -> str:
    """docs/certifications.md: a section for each series of equal commands."""
    lines = [
        "# Certifications in a row",
        "",
        "Written by `python -m bench.certifications`: `make certify` or `make kind` of the shipped manifests",
        "again and again, each with another seed, none repeated or left out.",
        "BROKEN, UNKNOWN or a run that is not whole is a false alarm, unless it is true of the server: the",
        "last column says whose it was, with the number in [findings.md](findings.md).",
    ]
    for series, members in groupby(sorted(runs, key=lambda r: r.series), key=lambda r: r.series):
        lines += _section(series, list(members))
    return "\n".join(lines) + "\n"


def _section(series: tuple[str, str], runs: list[Run]) -> list[str]:
    good = sum(run.good for run in runs)
    middle_s = statistics.median(run.took_s for run in runs)
    lines = [
        "",
        f"## `make {series[0]}{' ' if series[1] else ''}{series[1]}`",
        "",
        f"**{good} of {len(runs)} without BROKEN or UNKNOWN**, "
        f"{sum(run.is_false_alarm for run in runs)} false alarms: {longest_quiet(runs)} runs at most "
        f"between two, {quiet_to_the_end(runs)} since the last; median {middle_s:.0f} s; "
        f"{sum(run.power_cuts for run in runs)} trials cut the power of servers. "
        f"On {', '.join(dict.fromkeys(run.machine for run in runs))}.",
        "",
        "| seed | date | commit | seconds | HOLDS | BROKEN | UNKNOWN | load | what did not hold |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        wrong = "; ".join(run.wrong).replace("|", "/").replace("\n", " ")
        wrong = wrong or ("" if run.code == 0 else f"exit {run.code}")
        wrong += f" ({run.cause})" if run.cause else ""
        counts = [str(run.counts.get(status, 0)) for status in ("HOLDS", *WRONG)]
        cells = [str(run.seed), run.date, run.commit, f"{run.took_s:.0f}", *counts, f"{run.load:.1f}", wrong]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def longest_quiet(runs: list[Run]) -> int:
    """The most runs one after the other without a false alarm."""
    return max(
        (len(list(own)) for alarm, own in groupby(runs, lambda r: r.is_false_alarm) if not alarm), default=0
    )


def quiet_to_the_end(runs: list[Run]) -> int:
    """How many runs there were since the last false alarm."""
    return len(list(takewhile(lambda r: not r.is_false_alarm, reversed(runs))))


def write_down(runs: list[Run]) -> None:
    RUNS.write_bytes(orjson.dumps([asdict(run) for run in runs], option=orjson.OPT_INDENT_2) + b"\n")
    TABLE.write_text(page(runs))


def main() -> int:
    words = sys.argv[1:]
    times = int(words.pop(0)) if words and words[0].isdigit() else TIMES
    target = words.pop(0) if words and words[0] in LIMIT_S else "certify"
    runs, new = known(), []
    before = [run.seed for run in runs if run.series == (target, " ".join(words))]
    for seed in range(max(before, default=0) + 1, max(before, default=0) + 1 + times):
        new.append(certify(target, seed, words))
        print(
            f"# seed {seed}: {new[-1].took_s:.0f} s, {new[-1].counts} {'; '.join(new[-1].wrong)}", flush=True
        )
        write_down([*runs, *new])
    good = sum(run.good for run in new)
    print(f"certifications: {good} of {times} without BROKEN or UNKNOWN")
    return 0 if good == times else 1


if __name__ == "__main__":
    sys.exit(main())
