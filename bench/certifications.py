"""Certifications of the shipped manifests, one after the other: is any claim ever not HOLDS?

Prints `certifications: C of N without BROKEN or UNKNOWN`, and writes docs/certifications.md as it goes, so
that a run that is ended early leaves what it has. Nothing is repeated or left out.

    python -m bench.certifications [times] [make certify's variables, such as CLAIMS=suites/test_quorum.py]
"""

from __future__ import annotations

import datetime
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from bench.__main__ import machine

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "certifications.md"
TIMES = 20
LIMIT_S = 1500
#: Trials of each certification that cut the power of servers.
POWER_CUT = "power-cut-"


@dataclass
class Run:
    """One certification: its exit code, seconds, counts by verdict, claims that do not hold, load."""

    seed: int
    code: int
    took_s: float
    counts: dict[str, int]
    wrong: list[str] = field(default_factory=list)
    power_cuts: int = 0
    load: float = 0.0

    @property
    def good(self) -> bool:
        return self.code == 0 and not self.wrong


def certify(seed: int, variables: list[str]) -> Run:
    began = time.monotonic()
    command = ["make", "certify", f"SEED={seed}", *variables]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    took_s = time.monotonic() - began
    folder = (ROOT / "reports" / "latest").resolve()
    certificate = orjson.loads((folder / "certificate.json").read_bytes())
    claims = certificate["claims"]
    counts: dict[str, int] = {}
    for claim in claims:
        counts[claim["status"]] = counts.get(claim["status"], 0) + 1
    wrong = [
        f"{c['status']} {c['name']}: {c['reason']}" for c in claims if c["status"] in ("BROKEN", "UNKNOWN")
    ]
    cuts = [t for t in (folder / "trials").iterdir() if t.name.startswith(POWER_CUT)]
    run = Run(seed, done.returncode, took_s, counts, wrong, len(cuts), os.getloadavg()[1])
    if run.good:
        shutil.rmtree(folder / "trials")  # the evidence of what does not hold is kept
    return run


def commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return told.stdout.strip()


def write_table(runs: list[Run], variables: list[str]) -> None:
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    good = sum(run.good for run in runs)
    middle_s = statistics.median(run.took_s for run in runs)
    lines = [
        "# Certifications in a row",
        "",
        "Written by `python -m bench.certifications`: `make certify` of the shipped manifests again and",
        "again, each with another seed, none repeated or left out. BROKEN or UNKNOWN is a false alarm.",
        "",
        f"{date}, commit {commit()}, {machine()}. Variables: {' '.join(variables) or 'none'}.",
        f"**{good} of {len(runs)} without BROKEN or UNKNOWN**, median {middle_s:.0f} s; "
        f"{sum(run.power_cuts for run in runs)} trials cut the power of servers.",
        "",
        "| seed | seconds | HOLDS | BROKEN | UNKNOWN | load | what did not hold |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        wrong = "; ".join(run.wrong).replace("|", "/") or ("" if run.code == 0 else f"exit {run.code}")
        counts = [str(run.counts.get(s, 0)) for s in ("HOLDS", "BROKEN", "UNKNOWN")]
        lines.append(f"| {run.seed} | {run.took_s:.0f} | {' | '.join(counts)} | {run.load:.1f} | {wrong} |")
    TABLE.write_text("\n".join(lines) + "\n")


def main() -> int:
    words = sys.argv[1:]
    times = int(words.pop(0)) if words and words[0].isdigit() else TIMES
    runs: list[Run] = []
    for seed in range(1, times + 1):
        runs.append(certify(seed, words))
        print(
            f"# seed {seed}: {runs[-1].took_s:.0f} s, {runs[-1].counts} {'; '.join(runs[-1].wrong)}",
            flush=True,
        )
        write_table(runs, words)
    good = sum(run.good for run in runs)
    print(f"certifications: {good} of {times} without BROKEN or UNKNOWN")
    return 0 if good == times else 1


if __name__ == "__main__":
    sys.exit(main())
