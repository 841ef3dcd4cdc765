"""A mutant: something made wrong, and the claims of suites/ that must say so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from tests.mutants.manifests import Edit
from tests.mutants.wire import Lie

FAMILIES = ("contract", "server", "harness")


@dataclass(frozen=True)
class Mutant:
    """`claims` are names of tests in suites/, with the trial or parameter to take in brackets where the
    claim's example (short.QUICK, else its first) will not do: `test_x[sigkill of the leader]`.

    What is wrong: `edits` of the manifests; a `lie` that the servers tell; `sabotage` of the harness, on
    while the claims are judged; `facts` in place of every observation. `setting` are edits that its
    control has too. `fast`: part of `--fast`. `verdict`: what each claim must become.
    """

    name: str
    family: str
    claims: tuple[str, ...]
    verdict: str = "BROKEN"
    edits: tuple[Edit, ...] = ()
    setting: tuple[Edit, ...] = ()
    lie: Callable[[], Lie] = Lie
    sabotage: Callable[[], AbstractContextManager[Any]] = nullcontext
    facts: Any = None
    fast: bool = False
    controlled: bool = True


def parted(text: str) -> tuple[str, str]:
    """`test_x[what]` as (`test_x`, `what`)."""
    name, _, wanted = text.partition("[")
    return name, wanted.removesuffix("]")
