"""A broken claim's trial made smaller, and printed as a test (`pytest suites/ --shrink SECONDS`).

The claim itself is the judge: its own function is called again, with a smaller trial in place of the one it
asks for, on a fresh cluster each time. Nothing here changes what was said: BROKEN stays BROKEN.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natsproof.certify import Certify
from natsproof.errors import NatsproofError
from natsproof.report.run_folder import write_atomically
from natsproof.session import Ran, Session
from natsproof.verdict import Status

if TYPE_CHECKING:
    from natsproof.trial import Trial
    from natsproof.trial.shrink import Shrunk

MINIMAL = "test_minimal.py"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while a trial was made smaller; its text are the lines to print."""


class Again:
    """The session that a claim is judged by anew: its trial is run each time, and nothing is kept."""

    def __init__(self, session: Session, work: Path) -> None:
        self._session, self._work = session, work
        self.folder, self.seed = session.folder, session.seed
        self.runs = 0

    def run(self, trial: Any) -> Ran:
        from natsproof.trial import run

        self.runs += 1
        path = self._work / f"shrink-{self.runs}"
        needs = {need for fault in trial.faults for need in fault.needs}
        path.mkdir(parents=True)
        try:
            with self._session.cluster(path, needs=needs) as cluster:
                # Another seed each time: what fails by chance of the draw alone is no small trial.
                seed = self.seed + self.runs - 1
                return Ran(path.name, run(trial, cluster, seed=seed, path=path / "history.jsonl"))
        finally:
            if not self._session.keep:
                shutil.rmtree(path, ignore_errors=True)

    def observe(self, name: str, look: Callable[[Any], Any], *, fresh: bool = False) -> Any:
        return self._session.observe(name, look, fresh=fresh)

    def startup(self) -> dict[str, Any]:
        return self._session.startup()


def shrinkable(certify: Certify) -> Any | None:
    """The claim's trial, if it is about one and that has a fault or more to take away."""
    faults = getattr(certify.asked[0], "faults", ()) if len(certify.asked) == 1 else ()
    return certify.asked[0] if faults else None


def judge_again(
    claim: Callable[..., None],
    arguments: Mapping[str, Any],
    certify: Certify,
    session: Any,
    tell: Callable[[str], None],
) -> Callable[[Any], bool]:
    """Whether the claim is BROKEN on another trial. A platform that does not start says nothing."""

    def fails(trial: Any) -> bool:
        anew = Certify(certify.contract, certify.depth, lambda: session, "", "")
        anew.instead = trial
        with suppress(NatsproofError):
            claim(**{**arguments, "certify": anew})
        said = anew.verdict
        what = ", ".join(type(fault).__name__ for fault in trial.faults) or "no fault"
        tell(f"shrink: run {session.runs}: {what}: {said.status.value}: {said.reason[:120]}")
        return any(verdict.status is Status.BROKEN for verdict in anew.verdicts)

    return fails


def shrink_claim(
    claim: Callable[..., None],
    arguments: Mapping[str, Any],
    certify: Certify,
    session: Session,
    *,
    trial: Any,
    within_s: float,
    folder: Path,
    repeat: str,
    tell: Callable[[str], None],
) -> str:
    """Shrink the trial of a claim that is BROKEN; the lines to print. `folder` gets `test_minimal.py`.

    The claim's measures say what was found: `shrunk_faults`, `minimal_failed`, `minimal_test`. Interrupted,
    it raises Interrupted with the lines about the smallest found so far.
    """
    from natsproof.trial.shrink import shrink

    again = Again(session, folder / "runs")
    found = shrink(trial, judge_again(claim, arguments, certify, again, tell), within_s=within_s)
    if not session.keep:
        shutil.rmtree(folder / "runs", ignore_errors=True)
    said = _told(found, claim, arguments, certify, trial, session.seed, folder, repeat)
    if found.interrupted:
        raise Interrupted(said)
    return said


