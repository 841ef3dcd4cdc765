"""What a suite says: run this trial, and demand that.

    def test_an_acknowledged_put_survives_sigkill_of_the_leader(certify, contract):
        # its docstring is the sentence printed in the certificate
        history = certify.run(Trial(...))
        certify.that(history, no_acknowledged_put_is_lost, given=[at_least(500, acknowledged_puts)])

`that` raises ClaimBroken or EvidenceMissing, so pytest stays the only runner. The last word on a claim is
the combination of all its checks; a test that checks nothing is UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from natsproof.errors import ClaimBroken, EvidenceMissing, NatsproofError, UsageError
from natsproof.report.record import Shown
from natsproof.verdict import Exhibit, Status, Verdict, combine, unknown

if TYPE_CHECKING:
    from natsproof.cluster import Cluster
    from natsproof.contract.model import Bucket, Contract, Place, Promises
    from natsproof.history import History
    from natsproof.session import Session

T = TypeVar("T")

DEPTHS = ("quick", "standard", "deep")
#: Exhibits and operations written out per check: a reader needs the fewest that show it.
MAX_EXHIBITS = 20
MAX_OPERATIONS_SHOWN = 12


class NotPromised(NatsproofError):
    """The contract does not promise what this claim is about: not tested, and said so."""


class NotHere(NotPromised):
    """It is promised, and the cluster at hand has not what it is about: not tested, and said so."""


class Certify:
    """One claim in the making; the fixture `certify` gives each test its own."""

    def __init__(
        self, contract: Contract, depth: str, session: Callable[[], Session], repeat: str, location: str
    ) -> None:
        self.contract, self.depth = contract, depth
        self._session, self._repeat, self._location = session, repeat, location
        self._where: dict[
            int, str
        ] = {}  # id of a history's meta (a part of it shares that) -> its trial's name
        self._kept: list[Any] = []  # keeps those ids valid
        self.verdicts: list[Verdict] = []
        self.checks: list[dict[str, Any]] = []
        self.exhibits: list[Shown] = []
        self.promises: list[str] = []
        self.trials: list[str] = []
        self.measures: dict[str, int | float | str] = {}
        self.grade = ""  # of durability: the death that the claim's writes are promised to outlive
        self.asked: list[Any] = []  # the trials it asked for
        #: Run instead of any trial that the claim asks for: how a claim is judged on a smaller one.
        self.instead: Any = None
        self.sentence = ""  # where the claim's words are not the test's docstring

    # -- acting

    def run(self, trial: Any) -> History:
        """Run `trial` on a fresh cluster, or give the history of the equal trial of this session.

        Raises ClusterError, FaultDidNotLand, EvidenceMissing (with --rejudge: no such history).
        """
        trial = self.instead or trial
        self.asked += [] if trial in self.asked else [trial]
        ran = self._session().run(trial)
        if ran.name not in self.trials:
            self.trials.append(ran.name)
        self._where[id(ran.history.meta)] = ran.name
        self._kept.append(ran.history)
        return ran.history

    def observe(self, name: str, look: Callable[[Cluster], Any], *, fresh: bool = False) -> Any:
        """Facts read from a running platform: what `look(cluster)` returns, as JSON.

        Looked at once per run and name, kept as a file, given again with --rejudge. `fresh` asks for a
        cluster of its own (a look that changes the platform must).
        """
        return self._session().observe(name, look, fresh=fresh)

    def startup(self) -> dict[str, Any]:
        """How the platform came up: `up`, `error`, `took_s`, `job`, `events`, `cluster`."""
        return self._session().startup()

    # -- judging

    def that(
        self,
        evidence: Any,
        checker: Callable[[Any], Verdict],
        *,
        given: Iterable[Callable[[Any], str | None]] = (),
        promise: Place | str | Iterable[Place | str] = (),
        **measures: int | float | str,
    ) -> Verdict:
        """Demand that `checker` finds `evidence` (a History or what `observe` gave) in order.

        `given` are evidence guards: each sentence they answer turns HOLDS into UNKNOWN and never hides
        BROKEN. `measures` go into the certificate. Raises ClaimBroken or EvidenceMissing.
        """
        self._add(promise)
        self.measures.update(measures)
        verdict = _judged(checker, evidence)
        sentences, counted = _asked(given, evidence)
        doubts = _doubts(evidence) + sentences
        if verdict.status is Status.HOLDS and doubts:
            verdict = Verdict(Status.UNKNOWN, "; ".join(doubts), verdict.evidence)
        return self._enter(_name_of(checker), verdict, evidence, doubts, counted)

    def that_rule(self, contract: Contract, rule: Callable[[Contract], Verdict]) -> Verdict:
        """Demand that `rule` finds the manifests in order."""
        self.sentence = str(getattr(rule, "title", "")) or self.sentence
        self._add(str(getattr(rule, "promise", "")) or ())
        return self._enter(_name_of(rule), _judged(rule, contract), None, [])

    def conclude(self, verdict: Verdict, *, promise: Place | str | Iterable[Place | str] = ()) -> Verdict:
        """Enter a verdict that was reached elsewhere (a capacity fit, a comparison of runs)."""
        self._add(promise)
        return self._enter("conclusion", verdict, None, [])

    def measure(self, **measures: int | float | str) -> None:
        """Numbers for the certificate that no verdict depends on, units last in the name."""
        self.measures.update(measures)

    def not_promised(self, place: Place | str) -> NoReturn:
        """The typed skip: the contract, at `place`, does not promise what this claim is about."""
        raise NotPromised(f"not promised: {place}")

    def only_where(self, evidence: Any, guard: Callable[[Any], str | None]) -> None:
        """What the running cluster must have for this claim to be decided. Raises NotHere with why not."""
        if why := guard(evidence):
            raise NotHere(why)

    def survives(self, death: str) -> Place:
        """Where the contract promises that an acknowledged write outlives `death`. Raises NotPromised."""
        place = self._listed("survives", death)
        self.grade = self.grade or death
        return place

    def linearizable(self, fault: str) -> Place:
        """Where it promises that each key stays one register through `fault`. Raises NotPromised."""
        return self._listed("linearizable", fault)

    def recovery_s(self, fault: str) -> float:
        """The promised budget after `fault`, whose place joins the claim's promises. Raises NotPromised."""
        budget_s = promised_recovery_s(self.contract.promises, fault)
        self._add(self.contract.promises.at(f"recovery.{fault}"))
        return budget_s

    def direct_get_late_s(self) -> float:
        """The promised bound, whose place joins the claim's promises. Raises NotPromised."""
        return self._promised_s("direct_get_late")

    def expiry_late_s(self) -> float:
        """The promised bound, whose place joins the claim's promises. Raises NotPromised."""
        return self._promised_s("expiry_late")

    def p99_s(self) -> float:
        """The promised latency, whose place joins the claim's promises. Raises NotPromised."""
        return self._promised_s("p99")

    def monitoring(self) -> Place:
        """Where paths are promised that answer on every server. Raises NotPromised."""
        promises = self.contract.promises
        if not promises.monitoring:
            self.not_promised(f"{promises.place} has no monitoring")
        return promises.at("monitoring")

    def _promised_s(self, name: str) -> float:
        promises = self.contract.promises
        seconds = getattr(promises, f"{name}_s")
        if seconds is None:
            self.not_promised(f"{promises.place} has no {name}")
        self._add(promises.at(f"{name}_s"))
        return float(seconds)

    def with_servers(self, number: int) -> None:
        """What a claim says of so many servers it does not say of others. Raises NotPromised."""
        if self.contract.statefulset.replicas != number:
            place = self.contract.statefulset.at("replicas")
            self.not_promised(
                f"{place} has {self.contract.statefulset.replicas} servers; this is about {number}"
            )

    def _add(self, promise: Place | str | Iterable[Place | str]) -> None:
        """What the claim is about, each place once."""
        self.promises[:] = dict.fromkeys([*self.promises, *_places(promise)])

    def _listed(self, field: str, wanted: str) -> Place:
        promises = self.contract.promises
        if wanted not in getattr(promises, field):
            self.not_promised(f"{promises.at(field)}, {field}, does not list {wanted}")
        return promises.at(field)

    def scaled(self, *, quick: T, standard: T, deep: T) -> T:
        """The value for this run's --depth."""
        return {"quick": quick, "standard": standard, "deep": deep}[self.depth]

    @property
    def seed(self) -> int:
        """The run's --seed."""
        return self._session().seed

    def bucket(self, name: str) -> Bucket:
        return self.contract.promises.bucket(name)

    def folder(self, name: str) -> Path:
        """A folder in the run's report for files of this claim (plots, tables)."""
        from natsproof.report.run_folder import slug

        path = self._session().folder.path / "attachments" / slug(name)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def verdict(self) -> Verdict:
        """What the checks so far add up to."""
        if not self.verdicts:
            return unknown("the test checked nothing: it never called certify.that")
        return combine(self.verdicts)

    def _enter(
        self,
        name: str,
        verdict: Verdict,
        evidence: Any,
        doubts: list[str],
        counted: Sequence[Mapping[str, str | int]] = (),
    ) -> Verdict:
        trial = self._where.get(id(getattr(evidence, "meta", None)), "")
        shown = [_shown(exhibit, evidence, trial) for exhibit in verdict.exhibits[:MAX_EXHIBITS]]
        self.verdicts.append(verdict)
        self.exhibits += shown
        self.checks.append(
            {
                "checker": name,
                "status": verdict.status.value,
                "reason": verdict.reason,
                "trial": trial,
                "missing": doubts,
                "counted": list(counted),
                "evidence": dict(verdict.evidence),
            }
        )
        if verdict.status is Status.HOLDS:
            return verdict
        raised = ClaimBroken if verdict.status is Status.BROKEN else EvidenceMissing
        raise raised(self._message(verdict, shown, trial))

    def _message(self, verdict: Verdict, shown: list[Shown], trial: str) -> str:
        """The broken promise, where it is written, what was seen, how sure, how to repeat it."""
        lines = [f"{verdict.status.value} {self._location}: {verdict.reason}"]
        lines += [f"  promised: {place}" for place in self.promises]
        for exhibit in shown[:6]:
            at = "" if exhibit.at_s is None else f" (at {exhibit.at_s:.3f} s)"
            where = f"{exhibit.place}: " if exhibit.place else ""
            lines.append(f"  {where}{exhibit.text}{at}")
            said = [
                operation["text"] for operation in exhibit.operations if operation["text"] not in exhibit.text
            ]
            lines += [f"    {text}" for text in said[:4]]
        if len(verdict.exhibits) > 6:
            lines.append(f"  ... and {len(verdict.exhibits) - 6} more exhibits in the report")
        counts = {**verdict.evidence, **self.measures}
        if counts:
            lines.append("  evidence: " + ", ".join(f"{name} {_number(v)}" for name, v in counts.items()))
        if trial:
            lines.append(f"  history: {self._session().folder.trial_folder(trial) / 'history.jsonl'}")
        lines.append(f"  repeat: {self._repeat}")
        return "\n".join(lines)


