"""Classes of how an operation ended, as the load counts them (histories keep the exact error)."""

from __future__ import annotations

from enum import IntEnum

from natsproof.client import Answer
from natsproof.history import ABSENT, Kind


class Ended(IntEnum):
    """Values travel between processes: append, never renumber."""

    OK = 0  # acknowledged, or read
    CONFLICT = 1  # refused because another write came first: an answer, not a failure
    NOTHING = 2  # the platform answered that there is nothing there
    TIMEOUT = 3  # no answer in time; a write may have happened
    NO_LEADER = 4  # nobody took it: no responders, temporarily unavailable
    DISCONNECTED = 5  # never sent: no connection at that moment
    FULL = 6  # the bucket or the server has no room
    OTHER = 7


#: The platform answered as it should. Everything else is an error in rates and reports.
ANSWERED = (Ended.OK, Ended.CONFLICT, Ended.NOTHING)
_FULL_CODES = ("/10077", "/10023", "/10047", "/10002")


def ended(answer: Answer, kind: Kind) -> Ended:
    """The class of one answer."""
    if answer.ok:
        return Ended.NOTHING if kind is Kind.GET and answer.value == ABSENT else Ended.OK
    if answer.conflict:
        return Ended.CONFLICT
    text = answer.error
    if text.startswith(("not connected", "not sent")):
        return Ended.DISCONNECTED
    if text.startswith(("no responders", "503/10008")):
        return Ended.NO_LEADER
    if "Timeout" in text:
        return Ended.TIMEOUT
    if any(code in text for code in _FULL_CODES):
        return Ended.FULL
    return Ended.OTHER
