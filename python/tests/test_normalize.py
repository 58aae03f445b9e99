"""The route `normalize`, and trellis codes of rows that are to have the norm 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec

MOST = 1e-6


def unit_rows(weight):
    norms = np.linalg.norm(weight.astype(np.float64), axis=1, keepdims=True)
    return (weight / np.where(norms > 0, norms, 1)).astype(np.float32)


def norms(table):
    return np.linalg.norm(table.decode().astype(np.float64), axis=1)


@given(
    st.integers(1, 30),
    st.sampled_from([1, 2, 3, 15, 16, 17, 31, 33, 255, 256, 257, 300, 1000, 5000]),
    st.integers(-126, 120),
    st.integers(0, 2**32),
)
def test_rows_of_any_size_have_the_norm_1(rows, dimension, exponent, seed):
    rng = np.random.default_rng(seed)
    weight = np.ldexp(rng.standard_normal((rows, dimension)) + 0.01, exponent).astype(np.float32)
    weight[rng.random((rows, dimension)) < rng.choice([0, 0.5, 0.9])] = 0
    table = ec.normalize(ec.dense(weight))
    is_zero = (weight == 0).all(axis=1)
    assert (np.abs(norms(table) - ~is_zero) <= MOST).all()
    np.testing.assert_allclose(table.decode(), unit_rows(weight), atol=1e-6)
    assert table.stored_bytes == weight.nbytes
    ids = rng.integers(0, rows, 40)
    np.testing.assert_allclose(table.bag(ids, np.array([0]))[0], table.decode()[ids].sum(axis=0), atol=1e-5)


def test_a_wide_row_of_values_of_one_sign():
    weight = np.full((2, 1 << 20), 0.3, np.float32)
    assert (np.abs(norms(ec.normalize(ec.dense(weight))) - 1) <= MOST).all()


def test_rows_that_are_not_finite_stay_so():
    weight = np.array([[np.inf, 1], [np.nan, 2], [3, 4]], np.float32)
    found = ec.normalize(ec.dense(weight)).decode()
    np.testing.assert_array_equal(found[:2], weight[:2])
    np.testing.assert_allclose(found[2], [0.6, 0.8], rtol=1e-6)


def test_a_zero_row_of_a_map_stays_one(tmp_path):
    inner = ec.remap(ec.dense(np.full((2, 20), 3, np.float32)), map=np.array([0, -1, 1]))
    for table in (ec.normalize(inner), ec.remap(ec.normalize(ec.dense(np.eye(2, 20))), map=np.array([0, -1, 1]))):
        np.testing.assert_allclose(norms(table), [1, 0, 1], atol=MOST)
        table.save(tmp_path / "t")
        np.testing.assert_array_equal(ec.load(tmp_path / "t", verify=True).decode(), table.decode())
    assert "Normalize" in str(ec.normalize(inner))


@given(
    st.integers(1, 40),
    st.integers(1, 70),
    st.sampled_from([0.25, 0.5, 1, 2, 4, 8]),
    st.sampled_from(["none", "auto", "partial", "hadamard"]),
    st.sampled_from(["none", "auto", "table", "rows", "both"]),
    st.integers(0, 2**32),
)
def test_every_row_of_trellis_codes_has_the_norm_1(rows, dimension, bits, rotation, center, seed):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((rows, dimension)) + rng.choice([0, 0, 3])
    # Rows of one number, which few bits say nearly nothing of.
    for index in range(rows):
        if rng.random() < 0.3:
            weight[index] = 0
            weight[index, rng.integers(dimension)] = rng.choice([-1, 1])
    weight = unit_rows(weight.astype(np.float32))
    options = {"bits": bits, "effort": "fast", "rotation": rotation, "center": center}
    table = ec.compress(weight, "trellis", normalize=True, **options)
    assert (np.abs(norms(table) - 1) <= MOST).all()
    plain = ec.compress(weight, "trellis", fallback=False, **options)
    assert table.stored_bytes == plain.stored_bytes


def test_rows_keep_their_directions_and_zeros():
    weight = unit_rows(np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32))
    weight[7] = 0
    plain = ec.compress(weight, "trellis", bits=2)
    table = ec.compress(weight, "trellis", bits=2, normalize=True)
    assert table.parts()[0]["kind"] == "normalize"
    assert (table.decode()[7] == 0).all()
    np.testing.assert_allclose(table.decode(), unit_rows(plain.decode()), atol=2e-6)
    halves = weight.astype(np.float16)
    assert np.abs(norms(ec.compress(halves, "trellis", bits=2, normalize=True))[:7] - 1).max() <= MOST


def test_rows_of_other_norms_are_refused(tmp_path):
    weight = unit_rows(np.random.default_rng(0).standard_normal((20, 16)).astype(np.float32))
    weight[13] *= 3
    with pytest.raises(ValueError, match=r"row 13 has the norm 3\.0.*normalize is for rows of the norm 1"):
        ec.compress(weight, "trellis", normalize=True)
    with pytest.raises(ValueError, match="row 13 has the norm"):
        ec.compress_to_file(tmp_path / "t", {"a": weight}, "trellis", normalize=True)


def test_a_file_of_streamed_rows_is_that_of_memory(tmp_path):
    weight = unit_rows(np.random.default_rng(2).standard_normal((700, 40)).astype(np.float32) + 1)
    for center in ("none", "both"):
        for rotation in ("none", "partial", "hadamard"):
            options = {"bits": 2, "effort": "fast", "center": center, "rotation": rotation, "normalize": True}
            ec.compress_to_file(tmp_path / "t", {"a": weight}, "trellis", **options)
            ec.compress(weight, "trellis", **options).save(tmp_path / "m")
            np.testing.assert_array_equal(ec.load(tmp_path / "t").decode(), ec.load(tmp_path / "m").decode())
            assert ec.load(tmp_path / "t").stored_bytes == ec.load(tmp_path / "m").stored_bytes


@pytest.mark.parametrize("rotation", ["none", "hadamard", "partial"])
def test_zeros_stay_zeros_beside_rows_with_a_mean(rotation):
    weight = unit_rows((np.random.default_rng(1).standard_normal((300, 24)) + 3).astype(np.float32))
    weight[[0, 77]] = 0
    table = ec.compress(weight, "trellis", bits=3, normalize=True, rotation=rotation)
    assert (table.decode()[[0, 77]] == 0).all()
    with pytest.raises(ValueError, match=r"row 0 is zeros.*center 'none' and 'rows' keep"):
        ec.compress(weight, "trellis", bits=3, normalize=True, rotation=rotation, center="table")
