"""Tensor trains against products in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_tables import random_codebook, random_dense, random_uniform
from store_reference import assert_agrees, assert_close, halves_or_floats, tensor_train_rows

import embedcompress as ec


def cores(rng, slices, columns, ranks, element="f32"):
    (n0, n1, n2), (d0, d1, d2), (r1, r2) = slices, columns, ranks
    shapes = (n0, d0, r1), (n1, r1, d1, r2), (n2, r2, d2)
    return [halves_or_floats(rng.standard_normal(shape), element) for shape in shapes]


def check(rng, slices, columns, ranks, element, rows, tmp_path=None):
    parts = cores(rng, slices, columns, ranks, element)
    table = ec.tensor_train(parts, rows=rows)
    assert table.shape == (rows, np.prod(columns))
    assert table.stored_bytes == sum(part.nbytes for part in parts)
    assert_close(table.decode(), *tensor_train_rows(*parts, rows), terms=sum(ranks))
    assert_agrees(table, rng, tmp_path)


small = st.integers(1, 9)


@given(
    st.tuples(small, small, small),
    st.tuples(small, small, st.integers(1, 20)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(["f32", "f16"]),
    st.integers(0, 2**32),
    st.floats(0, 1),
)
def test_rows_are_products(slices, columns, ranks, element, seed, share):
    check(np.random.default_rng(seed), slices, columns, ranks, element, int(np.prod(slices) * share))


@pytest.mark.parametrize("element", ["f32", "f16"])
@pytest.mark.parametrize(
    ("columns", "ranks"),
    [((4, 4, 4), (16, 16)), ((2, 2, 2), (3, 5)), ((16, 2, 2), (8, 24)), ((1, 1, 64), (2, 70)), ((5, 3, 17), (100, 33))],
)
def test_shapes_and_files(rng, columns, ranks, element, tmp_path):
    check(rng, (13, 11, 7), columns, ranks, element, 1000, tmp_path)


def core_tables(rng, slices, columns, ranks, kinds=("uniform", "codebook", "dense")):
    """Three tables with a slice of a core in each row, and the cores that they are."""
    (n0, n1, n2), (d0, d1, d2), (r1, r2) = slices, columns, ranks
    makers = {
        "uniform": lambda *shape: random_uniform(rng, *shape, 4),
        "codebook": lambda *shape: random_codebook(rng, *shape, 3, "f16", "scaled"),
        "dense": lambda *shape: random_dense(rng, *shape, "f16"),
    }
    shapes = (n0, d0, r1), (n1, r1, d1, r2), (n2, r2, d2)
    tables = [makers[kind](shape[0], int(np.prod(shape[1:]))) for kind, shape in zip(kinds, shapes, strict=True)]
    return tables, [table.decode().reshape(shape) for table, shape in zip(tables, shapes, strict=True)]


@given(
    st.tuples(small, small, small),
    st.tuples(small, small, st.integers(1, 20)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.permutations(["uniform", "codebook", "dense"]),
    st.integers(0, 2**32),
    st.floats(0, 1),
)
def test_cores_can_be_tables(slices, columns, ranks, kinds, seed, share):
    rng = np.random.default_rng(seed)
    tables, parts = core_tables(rng, slices, columns, ranks, kinds)
    rows = int(np.prod(slices) * share)
    table = ec.tensor_train(tables, rows=rows, columns=columns, ranks=ranks)
    assert table.stored_bytes == sum(one.stored_bytes for one in tables)
    # The very rows that arrays of the same numbers make.
    np.testing.assert_array_equal(table.decode(), ec.tensor_train(parts, rows=rows).decode())
    assert_agrees(table, rng)


def test_tables_that_are_refused(rng):
    sizes = {"columns": (2, 3, 4), "ranks": (5, 6)}
    tables, parts = core_tables(rng, (3, 4, 5), **sizes)
    with pytest.raises(ec.FormatError, match="do not make 61 rows"):
        ec.tensor_train(tables, rows=61, **sizes)
    with pytest.raises(ec.FormatError, match="a table of 3 x 10, not of 3 slices of 15 numbers"):
        ec.tensor_train(tables, columns=(3, 3, 4), ranks=(5, 6))
    with pytest.raises(ValueError, match="three arrays or three tables"):
        ec.tensor_train([tables[0], parts[1], tables[2]], **sizes)
    with pytest.raises(ValueError, match="need columns"):
        ec.tensor_train(tables, ranks=(5, 6))
    with pytest.raises(ValueError, match="columns must be 3 numbers, d0, d1 and d2, not 2"):
        ec.tensor_train(tables, columns=(2, 2), ranks=(5, 6))
    with pytest.raises(ValueError, match="ranks must be 2 numbers, R1 and R2, not 1"):
        ec.tensor_train(tables, columns=(2, 3, 4), ranks=(5,))
    for some in (tables, parts):
        with pytest.raises(ValueError, match="cores must be 3 arrays or tables, not 2"):
            ec.tensor_train(some[:2])
    with pytest.raises(ValueError, match="columns and ranks are for cores that are tables"):
        ec.tensor_train(parts, ranks=(5, 6))
    tree, arrays = ec.tensor_train(tables, **sizes).parts()
    for change in ({"rows0": 4}, {"rows": 61}, {"rank1": 4}, {"element": "f16"}, {"children": {}}):
        with pytest.raises(ec.FormatError):
            ec.Table.from_parts(tree | change, arrays)


def test_many_ids_of_few_slices(rng):
    check(rng, (2, 2, 500), (4, 4, 4), (8, 8), "f32", 2000)
    check(rng, (500, 2, 2), (4, 4, 4), (8, 8), "f32", 2000)
    check(rng, (300, 1, 1), (16, 2, 2), (8, 8), "f16", 300)


def test_results_do_not_depend_on_threads_or_neighbours(rng):
    table = ec.tensor_train(cores(rng, (30, 30, 30), (4, 4, 4), (12, 20)))
    ids = rng.integers(0, 27000, 5000)
    found = []
    for threads in (1, 2, 5):
        ec.set_num_threads(threads)
        found.append(table.lookup(ids))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(np.concatenate([table.lookup(ids[i : i + 1]) for i in range(300)]), found[0][:300])


def test_zero_rows_of_a_map(rng):
    inner = ec.tensor_train(cores(rng, (3, 4, 5), (2, 3, 4), (5, 6)))
    entries = rng.integers(-1, 60, 500)
    table = ec.remap(inner, map=entries)
    wanted = np.where((entries < 0)[:, None], 0, inner.decode()[entries])
    np.testing.assert_array_equal(table.decode(), wanted)


def test_what_is_refused(rng):
    good = cores(rng, (3, 4, 5), (2, 3, 4), (5, 6))
    with pytest.raises(ec.FormatError, match="do not make 61 rows"):
        ec.tensor_train(good, rows=61)
    with pytest.raises(ValueError, match="must agree on their ranks"):
        ec.tensor_train([good[0], good[1], good[2][:, :5]])
    with pytest.raises(ValueError, match="must have the type of"):
        ec.tensor_train([good[0], good[1].astype(np.float16), good[2]])
    with pytest.raises(ValueError, match="must have the shapes"):
        ec.tensor_train([good[0], good[0], good[2]])
    with pytest.raises(ValueError, match="must be f32 or f16"):
        ec.tensor_train([core.astype(np.int32) for core in good])
    tree, arrays = ec.tensor_train(good).parts()
    for change in (
        {"rows0": 0},
        {"rows": 61},
        {"offset": 1},
        {"offset": -1},
        {"dimension": 23},
        {"rank1": 4},
        {"columns2": 2**20},
        {"element": "f16"},
        {"element": "bf16"},
    ):
        with pytest.raises(ec.FormatError):
            ec.Table.from_parts(tree | change, arrays)
