"""The suites' claims as functions: found, called with evidence of our own, and judged as the plugin does."""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from natsproof.certification import _outcome
from natsproof.certify import Certify, NotPromised
from natsproof.contract.model import Contract
from natsproof.errors import ClaimBroken, EvidenceMissing, NatsproofError
from natsproof.report.run_folder import slug

SUITES = Path(__file__).parent.parent.parent / "suites"
NOT_PROMISED = "NOT PROMISED"


@dataclass(frozen=True)
class Claim:
    """One test of suites/, whatever its parameters. `needs` are capabilities of the cluster."""

    name: str
    module: str
    call: Callable[..., None]
    parameters: tuple[Mapping[str, Any], ...]
    needs: tuple[str, ...] = field(default=())

    def example(self, wanted: str, prefer: tuple[str, ...]) -> Mapping[str, Any]:
        """The parameters of one test: `wanted` names a trial or another parameter, else the first of
        `prefer` that it has, else its first."""
        for name in (wanted, *prefer) if not wanted else (wanted,):
            for parameters in self.parameters:
                if name and any(slug(_name(value)) == slug(name) for value in parameters.values()):
                    return parameters
        if wanted:
            known = sorted({_name(v) for p in self.parameters for v in p.values()})
            raise LookupError(f"{self.name} has no parameter {wanted!r}. Known: {', '.join(known)}")
        return self.parameters[0]


def _name(value: Any) -> str:
    return str(getattr(value, "name", value))


@cache
def claims() -> Mapping[str, Claim]:
    """All claims of suites/ by name; a name must be one claim's."""
    found: dict[str, Claim] = {}
    for file in sorted(SUITES.glob("test_*.py")):
        for claim in _in_module(f"suites.{file.stem}"):
            if claim.name in found:
                raise LookupError(f"{claim.name} is in {found[claim.name].module} and in {claim.module}")
            found[claim.name] = claim
    return found


def _in_module(name: str) -> Iterator[Claim]:
    module = importlib.import_module(name)
    own = [getattr(module, "pytestmark", [])]
    common = own[0] if isinstance(own[0], list) else own
    for label, thing in vars(module).items():
        if label.startswith("test_") and inspect.isfunction(thing):
            yield _claim(label, name, thing, common)
        elif label.startswith("Test") and inspect.isclass(thing):
            instance = thing()
            for method in (m for m in vars(thing) if m.startswith("test_")):
                yield _claim(method, name, getattr(instance, method), common)


def _claim(name: str, module: str, call: Callable[..., None], common: list[Any]) -> Claim:
    marks = [*common, *getattr(call, "pytestmark", [])]
    axes = []
    for mark in marks:
        if mark.name == "parametrize":
            label, values = mark.args[0], mark.args[1]
            axes.append([(label, getattr(v, "values", (v,))[0]) for v in values])
    needs = tuple(str(need) for mark in marks if mark.name == "needs" for need in mark.args)
    return Claim(name, module, call, tuple(dict(c) for c in itertools.product(*axes)), needs)


_NO_OPTIONS = SimpleNamespace(getoption=lambda name: None)


def _arguments(function: Callable[..., Any], module: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the function wants: given, or made by a fixture of its module."""
    wanted = {}
    for name in inspect.signature(function).parameters:
        if name in given:
            wanted[name] = given[name]
            continue
        fixture = getattr(importlib.import_module(module), name).__wrapped__
        wanted[name] = fixture(**_arguments(fixture, module, given))
    return wanted


def judge(claim: Claim, parameters: Mapping[str, Any], contract: Contract, session: Any) -> tuple[str, str]:
    """(HOLDS, UNKNOWN, BROKEN or NOT PROMISED; the reason), by the suite's own function, checker, guards.

    `session` gives the evidence: `run(trial)`, `observe(name, look)`, `startup()`, `folder`.
    """
    certify = Certify(contract, "quick", lambda: session, "make mutants", claim.name)
    error: Exception | None = None
    try:
        given = {"certify": certify, "contract": contract, "pytestconfig": _NO_OPTIONS, **parameters}
        claim.call(**_arguments(claim.call, claim.module, given))
    except NotPromised as problem:
        return NOT_PROMISED, str(problem)
    except (ClaimBroken, EvidenceMissing, NatsproofError) as problem:
        error = problem
    verdict, _ = _outcome(certify, error)
    return verdict.status.value, verdict.reason
