"""results.sarif: findings that have a place in the manifests, for code-scanning pages and editors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from natsproof.report.record import Claim, Run
from natsproof.verdict import Status

VERSION = "2.1.0"
_PLACE = re.compile(r"(?P<file>.+?):(?P<line>[1-9]\d*)$")
_LEVEL = {Status.BROKEN: "error", Status.UNKNOWN: "warning"}


def sarif(run: Run) -> str:
    return findings_as_sarif(run.claims, str(run.header.get("natsproof", "")))


def findings_as_sarif(claims: Iterable[Claim], version: str) -> str:
    """SARIF text of all exhibits with a place, of claims that do not hold."""
    bad = [claim for claim in claims if claim.status in _LEVEL]
    rules = {claim.name: claim for claim in bad if any(_PLACE.match(e.place) for e in claim.exhibits)}
    log = {
        "version": VERSION,
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "natsproof",
                        "version": version or "0",
                        "rules": [
                            {"id": name, "shortDescription": {"text": claim.sentence}}
                            for name, claim in rules.items()
                        ],
                    }
                },
                "results": [result for claim in rules.values() for result in _results(claim)],
                "columnKind": "unicodeCodePoints",
            }
        ],
    }
    return json.dumps(log, indent=1) + "\n"


def _results(claim: Claim) -> Iterator[Mapping[str, Any]]:
    for shown in claim.exhibits:
        match = _PLACE.match(shown.place)
        if match is None:
            continue
        uri = match["file"].replace("\\", "/").removeprefix("./")
        yield {
            "ruleId": claim.name,
            "level": _LEVEL[claim.status],
            "message": {"text": f"{claim.reason} {shown.text}".strip()},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": uri},
                        "region": {"startLine": int(match["line"])},
                    }
                }
            ],
        }
