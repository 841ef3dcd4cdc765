"""Limits: refused exactly where they are, cleanly, and without harm to anybody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from natsproof.checkers import Checker
from natsproof.checkers.exhibits import count
from natsproof.checkers.windows import windows
from natsproof.history import History, Kind, Outcome
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown

Facts = Mapping[str, Any]
#: What a server says before it closes a connection that broke the protocol.
PAYLOAD_VIOLATION = "Maximum Payload Violation"
LINE_VIOLATION = "Maximum Control Line"
TOO_LARGE = 10054


def payloads_end_exactly_at_the_limit(facts: Facts) -> Verdict:
    """A payload of exactly max_payload is stored as it is; one byte more is refused with the server's own
    words, is not stored, and the next client is served."""
    seen = facts["payload"]
    wrong = _around(seen, "payload")
    if seen["told"] != seen["limit"]:
        wrong.append(f"the server tells clients {seen['told']:,} bytes, the manifests {seen['limit']:,}")
    beyond = seen["beyond"]
    if beyond["said"] not in ("refused", "closed") or PAYLOAD_VIOLATION not in beyond["text"]:
        wrong.append(
            f"{beyond['size']:,} bytes: {beyond['said']} {beyond['text']!r}, not {PAYLOAD_VIOLATION!r}"
        )
    return _verdict(wrong, f"the limit of {seen['limit']:,} bytes is exact", limit_bytes=seen["limit"])


def values_end_exactly_at_the_limit(facts: Facts) -> Verdict:
    """A value of exactly the bucket's max_value_size is stored; one byte more is answered with 10054."""
    seen = facts["value"]
    wrong = _around(seen, "value")
    if seen["beyond"]["err_code"] != TOO_LARGE:
        wrong.append(
            f"{seen['beyond']['size']:,} bytes: answered {seen['beyond']['text']!r}, not {TOO_LARGE}"
        )
    return _verdict(wrong, f"the limit of {seen['limit']:,} bytes is exact", limit_bytes=seen["limit"])


def _around(seen: Facts, what: str) -> list[str]:
    wrong = []
    for name in ("at", "after"):
        if not seen[name]["acknowledged"] or seen[name]["stored"] != "equal":
            wrong.append(
                f"a {what} of {seen[name]['size']:,} bytes: {seen[name]['said']} {seen[name]['text']!r}, "
                f"then {seen[name]['stored']}"
            )
    if seen["beyond"]["acknowledged"] or seen["beyond"]["stored"] != "absent":
        wrong.append(
            f"a {what} of {seen['beyond']['size']:,} bytes, beyond the limit, is {seen['beyond']['stored']}"
        )
    return wrong


def keys_are_stored_or_refused(facts: Facts) -> Verdict:
    """Each legal key is acknowledged and read back; each other is not acknowledged and not stored;
    where both is allowed (`legal` None) what is acknowledged is stored, and nothing else."""
    wrong = []
    for key in facts["keys"]:
        kept = key["acknowledged"] and key["stored"] == "equal"
        gone = not key["acknowledged"] and key["stored"] in ("absent", "unreadable")
        fine = kept or gone if key["legal"] is None else kept if key["legal"] else gone
        if not fine:
            said = f"{key['said']} {key['text'][:80]!r}"
            wrong.append(f"a key of {key['length']} bytes ({key['what']}): {said}, then {key['stored']}")
    longer = [k for k in facts["keys"] if k["length"] > facts["line"]]
    for key in longer:
        if key["said"] not in ("refused", "closed") or LINE_VIOLATION.lower() not in key["text"].lower():
            wrong.append(f"a key longer than a line: {key['said']} {key['text']!r}, not {LINE_VIOLATION!r}")
    if not longer or len(facts["keys"]) < 5:
        return unknown("too few keys were tried")
    longest = max(k["length"] for k in facts["keys"] if k["legal"])
    return _verdict(wrong, f"{len(facts['keys'])} kinds of key", longest_key_bytes=longest)


class ConnectionsServed:
    """All connections that were tried stood at once, and a put on each was acknowledged.

    UNKNOWN if this host was too slow to say hello in time: that the servers gave up is not a refusal."""

    def __init__(self, at_least: int) -> None:
        self._least = at_least

    def __call__(self, facts: Facts) -> Verdict:
        evidence = {
            "connections": int(facts["opened"]),
            "acknowledged": int(facts["acknowledged"]),
            "open_s": float(facts["open_s"]),
            "puts_s": float(facts["puts_s"]),
        }
        late = int(facts.get("late", 0))
        missing = facts["wanted"] - facts["opened"] - late
        wrong = []
        if missing:
            wrong.append(f"{missing} of {facts['wanted']} connections were refused")
        if facts["acknowledged"] < facts["opened"]:
            left = facts["opened"] - facts["acknowledged"]
            wrong.append(f"{left} of {facts['opened']} connections got no acknowledgement")
        if wrong:
            return broken("; ".join(wrong), [Exhibit(text) for text in facts["problems"]], **evidence)
        if late:
            said = f"{late} of {facts['wanted']} connections were not made: this host was too slow"
            return unknown(said, [Exhibit(text) for text in facts["problems"]], **evidence)
        if facts["opened"] < self._least:
            return unknown(
                f"the file limit allows {facts['opened']} connections here, {self._least} needed",
                (),
                **evidence,
            )
        if facts["counted"] < facts["opened"]:
            return unknown(
                f"the servers count {facts['counted']} connections, {facts['opened']} were opened",
                (),
                **evidence,
            )
        return holds(f"{facts['opened']:,} connections at once, a put on each acknowledged", **evidence)


