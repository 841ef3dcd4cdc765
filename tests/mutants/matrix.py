"""Claims against mutants: printed, and kept for the report and for readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

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


def write_files(mutants: Sequence[Mutant], results: Mapping[str, Result], control: Sequence[Mutant]) -> None:
    """suites/mutants.json for the report, docs/mutants.md for readers. Only what was seen in this run."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    seen = {
        name: [m.name for m in own if _mark(name, m, results[m.name]) != "!"]
        for name, own in named(mutants).items()
    }
    killed = sum(results[m.name].killed(m) for m in mutants)
    data = {
        "date": day,
        "killed": killed,
        "mutants": len(mutants),
        "claims": {k: v for k, v in seen.items() if v},
    }
    JSON.write_bytes(orjson.dumps(data, option=orjson.OPT_INDENT_2) + b"\n")
    lines = [
        "# Mutants",
        "",
        f"Written by `make mutants ARGS=--write` on {day}: {killed} of {len(mutants)} mutants killed, "
        f"{sum(results[c.name].killed(c) for c in control)} of {len(control)} controls hold.",
        "Each is something made wrong, and the claims that must say so: BROKEN for platforms and servers,",
        "UNKNOWN for harnesses. How to add one: [add-a-mutant.md](add-a-mutant.md).",
        "",
        "| mutant | family | seen | claims |",
        "|---|---|---|---|",
    ]
    for mutant in mutants:
        word = mutant.verdict if results[mutant.name].killed(mutant) else "**survives**"
        claim_list = ", ".join(f"`{text}`" for text in mutant.claims)
        lines.append(f"| {mutant.name.replace('|', '/')} | {mutant.family} | {word} | {claim_list} |")
    if bare := uncovered():
        lines += ["", "Claims without a mutant: " + ", ".join(f"`{name}`" for name in bare)]
    TABLE.write_text("\n".join(lines) + "\n")
