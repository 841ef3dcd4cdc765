"""`python -m tests.agreement`: the same wrong manifests on embedded and on kind; do the claims say the same?

Each mutant is stood up on both clusters, looked at in the same way, and judged by the functions of
`suites/test_deployment.py`. On kind one cluster serves all: every mutant has a namespace of its own.
Results are kept as they come (suites/agreement.json), so a run that is ended goes on where it was.

    python -m tests.agreement --on embedded --shard 0/2      one half, in this process's universe
    python -m tests.agreement --on kind --seconds 330
    python -m tests.agreement                                the table, docs/agreement.md; 1 if they differ
"""

from __future__ import annotations

import argparse
import fcntl
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson

from natsproof.clock import as_seconds, now_ns
from natsproof.cluster import inspection
from natsproof.contract.model import Contract
from natsproof.errors import ClusterError, NatsproofError
from tests.mutants.claims import claims, judge
from tests.mutants.manifests import Edit, edited

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "suites" / "agreement.json"
PAGE = ROOT / "docs" / "agreement.md"
SUITE = "suites.test_deployment"
CONTROL = "nothing wrong"
LOOKS: Mapping[str, Callable[[Any], Any]] = {
    "buckets": inspection.buckets,
    "endpoints": inspection.endpoints,
    "members": inspection.members,
}
#: A look that a server does not answer is taken again.
LOOK_TIMES = 3
#: How long a platform may take; a sound one takes 2 s and 25 s, several times that on a busy machine.
LIMIT_S = {"embedded": 15.0, "kind": 150.0}
#: Deployments that depend on no hardware and show in what is deployed; names of tests/mutants/catalogue.
CHOSEN = (
    "buckets with one replica",
    "a bucket whose TTL was dropped",
    "a bucket with a TTL of two minutes",
    "a bucket of another size",
    "a bucket that keeps two values",
    "the Job forgets a promised bucket",
    "a bucket in memory, and all die",
    "the Job expects a size that it does not ask for",
    "governing service has a cluster address",
    "unready servers have no name",
    "an ordered start with a probe that needs all servers",
    "the monitoring port moved, the probes not",
    "a path is promised that the servers do not have",
    "all servers have one name",
    "server name is the node's name",
    "the cluster has no name",
    "lame duck's grace is as long as lame duck",
    "the CLI's default of one replica",
    "another TTL",
    "no TTL",
    "another size",
    "more history than promised",
    "a promised bucket is not made",
    "a failed creation is answered with true",
    "the job asks another namespace",
    "the job asks the routes' port",
    "a variable inside an address",
    "monitoring is off",
    "clients' account has no JetStream",
    "clients without credentials are refused",
    "governing service has another name",
    "governing service selects nothing",
    "a route leads to the client port",
    "a server has no route",
    "a fourth route names no pod",
    "a probe asks another port",
    "the pid file's folder is read-only",
    "the readme's 100 GB for 161 GB of buckets",
    "the store is beside the volume",
    "a second max_file overrides the first",
)
#: What embedded cannot show, with the reason; listed, not counted.
KNOWN = {
    "network policy forgets the routes": "embedded has no NetworkPolicy; `embedded` says so among its "
    "differences, and the rule refuses these manifests on both",
}


#: Differences whose cause was found: told in the table, and counted as differing.
EXPLAINED: Mapping[str, str] = {}


def chosen() -> dict[str, tuple[Edit, ...]]:
    """Mutant name to its edits; the control first."""
    from tests.mutants.catalogue import mutants

    known = {m.name: (*m.setting, *m.edits) for m in mutants()}
    return {CONTROL: (), **{name: known[name] for name in (*CHOSEN, *KNOWN)}}


def facts_of(cluster: Any, up: Callable[[], None]) -> dict[str, Any]:
    """How it came up, and what it shows however that went: {"startup", "buckets", "endpoints", "members"}."""
    began_ns, error = now_ns(), ""
    try:
        up()
    except (NatsproofError, OSError) as problem:
        error = str(problem)
    took_s = round(as_seconds(now_ns() - began_ns), 1)
    job = cluster.job
    seen: dict[str, Any] = {
        "startup": {
            "up": not error,
            "error": error,
            "took_s": took_s,
            "job": None if job is None else {f: getattr(job, f) for f in ("complete", "attempts", "log")},
        }
    }
    for name, look in LOOKS.items():
        seen[name] = _looked(name, look, cluster)
    return seen


