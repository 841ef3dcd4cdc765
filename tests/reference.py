"""`python -m tests.reference`: docs/claims.md, made from the suites, the rules and the mutants.

Each claim's function is called with a `certify` that writes down what it is asked and judges nothing.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from natsproof.certify import Certify, _name_of, _places
from natsproof.contract.loader import load
from natsproof.contract.model import Contract
from natsproof.verdict import Verdict, holds
from tests.mutants.catalogue import mutants
from tests.mutants.claims import Claim, claims
from tests.mutants.matrix import named

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "claims.md"
MAX_MUTANTS = 6

HEAD = """\
# Claims

Every claim of `suites/`, written from the code by `python -m tests.reference`; do not edit.

- **promise**: where the shipped manifests promise it. Without one, it is about the servers themselves.
- **evidence**: the trials it judges, or what is read from a running platform.
- **judge**: the checker, and the guards that turn HOLDS into UNKNOWN.
- **needs**: what a cluster must be able to do (`natsproof/cluster/__init__.py`), and the least `--depth`.
  Elsewhere the claim is *not tested*.
- **mutants**: what was made wrong to see it say so ([add-a-mutant.md](add-a-mutant.md)).
"""


class Anything:
    """Evidence that nobody looks into."""

    def __getattr__(self, name: str) -> Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_: Any, **__: Any) -> Anything:
        return self


class Listing(Certify):
    """Writes down what a claim asks for."""

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract, "quick", Anything, "", "")
        self.evidence: list[str] = []
        self.judges: list[str] = []

    @property
    def seed(self) -> int:
        return 1

    def run(self, trial: Any) -> Any:
        return self._seen(f"trial *{trial.name}*")

    def observe(self, name: str, look: Any, *, fresh: bool = False) -> Any:
        return self._seen(f"observation *{name}*")

    def startup(self) -> Any:
        return self._seen("observation *startup*")

    def _seen(self, what: str) -> Anything:
        self.evidence.append(what)
        return Anything()

    def that(
        self, evidence: Any, checker: Any, *, given: Iterable[Any] = (), promise: Any = (), **measures: Any
    ) -> Verdict:
        guards = [f"`{_name_of(guard)}`" for guard in given]
        self.judges.append(f"`{_name_of(checker)}`" + (f", given {', '.join(guards)}" if guards else ""))
        self.promises += [written(place) for place in _places(promise)]
        return holds("listed")

    def that_rule(self, contract: Contract, rule: Any) -> Verdict:
        self.judges.append(rule.name)
        return holds("listed")

    def conclude(self, verdict: Any, *, promise: Any = ()) -> Verdict:
        self.promises += [written(place) for place in _places(promise)]
        return holds("listed")

    def survives(self, death: str) -> Any:
        return self._said("survives", death)

    def linearizable(self, fault: str) -> Any:
        return self._said("linearizable", fault)

    def recovery_s(self, fault: str) -> float:
        self.promises.append(self._said("recovery_s", fault))
        return self.contract.promises.recovery_s.get(fault, 1.0)

    def direct_get_late_s(self) -> float:
        return self._bound("direct_get_late_s")

    def expiry_late_s(self) -> float:
        return self._bound("expiry_late_s")

    def p99_s(self) -> float:
        return self._bound("p99_s")

    def monitoring(self) -> Any:
        return self.contract.promises.at("monitoring")

    def _bound(self, field: str) -> float:
        self.promises.append(written(str(self.contract.promises.at(field))))
        return getattr(self.contract.promises, field) or 1.0

    def only_where(self, evidence: Any, guard: Any) -> None:
        pass

    def _said(self, field: str, wanted: str) -> str:
        kept = wanted in getattr(self.contract.promises, field)
        return f"`{field.removesuffix('_s')}: {wanted}`" + ("" if kept else " (not promised as shipped)")


def written(place: str) -> str:
    """`file:line` as the file and what stands there: line numbers would not last."""
    file, _, line = place.rpartition(":")
    if not line.isdigit() or not (ROOT / file).is_file():
        return place
    text = (ROOT / file).read_text().splitlines()[int(line) - 1]
    said = text.partition(" #")[0].strip(" -{").split(",")[0].split("[")[0].rstrip(": }")
    if said.startswith("apiVersion:"):
        return Path(file).name
    said = re.sub(r"^name: (\w+)$", r"buckets: \1", said) if "promises" in file else said
    return f"`{said}` in {Path(file).name}"


def listed(claim: Claim, contract: Contract) -> Listing:
    """What a claim asks for, over all its parameters."""
    listing = Listing(contract)
    for parameters in claim.parameters:
        known: Mapping[str, Any] = {"certify": listing, "contract": contract, **parameters}
        module = importlib.import_module(claim.module)
        wanted = inspect.signature(claim.call).parameters
        made = {name: _made(getattr(module, name, None), {**known, "schedule": 1}) for name in wanted}
        claim.call(**{name: known.get(name, made[name]) for name in wanted})
    return listing


def _made(fixture: Any, known: Mapping[str, Any]) -> Any:
    """What a fixture of the claim's module gives, if it wants no more than what is known."""
    make = getattr(fixture, "__wrapped__", None)
    wanted = set(inspect.signature(make).parameters) if make else set()
    return make(**{name: known[name] for name in wanted}) if make and known.keys() >= wanted else Anything()


