"""One run's folder: written a line at a time while the run goes on, readable whenever it ends.

    run.json                    who, what, when; `state` running, complete or interrupted
    claims/<worker>.jsonl       one judged claim a line
    scope/<worker>.json         planned, not tested, left out
    trials/<name>/              trial.json, history.jsonl, logs/, events.jsonl, timeline.json
    observations/<name>.json    facts read from a running platform

Every worker appends to files of its own, so no lock is needed and a killed worker loses nothing it wrote.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from natsproof.errors import HistoryError, UsageError
from natsproof.report.record import (
    COMPLETE,
    INTERRUPTED,
    RUNNING,
    SCHEMA,
    Claim,
    NotTested,
    Run,
)

NAME = re.compile(r"\d{8}T\d{6}Z-[\w.-]+$")


def utc(moment: datetime | None = None) -> str:
    """`2026-11-23T15:09:00Z`."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def slug(text: str, limit: int = 60) -> str:
    """A name that is safe as a file name everywhere."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:limit] or "unnamed"


def write_atomically(path: Path, text: str | bytes) -> None:
    """The old content or the new one, never half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(text.encode() if isinstance(text, str) else text)
    draft.replace(path)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, UnicodeDecodeError) as problem:
        raise HistoryError(f"{path}: not readable as JSON ({problem})") from None