def _looked(name: str, look: Callable[[Any], Any], cluster: Any) -> Any:
    """What is seen in the end: on a busy machine one request in many takes longer than it may."""
    found: Any = {}
    for _ in range(LOOK_TIMES):
        try:
            found = look(cluster)
        except (NatsproofError, OSError, KeyError) as problem:
            found = {"no": f"{type(problem).__name__}: {problem}"}
        silent = "no" in found or (
            name == "endpoints" and any(a != "ok" for paths in found.values() for a in paths.values())
        )
        if not silent:
            break
        threading.Event().wait(1.0)
    return found


def verdicts(contract: Contract, seen: Mapping[str, Any]) -> dict[str, list[str]]:
    """Claim with its parameter to (verdict, reason), by the suite's own functions."""

    def observe(name: str, look: object, *, fresh: bool = False) -> Any:
        if "no" in seen[name]:
            raise ClusterError(seen[name]["no"])
        return orjson.loads(orjson.dumps(seen[name], default=str))

    session = SimpleNamespace(observe=observe, startup=lambda: seen["startup"])
    found = {}
    for claim in claims().values():
        if claim.module == SUITE:
            for parameters in claim.parameters:
                label = claim.name + "".join(f"[{value}]" for value in parameters.values())
                verdict, reason = judge(claim, parameters, contract, session)
                found[label] = [verdict, reason[:300]]
    return found


# -- embedded


def run_embedded(work: Mapping[str, tuple[Edit, ...]], enough: Callable[[], bool]) -> None:
    from natsproof.cluster.binaries import for_image
    from natsproof.cluster.embedded import embedded, enter_universe

    binaries = for_image("nats:2.12.8-alpine")
    enter_universe()
    for name, edits in work.items():
        if enough():
            return
        contract = edited(edits)
        with tempfile.TemporaryDirectory(prefix="agreement-") as folder:
            cluster = embedded(contract, Path(folder), binaries=binaries)

            def up(cluster: Any = cluster) -> None:
                cluster.wait_ready(within_s=LIMIT_S["embedded"])

            try:
                cluster.begin()
                keep(name, "embedded", contract, facts_of(cluster, up))
            finally:
                cluster.down()


# -- kind


def run_kind(work: Mapping[str, tuple[Edit, ...]], enough: Callable[[], bool], name: str, jobs: int) -> None:
    """What came up on embedded one at a time; beside it what did not, several at a time: that only waits.

    The control goes before all: a machine on which it does not come up in time measures nothing.
    """
    from tests.agreement_on_kind import OnKind, machine_for

    claims()  # imported by one thread: import locks and many threads wait for each other
    numbers = {mutant: number for number, mutant in enumerate(chosen())}

    def one(mutant: str, limit_s: float) -> dict[str, Any] | None:
        if enough():
            return None
        contract = edited(work.get(mutant, ()), namespace=f"agree-{numbers[mutant]}")
        with tempfile.TemporaryDirectory(prefix="agreement-") as folder:
            cluster = OnKind(contract, workdir=Path(folder), machine=machine, limit_s=limit_s)
            try:
                seen = facts_of(cluster, cluster.up)
                if mutant != CONTROL or seen["startup"]["up"]:
                    keep(mutant, "kind", contract, seen)
                return seen
            finally:
                cluster.down()

    before = results()
    vain = [m for m in work if before.get(m, {}).get("embedded", {}).get("error")]
    sound = [m for m in work if m not in vain and m != CONTROL]
    with machine_for(name) as machine:
        control = one(CONTROL, LIMIT_S["kind"])
        if control is None or not control["startup"]["up"]:
            raise SystemExit(f"with nothing wrong it did not come up here: {control}")
        vain_s = min(LIMIT_S["kind"], max(60.0, 2 * control["startup"]["took_s"]))
        with ThreadPoolExecutor(1) as few, ThreadPoolExecutor(jobs) as many:
            tasks = [few.submit(one, mutant, LIMIT_S["kind"]) for mutant in sound]
            tasks += [many.submit(one, mutant, vain_s) for mutant in vain]
            for task in tasks:
                task.result()


# -- results


def results() -> dict[str, Any]:
    return dict(orjson.loads(RESULTS.read_bytes())) if RESULTS.is_file() else {}


