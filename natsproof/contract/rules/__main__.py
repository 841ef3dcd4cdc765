"""`python -m natsproof.contract.rules manifests`: every rule's verdict, and the time from a cold start."""

from __future__ import annotations

import sys
import time

import psutil

from natsproof.contract.loader import load
from natsproof.contract.rules import RULES
from natsproof.errors import ContractError
from natsproof.verdict import Status


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
    started_s = psutil.Process().create_time()  # the process, so that interpreter and imports count
    print(f"rules: {time.time() - started_s:.3f} s for {len(RULES)} rules on {source}")
    found = {verdict.status for _, verdict in verdicts}
    return 1 if Status.BROKEN in found else 6 if Status.UNKNOWN in found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
