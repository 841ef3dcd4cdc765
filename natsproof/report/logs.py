"""The lines of server logs that lie in a trial's window, on the history's clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from natsproof.history import History

#: `[7] 2026/11/23 15:09:12.123456 [INF] text`
_LINE = re.compile(r"\[\d+\] (\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)?) \[(\w{3})\] (.*)")
LOUD = ("WRN", "ERR", "FTL")
MAX_LINES = 60
AROUND_S = 1.5


def window(history: History, logs: Path, moments_s: Iterable[float] = ()) -> list[dict[str, Any]]:
    """Per server: lines near an injection, a healing or one of `moments_s` (seconds from the trial's start),
    and every warning or error of the trial; at most `MAX_LINES` a server."""
    offset_s = float(history.meta.get("utc_offset_s", 0))
    began_wall_s = int(history.meta.get("began_wall_ns", 0)) / 1e9
    moments = list(moments_s)
    for injection in history.injections:
        moments.append(history.since_start_s(injection.injected_ns))
        if injection.healed_ns is not None:
            moments.append(history.since_start_s(injection.healed_ns))
    found = []
    for path in sorted(logs.glob("*.log")):
        lines = _lines(path, began_wall_s, offset_s)
        near = [line for line in lines if line["at_s"] >= -1 and _wanted(line, moments)]
        found.append({"server": path.stem, "lines": near[:MAX_LINES], "more": max(0, len(near) - MAX_LINES)})
    return [entry for entry in found if entry["lines"]]


def _wanted(line: dict[str, Any], moments: Sequence[float]) -> bool:
    return line["level"] in LOUD or any(abs(line["at_s"] - moment) <= AROUND_S for moment in moments)


def _lines(path: Path, began_wall_s: float, offset_s: float) -> list[dict[str, Any]]:
    found = []
    for text in path.read_text(errors="replace").splitlines():
        match = _LINE.match(text)
        if match is None:
            continue
        form = "%Y/%m/%d %H:%M:%S.%f" if "." in match[1] else "%Y/%m/%d %H:%M:%S"
        moment = datetime.strptime(match[1], form).replace(tzinfo=UTC) - timedelta(seconds=offset_s)
        at_s = round(moment.timestamp() - began_wall_s, 3)
        found.append({"at_s": at_s, "level": match[2], "text": match[3][:400]})
    return found
