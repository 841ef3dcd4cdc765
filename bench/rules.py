"""Loading the shipped manifests and judging all rules, a fresh process each time. Prints `rules: S s`."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys

RUNS = 9
TOOK = re.compile(r"^rules: ([\d.]+) s", re.MULTILINE)


def main() -> None:
    command = [sys.executable, "-m", "natsproof.contract.rules", "manifests"]
    took_s = []
    for _ in range(RUNS):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        match = TOOK.search(done.stdout)
        if match is None:
            raise SystemExit(f"no line `rules: S s` in the output: {done.stdout[-200:]}")
        took_s.append(float(match[1]))
    print(f"rules: {statistics.median(took_s):.3f} s (median of {RUNS}, {min(took_s)} to {max(took_s)})")


if __name__ == "__main__":
    main()