def sentence(claim: Claim) -> str:
    return " ".join((inspect.getdoc(claim.call) or "").split("\n\n")[0].split())


def once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def conditions(claim: Claim) -> Iterator[str]:
    """What must be given for the claim to be tried."""
    yield from (f"`{need}`" for need in claim.needs)
    whole = getattr(importlib.import_module(claim.module), "pytestmark", [])
    for mark in (*(whole if isinstance(whole, list) else [whole]), *getattr(claim.call, "pytestmark", [])):
        if mark.name == "depth":
            yield f"`--depth {mark.args[0]}`"
        if mark.name == "load":
            yield "the machine for itself (`make certify` leaves it out)"


def entry(claim: Claim, contract: Contract, names: Sequence[str]) -> Iterator[str]:
    listing = listed(claim, contract)
    buckets = len({p["bucket"] for p in claim.parameters if "bucket" in p})
    places = once(
        re.sub(r"^`buckets: \w+`", "`buckets`", text) if buckets > 1 else text for text in listing.promises
    )
    evidence = once(listing.evidence) or ["the capacity run"]
    shown = [
        *names[:MAX_MUTANTS],
        *([f"{len(names) - MAX_MUTANTS} more"] if len(names) > MAX_MUTANTS else []),
    ]
    parts = {
        "promise": "; ".join(places),
        "evidence": "; ".join(evidence) + (f"; each of {buckets} buckets" if buckets > 1 else ""),
        "judge": "; ".join(once(listing.judges)).replace(", ever)", ")"),
        "needs": ", ".join(conditions(claim)),
        "mutants": "; ".join(shown),
    }
    yield f"\n### {claim.name}\n{sentence(claim)}\n"
    yield from (f"- {name}: {text}" for name, text in parts.items() if text)


def rules(found: Sequence[Claim], contract: Contract, names: Mapping[str, Sequence[str]]) -> Iterator[str]:
    from natsproof.contract.rules import RULES

    promise = {rule.name: rule.promise for rule in RULES}
    yield "\n| rule | says | guards | mutants |\n|---|---|---|---|"
    for claim in found:
        rule = listed(claim, contract).judges[0]
        said = [text.replace("|", "\\|") for text in (sentence(claim), promise[rule])]
        yield f"| `{rule}` | {said[0]} | {said[1]} | {len(names[claim.name])} |"


def page() -> str:
    """The whole of docs/claims.md."""
    contract = load(ROOT / "manifests")
    names = {name: [m.name for m in found] for name, found in named(mutants()).items()}
    lines = [HEAD]
    for module in once(claim.module for claim in claims().values()):
        found = [claim for claim in claims().values() if claim.module == module]
        file = module.replace(".", "/") + ".py"
        doc = ast.get_docstring(ast.parse((ROOT / file).read_text())) or ""
        lines.append(f"\n## [{file}](../{file})\n{' '.join(doc.split(chr(10) * 2)[0].split())}")
        if module == "suites.test_contract":
            lines += rules(found, contract, names)
        else:
            lines += [line for claim in found for line in entry(claim, contract, names[claim.name])]
    return "\n".join(lines) + "\n"


def main() -> int:
    PAGE.write_text(page())
    print(f"{PAGE.relative_to(ROOT)}: {len(claims())} claims")
    return 0


if __name__ == "__main__":
    sys.exit(main())
