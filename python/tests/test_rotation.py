"""The route `rotate` against the rotation as a matrix."""

import numpy as np
import pytest
import random_tables
import reference
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec

dimensions = st.one_of(st.integers(1, 300), st.sampled_from([384, 511, 512, 768, 1024]))
seeds = st.one_of(st.integers(0, 100), st.integers(0, 2**63 - 1))


def close(found, wanted, norms, tolerance=1e-6):
    """Rows whose differences are small beside their norms."""
    assert found.shape == wanted.shape
    assert (np.linalg.norm(found - wanted, axis=1) <= tolerance * norms).all()


@given(dimensions, seeds)
def test_rows_are_multiplied_by_an_orthogonal_matrix(dimension, seed):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((5, dimension)).astype(np.float32)
    weight[1] = 0
    weight[2, 1:] = 0
    norms = np.linalg.norm(weight, axis=1)
    matrix = reference.rotation(seed, dimension)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(dimension), atol=1e-12)
    rotated = ec.rotated(weight, seed)
    close(rotated.decode(), weight @ matrix.T, norms)
    close(ec.rotate(ec.dense(weight), seed).decode(), weight @ matrix, norms)
    offset = rng.standard_normal(dimension).astype(np.float32)
    back = ec.rotate(rotated, seed, offset=offset)
    close(back.decode(), weight + offset, norms + np.linalg.norm(offset))
    assert not rotated.lookup([1]).any()


@pytest.mark.parametrize("dimension", [64, 50, 100, 255, 256, 300, 384, 511, 768])
def test_coordinates_look_normal_whatever_the_row(rng, dimension):
    """Rows with few numbers that are not 0 become rows whose fourth moments are those of a normal distribution."""
    sparse = np.zeros((64, dimension), np.float32)
    for row in sparse:
        row[rng.choice(dimension, 3, replace=False)] = rng.standard_normal(3)
    for weight in (np.eye(dimension, dtype=np.float32), sparse, np.exp(rng.standard_normal((64, dimension)) * 2)):
        rows = [ec.rotated(weight.astype(np.float32), seed).decode().astype(np.float64) for seed in range(40)]
        moments = [(row**4).mean(axis=1) / (row**2).mean(axis=1) ** 2 for row in rows]
        assert 2.7 < np.mean(moments) < 3.2
        # Those of single rows vary, as those of normal rows do.
        assert np.quantile(moments, 0.99) < 3 + 25 / np.sqrt(dimension)


def test_seeds(rng):
    weight = rng.standard_normal((10, 20)).astype(np.float32)
    found = [ec.rotated(weight, seed).decode().tobytes() for seed in (3, 3, 4)]
    assert found[0] == found[1] != found[2]


def test_parts_and_bytes(rng, tmp_path):
    inner = random_tables.random_uniform(rng, 30, 20, 4)
    offset = rng.standard_normal(20)
    table = ec.rotate(inner, 5, offset=offset)
    assert table.stored_bytes == inner.stored_bytes + 8 + 80
    assert ec.rotate(inner, 5).stored_bytes == inner.stored_bytes + 8
    assert "Rotate back, seed 5, plus an f32 row  [30 x 20]  88 bytes" in str(table)
    assert "Rotate forward, seed 5  [30 x 20]  8 bytes" in str(ec.rotated(inner, 5))
    for made in (table, ec.rotated(inner, 2**63 - 1)):
        made.save(tmp_path / "t")
        again = ec.load(tmp_path / "t")
        assert again.parts()[0] == made.parts()[0]
        assert again.decode().tobytes() == made.decode().tobytes()
        assert again.slice(3, 9).decode().tobytes() == made.decode()[3:9].tobytes()
        assert again.aligned(64).decode().tobytes() == made.decode().tobytes()


@pytest.mark.parametrize("dimension", [3, 16, 50, 64, 300])
def test_bags(rng, dimension):
    inner = ec.remap(random_tables.random_codebook(rng, 40, dimension, 2, "f16", "scaled"), map=np.arange(41) - 1)
    ids = rng.integers(0, 41, 1000)
    offsets = np.sort(rng.integers(0, 1000, 300))
    offsets[0] = 0
    weights = rng.standard_normal(1000).astype(np.float32)
    for table in (ec.rotate(inner, 1, offset=rng.standard_normal(dimension)), ec.rotated(inner, 1)):
        rows = reference.rows(table)
        for mode, given_weights in (("sum", None), ("sum", weights), ("mean", None), ("max", None)):
            found = table.bag(ids, offsets, mode, per_sample_weights=given_weights)
            reference.assert_pooled(found, reference.bag(rows, ids, offsets, mode, given_weights), 60)
        # An id that there is not has no offset either.
        outer = ec.remap(table, map=np.array([-1, 3]))
        np.testing.assert_array_equal(outer.decode(), [np.zeros(dimension), table.lookup([3])[0]])
        np.testing.assert_array_equal(table.lookup([-1, 3], on_invalid="zero"), outer.decode())
        found = table.bag([3, 41, 3], [0], on_invalid="zero")
        np.testing.assert_allclose(found[0], 2 * rows.values[3], atol=1e-5 * np.linalg.norm(rows.magnitude[3]))


def test_rows_that_are_wide_and_many_bags(rng):
    """Sums of a block in more than one piece."""
    weight = rng.standard_normal((20, 2000)).astype(np.float32)
    table = ec.rotate(ec.dense(weight), 9)
    bags = rng.integers(0, 20, (400, 2))
    wanted = table.decode()[bags].sum(axis=1)
    close(table.bag(bags), wanted, np.linalg.norm(wanted, axis=1))


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, "0", None, True])
def test_seeds_that_are_none(rng, seed):
    table = random_tables.random_dense(rng, 3, 4)
    for call in (ec.rotate, ec.rotated):
        with pytest.raises(ValueError, match=r"seed must be an integer from 0 to 2\^63 - 1"):
            call(table, seed)


@pytest.mark.parametrize("offset", [[1.0, 2.0], np.zeros((4, 1)), ["a"] * 4, 1.0])
def test_offsets_that_are_none(rng, offset):
    with pytest.raises(ValueError, match=r"offset must be (4|real) numbers"):
        ec.rotate(random_tables.random_dense(rng, 3, 4), offset=offset)


def test_bad_parts(rng):
    tree, arrays = ec.rotate(random_tables.random_dense(rng, 3, 4), 1, offset=np.zeros(4)).parts()
    for change, message in [
        ({"seed": -1}, "field 'seed' must be an integer from 0"),
        ({"seed": None}, "field 'seed' must be"),
        ({"direction": "back"}, "field 'direction' must be one of 'inverse', 'forward'"),
        ({"rows": 4}, "children.inner' must be a table of 4 x 4, not 3 x 4"),
        ({"other": 1}, "unknown field 'other'"),
    ]:
        with pytest.raises(ec.FormatError, match=message):
            ec.Table.from_parts(tree | change, arrays)
    with pytest.raises(ec.FormatError, match=r"must be F32 \[4\], not F32 \[3\]"):
        ec.Table.from_parts(tree, arrays | {tree["tensors"]["offset"]: ("f32", np.zeros(3, np.float32))})
    with pytest.raises(ec.FormatError, match=r"lacks the field 'seed'"):
        ec.Table.from_parts({name: value for name, value in tree.items() if name != "seed"}, arrays)
    deep = ec.dense(np.zeros((1, 1), np.float32))
    with pytest.raises(ec.FormatError, match="nested deeper than 32 levels"):
        for _ in range(40):
            deep = ec.rotate(deep)
