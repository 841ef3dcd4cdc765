"""Latencies in HDR histograms: microseconds, three significant digits, one microsecond to one hour.

Locust's own statistics round to whole milliseconds, which loses the latency of NATS altogether.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

LOWEST_US, HIGHEST_US, DIGITS = 1, 3_600_000_000, 3
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0)


class Latencies:
    """A histogram that takes whole batches and merges with others; read in seconds."""

    def __init__(self, encoded: bytes | None = None) -> None:
        self._hdr = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
        if encoded is not None:
            self._hdr.decode_and_add(encoded)

    def record_ns(self, nanoseconds: NDArray[np.int64]) -> None:
        """Add many values at once; what is out of range counts at the end of the range."""
        if not len(nanoseconds):
            return
        us = np.clip(nanoseconds // 1000, LOWEST_US, HIGHEST_US)
        hdr = self._hdr
        # the formula of HdrHistogram._counts_index_for, for a whole array
        exponent = np.frexp((us | hdr.sub_bucket_mask).astype(np.float64))[1]
        bucket = exponent - hdr.unit_magnitude - (hdr.sub_bucket_half_count_magnitude + 1)
        sub_bucket = us >> (bucket + hdr.unit_magnitude)
        index = ((bucket + 1) << hdr.sub_bucket_half_count_magnitude) + sub_bucket - hdr.sub_bucket_half_count
        counts = np.frombuffer(hdr.counts, dtype=np.uint64)
        counts += np.bincount(index, minlength=len(counts)).astype(np.uint64)
        hdr.total_count += len(us)
        hdr.min_value = min(hdr.min_value, int(us.min()))
        hdr.max_value = max(hdr.max_value, int(us.max()))

    def add(self, other: Latencies) -> None:
        self._hdr.add(other._hdr)

    @property
    def count(self) -> int:
        return int(self._hdr.total_count)

    @property
    def max_s(self) -> float:
        return float(self._hdr.max_value) / 1e6

    @property
    def mean_s(self) -> float:
        return float(self._hdr.get_mean_value()) / 1e6 if self.count else 0.0

    def at_s(self, percentile: float) -> float:
        """The value in seconds that `percentile` per cent of all recorded do not exceed; 0 if empty."""
        return self.percentiles_s((percentile,))[percentile]

    def percentiles_s(self, wanted: Iterable[float] = PERCENTILES) -> dict[float, float]:
        wanted = tuple(wanted)
        if not self.count:
            return dict.fromkeys(wanted, 0.0)
        values = self._hdr.get_percentile_to_value_dict(list(wanted))
        return {p: min(float(values[p]), float(self._hdr.max_value)) / 1e6 for p in wanted}

    def encode(self) -> bytes:
        """Compressed, base64, in the exchange format of all HdrHistogram implementations."""
        return bytes(self._hdr.encode())


def of_ns(nanoseconds: NDArray[np.int64]) -> Latencies:
    latencies = Latencies()
    latencies.record_ns(nanoseconds)
    return latencies
