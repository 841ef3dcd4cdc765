"""How soon the loss by power cut under the default sync_interval is found, from a cold start.

    python -m bench.power_loss [seed]

Counts from the start of this process: imports, universe, the manifests without `sync_interval`, three
servers on ext4 images, the set-up Job, clients, the cut of all three, their restart, and the verdict of
the suite's own checker. Needs root: loop mounts.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.cluster.embedded import embedded, enter_universe
from natsproof.contract.loader import load_documents
from natsproof.faults.storage import PowerCut
from natsproof.trial import Trial, run
from natsproof.verdict import Status
from natsproof.workloads.ledger import Ledger

MANIFESTS = Path(__file__).parent.parent / "manifests"
LINE = "      sync_interval: always\n"
BUCKETS = ("message_state", "retry_queue")
TRIAL = Trial(
    "power cut with the default sync_interval",
    (Ledger(BUCKETS, writers=8, rate_hz=300.0, timeout_s=1.0),),
    (PowerCut("all", at_s=2.0, down_s=0.5),),
    duration_s=8.0,
    settle_s=5.0,
    replica_audit=False,
)


def main() -> int:
    files = [
        (f.name, f.read_text()) for f in sorted(MANIFESTS.glob("*.yaml")) if f.name != "kustomization.yaml"
    ]
    if sum(text.count(LINE) for _, text in files) != 1:
        raise SystemExit(
            f"{MANIFESTS} has not exactly one line {LINE.strip()!r}: there is nothing to leave out"
        )
    contract = load_documents([(name, text.replace(LINE, "")) for name, text in files])
    enter_universe()
    with tempfile.TemporaryDirectory(prefix="natsproof-bench-") as folder:
        cluster = embedded(contract, Path(folder) / "cluster")
        if not hasattr(cluster, "cut_power"):
            raise SystemExit(f"a power cut needs root and loop devices (uid {os.geteuid()})")
        cluster.prepare(["PowerCuttable"])
        cluster.up()
        try:
            seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
            history = run(TRIAL, cluster, seed=seed, path=Path(folder) / "history.jsonl")
        finally:
            cluster.down()
    verdict = no_acknowledged_put_is_lost(history)
    took_s = time.time() - psutil.Process().create_time()
    print(f"# {verdict.status.value}: {verdict.reason}; {dict(verdict.evidence)}")
    if verdict.status is not Status.BROKEN:
        print("power loss found: NOT FOUND")
        return 1
    print(f"power loss found: {took_s:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