def promised_recovery_s(promises: Promises, fault: str) -> float:
    """The promised budget after `fault`. Raises NotPromised."""
    if fault not in promises.recovery_s:
        raise NotPromised(f"not promised: {promises.at('recovery_s')} has no budget for {fault}")
    return promises.recovery_s[fault]


def _judged(checker: Callable[[Any], Verdict], evidence: Any) -> Verdict:
    """The checker's verdict. One that stumbles decides nothing: UNKNOWN, with its own error as reason."""
    try:
        verdict = checker(evidence)
    except NatsproofError as problem:
        return unknown(f"{_name_of(checker)} could not judge: {problem}")
    except Exception as problem:
        raise EvidenceMissing(
            f"UNKNOWN {_name_of(checker)} itself failed ({type(problem).__name__}: {problem}); "
            "this is a defect of the check, nothing is said about the platform"
        ) from problem
    if not isinstance(verdict, Verdict):
        raise UsageError(f"{_name_of(checker)} must return a Verdict, got {type(verdict).__name__}")
    return verdict


def _doubts(evidence: Any) -> list[str]:
    """What every history must show before anything holds: it ended, and its faults landed."""
    injections = getattr(evidence, "injections", None)
    if injections is None:
        return []
    doubts = [] if evidence.complete else ["the trial was interrupted: its history has no end"]
    if "not_healthy" in evidence.marks:
        doubts.append("the platform refused writes before anything was done to it")
    for injection in injections:
        if not injection.landed:
            why = injection.error or injection.witness or "the independent witness saw nothing"
            targets = ", ".join(injection.targets) or injection.role
            doubts.append(f"the fault {injection.fault} on {targets} did not land: {why}")
    return doubts


