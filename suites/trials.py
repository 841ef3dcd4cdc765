"""The trials that several claims judge: each runs once a session.

A server stays away for 12 s: longer than the longest election (9 s), so that "goes on with one server gone"
is seen while it is gone. With two away a leader needs up to 21 s to notice that it has no quorum; what
matters here is that nothing is acknowledged meanwhile.
"""

from __future__ import annotations

from natsproof.faults.operations import RollingRestart

from natsproof.faults.process import Kill, Pause
from natsproof.trial import Trial
from natsproof.workloads.ledger import Ledger
from natsproof.workloads.register import Register

BUCKETS = ("message_state", "integration_locks", "retry_queue", "dead_letter_queue")
VICTIMS = ("leader", "follower")

CLIENTS = (
    Ledger(BUCKETS, writers=8, rate_hz=120.0),
    Register(BUCKETS, clients=6, keys=4, rate_hz=60.0),
)

KILLED = {
    victim: Trial(
        f"sigkill of the {victim}", CLIENTS, (Kill(victim, at_s=2.0, down_s=12.0),), duration_s=18.0
    )
    for victim in VICTIMS
}
PAUSED = {
    victim: Trial(f"pause of the {victim}", CLIENTS, (Pause(victim, at_s=2.0, down_s=12.0),), duration_s=18.0)
    for victim in VICTIMS
}
TWO_KILLED = Trial(
    "sigkill of two servers", CLIENTS, (Kill("two", at_s=2.0, down_s=8.0),), duration_s=20.0, settle_s=40.0
)
ALL_KILLED = Trial(
    "sigkill of all servers", CLIENTS, (Kill("all", at_s=3.0, down_s=1.0),), duration_s=16.0, settle_s=40.0
)
RESTARTED = Trial("rolling restart", CLIENTS, (RollingRestart(at_s=1.0),), duration_s=60.0, settle_s=40.0)

#: All of them by name, for claims that hold whatever happened.
DISTURBED = {
    trial.name: trial for trial in (*KILLED.values(), *PAUSED.values(), TWO_KILLED, ALL_KILLED, RESTARTED)
}