def a_slow_consumer_is_cut_and_others_go_on(facts: Facts) -> Verdict:
    """The client that does not read is cut; one that reads gets everything; puts beside them go on."""
    evidence = {
        "published_bytes": int(facts["published_bytes"]),
        "puts": int(facts["puts"]),
        "put_max_s": float(facts["put_max_s"]),
    }
    wrong = []
    before, after = facts["counted"]
    if facts["reader_got"] < facts["published"]:
        wrong.append(f"the client that reads got {facts['reader_got']} of {facts['published']} messages")
    if facts["acknowledged"] < facts["puts"]:
        wrong.append(f"{facts['puts'] - facts['acknowledged']} of {facts['puts']} puts failed meanwhile")
    if not facts["cut"] or after <= before:
        wrong.append(
            f"a client that left {facts['published_bytes']:,} bytes unread was not cut ({after} counted)"
        )
    if wrong:
        return broken("; ".join(wrong), map(Exhibit, wrong), **evidence)
    if facts["puts"] < 5 or facts["published"] < 10:
        return unknown("too little was published or put meanwhile", (), **evidence)
    return holds(
        f"cut after {facts['published_bytes'] >> 20} MiB, {facts['puts']} puts beside it, "
        f"the longest {facts['put_max_s']:g} s",
        **evidence,
    )


def every_client_is_served_again_within(budget_s: float, *, at_least: int = 1) -> Checker:
    """After each fault healed, each client that had been served before is served again in time.

    A client is served by an acknowledged write that it called after the healing. UNKNOWN if fewer than
    `at_least` clients were served before the fault.
    """

    def checker(history: History) -> Verdict:
        own = windows(history)
        if not own:
            return unknown("no fault landed, so nobody had to come back")
        ops = history.operations
        names = [str(name) for name in history.meta.get("clients", ())]
        crowd = [i for i, name in enumerate(names) if name.startswith("w")]  # not the runner's own
        acked = (ops.kind <= Kind.PURGE) & (ops.outcome == Outcome.OK) & np.isin(ops.client, crowd)
        worst, waiting = 0.0, []
        least = min(len(np.unique(ops.client[acked & (ops.return_ns < w.began_ns)])) for w in own)
        for window in own:
            regulars = np.unique(ops.client[acked & (ops.return_ns < window.began_ns)])
            later = acked & (ops.call_ns >= window.heal_began_ns)
            first = np.full(int(ops.client.max()) + 1, np.iinfo(np.int64).max, dtype=np.int64)
            np.minimum.at(first, ops.client[later], ops.return_ns[later])
            took = (first[regulars].astype(np.float64) - window.heal_began_ns) / 1e9
            worst = max(worst, float(took.max()) if len(took) else 0.0)
            waiting += [int(client) for client in regulars[took > budget_s]]
        evidence: dict[str, int | float | str] = {
            "clients": int(least),
            "budget_s": budget_s,
            "not_in_time": len(waiting),
        }
        if worst < 1e6:
            evidence["served_again_max_s"] = round(worst, 3)
        if waiting:
            shown = [Exhibit(f"not in time: {names[client]}") for client in waiting[:3]]
            said = f"{count(len(waiting), 'client')} of {least} not served again within {budget_s:g} s"
            return broken(said, shown, **evidence)
        if least < at_least:
            return unknown(
                f"only {least} clients were served before the fault, {at_least} needed", (), **evidence
            )
        return holds(
            f"{least} clients served again, the last after {worst:.2f} s ({budget_s:g} s are allowed)",
            **evidence,
        )

    checker.__name__ = checker.__qualname__ = f"every_client_is_served_again_within({budget_s:g} s)"
    checker.__doc__ = f"After a fault each client gets a write acknowledged within {budget_s:g} s."
    return checker


def _verdict(wrong: list[str], good: str, **evidence: int | float | str) -> Verdict:
    return broken("; ".join(wrong), map(Exhibit, wrong), **evidence) if wrong else holds(good, **evidence)
