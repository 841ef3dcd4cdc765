"""The suites' trials in little: the same workloads and faults, only as long as their claims need.

A trial that is not in the table runs as the suite has it. Those of Kubernetes and Chaos Mesh alone are
judged on a stand-in: the same clients under the nearest fault that the embedded cluster has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from natsproof.faults.clocks import ClockShift
from natsproof.faults.impairment import Bandwidth, Loss
from natsproof.faults.network import Partition
from natsproof.faults.operations import RollingRestart
from natsproof.faults.process import CrashLoop, Kill, Pause
from natsproof.faults.storage import FillDisk, FlipBits, PowerCut, RestoreSnapshot, TruncateBlock
from natsproof.trial import Trial
from natsproof.workloads.expiry import Expiry
from natsproof.workloads.locks import Locks
from suites.trials import BUCKETS

ONE_DEAD = (Kill("follower", at_s=1.5, down_s=2.5),)
FULL = (FillDisk("follower", at_s=1.5, down_s=4.0),)
EXPIRY = (Expiry(BUCKETS, ttl_s=2.0, canaries=5, plant_s=1.0),)
WATCHED = Expiry(BUCKETS, ttl_s=2.0, canaries=5, plant_s=1.0, watchers=2)
MARKED = (replace(WATCHED, marker_ttl_s=20.0),)
REAL_TIME = Expiry(
    ("integration_locks",), ttl_s=None, canaries=20, plant_s=1.0, rewrite_after_s=1.0, late_s=3.5
)
LOCKS = (Locks(("integration_locks",), contenders=6, locks=2, ttl_s=2.0, hold_s=0.5, stall_share=0.35),)

#: Trial name to what is changed. `faults` keep their kind; a follower's death needs no election.
SHORT: dict[str, dict[str, Any]] = {
    "sigkill of a follower": {"faults": ONE_DEAD, "duration_s": 8.0},
    "pause of a follower": {"faults": (Pause("follower", at_s=1.5, down_s=2.5),), "duration_s": 8.0},
    "sigkill of all servers": {"faults": (Kill("all", at_s=2.0, down_s=0.5),), "duration_s": 16.0},
    "rolling restart": {"faults": (RollingRestart("follower", at_s=1.5),), "duration_s": 20.0},
    "leader cut off from the others": {
        "faults": (Partition("leader", at_s=1.5, down_s=12.0),),
        "duration_s": 17.0,
    },
    "clients see the cut-off leader only": {
        "faults": (Partition("leader", at_s=1.5, down_s=6.0, clients="victims"),),
        "duration_s": 12.0,
    },
    "flapping partition": {"faults": (Partition("follower", at_s=1.5, down_s=4.0),), "duration_s": 9.0},
    "power cut of all servers": {"faults": (PowerCut("all", at_s=3.0, down_s=0.5),), "duration_s": 16.0},
    "power cut of the leader": {"faults": (PowerCut("leader", at_s=2.5, down_s=1.0),), "duration_s": 14.0},
    "packet loss on every link": {"faults": (Loss("all", at_s=1.5, down_s=4.0),), "duration_s": 8.0},
    "packet loss on the leader": {
        "faults": (Loss("leader", at_s=1.5, down_s=4.0, percent=20),),
        "duration_s": 8.0,
    },
    "narrow link of a follower": {
        "faults": (Bandwidth("follower", at_s=1.5, down_s=5.0),),
        "duration_s": 9.0,
    },
    "leader's clock two minutes behind": {
        "faults": (ClockShift("leader", at_s=1.5, down_s=4.0, seconds=-120),),
        "duration_s": 8.0,
    },
    "leader's clock two minutes ahead": {
        "faults": (ClockShift("leader", at_s=1.5, down_s=4.0, seconds=120),),
        "duration_s": 8.0,
    },
    "kill storm": {"faults": ONE_DEAD, "duration_s": 8.0},
    "crash loop of a follower": {"faults": (CrashLoop("follower", at_s=1.5, times=2),), "duration_s": 9.0},
    "random schedule 1": {"faults": ONE_DEAD, "duration_s": 9.0},
    "random schedule with power cuts 1": {
        "faults": (Kill("follower", at_s=1.5, down_s=0.5), PowerCut("all", at_s=5.0, down_s=0.5)),
        "duration_s": 14.0,
        "settle_s": 5.0,
    },
    "starved minority, the carrier loses power": {"settle_s": 5.0},
    "starved minority, sides swapped": {
        "faults": (Pause("follower", at_s=1.5, down_s=2.5),),
        "duration_s": 8.0,
    },
    "flipped bits on a follower": {
        "faults": (FlipBits("follower", at_s=3.0, down_s=1.0, flips=2),),
        "duration_s": 8.0,
    },
    "truncated blocks on a follower": {
        "faults": (TruncateBlock("follower", at_s=3.0, down_s=1.0),),
        "duration_s": 8.0,
    },
    "old snapshot on one volume": {
        "faults": (RestoreSnapshot("follower", at_s=1.5, age_s=2.5),),
        "duration_s": 9.0,
    },
    "full volume on a follower": {"faults": FULL, "duration_s": 9.0},
    "full volume on a follower, mended": {"faults": FULL, "duration_s": 9.0, "settle_s": 60.0},
    "full volumes on all servers": {
        "faults": (FillDisk("all", at_s=3.0, down_s=6.0),),
        "duration_s": 12.0,
        "settle_s": 50.0,
    },
    "expiry": {"workloads": EXPIRY, "duration_s": 8.0},
    "expiry through a pause": {
        "workloads": EXPIRY,
        "faults": (Pause("follower", at_s=1.5, down_s=1.3),),
        "duration_s": 8.0,
    },
    "expiry through the loss of quorum": {
        "workloads": EXPIRY,
        "faults": (Kill("two", at_s=1.5, down_s=1.0),),
        "duration_s": 26.0,
    },
    "expiry through a restart of all": {
        "workloads": EXPIRY,
        "faults": (Kill("all", at_s=1.5, down_s=0.5),),
        "duration_s": 20.0,
    },
    "expiry watched": {"workloads": (WATCHED,), "duration_s": 9.0},
    "expiry watched with markers": {"workloads": MARKED, "duration_s": 9.0},
    "expiry watched through a leader kill": {
        "workloads": MARKED,
        "faults": (Kill("follower", at_s=1.5, down_s=11.0),),  # it may lead a twin: an election
        "duration_s": 14.0,
    },
    "canaries in integration_locks": {"workloads": (REAL_TIME,), "duration_s": 14.0},
    "locks": {"workloads": (replace(LOCKS[0], purge_every_s=1.0),), "duration_s": 10.0},
    "locks through a leader kill": {
        "workloads": LOCKS,
        "faults": (Kill("follower", at_s=2.5, down_s=2.0),),
        "duration_s": 10.0,
    },
    "watchers": {"duration_s": 5.0},
    "load, all pods up": {"duration_s": 8.0},
    "load, one bucket noisy": {"duration_s": 8.0},
    "load, 3 kills": {
        "faults": (Kill("follower", of="message_state", at_s=2.0, down_s=3.0),),
        "duration_s": 10.0,
    },
    "load, soak of 3 leader kills": {
        "faults": (Kill("follower", of="message_state", at_s=1.0, down_s=3.0),) * 2,
    },
    "rollout restart": {"faults": ONE_DEAD, "duration_s": 9.0, "settle_s": 30.0},
    "change of the configuration": {"faults": ONE_DEAD, "duration_s": 9.0, "settle_s": 30.0},
    "loss of the leader's node": {"faults": ONE_DEAD, "duration_s": 9.0, "settle_s": 30.0},
    "chaos mesh: delay": {"faults": ONE_DEAD, "duration_s": 9.0, "settle_s": 30.0},
    "chaos mesh: pod-kill": {"faults": ONE_DEAD, "duration_s": 9.0, "settle_s": 30.0},
}

#: Of a claim's trials the first of these is its example: deaths of followers cost no election.
QUICK = (
    "sigkill of a follower",
    "pause of a follower",
    "flapping partition",
    "power cut of all servers",
    "expiry through a pause",
    "locks through a leader kill",
)


def short(trial: Trial) -> Trial:
    """`trial` in little, under its own name."""
    if trial.name == "capacity":
        search = replace(trial.workloads[0], budget_s=45.0, recovery_s=10.0)  # type: ignore[type-var]
        return replace(trial, workloads=(search,), duration_s=130.0)
    return replace(trial, **{"patience_s": 10.0, **SHORT.get(trial.name, {})})
