"""`natsproof doctor`: what this host can run, claim by claim. Nothing is started, nothing is fetched.

python -m natsproof.doctor suites --cluster embedded      (the child that may enter namespaces)
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from natsproof import host

LIMIT_S = 120


def doctor(suites: Path, options: Sequence[str]) -> int:
    """Print host facts, then each claim with `can` or `cannot`. 0 if all can be decided, else 6."""
    for name, value in host.facts().items():
        print(f"{name.replace('_', ' '):16} {value}")
    command = [sys.executable, "-m", "natsproof.doctor", str(suites), *options]
    return subprocess.run(command, timeout=LIMIT_S, check=False).returncode


class _Scope:
    """A pytest plugin that prints the scope of a session and runs nothing."""

    def pytest_collection_finish(self, session: object) -> None:
        from natsproof.pytest_plugin import CERTIFICATION

        certification = session.config.stash[CERTIFICATION]  # type: ignore[attr-defined]
        facts, able = certification.facts, certification.capabilities()
        print(f"{'cluster':16} {facts['cluster']}, isolation {facts.get('isolation', 'unknown')}")
        if why := facts.get("isolation_why"):
            print(f"{'':16} {why}")
        if problem := facts.get("host_problem"):
            print(f"{'cannot start':16} {problem}")
        print(f"{'capabilities':16} {', '.join(sorted(able)) or 'none'}")
        for name, why in sorted(able.lacking.items()):
            print(f"{'not ' + name:16} {why}")
        print()
        for item in session.items:  # type: ignore[attr-defined]
            print(f"can    {item.nodeid}")
        for entry in certification.not_tested:
            print(f"cannot {entry.nodeid}: {entry.reason}")
        self.code = 6 if certification.not_tested or facts.get("host_problem") else 0


def main(arguments: Sequence[str]) -> int:
    import pytest

    scope = _Scope()
    quiet = ["--collect-only", "-p", "no:terminal"]
    status = int(pytest.main([*arguments, *quiet], plugins=[scope]))
    return getattr(scope, "code", status) if status in (0, 5) else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
