"""SIGKILL of a certification at random moments: what is left behind?

Prints `leaks: L of N kills left something`. Looked at: processes (by a mark in their environment), mounts and
loop devices that name the run's folder, network links and named namespaces of this host.

    python -m bench.leaks [kills] [seed]
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

from natsproof.clock import Deadline, wait_until
from natsproof.errors import DeadlineExceeded

ROOT = Path(__file__).parent.parent
MARK = "NATSPROOF_LEAK_MARK"
#: From before the namespaces are entered until a server is dead and volumes are loop-mounted.
LATEST_KILL_S = 18.0
GONE_WITHIN_S = 5.0
CLAIMS = ("suites/test_quorum.py", "suites/test_power_loss.py")


def marked(mark: str) -> list[str]:
    """Processes of the run that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.append(f"process {entry.name} {(entry / 'comm').read_text().strip()}")
        except OSError:
            continue  # it ended meanwhile
    return found


def said(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.splitlines()


def links() -> set[str]:
    return {line.split(":")[1].strip().split("@")[0] for line in said("ip", "-o", "link")}


def left(folder: Path, mark: str, links_before: set[str], named_before: set[str]) -> list[str]:
    mounts = [m for m in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in m]
    loops = [line for line in said("losetup", "-a") if str(folder) in line]
    new_links = [f"link {name}" for name in sorted(links() - links_before)]
    named = [f"namespace {name}" for name in sorted(named_namespaces() - named_before)]
    return [*marked(mark), *mounts, *loops, *new_links, *named]


def named_namespaces() -> set[str]:
    path = Path("/run/netns")
    return {p.name for p in path.iterdir()} if path.is_dir() else set()


def kill_once(after_s: float, claims: str) -> list[str]:
    """Run, SIGKILL the process after `after_s`, and list what is left `GONE_WITHIN_S` later."""
    mark, folder = uuid.uuid4().hex, Path(tempfile.mkdtemp(prefix="natsproof-leak-"))
    before = links(), named_namespaces()
    try:
        run = subprocess.Popen(
            [sys.executable, "-m", "pytest", claims, "--depth", "quick", f"--reports={folder}", "-q"],
            cwd=ROOT,
            env={**os.environ, MARK: mark},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            run.wait(after_s)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait(10)
        deadline = Deadline.within(GONE_WITHIN_S)
        try:
            wait_until(
                "nothing to be left", lambda: not left(folder, mark, *before), within_s=deadline.left_s
            )
        except DeadlineExceeded:
            return left(folder, mark, *before)
        return []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(kills: int, seed: int) -> int:
    rng, leaks = random.Random(seed), 0
    for number in range(kills):
        after_s = rng.uniform(0.3, LATEST_KILL_S)
        found = kill_once(after_s, CLAIMS[number % len(CLAIMS)])
        leaks += bool(found)
        print(f"# kill {number + 1} after {after_s:.1f} s: {'; '.join(found) or 'nothing left'}", flush=True)
    print(f"leaks: {leaks} of {kills} kills left something")
    return int(bool(leaks))


if __name__ == "__main__":
    arguments = [int(a) for a in sys.argv[1:]]
    sys.exit(main(*(arguments + [20, 1][len(arguments) :])))
