"""Run benchmarks, each in a process of its own; keep the figures and write docs/benchmarks.md.

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

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
RESULTS = ROOT / "bench" / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"
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


def keep(name: str, figures: list[tuple[str, str]]) -> None:
    """Write down what one benchmark gave, at once, and the page: an interrupted run leaves what it has."""
    kept = orjson.loads(RESULTS.read_bytes()) if RESULTS.is_file() else {}
    kept[name] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "load": round(os.getloadavg()[1], 1),
        "figures": figures,
    }
    RESULTS.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    PAGE.write_text(page(kept))


def page(kept: Mapping[str, Any]) -> str:
    """docs/benchmarks.md: each benchmark as it was measured last, with the day, the load and the machine."""
    machines = list(dict.fromkeys(kept[name]["machine"] for name in BENCHES if name in kept))
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench` (`python -m bench NAME` for one); medians of one run. The load is the",
        "average of five minutes at the end of the benchmark, which makes load itself.",
        "",
        "| benchmark | figure | measured | must reach | date, load, machine |",
        "|---|---|---|---|---|",
    ]
    for name, (target, _) in BENCHES.items():
        if name in kept:
            run = kept[name]
            when = f"{run['date']}, {run['load']}, {chr(ord('A') + machines.index(run['machine']))}"
            lines += [f"| {name} | {key} | {value} | {target} | {when} |" for key, value in run["figures"]]
    lines += ["", *(f"- {chr(ord('A') + number)}: {text}" for number, text in enumerate(machines))]
    missing = [name for name in BENCHES if name not in kept]
    if missing:
        lines += ["", f"Not measured yet: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(BENCHES))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 4
    failed = False
    for name in names or BENCHES:
        figures = run(name, BENCHES[name][1])
        for key, value in figures:
            print(f"{key}: {value}", flush=True)
            failed |= value.startswith("FAILED")
        keep(name, figures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