def _told(
    found: Shrunk,
    claim: Callable[..., None],
    arguments: Mapping[str, Any],
    certify: Certify,
    trial: Any,
    seed: int,
    folder: Path,
    repeat: str,
) -> str:
    """Write the test, note the measures; the lines to print."""
    if not found.again:
        why = "time ran out" if not found.in_time else "it did not fail again"
        why = "interrupted" if found.interrupted else why
        certify.measure(shrink_runs=found.tried)
        return f"  shrink: {why} in {found.tried} runs of the same trial, nothing was taken away"
    code = as_test(found, claim, arguments, trial=trial, seed=seed, repeat=repeat)
    file = folder / MINIMAL
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(file, code)
    certify.measure(
        shrunk_faults=f"{len(trial.faults)} to {len(found.trial.faults)}",
        minimal_failed=f"{found.failed} of {found.runs}",
        minimal_test=str(file),
    )
    unfinished = "" if found.in_time else "; time ran out, a smaller one may exist"
    unfinished = "; interrupted, a smaller one may exist" if found.interrupted else unfinished
    lines = [
        f"  shrunk: from {len(trial.faults)} to {len(found.trial.faults)} faults in {found.tried} runs; "
        f"the minimal trial {_often(found)}{unfinished}",
        f"  minimal test: {file}",
        *(f"    {line}" if line else "" for line in code.splitlines()),
    ]
    return "\n".join(lines)


def _often(found: Shrunk) -> str:
    """How often the minimal trial failed, beside the run that found it."""
    return f"failed {found.failed} of {found.runs} times" if found.runs else "failed once, not run again"


# -- as a test


def as_test(
    found: Shrunk,
    claim: Callable[..., None],
    arguments: Mapping[str, Any],
    *,
    trial: Trial,
    seed: int,
    repeat: str,
) -> str:
    """A file for suites/ that runs the minimal trial and lets the claim itself judge it."""
    imports: dict[str, set[str]] = {"natsproof.trial": {"Trial"}}
    for part in (*found.trial.workloads, *found.trial.faults):
        imports.setdefault(type(part).__module__, set()).add(type(part).__name__)
    name = claim.__name__
    given, instead = _arguments(arguments, trial)
    sentence = " ".join((claim.__doc__ or "").split())
    lines = [
        f'"""{name} is broken by these {len(found.trial.faults)} of {len(trial.faults)} faults: '
        f"it {_often(found)}.",
        "",
        f"Shrunk from: {repeat}",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        *(f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items())),
        f"from {claim.__module__} import {name} as claim",
        "",
        f"MINIMAL = {_as_code(found.trial)}",
        "",
        "",
        f"def {name}_in_little(certify, contract):",
        f'    """{sentence}"""',
        *(["    certify.instead = MINIMAL"] if instead else []),
        f"    claim({given})",
        "",
    ]
    code = "\n".join(lines)
    ast.parse(code)
    return code


def _arguments(arguments: Mapping[str, Any], trial: Any) -> tuple[str, bool]:
    """The claim's arguments as written, and whether its trial is none of them."""
    words = []
    for name, value in arguments.items():
        if name in ("certify", "contract"):
            words.append(f"{name}={name}")
        elif value == trial:
            words.append(f"{name}=MINIMAL")
        elif type(value).__name__ == "Bucket":
            words.append(f"{name}=contract.promises.bucket({value.name!r})")
        else:
            words.append(f"{name}={value!r}")
    return ", ".join(words), not any(word.endswith("=MINIMAL") for word in words)


def _as_code(trial: Any) -> str:
    """Its constructor, a line a part; fields that have their default are left out."""
    lines = ["Trial("]
    for name, text in _given(trial).items():
        if name in ("workloads", "faults"):
            lines += [
                f"    {name}=(",
                *(f"        {_call(part)}," for part in getattr(trial, name)),
                "    ),",
            ]
        else:
            lines.append(f"    {name}={text},")
    return "\n".join([*lines, ")"])


def _call(value: Any) -> str:
    return f"{type(value).__name__}({', '.join(f'{n}={text}' for n, text in _given(value).items())})"


def _given(value: Any) -> dict[str, str]:
    found = {}
    for field in fields(value):
        own = getattr(value, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if own != default:
            found[field.name] = repr(own)
    return found
