"""Two quick capacity runs, one after the other, on the platform as shipped: do they agree on the knee?

    knee agreement: P %         by how much the lower lies below the higher; at most 10
    knee: R operations/s        their mean
    quick capacity run: S s     the longer of the two, cluster included; at most 180

Each run has a fresh embedded cluster and is the trial of `make capacity` at depth quick.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from natsproof.cluster.embedded import embedded, enter_universe

RUNS = 2


def once(source: Path, seed: int) -> tuple[float, float]:
    """(knee in operations a second, seconds that the run took)."""
    # imported late: numpy's threads would forbid the universe to an ordinary user
    from natsproof.contract.loader import load
    from natsproof.trial import run
    from suites import loads

    began, contract = time.monotonic(), load(source)
    with tempfile.TemporaryDirectory(prefix="natsproof-bench-") as folder:
        cluster = embedded(contract, Path(folder) / "cluster")
        cluster.up()
        try:
            trial = loads.capacity(contract.promises, loads.QUICK_CAPACITY_S)
            history = run(trial, cluster, seed=seed, path=Path(folder) / "history.jsonl")
        finally:
            cluster.down()
    (told,) = history.observed("capacity")
    knee, took_s = told.data["knee"], time.monotonic() - began
    steps = [step for step in told.data["steps"] if step["label"] == "all pods"]
    print(
        f"# {knee['rate_hz']:.0f}/s, {knee['low_hz']:.0f} to {knee['too_high_hz'] or 0:.0f}, "
        f"{len(steps)} steps, ended by {knee['limited_by']}, certified {told.data['certified_hz']:.0f}/s, "
        f"{took_s:.0f} s, load average {os.getloadavg()[0]:.1f}",
        file=sys.stderr,
        flush=True,
    )
    return float(knee["rate_hz"]), took_s


def main() -> None:
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "manifests").resolve()
    enter_universe()
    runs = [once(source, seed) for seed in range(RUNS)]
    rates_hz = [rate_hz for rate_hz, _ in runs]
    print(f"knee agreement: {100 * (1 - min(rates_hz) / max(rates_hz)):.1f} %")
    print(f"knee: {sum(rates_hz) / len(rates_hz):.0f} operations/s")
    print(f"quick capacity run: {max(took_s for _, took_s in runs):.0f} s")


if __name__ == "__main__":
    main()
