"""Wake an event loop at a moment, to some ten microseconds.

epoll rounds its timeout up to whole milliseconds, which would add half a millisecond to every latency
that counts from the intended send time. A timerfd does not; where there is none (not Linux) the
event loop's own timer is used, and the send lag in the results says so.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable

from natsproof.clock import NS_PER_S, now_ns

CLOCK_MONOTONIC = 1
TFD_TIMER_ABSTIME = 1
TFD_NONBLOCK = os.O_NONBLOCK
TFD_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Itimerspec(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("value", _Timespec)]


class Alarm:
    """Calls `ring` in the loop once the clock passes the moment last given to `set`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring = loop, ring
        self._handle: asyncio.TimerHandle | None = None
        self._descriptor = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._descriptor = self._libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self._descriptor >= 0:
            loop.add_reader(self._descriptor, self._rang)

    def set(self, at_ns: int) -> None:
        """Ring at `at_ns` on the monotonic clock, at once if that has passed; replaces an earlier moment."""
        if self._descriptor >= 0:
            at_ns = max(1, at_ns)  # a zero would disarm it
            when = _Itimerspec(_Timespec(0, 0), _Timespec(at_ns // NS_PER_S, at_ns % NS_PER_S))
            if self._libc.timerfd_settime(self._descriptor, TFD_TIMER_ABSTIME, ctypes.byref(when), None):
                raise OSError(ctypes.get_errno(), "timerfd_settime")
            return
        if self._handle:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(0, at_ns - now_ns()) / NS_PER_S, self._ring)

    def _rang(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return
        self._ring()

    def close(self) -> None:
        if self._handle:
            self._handle.cancel()
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
