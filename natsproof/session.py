"""One certification session: runs each trial once, keeps what it recorded, hands out histories.

With `--rejudge` nothing runs: histories and observations come from the folder of an earlier run.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natsproof import background, clock
from natsproof.errors import ClusterError, EvidenceMissing, NatsproofError, NotUp, UsageError
from natsproof.report.run_folder import RunFolder, slug, write_atomically

if TYPE_CHECKING:
    from natsproof.cluster import Cluster
    from natsproof.contract.model import Contract
    from natsproof.history import History

#: Operations of all histories kept in memory; older ones are read from their files again.
MAX_CACHED_OPERATIONS = 3_000_000
#: After this many starts that failed one after the other, no further one is tried in this session.
MAX_FAILED_STARTS = 2
#: Longest a worker waits for another that runs the same trial.
WAIT_FOR_TRIAL_S = 7200.0

OpenCluster = Callable[[Path], "Cluster"]


@dataclass(frozen=True, slots=True)
class Ran:
    """A trial's record: its folder's name in `trials/`, and the history."""

    name: str
    history: History


def digest_of(trial: object) -> str:
    """SHA-256 of the trial as data: equal trials have equal digests in every process."""
    return hashlib.sha256(repr(trial).encode()).hexdigest()


def trial_name(trial: object) -> str:
    """The trial's folder: what it is, in words, and the start of its digest."""
    label = getattr(trial, "label", None) or getattr(trial, "name", None) or type(trial).__name__
    return f"{slug(str(label), 48)}-{digest_of(trial)[:10]}"


