"""The search of codes that training calls: beside NumPy, and what it refuses."""

import numpy as np
import pytest

from embedcompress import _core


@pytest.mark.parametrize("parts", [1, 3, 8])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 17])
@pytest.mark.parametrize(("rows", "entries"), [(1, 1), (5, 3), (1030, 16), (2100, 100)])
def test_finds_the_nearest(rows, entries, parts, width):
    random = np.random.default_rng(rows * width)
    # Whole numbers: there are ties, and no rounding.
    values = random.integers(-3, 4, (rows, parts * width)).astype(np.float32)
    centroids = random.integers(-3, 4, (parts, entries, width)).astype(np.float32)
    codes = np.full((rows, parts), -1, np.int32)
    _core.nearest_codes(values, centroids, codes)
    cut = values.reshape(rows, parts, 1, width).astype(np.float64)
    distances = ((cut - centroids) ** 2).sum(3)
    np.testing.assert_array_equal(codes, distances.argmin(2))


def test_no_numbers_still_give_codes_in_range():
    codes = np.full((4, 1), -1, np.int32)
    _core.nearest_codes(np.full((4, 2), np.nan, np.float32), np.ones((1, 3, 2), np.float32), codes)
    assert ((codes >= 0) & (codes < 3)).all()


def test_no_rows():
    _core.nearest_codes(np.empty((0, 4), np.float32), np.ones((2, 3, 2), np.float32), np.empty((0, 2), np.int32))


@pytest.mark.parametrize(
    ("rows", "centroids", "codes", "message"),
    [
        ((4, 5), (2, 3, 2), (4, 2), "rows must be"),
        ((4, 4), (2, 3), (4, 2), "rows must be"),
        ((4, 4), (2, 3, 2), (3, 2), "rows must be"),
        ((4, 4), (2, 3, 2), (4, 1), "rows must be"),
        ((4, 0), (2, 3, 0), (4, 2), "entries and columns"),
        ((4, 4), (2, 0, 2), (4, 2), "entries and columns"),
    ],
)
def test_refuses_shapes_that_do_not_agree(rows, centroids, codes, message):
    with pytest.raises(ValueError, match=message):
        _core.nearest_codes(np.zeros(rows, np.float32), np.zeros(centroids, np.float32), np.zeros(codes, np.int32))


def test_refuses_other_types():
    rows, centroids = np.zeros((4, 4), np.float32), np.zeros((2, 3, 2), np.float32)
    with pytest.raises(ValueError, match="codes must be int32"):
        _core.nearest_codes(rows, centroids, np.zeros((4, 2), np.int64))
    with pytest.raises(TypeError, match="codes must be a writable int32 array"):
        _core.nearest_codes(rows, centroids, [[0, 0]] * 4)
    frozen = np.zeros((4, 2), np.int32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        _core.nearest_codes(rows, centroids, frozen)
    with pytest.raises(ValueError, match="codes must not share memory with rows"):
        _core.nearest_codes(rows, centroids, rows.reshape(-1)[:8].view(np.int32).reshape(4, 2))
    with pytest.raises(ValueError, match="rows must be"):
        _core.nearest_codes(rows.astype(np.complex64), centroids, np.zeros((4, 2), np.int32))
