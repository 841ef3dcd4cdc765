"""Claims against mutants: printed, and kept for the report and for readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from tests.mutants.bench import Result
from tests.mutants.claims import claims
from tests.mutants.mutant import Mutant, parted

ROOT = Path(__file__).parent.parent.parent
#: What the report shows beside each claim.
JSON = ROOT / "suites" / "mutants.json"
TABLE = ROOT / "docs" / "mutants.md"


def named(mutants: Sequence[Mutant]) -> dict[str, list[Mutant]]:
    """Each claim's mutants."""
    found: dict[str, list[Mutant]] = {name: [] for name in claims()}
    for mutant in mutants:
        for text in mutant.claims:
            found[parted(text)[0]].append(mutant)
    return found


def uncovered() -> list[str]:
    """Claims of suites/ that no mutant at all names."""
    from tests.mutants.catalogue import mutants

    return [name for name, own in named(mutants()).items() if not own]


def _mark(name: str, mutant: Mutant, result: Result) -> str:
    found = {v for text, (v, _) in result.verdicts.items() if parted(text)[0] == name}
    if not found:
        return "!"
    return mutant.verdict[0] if found == {mutant.verdict} else "!"


def print_matrix(mutants: Sequence[Mutant], results: Mapping[str, Result]) -> None:
    """Rows are claims, columns mutants: B broken, U unknown, as they must be; ! not so."""
    from tests.mutants.__main__ import needs_servers

    columns = [m for m in mutants if needs_servers(m)]
    rest = len(mutants) - len(columns)
    for number, mutant in enumerate(columns, start=1):
        print(f"{number:4} {mutant.family:8} {mutant.name}")
    for name, own in named(columns).items():
        if own:
            marks = "".join(_mark(name, m, results[m.name]) if m in own else "." for m in columns)
            print(f"{marks}  {name}")
    if rest:
        print(f"and {rest} mutants of manifests and of facts, judged without a cluster (docs/mutants.md)")


def write_files(
    mutants: Sequence[Mutant], results: Mapping[str, Result], control: Sequence[Mutant]
) -> tuple[int, int]:
    """suites/mutants.json for the report and docs/mutants.md for readers; (mutants killed, mutants known).

    What was not judged in this run keeps what it said, with its own date, as long as the mutant is the same.
    """
    from tests.mutants.catalogue import controls
    from tests.mutants.catalogue import mutants as known

    day = datetime.now(UTC).strftime("%Y-%m-%d")
    seen = _seen_before()
    for mutant in (*mutants, *control):
        result = results[mutant.name]
        seen[mutant.name] = {
            "killed": result.killed(mutant),
            "date": day,
            "claims": {text: verdict for text, (verdict, _) in sorted(result.verdicts.items())},
        }
    every, calm = known(), controls(known())
    current = {m.name for m in every if m.name in seen and set(seen[m.name]["claims"]) == set(m.claims)}
    current |= {m.name for m in calm if m.name in seen}
    seen = {name: seen[name] for name in sorted(current)}
    claimed = {
        name: [m.name for m in own if m.name in seen and seen[m.name]["killed"]]
        for name, own in named(every).items()
    }
    data = {"claims": claimed, "seen": seen}
    JSON.write_bytes(orjson.dumps(data, option=orjson.OPT_INDENT_2) + b"\n")
    TABLE.write_text(_table(every, calm, seen))
    return sum(m.name in seen and seen[m.name]["killed"] for m in every), len(every)


def _seen_before() -> dict[str, Any]:
    try:
        return dict(orjson.loads(JSON.read_bytes())["seen"])
    except (OSError, ValueError, KeyError):
        return {}


def _table(every: Sequence[Mutant], calm: Sequence[Mutant], seen: Mapping[str, Any]) -> str:
    def said(mutant: Mutant, word: str) -> str:
        if mutant.name not in seen:
            return "not run yet"
        one = seen[mutant.name]
        return f"{word if one['killed'] else '**not so**'}, {one['date']}"

    killed = sum(said(m, "x").startswith("x") for m in every)
    holding = sum(said(c, "x").startswith("x") for c in calm)
    lines = [
        "# Mutants",
        "",
        f"{killed} of {len(every)} mutants killed, {holding} of {len(calm)} controls hold; "
        "written by `python -m tests.mutants --write`.",
        "Each is something made wrong, and the claims that must say so: BROKEN for platforms and servers,",
        "UNKNOWN for harnesses. How to add one: [add-a-mutant.md](add-a-mutant.md).",
        "",
        "| mutant | family | seen | claims |",
        "|---|---|---|---|",
    ]
    for mutant in (*every, *calm):
        own = ", ".join(f"`{text}`" for text in mutant.claims[:8])
        own += f" and {len(mutant.claims) - 8} more" if len(mutant.claims) > 8 else ""
        name = mutant.name.replace("|", "/")
        lines.append(f"| {name} | {mutant.family} | {said(mutant, mutant.verdict)} | {own} |")
    if bare := uncovered():
        lines += ["", "Claims without a mutant: " + ", ".join(f"`{name}`" for name in bare)]
    return "\n".join(lines) + "\n"
