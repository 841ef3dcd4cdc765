"""What a run owns on this host, written down before it is made, so that the next run can remove it.

One small file per kind cluster in the state folder. Its owner is a process id with that process's start
time: a process id alone may belong to somebody else by now. Kept clusters are nobody's leftovers.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

PREFIX = "natsproof-"


@dataclass(frozen=True, slots=True)
class Ownership:
    """A kind cluster, who made it, and whether it is to outlive its maker."""

    name: str
    run_id: str
    pid: int
    started_s: float  # of the owning process, seconds since 1970
    kubeconfig: str
    keep: bool
    created_s: float

    @property
    def owner_lives(self) -> bool:
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started_s) < 1.0
        except psutil.Error:
            return False


def state_dir() -> Path:
    """`~/.local/state/natsproof/kind`, or below NATSPROOF_STATE or XDG_STATE_HOME."""
    chosen = os.environ.get("NATSPROOF_STATE")
    base = Path(chosen) if chosen else _xdg_state() / "natsproof"
    return base / "kind"


def _xdg_state() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


def enter(name: str, run_id: str, kubeconfig: Path, *, keep: bool) -> Ownership:
    """Write down that this process owns cluster `name`, before it exists."""
    me = psutil.Process()
    record = Ownership(name, run_id, me.pid, me.create_time(), str(kubeconfig), keep, time.time())
    file = _file(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(record), indent=1) + "\n")
    partial.replace(file)
    return record


def forget(name: str) -> None:
    _file(name).unlink(missing_ok=True)


def find(name: str) -> Ownership | None:
    try:
        return Ownership(**json.loads(_file(name).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def all_owned() -> Iterator[Ownership]:
    for file in sorted(state_dir().glob("*.json")):
        record = find(file.stem)
        if record is not None:
            yield record


def leftovers() -> list[Ownership]:
    """Clusters whose maker is gone and which nobody asked to keep."""
    return [record for record in all_owned() if not record.keep and not record.owner_lives]


def _file(name: str) -> Path:
    return state_dir() / f"{name}.json"


def cluster_name(run_id: str) -> str:
    """A kind cluster's name for a run: letters, digits and dashes, short enough for host names."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in run_id.lower()).strip("-")
    if len(plain) > 24:
        plain = f"{plain[:15].rstrip('-')}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"
    return PREFIX + (plain or "run")