class Session:
    """`open_cluster(workdir)` makes a cluster that is not up yet; `per_trial` says whether each trial
    gets a fresh one (a second on the embedded cluster, minutes on kind)."""

    def __init__(
        self,
        folder: RunFolder,
        contract: Contract,
        seed: int,
        open_cluster: OpenCluster,
        *,
        per_trial: bool,
        keep: bool = False,
        rejudge: RunFolder | None = None,
        worker: str = "main",
    ) -> None:
        self.folder, self.contract, self.seed = folder, contract, seed
        self.keep, self.rejudge, self.worker = keep, rejudge, worker
        self._open_cluster, self._per_trial = open_cluster, per_trial
        self._histories: OrderedDict[str, History] = OrderedDict()
        self._failed: dict[str, NatsproofError] = {}
        self._shared: Cluster | None = None
        self._shared_workdir: Path | None = None
        self._failed_starts, self._last_failure = 0, ""

    # -- trials

    def run(self, trial: Any) -> Ran:
        """The history of `trial`: from memory, from another worker's file, or by running it now."""
        name = trial_name(trial)
        if name in self._failed:
            raise self._failed[name]
        if name in self._histories:
            self._histories.move_to_end(name)
            return Ran(name, self._histories[name])
        try:
            history = self._stored(name) if self.rejudge else self._run_once(name, trial)
        except NatsproofError as problem:
            self._failed[name] = problem
            raise
        self._remember(name, history)
        return Ran(name, history)

    def _remember(self, name: str, history: History) -> None:
        self._histories[name] = history
        while (
            len(self._histories) > 1
            and sum(len(h.operations) for h in self._histories.values()) > MAX_CACHED_OPERATIONS
        ):
            self._histories.popitem(last=False)

    def _stored(self, name: str) -> History:
        """The history an earlier run recorded; its files join this run's folder."""
        from natsproof.history_file import read

        assert self.rejudge is not None
        source, target = self.rejudge.trial_folder(name), self.folder.trial_folder(name)
        if not (source / "history.jsonl").is_file():
            known = ", ".join(p.name for p in sorted((self.rejudge.path / "trials").glob("*"))) or "none"
            raise EvidenceMissing(
                f"{self.rejudge.path} has no history of trial {name} (recorded: {known}); "
                "the trial has changed since, or was never run: run it again without --rejudge"
            )
        with self._lock(name):
            if not target.exists():
                shutil.copytree(source, target, copy_function=_link_or_copy, dirs_exist_ok=True)
        return read(target / "history.jsonl")

    def _run_once(self, name: str, trial: Any) -> History:
        from natsproof.history_file import read

        path = self.folder.trial_folder(name)
        if self.worker != background.WORKER and background.is_planned(self.folder, name):
            background.wait(self.folder, name, WAIT_FOR_TRIAL_S)
        with self._lock(name):
            known = _trial_record(path)
            if known.get("state") == "failed":
                raise ClusterError(str(known.get("error", "")))
            if known.get("state") != "complete":
                path.mkdir(parents=True, exist_ok=True)
                return self._run_now(path, name, trial)
        return read(path / "history.jsonl")

    def _run_now(self, path: Path, name: str, trial: Any) -> History:
        from natsproof.trial import run

        began_ns = clock.now_ns()
        record: dict[str, Any] = {
            "name": name,
            "digest": digest_of(trial),
            "trial": repr(trial),
            "seed": self.seed,
            "worker": self.worker,
            "state": "running",
        }
        _save_trial(path, record)
        needs = {need for fault in getattr(trial, "faults", ()) for need in fault.needs}
        history: History | None = None
        try:
            with self.cluster(path, needs=needs) as cluster:
                record["cluster"] = _plain(cluster.describe())
                history = run(trial, cluster, seed=self.seed, path=path / "history.jsonl")
                record["operations"] = len(history.operations)
        except NatsproofError as problem:
            if history is None:
                record |= {"state": "failed", "error": f"{type(problem).__name__}: {problem}"}
                raise
            # What was recorded stands; that its cluster is still there is no claim's verdict.
            self.folder.add_problem(self.worker, f"{name}: its cluster did not go down: {problem}")
        finally:
            if history is not None:
                record["state"] = "complete" if history.complete else "interrupted"
            record["took_s"] = round(clock.as_seconds(clock.now_ns() - began_ns), 3)
            _save_trial(path, record)
        return history

    # -- clusters

    @contextmanager
    def cluster(
        self, evidence: Path, *, fresh: bool = True, needs: Collection[str] = ()
    ) -> Iterator[Cluster]:
        """A cluster that is up. Its logs and events are left in `evidence` however this ends. `needs` are
        the capabilities that will be used: some want volumes of another make (a power cut).

        Raises ClusterError if it does not start, at once when it failed to start twice in a row.
        """
        if self.rejudge:
            raise UsageError("--rejudge judges files; this claim asks for a running cluster")
        if fresh and self._per_trial:
            workdir = self._workdir()
            try:
                cluster = self._started(workdir, evidence, needs)
                try:
                    yield cluster
                finally:
                    _end(cluster, evidence)
            finally:
                self._clear(workdir)
            return
        if self._shared is None:
            self._shared_workdir = self._workdir()
            self._shared = self._started(self._shared_workdir, evidence, needs, note=self._startup_file)
        try:
            yield self._shared
        finally:
            _collect(self._shared, evidence)

    def _started(
        self, workdir: Path, evidence: Path, needs: Collection[str], *, note: Path | None = None
    ) -> Cluster:
        """A cluster that is up. One that does not start leaves its logs and nothing else.

        `note`: file for how it came up, or for how the platform did not."""
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise ClusterError(f"the platform did not start {MAX_FAILED_STARTS} times: {self._last_failure}")
        began_ns = clock.now_ns()
        try:
            cluster = self._open_cluster(workdir)
            try:
                if needs and hasattr(cluster, "prepare"):
                    cluster.prepare(needs)
                cluster.up()
                _note_start(note, cluster, began_ns)
            except NotUp as problem:
                _note_start(note, cluster, began_ns, str(problem))
                _end(cluster, evidence)
                raise
            except BaseException:
                _end(cluster, evidence)
                raise
        except ClusterError as problem:
            self._failed_starts += 1
            self._last_failure = str(problem)
            raise
        self._failed_starts = 0
        return cluster

    def _workdir(self) -> Path:
        work = self.folder.path / "work"
        for number in range(100_000):
            path = work / f"{slug(self.worker)}-{number}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            return path
        raise UsageError(f"{work}: no free name")

    def _clear(self, workdir: Path | None) -> None:
        if workdir is not None and not self.keep:
            shutil.rmtree(workdir, ignore_errors=True)

    # -- observations

    def observe(self, name: str, look: Callable[[Cluster], Any], *, fresh: bool = False) -> Any:
        """What `look(cluster)` read, as JSON gives it back. Each name is read once per run."""
        file = self.folder.path / "observations" / f"{slug(name, 100)}.json"
        if self.rejudge:
            source = self.rejudge.path / "observations" / file.name
            if not source.is_file():
                raise EvidenceMissing(f"{self.rejudge.path} has no observation {name!r}; run it again")
            if not file.exists():
                _link_or_copy(str(source), str(file))
        with self._lock(f"observation-{name}"):
            if not file.exists():
                with self.cluster(
                    self.folder.path / "observations" / slug(name, 100), fresh=fresh
                ) as cluster:
                    seen = look(cluster)
                write_atomically(file, json.dumps({"name": name, "seen": seen}, indent=1, default=str))
        return json.loads(file.read_text())["seen"]

    @property
    def _startup_file(self) -> Path:
        return self.folder.path / "observations" / "startup.json"

    def startup(self) -> dict[str, Any]:
        """How the platform came up from its manifests. That it did not is a fact here, not an error.

        A cluster that all trials share starts once: what that start showed is the fact. Raises ClusterError
        if the platform was not even tried, because the host or natsproof failed before."""
        file = self._startup_file
        if self.rejudge and not file.exists():
            return dict(self.observe("startup", lambda cluster: {}))
        with self._lock("startup"):
            if not file.exists():
                evidence = self.folder.path / "observations" / "startup"
                self._failed_starts = 0  # however often it failed in trials: this start is still to be seen
                with suppress(NotUp):  # noted in the file
                    if self._per_trial:
                        self._start_and_end(evidence, note=file)
                    else:
                        with self.cluster(evidence, fresh=False):
                            pass
        if not file.exists():
            raise EvidenceMissing("the start of the platform was not seen: it was up before this session")
        return dict(json.loads(file.read_text())["seen"])

    def _start_and_end(self, evidence: Path, *, note: Path) -> None:
        workdir = self._workdir()
        try:
            _end(self._started(workdir, evidence, (), note=note), evidence)
        finally:
            self._clear(workdir)

    def close(self) -> None:
        """Take down what this session still holds."""
        if self._shared is not None:
            shared, self._shared = self._shared, None
            shared.down()
        self._clear(self._shared_workdir)

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """One worker at a time per name; the kernel frees it when its holder dies."""
        folder = self.folder.path / "work"
        folder.mkdir(exist_ok=True)
        with (folder / f".{slug(name, 100)}.lock").open("w") as file:

            def taken() -> bool:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True

            clock.wait_until(f"another worker to end {name}", taken, within_s=WAIT_FOR_TRIAL_S, every_s=0.1)
            yield