def keep(mutant: str, cluster: str, contract: Contract, seen: Mapping[str, Any]) -> None:
    """Judge and write down at once: others write to the same file."""
    judged = verdicts(contract, seen)
    started = seen["startup"]
    entry = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "took_s": started["took_s"],
        "error": started["error"][:600],
        "verdicts": judged,
    }
    with (Path(tempfile.gettempdir()) / "natsproof-agreement.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        now = results()
        now.setdefault(mutant, {})[cluster] = entry
        RESULTS.write_bytes(orjson.dumps(now, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    words = "".join(verdict[0] for verdict, _ in judged.values())
    print(f"{cluster:8} {words} {started['took_s']:6.1f} s  {mutant}", flush=True)


def differing(entry: Mapping[str, Any]) -> list[str]:
    """Claims that one cluster judges otherwise than the other."""
    one, other = entry["embedded"]["verdicts"], entry["kind"]["verdicts"]
    return [name for name in one if one[name][0] != other.get(name, ["absent"])[0]]


def page(seen: Mapping[str, Any]) -> tuple[str, int]:
    """docs/agreement.md, and how many mutants differ without being known to."""
    both = {n: seen[n] for n in (CONTROL, *CHOSEN) if {"embedded", "kind"} <= set(seen.get(n, ()))}
    shown = [n for n in both if n != CONTROL and "BROKEN" in _words(both[n]["kind"])]
    apart = [n for n in both if differing(both[n])]
    lines = [
        "# Agreement of embedded and kind",
        "",
        f"{len(both) - len(apart)} of {len(both)} deployments get the same verdicts on both clusters,",
        f"claim by claim; {len(shown)} of them are broken there. Written by `python -m tests.agreement`.",
        "",
        "Each is the shipped manifests made wrong in one way (tests/mutants), stood up and looked at alike",
        "on both; the claims are those of `suites/test_deployment.py`, bucket by bucket. *Never*: not within",
        f"{LIMIT_S['embedded']:g} s on embedded; on kind not within {LIMIT_S['kind']:g} s, or, where",
        "embedded never came up, not within a minute or twice the time of the manifests as shipped.",
        "",
        "| manifests | embedded: broken, unknown | kind: broken, unknown | came up after | same |",
        "|---|---|---|---|---|",
    ]
    for name, entry in both.items():
        lines.append(_row(name, entry))
    for name in apart:
        lines += ["", f"**{name}** differs{': ' + EXPLAINED[name] if name in EXPLAINED else ''}."]
        for claim in differing(both[name]):
            one, other = (both[name][c]["verdicts"][claim] for c in ("embedded", "kind"))
            lines.append(
                f"- `{claim}`: embedded {one[0]} ({_short(one[1])}), kind {other[0]} ({_short(other[1])})"
            )
    lines += ["", "## What embedded cannot show", ""]
    for name, why in KNOWN.items():
        entry = seen.get(name, {})
        done = {"embedded", "kind"} <= set(entry)
        how = f"{len(differing(entry))} claims differ" if done else "not run yet"
        lines.append(f"- *{name}*: {why}. {how}.")
    missing = [n for n in CHOSEN if n not in both]
    if missing:
        lines += ["", "Not run on both yet: " + ", ".join(missing) + "."]
    return "\n".join(lines) + "\n", len(apart)


def _words(entry: Mapping[str, Any]) -> list[str]:
    return [verdict for verdict, _ in entry["verdicts"].values()]


def _row(name: str, entry: Mapping[str, Any]) -> str:
    def counts(cluster: str) -> str:
        words = _words(entry[cluster])
        return f"{words.count('BROKEN')}, {words.count('UNKNOWN')} of {len(words)}"

    def came(cluster: str) -> str:
        one = entry[cluster]
        return "never" if one["error"] else f"{one['took_s']} s"

    same = "yes" if not differing(entry) else "**no**"
    return (
        f"| {name} | {counts('embedded')} | {counts('kind')} | {came('embedded')}, {came('kind')} | {same} |"
    )


def _short(reason: str) -> str:
    return " ".join(reason.split())[:160]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tests.agreement", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of mutants' names (all, if none is given)")
    parser.add_argument("--on", choices=("embedded", "kind"), help="run there; without it print the table")
    parser.add_argument("--again", action="store_true", help="also what has a result already")
    parser.add_argument("--shard", default="0/1", help="embedded: which part of how many")
    parser.add_argument("--jobs", type=int, default=4, help="kind: platforms that will not come up, at once")
    parser.add_argument(
        "--seconds", type=float, default=400.0, help="begin no further mutant after that long"
    )
    options = parser.parse_args(words)
    if options.on is None:
        text, apart = page(results())
        PAGE.write_text(text)
        print(text)
        return 1 if apart else 0
    work = {n: e for n, e in chosen().items() if not options.names or any(p in n for p in options.names)}
    if not options.again:
        done = results()
        work = {name: edits for name, edits in work.items() if options.on not in done.get(name, {})}
    part, of = map(int, options.shard.split("/"))
    work = dict(item for i, item in enumerate(work.items()) if i % of == part)
    began_ns = now_ns()

    def enough() -> bool:
        return as_seconds(now_ns() - began_ns) > options.seconds

    if options.on == "embedded":
        run_embedded(work, enough)
    else:
        import os

        from natsproof.cluster.kubernetes import ATTACH

        run_kind(work, enough, os.environ.get(ATTACH, ""), options.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
