"""`python -m natsproof.background_process JOB.json PARENT`: one trial, in a process of its own.

It enters a universe of its own, runs the trial as a worker would, and leaves its record in the run's folder.
SIGTERM, and the death of the process PARENT, end it as Ctrl-C ends a run: faults are healed, the platform
goes down.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from natsproof.errors import NatsproofError

PR_SET_PDEATHSIG = 1


def main() -> int:
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if we come from a shell's background
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    try:
        _run(job, int(sys.argv[2]))
    except KeyboardInterrupt:
        print("ended by the session", flush=True)
        return 2
    except NatsproofError as problem:
        print(f"{type(problem).__name__}: {problem}", flush=True)
        return 3
    return 0


def _run(job: dict[str, Any], parent: int) -> None:
    from natsproof.cluster.binaries import for_image
    from natsproof.cluster.embedded import embedded, enter_universe
    from natsproof.contract.loader import load_all

    contract = load_all(job["manifests"])
    server, cli = (Path(job[name]) if job[name] else None for name in ("server_binary", "nats_binary"))
    binaries = for_image(contract.server_container.image, server=server, cli=cli)
    enter_universe()  # before numpy is imported: its threads would forbid it to an ordinary user
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)  # new namespaces clear it, so after
    if os.getppid() != parent:
        raise KeyboardInterrupt

    from natsproof.background import WORKER
    from natsproof.report.run_folder import RunFolder
    from natsproof.session import Session
    from natsproof.trial import trial_from_dict

    session = Session(
        RunFolder(Path(job["folder"])),
        contract,
        job["seed"],
        lambda workdir: embedded(contract, workdir, binaries=binaries),
        per_trial=True,
        keep=job["keep"],
        worker=WORKER,
    )
    try:
        session.run(trial_from_dict(job["trial"]))
    finally:
        session.close()


if __name__ == "__main__":
    sys.exit(main())
