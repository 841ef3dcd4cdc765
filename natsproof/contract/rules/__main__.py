"""`python -m natsproof.contract.rules manifests`: every rule's verdict, and the time from a cold start."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from natsproof.contract.loader import load
from natsproof.contract.rules import RULES
from natsproof.errors import ContractError
from natsproof.verdict import Status

IMPORTED_S = time.perf_counter()


def _age_s() -> float:
    """Seconds since this process started, so that interpreter and imports count; elsewhere than on Linux
    since this module's import. (psutil's create_time is off by up to a second.)"""
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return time.perf_counter() - IMPORTED_S
    ticks = int(stat.read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def main(arguments: list[str]) -> int:
    """0: all rules hold; 1: one is broken; 4: the manifests cannot be read; 6: one is not decided."""
    source = arguments[0] if arguments else "manifests"
    try:
        contract = load(source)
    except ContractError as error:
        print(error, file=sys.stderr)
        return 4
    verdicts = [(rule, rule.check(contract)) for rule in RULES]
    for rule, verdict in verdicts:
        print(f"{verdict.status.value:8}{rule.name}: {verdict.reason}")
    print(f"rules: {_age_s():.3f} s for {len(RULES)} rules on {source}")
    found = {verdict.status for _, verdict in verdicts}
    return 1 if Status.BROKEN in found else 6 if Status.UNKNOWN in found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