def _note_start(file: Path | None, cluster: Cluster, began_ns: int, error: str = "") -> None:
    if file is None or file.exists():
        return
    job = cluster.job
    seen = {
        "up": not error,
        "error": error,
        "took_s": round(clock.as_seconds(clock.now_ns() - began_ns), 3),
        "job": None if job is None else _plain(job),
        "events": [_plain(event) for event in cluster.events()],
        "cluster": _plain(cluster.describe()),
    }
    write_atomically(file, json.dumps({"name": "startup", "seen": seen}, indent=1, default=str))


def _end(cluster: Cluster, evidence: Path) -> None:
    try:
        _collect(cluster, evidence)
    finally:
        cluster.down()


def _collect(cluster: Cluster, evidence: Path) -> None:
    """Logs and events, as far as they can be had; this runs while things are failing."""
    logs = evidence / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for server in cluster.contract.statefulset.pod_names():
        try:
            (logs / f"{slug(server)}.log").write_text(cluster.log(server))
        except (NatsproofError, OSError) as problem:
            (logs / f"{slug(server)}.log").write_text(f"natsproof: no log of {server}: {problem}\n")
    try:
        lines = [json.dumps(_plain(event), default=str) for event in cluster.events()]
    except (NatsproofError, OSError) as problem:
        lines = [json.dumps({"what": "no events", "detail": str(problem)})]
    (evidence / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    if hasattr(cluster, "collect"):
        cluster.collect(evidence)


def _trial_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads((path / "trial.json").read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _save_trial(path: Path, record: dict[str, Any]) -> None:
    write_atomically(path / "trial.json", json.dumps(record, indent=1, default=str) + "\n")


def _plain(value: Any) -> Any:
    """Dataclasses and mappings as JSON has them."""
    import orjson

    return orjson.loads(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS))


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
