"""Servers are killed again and again, one, two or all at once, many of them while they start."""

from __future__ import annotations

import random
import time
from typing import Any

from natsproof.clock import Deadline
from natsproof.faults.sight import look
from natsproof.verdict import Verdict, broken, holds, unknown

STORM_S = 60.0
DOWN_S, BETWEEN_S = (0.05, 0.2, 1.0), (0.3, 0.6, 1.0, 2.0, 6.0, 11.0)
#: An election takes 9 s; streams that are only late are there by then.
BACK_S = 60.0


def kill_storm(cluster: Any, seed: int) -> Verdict:
    """BROKEN if a bucket that every server had is on no server when all have been up for `BACK_S`."""
    before, kills = _streams(cluster), 0
    rng, storm = random.Random(seed), Deadline.within(STORM_S)
    names = [server.name for server in cluster.servers]
    while not storm.passed:
        victims = rng.sample(names, rng.choice((1, 1, 2, 2, 3)))
        for victim in victims:
            cluster.kill(victim)
        time.sleep(rng.choice(DOWN_S))
        for victim in victims:
            cluster.start(victim)
        kills += len(victims)
        time.sleep(rng.choice(BETWEEN_S))
    back = Deadline.within(BACK_S)
    while (gone := before - _streams(cluster)) and not back.passed:
        time.sleep(1.0)
    if not look(cluster).meta_leader():
        return unknown(f"no meta leader {BACK_S:g} s after {kills} kills")
    if gone:
        return broken(f"{', '.join(sorted(gone))} is on no server, {BACK_S:g} s after {kills} kills")
    return holds(f"all {len(before)} buckets are there after {kills} kills")


def _streams(cluster: Any) -> set[str]:
    """On any server."""
    return {name for view in look(cluster).servers.values() if view for name in view.streams}