def _asked(guards: Iterable[Any], evidence: Any) -> tuple[list[str], list[Mapping[str, str | int]]]:
    """The guards' sentences; and what those that count found, beside how much they need: what is only just
    enough shows there."""
    sentences: list[str] = []
    told: list[Mapping[str, str | int]] = []
    for guard in guards:
        counts = hasattr(guard, "asked")
        sentence, number = guard.asked(evidence) if counts else (guard(evidence), None)
        if sentence:
            sentences.append(sentence)
        if number is not None:
            told.append({"guard": guard.name, "counted": number, "needed": guard.needed})
    return sentences, told


def _shown(exhibit: Exhibit, evidence: Any, trial: str) -> Shown:
    operations: tuple[Mapping[str, Any], ...] = ()
    at_s = None
    if hasattr(evidence, "operations"):
        operations = tuple(_operation(evidence, row) for row in exhibit.rows[:MAX_OPERATIONS_SHOWN])
        if exhibit.at_ns is not None:
            at_s = round(evidence.since_start_s(exhibit.at_ns), 6)
        elif operations:
            at_s = min(operation["call_s"] for operation in operations)
    return Shown(exhibit.text, str(exhibit.place), trial, at_s, operations)


def _operation(history: History, row: int) -> Mapping[str, Any]:
    from natsproof.history import NEVER_NS

    ops = history.operations
    back = int(ops.return_ns[row])
    return {
        "row": int(row),
        "client": int(ops.client[row]),
        "call_s": round(history.since_start_s(int(ops.call_ns[row])), 6),
        "return_s": None if back == NEVER_NS else round(history.since_start_s(back), 6),
        "text": history.describe(row),
    }


def _places(promise: Place | str | Iterable[Place | str]) -> list[str]:
    if isinstance(promise, str) or hasattr(promise, "line"):
        return [str(promise)]
    return [str(one) for one in promise]


def _name_of(checker: Any) -> str:
    """A function's name, a rule's, else the type's (checkers with parameters are values)."""
    name = getattr(checker, "__name__", None) or getattr(getattr(checker, "func", None), "__name__", None)
    return str(name or getattr(checker, "name", None) or type(checker).__name__)


def _number(value: int | float | str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
