"""Loads on an embedded cluster, each in a process of its own: python -m tests.load_scenarios NAME FOLDER."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from natsproof.load.fill import measured_fill
from natsproof.load.mix import PLATFORM
from natsproof.load.rig import Rig
from natsproof.load.server_side import read
from natsproof.load.spec import GeneratorSpec
from natsproof.load.sync import by_sync_interval
from natsproof.load.variations import measuring_mix
from tests.embedded_scenarios import main, running, scenario


@scenario
def sync_intervals(folder: Path) -> Any:
    """What is made beside the cluster differs in sync_interval, is gone afterwards, and leaves it alone."""
    with running(folder) as cluster:
        before = [cluster.pid(server.name) for server in cluster.servers]
        spec = GeneratorSpec(urls=tuple(server.client_url for server in cluster.servers), prefix="sync")
        seen: list[list[Any]] = []
        beside = cluster.beside

        def watched(contract: Any, name: str) -> Any:
            other = beside(contract, name)
            up = other.up

            def come_up(**limits: Any) -> None:
                up(**limits)
                configs = [other.monitor(s.name, "/varz")["jetstream"]["config"] for s in other.servers]
                seen.append([[c.get("sync_always", False), c["sync_interval"]] for c in configs])

            other.up = come_up
            return other

        cluster.beside = watched  # type: ignore[method-assign]
        rows, missing = by_sync_interval(cluster, spec, seconds=0.5, within_s=60.0)
        return {
            "rows": rows,
            "missing": missing,
            "seen": seen,
            "same_servers": before == [cluster.pid(server.name) for server in cluster.servers],
            "left": [pid for pid in _servers_of_this_host() if pid not in before],
        }


def _servers_of_this_host() -> list[int]:
    """nats-servers that are children of this process's pods; nothing else is looked at."""
    mine = os.getpid()
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].partition(")")
            if name.startswith("nats-server") and int(rest.split()[1]) == mine:
                found.append(int(stat.parent.name))
        except (OSError, ValueError):
            continue
    return found


@scenario
def fill_and_flushes(folder: Path) -> Any:
    with running(folder) as cluster:
        urls = tuple(server.client_url for server in cluster.servers)
        rig = Rig(GeneratorSpec(urls=urls, mix=measuring_mix(PLATFORM), prefix="fill"))
        try:
            before = read(cluster)
            rows = measured_fill(rig, cluster)
            after = read(cluster)
        finally:
            rig.close()
        return {"rows": rows, "before": before.flushes, "after": after.flushes}


if __name__ == "__main__":
    main()
