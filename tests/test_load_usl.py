"""The scalability fit recovers what it was made from, and its intervals cover it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from natsproof.errors import EvidenceMissing
from natsproof.load.usl import fit

CLIENTS = np.array([1, 2, 4, 8, 16, 32, 64, 128], dtype=float)


def law(n, g, a, b):
    return g * n / (1 + a * (n - 1) + b * n * (n - 1))


@pytest.mark.parametrize(
    ("g", "a", "b"), [(1000, 0.03, 0.0002), (50, 0.2, 0.0), (3000, 0.0, 0.001), (400, 0.0, 0.0)]
)
def test_known_parameters_are_recovered(g, a, b):
    found = fit(CLIENTS, law(CLIENTS, g, a, b))
    assert found.one_client_hz == pytest.approx(g, rel=1e-4)
    assert found.contention == pytest.approx(a, abs=1e-5)
    assert found.coherency == pytest.approx(b, abs=1e-6)
    assert found.residual < 1e-4


def test_the_intervals_cover_the_truth_of_noisy_data():
    covered = 0
    for seed in range(40):
        noise = np.exp(np.random.default_rng(seed).normal(0, 0.05, len(CLIENTS)))
        found = fit(CLIENTS, law(CLIENTS, 800, 0.05, 0.0003) * noise)
        covered += abs(found.contention - 0.05) <= found.contention_error
    assert covered >= 34  # 95 % intervals: 38 of 40 on average


def test_the_best_number_of_clients_follows_from_the_law():
    found = fit(CLIENTS, law(CLIENTS, 1000, 0.03, 0.0002))
    assert found.best_clients == pytest.approx(math.sqrt(0.97 / 0.0002), rel=1e-3)
    assert found.peak_hz == pytest.approx(law(found.best_clients, 1000, 0.03, 0.0002), rel=1e-3)


def test_without_coherency_there_is_no_best_number():
    found = fit(CLIENTS, law(CLIENTS, 1000, 0.1, 0.0))
    assert math.isinf(found.best_clients)
    assert found.peak_hz == pytest.approx(10_000, rel=1e-3)


def test_too_few_points_are_no_fit():
    with pytest.raises(EvidenceMissing, match="4 different numbers of clients"):
        fit([1, 2, 4], [10, 20, 30])
