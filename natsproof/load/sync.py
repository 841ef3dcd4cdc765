"""What fsync costs: the same puts on servers beside the platform's that differ in `sync_interval` only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from natsproof.clock import Deadline
from natsproof.cluster import Cluster, Reproducible
from natsproof.contract.change import with_sync_interval
from natsproof.errors import NatsproofError
from natsproof.load.rig import Rig
from natsproof.load.spec import GeneratorSpec
from natsproof.load.variations import IN_FLIGHT, Variation, put

#: As shipped, the server's default, and one between them.
INTERVALS = ("always", "2m", "10s")
UP_WITHIN_S = 30.0
#: Each needs servers of its own; with less time left it is not begun.
ONE_TAKES_S = 6.0


def by_sync_interval(
    cluster: Cluster,
    spec: GeneratorSpec,
    *,
    seconds: float,
    within_s: float,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the axis `sync_interval` (puts a second with 64 in flight, not recorded), and what was not
    measured, with the reason. The servers under test stay as they are, idle.
    """
    if not isinstance(cluster, Reproducible):
        why = f"on {cluster.kind} no servers can be made beside those under test"
        return [], [f"sync_interval: {why}, which would have to be restarted with another configuration"]
    deadline, rows, missing = Deadline.within(within_s), [], []
    for interval in INTERVALS:
        variation = Variation("sync_interval", interval, (replace(put(), weight=1.0),))
        if deadline.left_s < ONE_TAKES_S:
            missing.append(f"{variation.name}: no time was left")
            continue
        try:
            rate_hz = _rate(cluster, replace(spec, mix=variation.actions, record=""), interval, seconds)
        except NatsproofError as problem:
            missing.append(f"{variation.name}: {str(problem).splitlines()[0]}")
            continue
        say(f"{variation.name}: {rate_hz:.0f}/s with {IN_FLIGHT} in flight")
        rows.append(variation.row(rate_hz))
    return rows, missing


def _rate(cluster: Reproducible, spec: GeneratorSpec, interval: str, seconds: float) -> float:
    beside = cluster.beside(with_sync_interval(cluster.contract, interval), f"sync-{interval}")
    beside.up(within_s=UP_WITHIN_S)
    try:
        urls = tuple(server.client_url for server in beside.servers)
        rig = Rig(replace(spec, urls=urls))
        try:
            return rig.closed(IN_FLIGHT, seconds)
        finally:
            rig.close()
    finally:
        beside.down()
