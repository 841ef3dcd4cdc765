"""`python -m tests.mutants [names] [--family F] [--fast] [-j 2]`: mutants against the claims to break.

Prints a line a mutant, the matrix of claims and mutants, the claims that no mutant names, and the score.
Exit 1 if a mutant survives, a control does not hold, or a claim has no mutant.
"""

from __future__ import annotations

import argparse
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from tests.mutants.bench import Result, execute
from tests.mutants.catalogue import controls, mutants
from tests.mutants.matrix import print_matrix, uncovered, write_files
from tests.mutants.mutant import FAMILIES, Mutant

#: A worker that says nothing for longer is ended: no mutant takes as long.
LONGEST_S = 420.0
TRIES = 2


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of mutants' names (all, if none is given)")
    parser.add_argument("--family", choices=FAMILIES)
    parser.add_argument("--fast", action="store_true", help="the part for CI, under three minutes")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="mutants at once (2)")
    parser.add_argument("--no-controls", action="store_true", help="do not run the trials with nothing wrong")
    parser.add_argument("--only-controls", action="store_true", help="run nothing but these")
    parser.add_argument("--keep", type=Path, help="leave histories and logs in this folder")
    parser.add_argument("--write", action="store_true", help="write docs/mutants.md and suites/mutants.json")
    return parser.parse_args(words)


def chosen(options: argparse.Namespace) -> list[Mutant]:
    found = [m for m in mutants() if options.family in (None, m.family)]
    if options.fast:
        found = [m for m in found if m.fast]
    if options.names:
        found = [m for m in found if any(name.lower() in m.name.lower() for name in options.names)]
    return found


class Worker:
    """A process with a universe of its own; ended, and made anew, when it hangs or dies."""

    def __init__(self, keep: Path | None) -> None:
        self._words = [sys.executable, "-m", "tests.mutants.worker", *([str(keep)] if keep else [])]
        self._process: subprocess.Popen[bytes] | None = None

    def judge(self, mutant: Mutant) -> Result:
        if self._process is None:
            self._process = subprocess.Popen(self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process = self._process
        assert process.stdin and process.stdout
        alarm = threading.Timer(LONGEST_S, process.kill)
        alarm.start()
        try:
            process.stdin.write(orjson.dumps({"name": mutant.name, "claims": mutant.claims}) + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        finally:
            alarm.cancel()
        if not line:
            self.end()
            return Result(mutant.name, problem=f"its process ended ({process.returncode})")
        data = orjson.loads(line)
        return Result(**{**data, "verdicts": {k: tuple(v) for k, v in data["verdicts"].items()}})

    def end(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            assert process.stdin and process.stdout
            process.stdin.close()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)
            process.stdout.close()


def needs_servers(mutant: Mutant) -> bool:
    """Whether a cluster is started: rules and facts are judged in this process."""
    return mutant.family == "control" or (mutant.facts is None and bool(set(mutant.claims) - _rule_claims()))


def _rule_claims() -> set[str]:
    from tests.mutants.claims import claims

    return {name for name, claim in claims().items() if claim.module == "suites.test_contract"}


def run(work: Sequence[Mutant], jobs: int, keep: Path | None, tell: Callable[[Mutant, Result], None]) -> None:
    """Judge all of `work`, `jobs` at once; a first miss is tried once more, because machines are busy."""
    light = [m for m in work if not needs_servers(m)]
    for mutant in light:
        tell(mutant, execute(mutant, _no_cluster, keep))
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in work:
        if mutant not in light:
            waiting.put(mutant)
    lock = threading.Lock()

    def work_off() -> None:
        worker = Worker(keep)
        try:
            while True:
                mutant = waiting.get_nowait()
                for _ in range(TRIES):
                    result = worker.judge(mutant)
                    if result.killed(mutant):
                        break
                with lock:
                    tell(mutant, result)
        except queue.Empty:
            return
        finally:
            worker.end()

    threads = [threading.Thread(target=work_off) for _ in range(max(1, jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _no_cluster(contract: object, workdir: Path) -> object:
    raise LookupError("this mutant is judged without a cluster")


def say(mutant: Mutant, result: Result) -> None:
    if mutant.family == "control":
        word = "holds" if result.killed(mutant) else "CONTROL FAILS"
    else:
        word = "killed" if result.killed(mutant) else "SURVIVES"
    if word in ("killed", "holds") and not needs_servers(mutant):
        return
    print(
        f"{word:8} {mutant.family:8} {mutant.name}  ({len(mutant.claims)} claims, {result.took_s} s)",
        flush=True,
    )
    if word in ("SURVIVES", "CONTROL FAILS"):
        print(f"         {result.problem}" if result.problem else "", end="\n" if result.problem else "")
        for claim, (verdict, reason) in result.verdicts.items():
            print(f"         {verdict:12} {claim}: {reason[:300]}", flush=True)


def main() -> int:
    options = arguments()
    work = chosen(options)
    if not work:
        print("no mutant has such a name")
        return 4
    control = [] if options.no_controls else list(controls(work))
    if options.only_controls:
        work = []
    results: dict[str, Result] = {}

    def tell(mutant: Mutant, result: Result) -> None:
        results[mutant.name] = result
        say(mutant, result)

    run([*work, *control], options.jobs, options.keep, tell)
    print_matrix(work, results)
    bare = uncovered()
    for name in bare:
        print(f"no mutant: {name}")
    failing = [m.name for m in control if not results[m.name].killed(m)]
    survivors = [m.name for m in work if not results[m.name].killed(m)]
    for name in survivors:
        print(f"survivor: {name}")
    for name in failing:
        print(f"does not hold with nothing wrong: {name}")
    if options.write:
        total, known = write_files(work, results, control)
        print(f"docs/mutants.md: {total} of {known} seen killed")
    print(f"{len(control) - len(failing)} of {len(control)} controls hold")
    print(f"{len(work) - len(survivors)} of {len(work)} mutants killed")
    return 1 if survivors or failing or bare else 0


if __name__ == "__main__":
    sys.exit(main())
