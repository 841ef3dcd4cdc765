"""`natsproof doctor`: what this host can run, claim by claim. Nothing is started, nothing is fetched.

python -m natsproof.doctor suites --cluster embedded      (the child that may enter namespaces)
"""

from __future__ import annotations

import contextlib
import inspect
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from natsproof import host

if TYPE_CHECKING:
    import pytest

    from natsproof.contract.model import Contract

LIMIT_S = 120


def doctor(suites: Path, options: Sequence[str]) -> int:
    """Print host facts, then each claim with `can` or `cannot`. 0 if all can be decided, else 6."""
    for name, value in host.facts().items():
        print(f"{name.replace('_', ' '):16} {value}", flush=True)
    command = [sys.executable, "-m", "natsproof.doctor", str(suites), *options]
    return subprocess.run(command, timeout=LIMIT_S, check=False).returncode


class _Scope:
    """A pytest plugin that prints the scope of a session and runs nothing."""

    def pytest_collection_finish(self, session: object) -> None:
        from natsproof.pytest_plugin import CERTIFICATION

        certification = session.config.stash[CERTIFICATION]  # type: ignore[attr-defined]
        facts, able = certification.facts, certification.capabilities()
        lines = [f"{'cluster':16} {facts['cluster']}, isolation {facts.get('isolation', 'unknown')}"]
        lines += [f"{'':16} {why}" for why in [facts.get("isolation_why")] if why]
        for program in ("server", "cli"):
            if found := facts.get(program):
                lines.append(f"{program:16} {found['version']} ({found['origin']})")
        seen, problem = _preflight(facts["cluster"], certification.contract)
        problem = facts.get("host_problem") or problem
        lines += seen
        lines += [f"{'cannot start':16} {problem}"] if problem else []
        lines.append(f"{'capabilities':16} {', '.join(sorted(able)) or 'none'}")
        lines += [f"{'not ' + name:16} {why}" for name, why in sorted(able.lacking.items())] + [""]
        for item in session.items:  # type: ignore[attr-defined]
            if problem and not _of_the_manifests_alone(item):
                lines.append(f"cannot {item.nodeid}: the cluster cannot start here")
            else:
                lines.append(f"can    {item.nodeid}")
        lines += [f"cannot {entry.nodeid}: {entry.reason}" for entry in certification.not_tested]
        self.code = 6 if certification.not_tested or problem else 0
        with contextlib.suppress(BrokenPipeError):  # `natsproof doctor | head`
            print("\n".join(lines), flush=True)


def _preflight(cluster: str, contract: Contract) -> tuple[list[str], str]:
    """What this host has for a kind cluster, line by line, and why none can start, or empty."""
    if cluster != "kind":
        return [], ""
    from natsproof.cluster.kubernetes import preflight

    seen = preflight.findings(contract)
    missing = [f.name for f in seen if f.needed_for == "kind" and f.ok is False]
    return [str(finding) for finding in seen], f"kind wants: {', '.join(missing)}" if missing else ""


def _of_the_manifests_alone(item: pytest.Item) -> bool:
    """Whether a claim asks the rules only: then no cluster is needed."""
    try:
        return "certify.that_rule(" in inspect.getsource(item.function)  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return False


def main(arguments: Sequence[str]) -> int:
    import pytest

    scope = _Scope()
    quiet = ["--collect-only", "-p", "no:terminal"]
    status = int(pytest.main([*arguments, *quiet], plugins=[scope]))
    return getattr(scope, "code", status) if status in (0, 5) else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
