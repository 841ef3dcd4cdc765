"""The trials that several claims judge: each runs once a session.

A server stays away for 12 s: longer than the longest election (9 s), so that "goes on with one server gone"
is seen while it is gone. With two away a leader needs up to 21 s to notice that it has no quorum; what
matters here is that nothing is acknowledged meanwhile.
"""

from __future__ import annotations

import pytest

from natsproof.faults.operations import RollingRestart
from natsproof.faults.process import Kill, Pause
from natsproof.report.run_folder import slug
from natsproof.trial import Trial
from natsproof.workloads.ledger import Ledger
from natsproof.workloads.register import Register

BUCKETS = ("message_state", "integration_locks", "retry_queue", "dead_letter_queue")

CLIENTS = (
    Ledger(BUCKETS, writers=8, rate_hz=120.0),
    Register(BUCKETS, clients=6, keys=4, rate_hz=60.0),
)

LEADER_KILLED = Trial("sigkill of the leader", CLIENTS, (Kill("leader", at_s=2.0, down_s=12.0),), 18.0)
FOLLOWER_KILLED = Trial("sigkill of a follower", CLIENTS, (Kill("follower", at_s=2.0, down_s=12.0),), 18.0)
LEADER_PAUSED = Trial("pause of the leader", CLIENTS, (Pause("leader", at_s=2.0, down_s=12.0),), 18.0)
FOLLOWER_PAUSED = Trial("pause of a follower", CLIENTS, (Pause("follower", at_s=2.0, down_s=12.0),), 18.0)
TWO_KILLED = Trial("sigkill of two servers", CLIENTS, (Kill("two", at_s=2.0, down_s=8.0),), 28.0, 40.0)
ALL_KILLED = Trial("sigkill of all servers", CLIENTS, (Kill("all", at_s=3.0, down_s=1.0),), 24.0, 40.0)
RESTARTED = Trial("rolling restart", CLIENTS, (RollingRestart(at_s=1.0),), 58.0, 40.0)

ONE_KILLED = (LEADER_KILLED, FOLLOWER_KILLED)
ONE_PAUSED = (LEADER_PAUSED, FOLLOWER_PAUSED)
#: For claims that hold whatever happened; the longest first, so that two workers end together.
DISTURBED = (RESTARTED, TWO_KILLED, ALL_KILLED, *ONE_KILLED, *ONE_PAUSED)


def on(*trials: Trial) -> pytest.MarkDecorator:
    """Parametrize a claim over `trials`, and keep claims of one trial in one worker: a trial runs once."""
    return pytest.mark.parametrize(
        "trial", [pytest.param(t, id=slug(t.name), marks=pytest.mark.xdist_group(t.name)) for t in trials]
    )
