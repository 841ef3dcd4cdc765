"""From nothing to the first acknowledged R3 write on a kind cluster made for this run, and its deletion.

    python -m bench.kind [manifests]

Counts from before the cluster exists: nodes, images from archives, pods, the set-up Job, a put. Where kind
cannot run it says why and measures nothing.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from bench.first_write import first_write
from natsproof.cluster.kubernetes import open_cluster, preflight
from natsproof.contract.loader import load
from natsproof.errors import NotAvailableHere


def why_not(source: Path) -> str:
    """What kind lacks on this host; empty if it can run."""
    seen = preflight.findings(load(source))
    return ", ".join(f"{f.name} ({f.seen})" for f in seen if f.needed_for == "kind" and f.ok is False)


def main() -> None:
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "manifests")
    if missing := why_not(source):
        print(f"kind first write: not measured, missing here: {missing}")
        return
    with tempfile.TemporaryDirectory(prefix="natsproof-bench-") as folder:
        began = time.monotonic()
        contract = load(source)
        try:
            cluster = open_cluster("kind", contract, Path(folder) / "bench" / "work" / "main")
        except NotAvailableHere as problem:
            print(f"kind first write: not measured, {problem}")
            return
        try:
            cluster.up()
            asyncio.run(first_write(cluster, contract))
            wrote = time.monotonic()
            for name, took_s in cluster.phases_s.items():
                print(f"# {name}: {took_s:.1f} s")
        finally:
            ending = time.monotonic()
            cluster.down()
            from natsproof.cluster.kubernetes.pool import POOL

            POOL.close()
            ended = time.monotonic()
    print(f"kind first write: {wrote - began:.1f} s")
    print(f"kind deletion: {ended - ending:.1f} s")


if __name__ == "__main__":
    main()
