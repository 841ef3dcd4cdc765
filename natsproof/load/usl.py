"""The Universal Scalability Law fitted to throughput by concurrency (Gunther).

    X(N) = g N / (1 + a (N - 1) + b N (N - 1))

g is the throughput of one client, a the part that is serial (contention), b the cost of agreement
between clients (coherency). Beyond N* = sqrt((1 - a) / b) more clients make it slower.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natsproof.errors import EvidenceMissing

Floats = NDArray[np.float64]
MIN_POINTS = 4
STEPS = 200
#: Two-sided 95 % quantiles of Student's t by degrees of freedom 1, 2, ...; 1.96 beyond.
_T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)


@dataclass(frozen=True, slots=True)
class Fit:
    """`*_error` are half-widths of 95 % intervals; `residual` is the root mean square relative error."""

    one_client_hz: float
    contention: float
    coherency: float
    one_client_error_hz: float
    contention_error: float
    coherency_error: float
    residual: float

    def rate_hz(self, clients: float) -> float:
        n = clients
        return self.one_client_hz * n / (1 + self.contention * (n - 1) + self.coherency * n * (n - 1))

    @property
    def best_clients(self) -> float:
        """N*: infinite if nothing was seen that makes more clients slower."""
        if self.coherency < 1e-9:
            return math.inf
        return math.sqrt(max(0.0, 1 - self.contention) / self.coherency)

    @property
    def peak_hz(self) -> float:
        """The throughput at N*, or its limit g/a where there is no N*."""
        if math.isinf(self.best_clients):
            return self.one_client_hz / self.contention if self.contention > 0 else math.inf
        return self.rate_hz(max(1.0, self.best_clients))


def _model(theta: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Log throughput and its derivatives by (log g, a, b)."""
    log_g, a, b = theta
    below = 1 + a * (n - 1) + b * n * (n - 1)
    value = log_g + np.log(n) - np.log(below)
    slope = np.stack([np.ones_like(n), -(n - 1) / below, -n * (n - 1) / below], axis=1)
    return value, slope


def fit(clients: Sequence[float], rates_hz: Sequence[float]) -> Fit:
    """Least squares on the logarithm (errors of throughput are relative), a and b not negative.

    Raises EvidenceMissing with fewer than four different numbers of clients.
    """
    n, x = np.asarray(clients, dtype=np.float64), np.asarray(rates_hz, dtype=np.float64)
    if len(np.unique(n)) < MIN_POINTS or len(n) != len(x) or (x <= 0).any() or (n < 1).any():
        raise EvidenceMissing(
            f"a scalability fit needs positive rates at {MIN_POINTS} different numbers of clients, "
            f"got {sorted(set(n.tolist()))}"
        )
    first = int(np.argmin(n))
    theta = np.array([math.log(x[first] / n[first]), 0.05, 1e-4])
    damping, y = 1e-3, np.log(x)
    value, slope = _model(theta, n)
    cost = float(np.sum((y - value) ** 2))
    for _ in range(STEPS):
        normal = slope.T @ slope
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-12), slope.T @ (y - value))
        tried = theta + step
        tried[1:] = np.maximum(tried[1:], 0.0)
        new_value, new_slope = _model(tried, n)
        new_cost = float(np.sum((y - new_value) ** 2))
        if new_cost <= cost:
            done = cost - new_cost < 1e-15
            theta, value, slope, cost, damping = tried, new_value, new_slope, new_cost, damping / 3
            if done:
                break
        else:
            damping *= 4
    return _with_errors(theta, slope, y - value)


def _with_errors(theta: Floats, slope: Floats, rest: Floats) -> Fit:
    free = len(rest) - 3
    variance = float(rest @ rest) / max(1, free)
    spread = np.sqrt(np.maximum(np.diag(np.linalg.pinv(slope.T @ slope)) * variance, 0.0))
    t95 = _T95[free - 1] if 1 <= free <= len(_T95) else 1.96
    half = spread * t95
    g = math.exp(theta[0])
    return Fit(
        one_client_hz=g,
        contention=float(theta[1]),
        coherency=float(theta[2]),
        one_client_error_hz=float(g * half[0]),
        contention_error=float(half[1]),
        coherency_error=float(half[2]),
        residual=float(np.sqrt(np.mean(rest**2))),
    )
