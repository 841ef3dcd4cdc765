"""Facts of this host for certificates and for `natsproof doctor`."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

from natsproof import __version__

_CGROUP = Path("/sys/fs/cgroup")


def facts() -> dict[str, Any]:
    """System, processors, memory and what limits this process in both."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": os.cpu_count() or 0,
        "cpus_usable": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 0,
        "cpu_limit": _cgroup("cpu.max"),
        "memory_bytes": psutil.virtual_memory().total,
        "memory_limit": _cgroup("memory.max"),
        "root": hasattr(os, "geteuid") and os.geteuid() == 0,
    }


def _cgroup(name: str) -> str:
    try:
        text = (_CGROUP / name).read_text().strip()
    except OSError:
        return "unknown"
    return "none" if text.startswith("max") else text


def version() -> dict[str, str]:
    """natsproof's version, and the commit where it runs from a checkout (`+` marks local changes)."""
    top = Path(__file__).parent.parent
    commit = _git(top, "rev-parse", "HEAD")
    changed = (
        "+" if commit and _git(top, "status", "--porcelain", "-uno", "--", "natsproof", "suites") else ""
    )
    return {"version": __version__, "commit": f"{commit}{changed}"}


def _git(top: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(top), *words], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
