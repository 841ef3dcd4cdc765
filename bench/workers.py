"""How much sooner a certification ends with two workers than with none.

Prints `two workers: R x faster than -n 0`: the same claims, the same seed, one run after the other. Trials
mostly wait for elections, so two of them at once pay even where both cores are busy.

    python -m bench.workers [claims ...]
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
CLAIMS = (
    "suites/test_quorum.py",
    "suites/test_consistency.py",
    "suites/test_watch.py",
    "suites/test_expiry.py",
)
LIMIT_S = 900
CERTIFIED = (0,)


def took_s(claims: list[str], workers: int) -> float:
    """Seconds of one certification; ends the bench if it is not one that holds."""
    grouped = ["--dist", "loadgroup", "--no-loadscope-reorder"] if workers else []
    command = [sys.executable, "-m", "pytest", *claims, "-q", "-n", str(workers), *grouped]
    began = time.monotonic()
    done = subprocess.run(
        [*command, "--depth", "quick", "--seed", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode not in CERTIFIED:
        raise SystemExit(f"-n {workers} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return time.monotonic() - began


def main() -> None:
    claims = sys.argv[1:] or list(CLAIMS)
    alone_s, two_s = took_s(claims, 0), took_s(claims, 2)
    print(f"# {alone_s:.0f} s with -n 0, {two_s:.0f} s with -n 2", file=sys.stderr)
    print(f"two workers: {alone_s / two_s:.2f} x faster than -n 0")


if __name__ == "__main__":
    main()
