"""Run every benchmark in a process of its own and write docs/benchmarks.md.

python -m bench [name ...]      names as in BENCHES; all of them without one
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

#: name -> (what it must reach, seconds it may take)
BENCHES: dict[str, tuple[str, int]] = {
    "first_write": ("first write 1.5 s or less; teardown 0.3 s or less", 180),
    "kind": ("first write 120 s or less from nothing, images at hand", 400),
    "rules": ("0.5 s or less", 60),
    "recording": ("at least 0.75 x unrecorded", 300),
    "checkers": ("2 s or less for 1,000,000 operations; 300 B/op; exponent 1.1 or less", 400),
    "porcupine": ("at least 100 x at 10^5 operations, 64 clients", 400),
    "generator": ("0.9 x nats bench kv put; stall error 5 %; 30 us", 400),
    "knee": ("two runs agree within 10 %; 180 s or less", 460),
    "power_loss": ("30 s or less from a cold start", 120),
    "report": ("1,000,000 operations: 20 s, 8 MB; rejudge 10 s", 400),
    "workers": ("-n 2 at least 1.6 times faster than -n 0", 1500),
    "leaks": ("none after 20 SIGKILLs", 500),
}
ROOT = Path(__file__).parent.parent
FIGURE = re.compile(r"^([a-z][a-z0-9 ,^/-]*): (.+)$")


def machine() -> str:
    """One line about this host, for the table's heading."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({cpu}), {memory_gib:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def run(name: str, budget_s: int) -> list[tuple[str, str]]:
    """The figures one benchmark prints; its failure is a figure too."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"bench.{name}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=budget_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [(name, f"FAILED: over its budget of {budget_s} s")]
    figures = [m.groups() for line in done.stdout.splitlines() if (m := FIGURE.match(line))]
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        figures.append((name, f"FAILED: exit {done.returncode}"))
    print(f"# {name} took {time.monotonic() - began:.0f} s", file=sys.stderr)
    return [(key, value) for key, value in figures]


def write_table(rows: list[str], left_out: list[str]) -> None:
    """docs/benchmarks.md with what was measured so far: an interrupted run leaves what it has."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    missing = f"\nNot measured in this run: {', '.join(left_out)}.\n" if left_out else ""
    load = os.getloadavg()[1]
    (ROOT / "docs" / "benchmarks.md").write_text(
        "# Benchmarks\n\nWritten by `make bench`; medians of one run.\n\n"
        f"{date}, {machine()}, load average {load:.1f} at the end\n\n"
        "| benchmark | figure | measured | must reach |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n{missing}"
    )


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(BENCHES))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 4
    rows: list[str] = []
    failed = False
    for name in names or BENCHES:
        target, budget_s = BENCHES[name]
        for key, value in run(name, budget_s):
            print(f"{key}: {value}", flush=True)
            failed |= value.startswith("FAILED")
            rows.append(f"| {name} | {key} | {value} | {target} |")
        if not names:
            write_table(rows, left_out=[n for n in BENCHES if n not in {r.split(" ")[1] for r in rows}])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
