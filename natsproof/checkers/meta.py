"""The meta group: somebody leads it, soon after a fault too."""

from __future__ import annotations

from natsproof.checkers import Checker
from natsproof.checkers.exhibits import count, describe_injection, end_ns
from natsproof.checkers.windows import windows
from natsproof.history import History
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown


def the_meta_leader_was_hit(history: History) -> str | None:
    """A guard: each fault's victims had the server that was last seen to lead the meta group."""
    own = windows(history)
    for window in own:
        seen = [o for o in history.observed("leaders") if o.at_ns < window.began_ns]
        led = str(seen[-1].data.get("meta") or "") if seen else ""
        if led not in window.injection.targets:
            return f"{describe_injection(history, window.injection)}: the meta leader was {led or 'unknown'}"
    return None if own else "no fault landed"


def a_meta_leader_is_named_within(budget_s: float) -> Checker:
    """After each fault the servers name a meta leader that is not its victim, within `budget_s` seconds.

    Judged from the `leaders` observations, one at each change and every half second at best: that is
    the resolution. UNKNOWN if nobody looked after the fault.
    """

    def checker(history: History) -> Verdict:
        own = windows(history)
        if not own:
            return unknown("no fault landed, so there is no election to measure")
        seen = sorted((o.at_ns, str(o.data.get("meta") or "")) for o in history.observed("leaders"))
        looks = [o.at_ns for o in history.observed("replicas")]
        took_s: list[float] = []
        for window in own:
            since = window.injected_ns
            if not any(at > since for at in looks):
                return unknown(
                    f"nobody looked at the servers after {describe_injection(history, window.injection)}"
                )
            before = [leader for at, leader in seen if at <= since]
            if before and before[-1] and before[-1] not in window.injection.targets:
                took_s.append(0.0)
                continue
            named = (
                at for at, leader in seen if at > since and leader not in ("", *window.injection.targets)
            )
            at_ns = next(named, None)
            waited_s = ((at_ns if at_ns is not None else end_ns(history)) - since) / 1e9
            if waited_s > budget_s:
                where = describe_injection(history, window.injection)
                said = f"no meta leader for {waited_s:.1f} s after {where}; {budget_s:g} s are allowed"
                return broken(said, [Exhibit(said, at_ns=since)], elected_s=round(waited_s, 2))
            if at_ns is None:
                return unknown(f"the record ends {waited_s:.1f} s after the fault, before an election")
            took_s.append(waited_s)
        worst = max(took_s)
        return holds(
            f"a meta leader was named within {worst:.1f} s of each fault ({count(len(took_s), 'fault')})",
            elected_s=round(worst, 2),
            budget_s=budget_s,
        )

    checker.__name__ = checker.__qualname__ = f"a_meta_leader_is_named_within({budget_s:g} s)"
    checker.__doc__ = f"Within {budget_s:g} s of a fault the servers name a live meta leader."
    return checker