def _append(path: Path, value: Any) -> None:
    """One line, on disk before this returns: a verdict must outlive its process."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, default=str) + "\n")
        file.flush()
        os.fsync(file.fileno())


def create(reports: Path, cluster: str, seed: int) -> RunFolder:
    """A new folder `<UTC>-<cluster>-<seed>`; two runs of one second get different ones."""
    reports.mkdir(parents=True, exist_ok=True)
    base = f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}-{slug(cluster)}-{seed}"
    for number in range(1, 1000):
        path = reports / (base if number == 1 else f"{base}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        for part in ("claims", "scope", "trials", "observations"):
            (path / part).mkdir()
        _point_latest_at(path)
        return RunFolder(path)
    raise UsageError(f"{reports}: a thousand runs of one second; clean it up")


def abandoned(reports: Path) -> list[Path]:
    """Runs that say they still run although their process is gone (SIGKILL, a crash of the machine)."""
    found = []
    for path in sorted(reports.glob("*/run.json")):
        folder = RunFolder(path.parent)
        if not path.parent.is_symlink() and folder.head().get("state") == RUNNING:
            found += [path.parent] if folder.state() == INTERRUPTED else []
    return found


def _point_latest_at(path: Path) -> None:
    draft = path.parent / f".latest.{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(path.name)
    draft.replace(path.parent / "latest")


def open_run(path: Path) -> RunFolder:
    """The folder of an earlier run. Raises UsageError if it is not one."""
    path = path.resolve()
    if not (path / "run.json").is_file():
        known = sorted(p.name for p in path.glob("*") if (p / "run.json").is_file())
        hint = f" It contains runs: {', '.join(known[-3:])}." if known else ""
        raise UsageError(f"{path} is not a run's folder: it has no run.json.{hint} Give reports/<run>.")
    return RunFolder(path)


def _alive(pid: int, started_s: float) -> bool:
    """Whether the very process that wrote run.json still runs (numbers of processes are used again)."""
    try:
        return abs(psutil.Process(pid).create_time() - started_s) < 2
    except psutil.Error:
        return False


class RunFolder:
    """Reads and writes one run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # -- written while the run goes on

    def start(self, header: Mapping[str, Any]) -> None:
        process = psutil.Process()
        own = {"pid": process.pid, "pid_started_s": process.create_time()}
        started = {"schema": SCHEMA, "state": RUNNING, "started_at": utc(), **own}
        self._save({**started, **header})

    def add_to_header(self, **facts: Any) -> None:
        self._save({**self.head(), **facts})

    def add_claim(self, claim: Claim) -> None:
        _append(self._lines_of(claim.worker), claim.as_json())

    def add_not_tested(self, worker: str, entry: NotTested) -> None:
        """A claim found out of scope only when it ran."""
        _append(self._lines_of(worker), {"not_tested": asdict(entry)})

    def add_problem(self, worker: str, text: str) -> None:
        """Something went wrong that is no claim's verdict (a cluster that did not go down)."""
        _append(self._lines_of(worker), {"problem": text})

    def _lines_of(self, worker: str) -> Path:
        return self.path / "claims" / f"{slug(worker)}.jsonl"

    def add_scope(
        self, worker: str, planned: Iterable[str], not_tested: Iterable[NotTested], left_out: Iterable[str]
    ) -> None:
        scope = {
            "planned": list(planned),
            "not_tested": [asdict(entry) for entry in not_tested],
            "left_out": list(left_out),
        }
        write_atomically(self.path / "scope" / f"{slug(worker)}.json", json.dumps(scope, indent=1))

    def finish(self, state: str, **facts: Any) -> None:
        self._save({**self.head(), "state": state, "ended_at": utc(), **facts})

    def _save(self, head: Mapping[str, Any]) -> None:
        write_atomically(self.path / "run.json", json.dumps(head, indent=1, default=str) + "\n")

    # -- read back

    def head(self) -> dict[str, Any]:
        head = _json(self.path / "run.json")
        return head if isinstance(head, dict) else {}

    def trial_folder(self, name: str) -> Path:
        return self.path / "trials" / name

    def state(self) -> str:
        """`interrupted` also for a run that says `running` while its process is gone."""
        head = self.head()
        state = str(head.get("state", INTERRUPTED))
        if state == RUNNING and not _alive(int(head.get("pid", 0)), float(head.get("pid_started_s", 0))):
            return INTERRUPTED
        return state if state in (RUNNING, COMPLETE) else INTERRUPTED

    def read(self, state: str | None = None) -> Run:
        """Everything the run left, damaged last lines reported and not fatal.

        `state` overrides what the folder says, for the run that is just ending itself.
        """
        problems: list[str] = []
        claims: dict[str, Claim] = {}
        not_tested: dict[str, NotTested] = {}
        for path in sorted((self.path / "claims").glob("*.jsonl")):
            for entry in _entries(path, problems):
                if isinstance(entry, Claim):
                    claims[entry.nodeid] = entry
                else:
                    not_tested[entry.nodeid] = entry
        planned: dict[str, None] = {}
        left_out: dict[str, None] = {}
        for path in sorted((self.path / "scope").glob("*.json")):
            scope = _json(path) or {}
            planned.update(dict.fromkeys(scope.get("planned", ())))
            left_out.update(dict.fromkeys(scope.get("left_out", ())))
            for entry in scope.get("not_tested", ()):
                not_tested[entry["nodeid"]] = NotTested(**entry)
        order = {name: i for i, name in enumerate(planned)}
        head = self.head()
        return Run(
            header=head,
            state=state or self.state(),
            claims=tuple(sorted(claims.values(), key=lambda c: order.get(c.nodeid, len(order)))),
            not_tested=tuple(not_tested.values()),
            planned=tuple(planned),
            left_out=tuple(left_out),
            trials=self._trials(),
            problems=tuple(problems) + tuple(str(p) for p in head.get("problems", ())),
        )

    def _trials(self) -> dict[str, Mapping[str, Any]]:
        found = {}
        for path in sorted((self.path / "trials").glob("*/trial.json")):
            found[path.parent.name] = _json(path) or {}
        return found


def _entries(path: Path, problems: list[str]) -> Iterator[Claim | NotTested]:
    """The lines of one worker; problems it met, and lines that cannot be read, go to `problems`."""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            data = json.loads(line)
            if "problem" in data:
                problems.append(str(data["problem"]))
            elif "not_tested" in data:
                yield NotTested(**data["not_tested"])
            else:
                yield Claim.from_json(data)
        except (ValueError, TypeError, KeyError) as problem:
            problems.append(f"{path.parent.name}/{path.name}:{number}: not readable ({problem})")
