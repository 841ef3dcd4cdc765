"""The trials that several claims judge: each runs once a session.

A server stays away for 12 s, and longer until writes were acknowledged without it: an election takes 4 to
9 s, and where the two that are left ask for votes at one moment, as much again. With two away a leader needs
up to 21 s to notice that it has no quorum; what matters here is that nothing is acknowledged meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from natsproof import under_test
from natsproof.faults.clocks import ClockShift
from natsproof.faults.impairment import Bandwidth, Loss
from natsproof.faults.network import OneWay, Partition, flapping
from natsproof.faults.operations import RollingRestart
from natsproof.faults.process import CrashLoop, Kill, Pause, kill_storm
from natsproof.faults.storage import FillDisk, FlipBits, PowerCut, RestoreSnapshot, TruncateBlock
from natsproof.report.run_folder import slug
from natsproof.trial import Trial
from natsproof.workloads.expiry import Expiry
from natsproof.workloads.ledger import Ledger
from natsproof.workloads.locks import Locks
from natsproof.workloads.register import Register
from natsproof.workloads.watch import Watch

BUCKETS = under_test.buckets()
#: The one that claims about a single bucket use, and the one whose locks are judged.
STATE, LOCK_BUCKET = BUCKETS[0], under_test.lock_bucket()

CLIENTS = (
    Ledger(BUCKETS, writers=8, rate_hz=96.0),
    Register(BUCKETS, clients=6, keys=4, rate_hz=48.0, direct_share=0.5),
)
#: For trials of a minute and more, which would pile up what each of them reads back at the end.
FEWER_CLIENTS = (
    Ledger(BUCKETS, writers=8, rate_hz=48.0),
    Register(BUCKETS, clients=6, keys=4, rate_hz=24.0, direct_share=0.5),
)
#: Somebody always has a put in flight when all servers die at one moment.
UNANSWERED = Ledger(BUCKETS, writers=3, rate_hz=3000.0, keys=16, until_fault=True)

#: Acknowledged puts a bucket: before the first fault and after the last, and in a trial. Claims want no more.
SOME, ENOUGH = 25, 210
WAITING = {"evidence": SOME, "puts": ENOUGH}
#: Where writes must go on while the fault is on, it stays on until they did.
THROUGH = {**WAITING, "during": 1}

LEADER_KILLED = Trial(
    "sigkill of the leader",
    CLIENTS,
    (Kill("leader", at_s=2.0, down_s=12.0),),
    18.0,
    **THROUGH,
)
FOLLOWER_KILLED = Trial(
    "sigkill of a follower",
    CLIENTS,
    (Kill("follower", at_s=2.0, down_s=12.0),),
    18.0,
    **THROUGH,
)
LEADER_PAUSED = Trial(
    "pause of the leader",
    CLIENTS,
    (Pause("leader", at_s=2.0, down_s=12.0),),
    18.0,
    **THROUGH,
)
FOLLOWER_PAUSED = Trial(
    "pause of a follower",
    CLIENTS,
    (Pause("follower", at_s=2.0, down_s=12.0),),
    18.0,
    **THROUGH,
)
TWO_KILLED = Trial(
    "sigkill of two servers",
    CLIENTS,
    (Kill("two", at_s=2.0, down_s=12.0),),  # long enough for ten writes a bucket that wait 2 s each
    32.0,
    40.0,
    **WAITING,
)
ALL_KILLED = Trial(
    "sigkill of all servers",
    (*CLIENTS, UNANSWERED),
    (Kill("all", at_s=3.0, down_s=1.0),),
    24.0,
    40.0,
    **WAITING,
)
RESTARTED = Trial("rolling restart", FEWER_CLIENTS, (RollingRestart(at_s=1.0),), 58.0, 40.0, **WAITING)
#: Looked at for longer than the budget of an election: where none was held, that is BROKEN, not UNKNOWN. The
#: victim is away all that time: one that comes back may be elected, which is no election without it.
META_LEADER_KILLED = Trial(
    "sigkill of the meta leader",
    FEWER_CLIENTS,
    (Kill("meta-leader", at_s=2.0, down_s=21.0),),
    26.0,
    evidence=SOME,
    during=1,
)

ONE_KILLED = (LEADER_KILLED, FOLLOWER_KILLED)
ONE_PAUSED = (LEADER_PAUSED, FOLLOWER_PAUSED)
#: The longest first, so that workers end together.
CRASHED = (RESTARTED, TWO_KILLED, ALL_KILLED, *ONE_KILLED)
DISTURBED = (*CRASHED, *ONE_PAUSED)


def on(*trials: Trial, standard: tuple[Trial, ...] = ()) -> pytest.MarkDecorator:
    """Parametrize a claim over `trials`, from --depth standard on over those of `standard` too. Claims of
    one trial stay in one worker: a trial runs once."""
    later = (pytest.mark.depth("standard"),)
    return pytest.mark.parametrize(
        "trial",
        [
            pytest.param(t, id=slug(t.name), marks=(pytest.mark.xdist_group(t.name), *marks))
            for marks, own in (((), trials), (later, standard))
            for t in own
        ],
    )


# Partitions. Clients reach both sides unless said otherwise.
LEADER_ISOLATED = Trial(
    "leader cut off from the others",
    CLIENTS,
    (Partition("leader", at_s=2.0, down_s=14.0),),
    22.0,
    90.0,  # after so long a cut a route and the meta group may take a minute (docs/findings.md, 46 and 47)
    **THROUGH,
)
CLIENTS_WITH_MINORITY = Trial(
    "clients see the cut-off leader only",
    CLIENTS,
    (Partition("leader", at_s=2.0, down_s=10.0, clients="victims"),),
    24.0,
    40.0,
    **WAITING,
)
ONE_WAY = Trial(
    "leader hears nobody",
    CLIENTS,
    (OneWay("leader", at_s=2.0, down_s=10.0, direction="in"),),
    22.0,
    40.0,
    **WAITING,
)
FLAPPING = Trial(
    "flapping partition",
    CLIENTS,
    flapping("leader", times=3, every_s=7.0, down_s=4.0, at_s=1.0),
    26.0,
    40.0,
    **WAITING,
)
PARTITIONED = (LEADER_ISOLATED, CLIENTS_WITH_MINORITY, ONE_WAY, FLAPPING)

# Bad links and restarts that do not end.
LOSSY = Trial(
    "packet loss on every link",
    CLIENTS,
    (Loss("all", at_s=2.0, down_s=12.0, percent=10),),
    18.0,
    40.0,
    **WAITING,
)
LEADER_LOSSY = Trial(
    "packet loss on the leader",
    CLIENTS,
    (Loss("leader", at_s=2.0, down_s=12.0, percent=20),),
    18.0,
    40.0,
    **WAITING,
)
NARROW = Trial(
    "narrow link of a follower",
    CLIENTS,
    (Bandwidth("follower", at_s=2.0, down_s=12.0, kbytes_per_s=32.0),),
    18.0,
    40.0,
    **WAITING,
)
STORM = Trial(
    "kill storm",
    CLIENTS,
    kill_storm(7, every_s=5.0, for_s=16.0, down_s=2.0),
    22.0,
    40.0,
    **WAITING,
)
CRASH_LOOP = Trial(
    "crash loop of a follower",
    CLIENTS,
    (CrashLoop("follower", at_s=2.0),),
    22.0,
    40.0,
    **WAITING,
)

# Clocks: shifted by less than the shortest TTL of a bucket, 5 minutes.
CLOCK_AHEAD = Trial(
    "leader's clock two minutes ahead",
    CLIENTS,
    (ClockShift("leader", at_s=2.0, down_s=10.0, seconds=120),),
    16.0,
    40.0,
    **WAITING,
)
CLOCK_BEHIND = Trial(
    "leader's clock two minutes behind",
    CLIENTS,
    (ClockShift("leader", at_s=2.0, down_s=10.0, seconds=-120),),
    16.0,
    40.0,
    **WAITING,
)

# Power loss: what was never fsynced is gone.
ALL_POWERLESS = Trial(
    "power cut of all servers",
    CLIENTS,
    (PowerCut("all", at_s=4.0, down_s=1.0),),
    24.0,
    40.0,
    **WAITING,
)
LEADER_POWERLESS = Trial(
    "power cut of the leader",
    CLIENTS,
    (PowerCut("leader", at_s=3.0, down_s=8.0),),
    18.0,
    40.0,
    **WAITING,
)
POWERLESS = (ALL_POWERLESS, LEADER_POWERLESS)

# Volumes of a minority.
BITS_FLIPPED = Trial(
    "flipped bits on a follower",
    CLIENTS,
    (FlipBits("follower", at_s=4.0, down_s=2.0, flips=2),),
    14.0,
    40.0,
    **WAITING,
)
BLOCK_TRUNCATED = Trial(
    "truncated blocks on a follower",
    CLIENTS,
    (TruncateBlock("follower", at_s=4.0, down_s=2.0),),
    14.0,
    40.0,
    **WAITING,
)
VOLUME_SET_BACK = Trial(
    "old snapshot on one volume",
    CLIENTS,
    (RestoreSnapshot("follower", at_s=3.0, age_s=5.0),),
    18.0,
    40.0,
    **WAITING,
)
#: A server whose volume was full has JetStream disabled until its liveness probe restarts it, after 90 s.
FILL = FillDisk("follower", at_s=3.0, down_s=8.0)
DISK_FULL = Trial(
    "full volume on a follower",
    CLIENTS,
    (FILL,),
    16.0,
    settle_s=1.0,
    replica_audit=False,
    **THROUGH,
)
#: All volumes at once: nothing can be acknowledged, and servers come back when probes have restarted them.
DISKS_FULL = Trial(
    "full volumes on all servers",
    CLIENTS,
    (FillDisk("all", at_s=3.0, down_s=8.0),),
    16.0,
    settle_s=180.0,
    replica_audit=False,
    evidence=SOME,
)
DISK_FULL_MENDED = Trial(
    "full volume on a follower, mended", CLIENTS, (FILL,), 16.0, settle_s=150.0, **WAITING
)

# Time to live, on twins of the buckets: the same configuration with a short TTL.
EXPIRY = Expiry(BUCKETS, ttl_s=3.0, canaries=10, plant_s=3.0)
EXPIRY_CALM = Trial("expiry", (EXPIRY,), (), 13.0)
EXPIRY_LEADER_KILLED = Trial(
    "expiry through a leader kill", (EXPIRY,), (Kill("leader", at_s=2.0, down_s=6.0),), 16.0, 40.0
)
EXPIRY_PAUSED = Trial(
    "expiry through a pause", (EXPIRY,), (Pause("follower", at_s=2.0, down_s=5.0),), 16.0, 40.0
)
#: Half of the canaries are planted before the fault; they are due while it is on.
EXPIRY_TWO_KILLED = Trial(
    "expiry through the loss of quorum", (EXPIRY,), (Kill("two", at_s=2.0, down_s=5.0),), 34.0, 40.0
)
EXPIRY_ALL_KILLED = Trial(
    "expiry through a restart of all", (EXPIRY,), (Kill("all", at_s=2.0, down_s=1.0),), 30.0, 40.0
)

# What watchers are told: the shipped buckets leave no markers, a twin with markers does. Markers are written
# by the leader, so the fault outlasts an election.
MARKED = replace(EXPIRY, canaries=8, watchers=3, marker_ttl_s=10.0)
EXPIRY_WATCHED = Trial("expiry watched", (replace(EXPIRY, canaries=8, watchers=3),), (), 13.0)
EXPIRY_MARKED = Trial("expiry watched with markers", (MARKED,), (), 13.0)
EXPIRY_MARKED_LEADER_KILLED = Trial(
    "expiry watched through a leader kill", (MARKED,), (Kill("leader", at_s=2.0, down_s=12.0),), 22.0, 40.0
)

# The same in real time: the buckets themselves, beside the other claims from the start of the session.
# A canary that is written again a quarter of a minute later starts its age anew.
PLANT_S, REWRITE_S, LATE_S = 10.0, 15.0, 4.0
CANARIES = 20


def canaries(bucket: str, ttl_s: float) -> Trial:
    """`ttl_s` as promised: how long to wait at most."""
    workload = Expiry(
        (bucket,),
        ttl_s=None,
        canaries=CANARIES,
        plant_s=PLANT_S,
        rewrite_share=0.3,
        rewrite_after_s=REWRITE_S,
        late_s=LATE_S,
        timeout_s=2.0,
    )
    return Trial(f"canaries in {bucket}", (workload,), (), ttl_s + PLANT_S + REWRITE_S + 2 * LATE_S)


def clock_error_s(duration_s: float) -> float:
    """How far the servers' clock may run from ours: a kernel slews its clock by 500 millionths at most."""
    return 0.05 + duration_s * 500e-6


