"""Find published defects again.

    python -m tests.track_record ISSUE...     or `all`; make track-record ISSUE=7564

Exit code 0 if each was found, 1 if one was not, 4 for an issue without an entry.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from natsproof.cluster.binaries import nats_server
from tests.mutants.manifests import edited, shipped
from tests.track_record import page
from tests.track_record.entries import ENTRIES, Entry

FIRST_SEED = 1


def write_manifests(entry: Entry, folder: Path) -> None:
    """The shipped manifests with the entry's edits, which must all apply."""
    edited(entry.all_edits())
    texts = dict(shipped())
    for edit in entry.all_edits():
        texts[edit.file] = texts[edit.file].replace(edit.find, edit.replace)
    for name, text in texts.items():
        (folder / name).write_text(text)


def command_of(entry: Entry, seed: int, folder: Path) -> list[str]:
    manifests = str(folder / "manifests")
    if entry.scene:
        work = folder / f"scene-{seed}"
        work.mkdir()
        return [
            sys.executable,
            "-m",
            "tests.track_record.scenes",
            entry.scene,
            str(seed),
            str(work),
            manifests,
        ]
    options = ["--depth", "deep", "--reports", str(folder / "reports"), "--seed", str(seed)]
    return [sys.executable, "-m", "pytest", "-q", entry.claim, f"--manifests={manifests}", *options]


def verdict_of(entry: Entry, output: str) -> tuple[str, str]:
    """(status, reason) as the claim's or the scene's last word."""
    name = re.escape(entry.claim.partition("::")[2])
    said = rf"(?:{name}: )" if name else ""
    found = re.findall(rf"^(HOLDS|BROKEN|UNKNOWN) {said}(.*)$", output, re.M)
    if found:
        return str(found[-1][0]), str(found[-1][1])
    last = output.strip().splitlines()[-1:] or ["no output"]
    return ("HOLDS", "it holds") if re.search(r"^1 passed", output, re.M) else ("UNKNOWN", last[0])


def reproduce(entry: Entry) -> bool:
    """Try it; say and keep what came of it."""
    nats_server(entry.version)
    seen: list[str] = []
    with tempfile.TemporaryDirectory(prefix="natsproof-track-") as name:
        folder = Path(name)
        (folder / "manifests").mkdir()
        write_manifests(entry, folder / "manifests")
        for seed in range(FIRST_SEED, FIRST_SEED + entry.tries):
            began = time.monotonic()
            try:
                done = subprocess.run(
                    command_of(entry, seed, folder),
                    cwd=page.ROOT,
                    capture_output=True,
                    text=True,
                    timeout=entry.within_s,
                    check=False,
                )
                status, reason = verdict_of(entry, done.stdout or done.stderr)
            except subprocess.TimeoutExpired:
                status, reason = "UNKNOWN", f"over its {entry.within_s} s"
            took_s = time.monotonic() - began
            if status == "BROKEN":
                print(f"reproduced #{entry.issue} in {took_s:.1f} s (seed {seed}): {reason}", flush=True)
                today = datetime.datetime.now(datetime.UTC).date().isoformat()
                facts = {"date": today, "took_s": round(took_s, 1), "seed": seed, "reason": reason[:160]}
                page.keep(entry.issue, facts)
                return True
            seen.append(f"seed {seed}: {status} {reason[:140]}")
    print(f"not reproduced #{entry.issue}: {'; '.join(seen)}", flush=True)
    tried = f"{entry.found_by} with {len(seen)} seeds ({seen[-1]})"
    page.keep(entry.issue, {"tried": tried})
    return False


def main(issues: Sequence[str]) -> int:
    known = {entry.issue: entry for entry in ENTRIES}
    wanted = list(known) if list(issues) == ["all"] else [issue.lstrip("#") for issue in issues]
    if not wanted or set(wanted) - set(known):
        print(f"which issue? There are: {', '.join(known)}, all", file=sys.stderr)
        return 4
    results = [reproduce(known[issue]) for issue in wanted]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
