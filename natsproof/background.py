"""Trials that run beside the session: each in a process with a universe of its own, from its beginning.

What takes a quarter of an hour for real (a canary's time to live) must not stand in front of other claims.
The process that collects the claims plans such trials, the one that leads the session starts and ends their
processes, and the claim that judges one waits for it. In `work/background/` of the run's folder lie for each
trial `<name>.json` (what to run), `<name>.lock` (held by its process while it lives) and `<name>.log`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from natsproof.clock import wait_until
from natsproof.errors import ClusterError, DeadlineExceeded
from natsproof.report.run_folder import RunFolder, write_atomically

#: What `worker` is in the records of such trials.
WORKER = "background"
#: Longest from the plan to the start of its process.
START_WITHIN_S = 60.0
#: Longest that an ended trial takes to heal, take its platform down and close its books.
END_WITHIN_S = 20.0


def plan(folder: RunFolder, name: str, job: Mapping[str, Any]) -> None:
    """Leave word that trial `name` is to run beside the session; `job` is what `background_process` reads."""
    home = _home(folder)
    home.mkdir(parents=True, exist_ok=True)
    write_atomically(home / f"{name}.json", json.dumps({"folder": str(folder.path), "name": name, **job}))


class Background:
    """The processes of the planned trials; kept by the process that leads the session."""

    def __init__(self, folder: Callable[[], RunFolder], manifests_text: Callable[[], str]) -> None:
        """`manifests_text` gives what was read from standard input, for manifests that came from there."""
        self._folder, self._manifests_text = folder, manifests_text
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start what was planned and does not run yet."""
        for job in sorted(_home(self._folder()).glob("*.json")):
            if job.stem not in self._processes:
                self._processes[job.stem] = self._started(job)

    def _started(self, job: Path) -> subprocess.Popen[bytes]:
        lock = os.open(job.with_suffix(".lock"), os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with job.with_suffix(".log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "natsproof.background_process", str(job), str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lock,),  # it holds the lock from its first moment to its last
                    start_new_session=True,  # Ctrl-C reaches it through us alone
                    env={**os.environ, "PYTHONPATH": _import_path()},
                )
        finally:
            os.close(lock)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # its log says why it ended
            if "-" in json.loads(job.read_text())["manifests"]:
                pipe.write(self._manifests_text().encode())
        return process

    def stop(self) -> None:
        """End what still runs; idempotent."""
        processes, self._processes = self._processes, {}
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            try:
                process.wait(END_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()  # the kernel takes its universe with it
                process.wait()


def is_planned(folder: RunFolder, name: str) -> bool:
    """Whether trial `name` runs beside this session, or will."""
    return (_home(folder) / f"{name}.json").exists()


def wait(folder: RunFolder, name: str, within_s: float) -> None:
    """Until the process of trial `name` has ended: then its record is what it will be.

    Raises ClusterError, with what the process said last, if it ended without a record of an end.
    """
    lock = _home(folder) / f"{name}.lock"
    try:
        wait_until(f"the process of {name}", lock.exists, within_s=START_WITHIN_S, every_s=0.1)
        wait_until(f"the end of {name}", lambda: not _held(lock), within_s=within_s, every_s=0.5)
    except DeadlineExceeded as late:
        raise ClusterError(f"{name} runs beside the session and did not end: {late}") from late
    record = folder.trial_folder(name) / "trial.json"
    if not record.exists() or json.loads(record.read_text()).get("state") not in ("complete", "failed"):
        log = lock.with_suffix(".log")
        said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        last = said[-1] if said else "it said nothing"
        raise ClusterError(f"{name} ran beside the session; its process ended early: {last}")


def _home(folder: RunFolder) -> Path:
    return folder.path / "work" / "background"


def _held(lock: Path) -> bool:
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def _import_path() -> str:
    """Where this natsproof was imported from, before what was given."""
    own = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join([own, *filter(None, [os.environ.get("PYTHONPATH")])])