def planted(trial: Trial, name: str, depth: str) -> Any:
    """A parameter of a claim whose trial is started with the session and judged when it is due."""
    marks = (pytest.mark.planted(trial), pytest.mark.depth(depth), pytest.mark.xdist_group(trial.name))
    return pytest.param(trial, id=name, marks=marks)


#: What may be waited for: 15 minutes, an hour in a deep run. What lives longer is judged by twin.
STANDARD_S, DEEP_S = 900.0, 3600.0
TTLS_S = {b.name: b.ttl_s for b in under_test.contract().promises.buckets if b.ttl_s}
MORTAL = tuple(TTLS_S)
REAL_TIME = tuple(
    planted(canaries(name, ttl_s), name, "standard" if ttl_s <= STANDARD_S else "deep")
    for name, ttl_s in sorted(TTLS_S.items(), key=lambda own: own[1])
    if ttl_s <= DEEP_S
)
EXPIRY_CLOCK_AHEAD = Trial(
    "expiry with a clock that jumps ahead",
    (EXPIRY,),
    (ClockShift("leader", at_s=1.5, down_s=None, seconds=4),),
    13.0,
)

LOCKS = Locks((LOCK_BUCKET,), contenders=5, locks=2, ttl_s=4.0)
LOCKS_CALM = Trial("locks", (replace(LOCKS, purge_every_s=2.0),), (), 16.0)
LOCKS_LEADER_KILLED = Trial(
    "locks through a leader kill", (LOCKS,), (Kill("leader", at_s=3.0, down_s=8.0),), 26.0, 40.0
)
#: Four contenders a server, and each wants a lock of its own first: two or three beside the leader that is
#: cut off hold one, and the others are as many as the locks, so that somebody takes it over. Nobody sleeps:
#: a sleeper that wakes during the cut is refused at once, and asks no more when it comes back. The cut lasts
#: until the others took locks over and renewed them, some two seconds after their election, which takes 4 to
#: 9 s, and as long again where both stood for it at once (docs/findings.md, 60).
LOCKS_PARTITIONED = Trial(
    "locks through a partition",
    (replace(LOCKS, contenders=12, locks=8, hold_s=8.0, pinned=True, stall_share=0.0),),
    (Partition("leader", at_s=3.0, down_s=8.0),),
    26.0,
    40.0,
    during=40,
)
LOCKED = (LOCKS_CALM, LOCKS_LEADER_KILLED, LOCKS_PARTITIONED)

WATCHED_BUCKETS = tuple(dict.fromkeys((STATE, BUCKETS[-2 % len(BUCKETS)])))
WATCH = Watch(WATCHED_BUCKETS, writers=2, watchers=3, rate_hz=80.0)
WATCH_LEADER_KILLED = Trial(
    "watchers through a leader kill",
    (WATCH,),
    (Kill("leader", at_s=2.0, down_s=6.0),),
    18.0,
    40.0,
    evidence=SOME,
    puts=110,
)
WATCH_CALM = Trial("watchers", (WATCH,), (), 6.0, puts=110)
WATCHED = (WATCH_CALM, WATCH_LEADER_KILLED)
