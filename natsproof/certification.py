"""The bridge between pytest and a run: which tests are claims, what became of each, how the run ended."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from natsproof.background import Background, plan
from natsproof.certify import DEPTHS, Certify, NotHere, NotPromised
from natsproof.claims import grade_of, is_claim, nodeid_of, planted_of, sentence_of
from natsproof.errors import (
    ClaimBroken,
    ClusterError,
    EvidenceMissing,
    NatsproofError,
    NotAvailableHere,
    UsageError,
)
from natsproof.options import Options
from natsproof.parsing import undisturbed
from natsproof.report import run_folder
from natsproof.report.record import Claim, NotTested, Run
from natsproof.report.run_folder import RunFolder
from natsproof.session import Session, trial_name
from natsproof.verdict import Status, Verdict, broken, combine, unknown

if TYPE_CHECKING:
    from natsproof.cluster import Abilities
    from natsproof.contract.model import Contract

CERTIFY = pytest.StashKey[Certify]()
STARTED = pytest.StashKey[float]()
#: Name of the entry in `report.user_properties` that carries the verdict between processes.
PROPERTY = "natsproof"

OpenCluster = Callable[[Path], Any]


def _not_tested(item: pytest.Item, reason: str, *, promised: bool = True) -> NotTested:
    return NotTested(item.name, nodeid_of(item), reason, sentence_of(item), grade_of(item), promised)


class Certification:
    """One per process. The main process (or the controller of xdist) also makes the folder and the report.

    `open_cluster(workdir)` gives a cluster that is not up. `facts` go into the run's header.
    """

    def __init__(
        self,
        options: Options,
        contract: Contract,
        open_cluster: OpenCluster,
        capabilities: Callable[[], Abilities],
        facts: Mapping[str, Any],
        *,
        worker: str = "main",
        folder: Path | None = None,
        partial: bool = False,
    ) -> None:
        self.options, self.contract, self.facts = options, contract, dict(facts)
        self.worker, self.partial = worker, partial
        self.interrupted_by = ""
        self.run: Run | None = None  # set when the run has ended
        self.end_notes: list[str] = []
        self._open_cluster, self.capabilities = open_cluster, capabilities
        self._folder = RunFolder(folder) if folder else None
        self._session: Session | None = None
        self.background = Background(lambda: self.folder, _standard_input)
        self._own_deselection = False
        self._left_out: list[str] = []
        self.not_tested: list[NotTested] = []

    # -- the run's folder and session, made when first needed

    @property
    def folder(self) -> RunFolder:
        if self._folder is None:
            kind = "rejudge" if self.options.rejudge else self.options.cluster
            self._folder = run_folder.create(self.options.reports, kind, self.options.seed)
            self._folder.start({**self.facts, "partial": self.partial})
            _keep_manifests(self.options.manifests, self._folder.path / "manifests")
        return self._folder

    @property
    def has_folder(self) -> bool:
        return self._folder is not None

    def session(self) -> Session:
        if self._session is None:
            rejudge = self.options.rejudge
            self._session = Session(
                self.folder,
                self.contract,
                self.options.seed,
                self._open_cluster,
                per_trial=self.options.per_trial,
                keep=self.options.keep,
                rejudge=run_folder.open_run(rejudge) if rejudge else None,
                worker=self.worker,
            )
        return self._session

    def close(self) -> None:
        self.background.stop()
        if self._session is not None:
            session, self._session = self._session, None
            try:
                session.close()
            except NatsproofError as problem:
                self.folder.add_problem(self.worker, f"{self.worker}: the cluster did not go down: {problem}")

    # -- scope

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        claims = [item for item in items if is_claim(item)]
        out = {item: reason for item in claims if (reason := self._undecidable(item))}
        self.not_tested = [_not_tested(item, reason) for item, reason in out.items()]
        if out:
            items[:] = [item for item in items if item not in out]
            self._own_deselection = True
            config.hook.pytest_deselected(items=list(out))
            self._own_deselection = False
        items.sort(key=lambda item: planted_of(item) is not None)  # judged when they are due: last
        if claims and not config.getoption("collectonly"):
            planned = [nodeid_of(item) for item in claims if item not in out]
            self.folder.add_scope(self.worker, planned, self.not_tested, self._left_out)
            self._plan_background([trial for item in items if (trial := planted_of(item))])

    def _plan_background(self, trials: Iterable[Any]) -> None:
        """Trials of claims marked `planted` run beside the others. A cluster that all trials share is not to
        be had twice, and their faults would hit the canaries: there such trials run like others, last."""
        if not self.options.per_trial or self.options.rejudge or self.worker not in ("main", "gw0"):
            return
        from natsproof.trial import trial_as_dict

        options = self.options
        for trial in trials:
            job = {
                "trial": trial_as_dict(trial),
                "seed": options.seed,
                "manifests": options.manifests,
                "server_binary": str(options.server_binary or ""),
                "nats_binary": str(options.nats_binary or ""),
                "keep": options.keep,
            }
            plan(self.folder, trial_name(trial), job)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if self.worker == "main" and self.has_folder:
            self.background.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        self.background.start()  # before any test is given to a worker

    def pytest_deselected(self, items: Iterable[pytest.Item]) -> None:
        if not self._own_deselection:
            self._left_out += [nodeid_of(item) for item in items if is_claim(item)]

    def _undecidable(self, item: pytest.Item) -> str:
        """Why this run cannot decide a claim; empty if it can."""
        for mark in item.iter_markers("depth"):
            level = str(mark.args[0]) if mark.args else ""
            if level not in DEPTHS:
                raise pytest.UsageError(f"{nodeid_of(item)}: depth({level!r}); valid: {', '.join(DEPTHS)}")
            if DEPTHS.index(self.options.depth) < DEPTHS.index(level):
                return f"needs --depth {level}; this run is {self.options.depth}"
        needs = sorted({str(need) for mark in item.iter_markers("needs") for need in mark.args})
        if not needs:
            return ""
        if self.options.rejudge:
            return self._undecided_then(nodeid_of(item))
        if missing := self.capabilities().why_not(needs):
            return f"the {self.options.cluster} cluster here is {missing}"
        return ""

    def _undecided_then(self, nodeid: str) -> str:
        assert self.options.rejudge is not None
        run = run_folder.open_run(self.options.rejudge).read()
        return next((n.reason for n in run.not_tested if n.nodeid == nodeid), "")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A claim with an argument `schedule` is made for each random schedule of this depth."""
        if "schedule" in metafunc.fixturenames:
            metafunc.parametrize("schedule", range(1, self.options.random_schedules + 1))

    def pytest_keyboard_interrupt(self) -> None:
        self.interrupted_by = self.interrupted_by or "SIGINT"

    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """A worker's arrives as text; its last error is the one."""
        told = re.findall(r"^\s*(\w+Error: .*)", str(excinfo.value), re.MULTILINE)
        what = told[-1] if told else f"{excinfo.typename}: {excinfo.value}"
        self.interrupted_by = self.interrupted_by or f"an internal error: {what}"

    # -- verdicts

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        """The trial of a broken claim is made smaller, if asked for. Nothing here changes the verdict."""
        try:
            return (yield)
        except ClaimBroken as error:
            certify = item.stash.get(CERTIFY, None)
            if certify is None or self.options.rejudge:
                raise
            said = self._shrunk(item, certify)
            if not said:
                raise
            raise ClaimBroken(f"{error}\n{said}") from error

    def _shrunk(self, item: pytest.Item, certify: Certify) -> str:
        from natsproof.shrinking import shrink_claim, shrinkable

        trial = shrinkable(certify)
        if trial is None or not self.options.per_trial:
            return ""
        nodeid = nodeid_of(item)
        repeat = self.options.repeat(nodeid)
        if not self.options.shrink_s:
            return f"  shrink: {repeat} --shrink 300" if len(trial.faults) > 1 else ""
        terminal = item.config.pluginmanager.get_plugin("terminalreporter")
        function: Any = item
        names = inspect.signature(function.obj).parameters
        try:
            return shrink_claim(
                function.obj,
                {name: function.funcargs[name] for name in names},
                certify,
                self.session(),
                trial=trial,
                within_s=self.options.shrink_s,
                folder=self.folder.path / "attachments" / f"shrunk-{run_folder.slug(item.name, 150)}",
                repeat=repeat,
                tell=getattr(terminal, "write_line", lambda line: None),
            )
        except KeyboardInterrupt as end:
            self.interrupted_by = self.interrupted_by or "SIGINT"
            item.session.shouldstop = "interrupted while a trial was made smaller"
            return str(end) or "  shrink: interrupted"
        except Exception as problem:
            return f"  shrink: failed: {type(problem).__name__}: {problem}"

    def fixture(self, item: pytest.Item) -> Certify:
        """What the fixture `certify` gives to one test."""
        nodeid = nodeid_of(item)
        made = Certify(
            self.contract, self.options.depth, self.session, self.options.repeat(nodeid), item.name
        )
        item.stash[CERTIFY] = made
        return made

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        with undisturbed():  # pytest reads the source of what raised
            report: pytest.TestReport = yield
        if not is_claim(item):
            return report
        error = call.excinfo.value if call.excinfo else None
        if report.when == "call" or (report.when == "setup" and error is not None):
            self._decide(item, report, error, call.duration)
        elif report.when == "teardown" and error is not None:
            self.folder.add_problem(self.worker, f"{nodeid_of(item)}: its end failed: {error}")
        return report

    def _decide(
        self, item: pytest.Item, report: pytest.TestReport, error: BaseException | None, took_s: float
    ) -> None:
        if isinstance(error, NotPromised):
            promised = isinstance(error, NotHere)
            self.folder.add_not_tested(self.worker, _not_tested(item, str(error), promised=promised))
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] or 0, str(error))
            report.user_properties.append((PROPERTY, "NOT TESTED" if promised else "NOT PROMISED"))
            return
        certify = item.stash.get(CERTIFY, None)
        verdict, trouble = _outcome(certify, error)
        claim = self._claim(item, certify, verdict, trouble, took_s)
        try:
            self.folder.add_claim(claim)
        except OSError as problem:  # a verdict that cannot be kept is none
            self.interrupted_by = f"{self.folder.path}: {problem.strerror or problem}"
            item.session.shouldstop = f"nothing can be written to {self.interrupted_by}"
            report.outcome, report.longrepr = "failed", item.session.shouldstop
            return
        report.outcome = "passed" if verdict.status is Status.HOLDS else "failed"
        report.user_properties.append((PROPERTY, verdict.status.value))
        if verdict.status is Status.HOLDS:
            report.longrepr = None
        elif isinstance(error, ClaimBroken | EvidenceMissing):
            report.longrepr = str(error)
        elif trouble != "test" or report.longrepr is None:
            report.longrepr = (
                f"{verdict.status.value} {item.name}: {verdict.reason}\n  repeat: {claim.repeat}"
            )

    def _claim(
        self, item: pytest.Item, certify: Certify | None, verdict: Verdict, trouble: str, took_s: float
    ) -> Claim:
        return Claim(
            name=item.name,
            nodeid=nodeid_of(item),
            sentence=(certify.sentence if certify else "") or sentence_of(item),
            status=verdict.status,
            reason=verdict.reason,
            file=item.location[0],
            line=(item.location[1] or 0) + 1,
            promises=tuple(certify.promises) if certify else (),
            evidence={**verdict.evidence, **(certify.measures if certify else {})},
            exhibits=tuple(certify.exhibits) if certify else (),
            checks=tuple(certify.checks) if certify else (),
            trials=tuple(certify.trials) if certify else (),
            grade=grade_of(item) or (certify.grade if certify else ""),
            trouble=trouble,
            took_s=round(took_s, 3),
            repeat=self.options.repeat(nodeid_of(item)),
            worker=self.worker,
            ended_at=run_folder.utc(),
        )


