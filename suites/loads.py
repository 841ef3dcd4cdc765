"""The loaded trials that several claims judge: real Locust with the platform's mix.

A little more is offered than promised, and reads come on top: the promised rate is one of acknowledged
writes.
"""

from __future__ import annotations

from natsproof.certify import NotPromised, promised_recovery_s
from natsproof.contract.model import Promises
from natsproof.faults.process import Kill
from natsproof.load.capacity_workload import CapacitySearch
from natsproof.load.mix import PLATFORM, share
from natsproof.load.workload import LocustLoad
from natsproof.trial import Trial

ABOVE = 1.1
WARM_UP_S = 1.5
#: A server stays away this long, and comes back long before the next is killed.
DOWN_S = 4.0
KILLED = "one-server-killed"
VICTIMS = ("leader", "follower", "random")


def offered_hz(promises: Promises, field: str = "rate_floor_hz") -> float:
    """Operations a second of which the writes are a little more than the promised floor. Raises NotPromised
    where there is none, or no bucket for a part of the mix."""
    require_rate(promises, field)
    return ABOVE * float(getattr(promises, field)) / share(PLATFORM, writing=True)


def require_rate(promises: Promises, field: str) -> None:
    place = promises.at("buckets")
    if not getattr(promises, field):
        raise NotPromised(f"not promised: {place}: no {field}")
    if missing := sorted({a.bucket for a in PLATFORM} - {bucket.name for bucket in promises.buckets}):
        raise NotPromised(f"not promised: {place}: no bucket {', '.join(missing)}, which the load's mix uses")


def all_pods(promises: Promises, duration_s: float) -> Trial:
    load = LocustLoad(rate_hz=offered_hz(promises), objective_s=promises.p99_s or 0.5)
    return Trial("load, all pods up", (load,), duration_s=duration_s, warm_up_s=WARM_UP_S)


def one_pod_down(promises: Promises, victim: str, measured_s: float) -> Trial:
    away_s = promised_recovery_s(promises, KILLED) + measured_s
    load = LocustLoad(
        rate_hz=offered_hz(promises, "rate_floor_one_down_hz"), objective_s=promises.p99_s or 0.5
    )
    away = Kill(victim, of="message_state", at_s=1.0, down_s=away_s)
    duration_s = 1.0 + away_s + 2.0
    return Trial(f"load, {victim} down", (load,), (away,), duration_s=duration_s, warm_up_s=WARM_UP_S)


def kills(promises: Promises, count: int) -> Trial:
    """`count` kills, of the leader, a follower and any server in turn, each a budget and more apart."""
    apart_s = promised_recovery_s(promises, KILLED) + DOWN_S
    load = LocustLoad(
        rate_hz=offered_hz(promises, "rate_floor_one_down_hz"), objective_s=promises.p99_s or 0.5
    )
    faults = tuple(
        Kill(VICTIMS[n % len(VICTIMS)], of="message_state", at_s=2.0 + n * apart_s, down_s=DOWN_S)
        for n in range(count)
    )
    return Trial(
        f"load, {count} kills", (load,), faults, duration_s=2.0 + count * apart_s, warm_up_s=WARM_UP_S
    )


#: In a soak the leader of each bucket in turn; it stays away for less than an election takes.
SOAK_DOWN_S = 3.0
#: From the healing of one kill until the platform is whole; more is no service at all.
SOAK_WHOLE_WITHIN_S = 60.0


def soak(promises: Promises, count: int) -> Trial:
    """`count` kills of leaders, each as soon as the platform is whole after the last (about 8 s apart)."""
    load = LocustLoad(
        rate_hz=offered_hz(promises, "rate_floor_one_down_hz"), objective_s=promises.p99_s or 0.5
    )
    buckets = [bucket.name for bucket in promises.buckets]
    faults = tuple(
        Kill("leader", of=buckets[n % len(buckets)], at_s=0.2, down_s=SOAK_DOWN_S) for n in range(count)
    )
    return Trial(
        f"load, soak of {count} leader kills",
        (load,),
        faults,
        duration_s=SOAK_WHOLE_WITHIN_S * count,
        warm_up_s=WARM_UP_S,
        whole_within_s=SOAK_WHOLE_WITHIN_S,
    )


def noisy(promises: Promises, duration_s: float) -> Trial:
    load = LocustLoad(
        rate_hz=2 * offered_hz(promises),
        noisy_bucket="message_state",
        noise=5.0,
        objective_s=promises.p99_s or 0.5,
    )
    return Trial("load, one bucket noisy", (load,), duration_s=duration_s, warm_up_s=WARM_UP_S)


#: The search's budget at depth quick; with cluster, kills and final reads a run stays below three minutes.
QUICK_CAPACITY_S = 135.0
WRITING_PART = share(PLATFORM, writing=True)


def capacity(promises: Promises, budget_s: float) -> Trial:
    """The trial lasts as long as the search may take, and its last two steps under kills."""
    require_rate(promises, "rate_floor_hz")
    search = CapacitySearch(
        budget_s=budget_s,
        objective_s=promises.p99_s or 0.5,
        recovery_s=promises.recovery_s.get(KILLED, CapacitySearch.recovery_s),
        floor_hz=promises.rate_floor_one_down_hz / WRITING_PART,
        planned_hz=promises.rate_floor_hz / WRITING_PART,
    )
    return Trial("capacity", (search,), duration_s=budget_s + 120.0, warm_up_s=0.5)
