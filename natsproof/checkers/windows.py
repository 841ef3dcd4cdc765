"""Moments of a history: the windows of its faults, and what lies before, during and after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natsproof.history import NEVER_NS, History, Injection, Kind, Outcome

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Window:
    """One fault: from the beginning of its injection to the beginning and the end of its healing.

    A one-shot fault, and one that was never healed, has the moment of its injection for both.
    """

    injection: Injection
    began_ns: int
    injected_ns: int
    heal_began_ns: int
    healed_ns: int


def window_of(injection: Injection) -> Window:
    healed_ns = injection.injected_ns if injection.healed_ns is None else injection.healed_ns
    heal_began_ns = healed_ns if injection.heal_began_ns is None else injection.heal_began_ns
    return Window(injection, injection.began_ns, injection.injected_ns, heal_began_ns, healed_ns)


def fault_name(fault: object) -> str:
    """`Kill` for "Kill(victim='leader', ...)", for the class Kill, for "Kill"."""
    text = fault if isinstance(fault, str) else getattr(fault, "__name__", type(fault).__name__)
    return text.split("(", 1)[0].strip()


def windows(history: History, fault: object = None, *, landed: bool = True) -> list[Window]:
    """The windows of the faults of that name (all without one), in order of injection."""
    wanted = None if fault is None else fault_name(fault).lower()
    chosen = [
        i
        for i in history.injections
        if (i.landed or not landed) and (wanted is None or fault_name(i.fault).lower() == wanted)
    ]
    return sorted((window_of(i) for i in chosen), key=lambda w: w.injected_ns)


def phases(
    history: History, call_ns: NDArray[np.int64], return_ns: NDArray[np.int64]
) -> tuple[Mask, Mask, Mask]:
    """Masks: ended before the first fault began; overlapping a fault; anything later.

    Without faults everything is "before".
    """
    during = np.zeros(len(call_ns), dtype=np.bool_)
    if not history.injections:
        return ~during, during, during.copy()
    for window in windows(history, landed=False):
        during |= (return_ns >= window.began_ns) & (call_ns <= window.healed_ns)
    before = return_ns < min(i.began_ns for i in history.injections)
    return before, during & ~before, ~before & ~during


def acknowledged(history: History) -> Mask:
    """Writes that were acknowledged."""
    ops = history.operations
    mask: Mask = (ops.kind <= Kind.PURGE) & (ops.outcome == Outcome.OK)
    return mask


def healed_ns(window: Window) -> int:
    """The end of a fault, where nothing else is said."""
    return window.healed_ns


def caught_up_ns(history: History, window: Window, bucket: str) -> int:
    """When the bucket's replicas were first seen current again after a fault, by their leader's word; the end
    of the fault where nobody looked. NEVER_NS where they were looked at and never were."""
    stream, looks = f"KV_{bucket}", history.observed("replicas")
    later = [look for look in looks if look.at_ns > window.healed_ns]
    for look in later:
        views = [server[stream][4] for server in look.data.values() if server and stream in server]
        if any(view and all(current and not lag for current, _, lag in view.values()) for view in views):
            return look.at_ns
    return NEVER_NS if later else window.healed_ns


def due_after_faults(
    history: History,
    due_ns: NDArray[np.int64],
    late_ns: int,
    over_ns: Callable[[Window], int] = healed_ns,
) -> NDArray[np.int64]:
    """Moments `late_ns` after something was due; where a fault was on in that time, after its healing.

    While a fault is on a deadline may not be met (a paused leader expires nothing); `late_ns` then
    counts from the end of the fault, and of the next one that begins before that bound. `over_ns` says when
    a fault is over, if its healing is not the end of it.
    """
    bound = np.where(due_ns < NEVER_NS, np.minimum(due_ns, NEVER_NS - late_ns - 1) + late_ns, NEVER_NS)
    for window in windows(history):
        over = min(over_ns(window), NEVER_NS - late_ns - 1)
        hit = (bound >= window.began_ns) & (due_ns <= over) & (bound < NEVER_NS)
        bound[hit] = np.maximum(bound[hit], over + late_ns)
    return bound
