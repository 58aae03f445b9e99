"""The bound on errors that follows from a table's spectrum."""

import numpy as np
import pytest

import embedcompress as ec
from embedcompress.bench._spectrum import Spectrum, of_lines


def of(variances, square=None):
    values = np.sort(np.array(variances, np.float64))[::-1]
    return Spectrum(values, values.sum() if square is None else square)


def filled(spectrum, row_bytes):
    """Reverse water-filling by halving the interval that the level is in."""
    low, high = 0.0, spectrum.variances.max()
    for _ in range(300):
        level = (low + high) / 2
        over = spectrum.variances[spectrum.variances > level]
        if 0.5 * np.log2(over / level).sum() > 8 * row_bytes:
            low = level
        else:
            high = level
    return np.sqrt(np.minimum(spectrum.variances, high).sum() / spectrum.square)


def test_equal_directions_have_the_bound_of_normal_values():
    # A bit halves the error of each column.
    assert of(np.ones(8)).least_l2(2) == pytest.approx(1 / 4)
    assert of(np.ones(8), square=16).least_l2(0) == pytest.approx(0.5**0.5)


def test_bits_go_to_directions_that_vary():
    assert of([4.0, 1e-9]).least_l2(0.25) == pytest.approx(1 / 4, rel=1e-3)
    assert of([1, 0, 0, 0]).least_l2(0.5) == pytest.approx(1 / 16)


@pytest.mark.parametrize("row_bytes", [0, 0.1, 1, 3, 10])
def test_it_is_reverse_water_filling(row_bytes):
    spectrum = of(np.random.default_rng(0).gamma(0.5, 1, 24), square=30)
    assert spectrum.least_l2(row_bytes) == pytest.approx(filled(spectrum, row_bytes))


def test_more_bytes_than_numbers_have():
    assert 0 <= of(np.ones(3)).least_l2(1e6) < 1e-300


def test_it_is_the_covariance_of_the_rows(monkeypatch):
    rows = np.random.default_rng(1).standard_normal((500, 6)).astype(np.float32) @ np.diag([3, 2, 1, 1, 0.5, 0]) + 2
    rows = rows.astype(np.float32)
    monkeypatch.setattr("embedcompress.bench._spectrum._BLOCK_BYTES", 8 * 6 * 70)
    found = Spectrum.of(ec.dense(rows))
    wanted = np.linalg.eigvalsh(np.cov(rows.T.astype(np.float64), bias=True))[::-1]
    np.testing.assert_allclose(found.variances, np.maximum(wanted, 0), rtol=1e-9, atol=1e-12)
    assert found.square == pytest.approx((rows.astype(np.float64) ** 2).sum() / 500)
    again = of_lines([{"request": {"spectrum": "covariance"}, "figures": found.as_figures()}])
    np.testing.assert_array_equal(again.variances, found.variances)
    assert of_lines([{"request": {"method": "pq"}, "figures": {}}]) is None


def test_distances():
    spectrum = of(np.ones(8))
    assert spectrum.decibels(1 / 4, 2) == pytest.approx(0)
    assert spectrum.decibels(1 / 2, 2) == pytest.approx(6.0206, abs=1e-4)
    assert spectrum.decibels(0, 2) is None
    assert Spectrum.of(ec.dense(np.zeros((3, 4), np.float32))).decibels(0.5, 2) is None
    assert Spectrum.of(ec.dense(np.ones((3, 4), np.float32))).least_l2(1) == 0