def _outcome(certify: Certify | None, error: BaseException | None) -> tuple[Verdict, str]:
    """The verdict on a test, and whose trouble it was if nobody judged.

    What the checks said before an error stays said: BROKEN is never hidden by a later stumble.
    """
    if error is None or isinstance(error, ClaimBroken | EvidenceMissing):
        if certify and certify.verdicts:
            said = certify.verdict
            late = unknown(str(error)) if isinstance(error, EvidenceMissing) else said
            return (combine([said, late]) if said.status is Status.HOLDS else said), ""
        if error is None:
            return unknown("the test checked nothing: it never called certify.that"), "test"
        return (broken if isinstance(error, ClaimBroken) else unknown)(str(error)), ""
    trouble = "test"
    if isinstance(error, ClusterError):
        trouble = "" if isinstance(error, NotAvailableHere) else "cluster"
    elif isinstance(error, NatsproofError) and not isinstance(error, UsageError):
        trouble = ""
    reason = f"{type(error).__name__}: {error}".strip().removesuffix(":")
    stumbled = unknown(reason)
    return (combine([certify.verdict, stumbled]) if certify and certify.verdicts else stumbled), trouble


def _standard_input() -> str:
    from natsproof.contract.loader import standard_input

    return standard_input()


def _keep_manifests(sources: Iterable[str], target: Path) -> None:
    """The manifests as judged, for the page and for --rejudge. Standard input is gone by now."""
    from natsproof.contract.loader import read_files

    for source in sources:
        if source == "-":
            continue
        for file, text in read_files(source):
            target.mkdir(exist_ok=True)
            (target / Path(file).name).write_text(text, encoding="utf-8")
