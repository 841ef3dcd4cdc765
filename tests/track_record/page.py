"""docs/track-record.md, written from the entries and from when each was last found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.track_record.entries import ENTRIES, Entry

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "track-record.md"
#: issue -> {"date", "took_s", "seed", "reason"} of the last time it was found; {"tried"} if it never was.
KEPT = Path(__file__).parent / "last.json"

HEAD = """# Track record

Published defects of NATS, found again by natsproof on versions that have them; `finding-39`, `finding-58`
and `finding-61` were found here ([findings](findings.md)) and are published nowhere that we know of. Each row
is one command; it prints `reproduced #ISSUE in S s` or `not reproduced`, and writes this page. Times count
from the command's start to the verdict, on the machine of that day; fetching an older nats-server is not
counted.

| issue | what | affected | run on | found by | command | last reproduced |
|---|---|---|---|---|---|---|
"""


def kept() -> dict[str, dict[str, Any]]:
    return dict(json.loads(KEPT.read_text())) if KEPT.exists() else {}


def row(entry: Entry, last: Mapping[str, Any]) -> str:
    """One defect as a row of the table."""
    if "date" in last:
        when = f"{last['date']}, {last['took_s']:.0f} s, seed {last['seed']}: {last['reason']}"
    elif last:
        when = f"not reproduced: {entry.tried or last['tried']}"
    else:
        when = "not tried yet"
    cells = (
        f"#{entry.issue}",
        entry.what,
        entry.affected,
        entry.version,
        f"`{entry.found_by}`",
        f"`{entry.command}`",
        when.replace("|", "/"),
    )
    return f"| {' | '.join(cells)} |\n"


def text() -> str:
    known = kept()
    return HEAD + "".join(row(entry, known.get(entry.issue, {})) for entry in ENTRIES)


def keep(issue: str, facts: Mapping[str, Any]) -> None:
    """Enter a result and write the page. A defect that was found once stays found: the date tells when."""
    known = kept()
    if "date" in facts or "date" not in known.get(issue, {}):
        known[issue] = dict(facts)
    KEPT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(text())
