"""Prefix maxima, suffix minima and searches inside segments of one long array, without a Python loop.

A segment is a run of equal keys; `starts` holds the first index of each, ascending, beginning with 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]

#: Composite numbers stay below this, far from overflow.
_ROOM = 1 << 62


def numbering(starts: NDArray[Any], length: int) -> NDArray[np.int32]:
    """The number of its segment for each of `length` positions."""
    steps = np.zeros(length, dtype=np.int32)
    steps[starts[1:]] = 1
    return np.cumsum(steps, dtype=np.int32)


def running_max(values: Int, starts: NDArray[Any]) -> Int:
    """Maximum of `values` from the start of the segment up to and including each position.

    Each segment is lifted above the one before, so one accumulate serves all. Where the lifted
    numbers would overflow, segments are taken in as few portions as possible.
    """
    if not len(values):
        return values.copy()
    low = int(values.min())
    span = int(values.max()) - low + 1
    portion = max(1, _ROOM // span)
    out = np.empty_like(values)
    for first in range(0, len(starts), portion):
        own = starts[first : first + portion]
        begin = int(own[0])
        end = int(starts[first + portion]) if first + portion < len(starts) else len(values)
        lift = numbering(own - begin, end - begin).astype(np.int64)
        lift *= span
        part = values[begin:end] - low
        part += lift
        np.maximum.accumulate(part, out=part)
        part -= lift
        part += low
        out[begin:end] = part
    return out


def running_min_from_end(values: Int, starts: NDArray[Any]) -> Int:
    """Minimum of `values` from each position to the end of its segment."""
    if not len(values):
        return values.copy()
    reversed_starts = (len(values) - np.append(starts[1:], len(values)))[::-1]
    out = running_max(-values[::-1], reversed_starts)
    np.negative(out, out=out)
    return out[::-1]


def shifted(values: Int, starts: NDArray[Any], fill: int) -> Int:
    """The value one position earlier in the same segment, `fill` at its start."""
    out = np.empty_like(values)
    out[1:] = values[:-1]
    out[starts] = fill
    return out


def shifted_back(values: Int, starts: NDArray[Any], fill: int) -> Int:
    """The value one position later in the same segment, `fill` at its end."""
    out = np.empty_like(values)
    out[:-1] = values[1:]
    if len(values):
        out[np.append(starts[1:], len(values)) - 1] = fill
    return out


def first_at_least(rising: Int, begin: Int, end: Int, wanted: Int) -> Int:
    """For each query, the first index in [begin, end) whose value is >= wanted; `end` if there is none.

    `rising` must not fall inside any [begin, end).
    """
    low, high = begin.astype(np.int64), end.astype(np.int64)
    while len(low) and bool((low < high).any()):
        middle = (low + high) >> 1
        np.minimum(middle, len(rising) - 1, out=middle)
        enough = rising[middle] >= wanted
        open_ = low < high
        high = np.where(open_ & enough, middle, high)
        low = np.where(open_ & ~enough, middle + 1, low)
    return low


def pack(major: NDArray[Any], minor: NDArray[Any]) -> Int:
    """One number per pair that sorts as (major, minor) does; both must not be negative."""
    if not len(major):
        return np.empty(0, dtype=np.int64)
    bits = int(minor.max()).bit_length()
    if int(major.max()).bit_length() + bits > 62:
        _, minor = np.unique(minor, return_inverse=True)
        bits = len(minor).bit_length()
    out = major.astype(np.int64)
    out <<= bits
    out |= minor
    return out
