"""How much more evidence than needed the claims that hold had: what is only just enough will fail one day.

    python -m bench.margins reports/*/certificate.json

Prints, thinnest first, guard and claim with the fewest that was counted in any of the runs, what is
needed, and the ratio. Certificates of before 2026-11-28 have no such counts: judge their runs again
(`pytest suites/ --rejudge reports/<run>`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

#: Rows that are printed.
MOST = 40


def margins(certificates: Iterable[dict[str, Any]]) -> list[tuple[float, int, int, str, str, int]]:
    """(ratio, fewest counted, needed, guard, claim, runs), thinnest first."""
    rows: dict[tuple[str, str, int], list[int]] = {}
    for certificate in certificates:
        for name, guard, counted, needed in _counted(certificate):
            rows.setdefault((name, guard, needed), []).append(counted)
    return sorted(
        (min(seen) / needed, min(seen), needed, guard, name, len(seen))
        for (name, guard, needed), seen in rows.items()
        if needed
    )


def _counted(certificate: dict[str, Any]) -> Iterator[tuple[str, str, int, int]]:
    for claim in certificate["claims"]:
        for check in claim["checks"] if claim["status"] == "HOLDS" else ():
            for row in check.get("counted", ()):
                yield claim["name"], row["guard"], int(row["counted"]), int(row["needed"])


def main(arguments: Sequence[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 3
    found = margins(orjson.loads(Path(name).read_bytes()) for name in arguments)
    for ratio, fewest, needed, guard, name, runs in found[:MOST]:
        print(f"{ratio:6.2f}  {fewest:,} of {needed:,}  {guard}  {name}  ({runs} runs)")
    print(f"{len(found)} guards with counts in {len(arguments)} certificates")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
