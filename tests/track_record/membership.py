"""A leader that nobody hears is asked to remove everybody else."""

from __future__ import annotations

from typing import Any

from natsproof.clock import wait_until
from natsproof.errors import ClusterError
from natsproof.faults.network import Partition, other_servers
from natsproof.faults.sight import confirmed, look, look_at
from natsproof.verdict import Verdict, broken, holds, unknown
from tests.track_record import system

#: A leader that hears nobody goes on leading for 10 s and more.
STILL_LEADS_S = 5.0


def removed_by_a_minority(cluster: Any) -> Verdict:
    """The meta leader is cut off and told to remove the others. BROKEN if it does so without a vote."""
    alone = str(wait_until("a meta leader", lambda: look(cluster).meta_leader(), within_s=20))
    cut = Partition(alone)
    cut.inject(cluster, [alone])
    try:
        if not cut.witness(cluster, [alone]):
            return unknown(f"{alone} was not cut off")
        for other in other_servers(cluster, [alone]):
            _remove(cluster, alone, other)
        what = "it to count nobody else"
        if confirmed(what, lambda: _counts_nobody_else(cluster, alone), within_s=STILL_LEADS_S):
            return broken(f"{alone}, cut off from the others, removed both by itself")
        return holds(f"{alone}, cut off from the others, removed none of them")
    finally:
        cut.heal(cluster, [alone])


def _remove(cluster: Any, target: str, other: str) -> None:
    code, said = system.ask(cluster, target, "SERVER.REMOVE", {"peer": other}, timeout_s=2)
    if code:
        raise ClusterError(f"{target} was not asked to remove {other}: {said[-300:]}")


def _counts_nobody_else(cluster: Any, server: str) -> str:
    seen = look_at(cluster, server)
    alone = seen is not None and seen.meta_leader == server and not seen.meta_replicas
    return f"{server} counts nobody else" if alone else ""
