"""Sparse tables against dense ones, and pruning against sorting."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from store_reference import assert_agrees

import embedcompress as ec


def sparse_matrix(rng, rows, dimension, density, element):
    values = rng.standard_normal((rows, dimension)).astype(element)
    return np.where(rng.random((rows, dimension)) < density, values, values.dtype.type(0))


def sparse_bytes(rows, dimension, nonzeros, value_bytes, layout):
    entry = (1 if dimension <= 256 else 2 if dimension <= 65536 else 4) + value_bytes
    return nonzeros * entry + 4 * (rows + 1) if layout == "csr" else nonzeros * (entry + 4)


@given(
    st.integers(0, 600),
    st.sampled_from([1, 2, 7, 16, 33, 256, 257, 300]),
    st.sampled_from([0, 0.01, 0.3, 1]),
    st.sampled_from(["csr", "coo", "auto"]),
    st.sampled_from([np.float32, np.float16]),
    st.integers(0, 2**32),
)
def test_rows_are_those_of_the_matrix(rows, dimension, density, layout, element, seed):
    rng = np.random.default_rng(seed)
    matrix = sparse_matrix(rng, rows, dimension, density, element)
    table = ec.sparse(matrix, layout=layout)
    np.testing.assert_array_equal(table.decode(), matrix.astype(np.float32))
    sizes = [
        sparse_bytes(rows, dimension, np.count_nonzero(matrix), matrix.itemsize, one)
        for one in ("csr", "coo")
        if layout in ("auto", one)
    ]
    assert table.stored_bytes == min(sizes)
    assert_agrees(table, rng)


@pytest.mark.parametrize("layout", ["csr", "coo"])
@pytest.mark.parametrize("dimension", [5, 300, 70_000])
def test_files(rng, layout, dimension, tmp_path):
    assert_agrees(ec.sparse(sparse_matrix(rng, 50, dimension, 0.1, np.float32), layout=layout), rng, tmp_path)


def test_parts_and_scipy(rng):
    matrix = sparse_matrix(rng, 40, 30, 0.2, np.float32)
    csr = scipy.sparse.csr_matrix(matrix)
    for table in (
        ec.sparse(csr),
        ec.sparse(scipy.sparse.coo_matrix(matrix), layout="coo"),
        ec.sparse(data=csr.data, indices=csr.indices, indptr=csr.indptr, dimension=30),
        ec.sparse(data=csr.data, indices=csr.indices, row_indices=csr.tocoo().row, rows=40, dimension=30),
    ):
        np.testing.assert_array_equal(table.decode(), matrix)
    twice = ec.sparse(data=np.float32([1, 2, 4]), indices=[1, 1, 0], indptr=[0, 3], dimension=2)
    np.testing.assert_array_equal(twice.lookup([0]), [[4, 3]])
    np.testing.assert_array_equal(twice.bag([0], [0], per_sample_weights=[2]), [[8, 6]])


def test_what_is_refused():
    one = np.ones(2, np.float32)
    for arguments, message in (
        ({"data": one, "indices": [0, 3], "indptr": [0, 2], "dimension": 3}, "indices must be from 0 to 2"),
        ({"data": one, "indices": [0, 1], "indptr": [0, 2, 1], "dimension": 3}, "indptr must rise"),
        ({"data": one, "indices": [0, 1], "indptr": [0, 1], "dimension": 3}, "indptr must rise"),
        ({"data": one, "indices": [0], "indptr": [0, 1], "dimension": 3}, "as many as data"),
        ({"data": one, "indices": [0, 1], "row_indices": [1, 0], "rows": 2, "dimension": 3}, "ascending"),
        ({"data": one, "indices": [0, 1], "row_indices": [0, 2], "rows": 2, "dimension": 3}, "from 0 to 1"),
        ({"data": one, "indices": [0, 1], "dimension": 3}, "either indptr or row_indices"),
        ({"data": one.astype(int), "indices": [0, 1], "indptr": [0, 2], "dimension": 3}, "f32 or f16"),
        ({"matrix": np.ones((2, 2)), "rows": 2}, "either a matrix or its parts"),
        ({"matrix": np.ones((2, 2)), "layout": "dense"}, "layout must be"),
    ):
        with pytest.raises(ValueError, match=message):
            ec.sparse(**arguments)


@pytest.mark.parametrize("layout", ["csr", "coo"])
def test_corrupt_data_gives_errors_or_zeros(rng, layout):
    matrix = sparse_matrix(rng, 200, 20, 0.3, np.float32)
    tree, arrays = ec.sparse(matrix, layout=layout).parts()
    ids = np.arange(200)
    for seed in range(200):
        change = np.random.default_rng(seed)
        bad = {name: ec._table.Array(dtype, values.copy()) for name, (dtype, values) in arrays.items()}
        name = ["columns", "pointers" if layout == "csr" else "rows"][seed % 2]
        place = change.integers(len(bad[name].values))
        limit = np.iinfo(bad[name].values.dtype).max
        bad[name].values[place] = change.choice([limit, limit // 2, 0, 5, 100])
        table = ec.Table.from_parts(tree, bad)
        found = table.lookup(ids, on_invalid="zero")
        assert np.isfinite(found).all()
        assert np.isfinite(table.bag(ids, [0], on_invalid="zero")).all()
        if table.invalid_count:
            with pytest.raises(ec.FormatError, match="row"):
                table.decode()
        try:
            table.slice(50, 120).lookup(np.arange(70), on_invalid="zero")
        except ec.FormatError as error:
            assert error.rule == {"csr": "bad_row_pointers", "coo": "unsorted_rows"}[layout]


def test_bad_entries_are_named():
    tree, arrays = ec.sparse(np.eye(4, dtype=np.float32), layout="csr").parts()
    columns = ec._table.Array("u8", np.uint8([0, 9, 2, 3]))
    table = ec.Table.from_parts(tree, arrays | {"columns": columns})
    with pytest.raises(ec.FormatError, match="row 1 has a non-zero in column 9"):
        table.lookup([3, 1])
    np.testing.assert_array_equal(table.lookup([1, 2], on_invalid="zero"), [[0, 0, 0, 0], [0, 0, 1, 0]])
    pointers = ec._table.Array("u32", np.uint32([0, 1, 9, 3, 4]))
    table = ec.Table.from_parts(tree, arrays | {"pointers": pointers})
    with pytest.raises(ec.FormatError, match="pointers of row 1"):
        table.lookup([1])
    with pytest.raises(ec.FormatError, match="pointers of row 2"):
        table.lookup([0, 3, 2])
    for change in ({"nonzeros": 5}, {"index": "u64"}, {"element": "f16"}, {"layout": "coo"}, {"first": -1}):
        with pytest.raises(ec.FormatError):
            ec.Table.from_parts(tree | change, arrays)


# Pruning


def pruned(weight, kept, weights=None):
    """What stays of `kept` values of the largest magnitude, the first ones of equal ones."""
    score = np.abs(weight) * np.sqrt(1 if weights is None else weights).astype(np.float32)
    order = np.lexsort((np.arange(weight.size), -score.ravel(), weight.ravel() == 0))
    result = np.zeros_like(weight)
    chosen = order[:kept]
    result.ravel()[chosen] = weight.ravel()[chosen]
    return result


@given(
    st.integers(1, 300),
    st.sampled_from([1, 3, 16, 50, 300]),
    st.floats(0, 1),
    st.sampled_from([None, 1, 2]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_the_largest_magnitudes_stay(rows, dimension, density, weighted, coarse, seed):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((rows, dimension)).astype(np.float32)
    if coarse:
        weight = np.round(weight)  # Many ties and zeros.
    weights = None
    if weighted:
        weights = rng.exponential(size=(rows, dimension if weighted == 2 else 1)).astype(np.float32)
    table = ec.compress(weight, "prune", density=density, value_dtype="f32", weights=weights)
    kept = min(int(np.floor(density * weight.size + 0.5)), np.count_nonzero(weight))
    np.testing.assert_array_equal(table.decode(), pruned(weight, kept, weights))
    sizes = [sparse_bytes(rows, dimension, kept, 4, layout) for layout in ("csr", "coo")]
    assert table.stored_bytes == min(sizes)
    half = ec.compress(weight, "prune", density=density, weights=weights)
    np.testing.assert_array_equal(half.decode(), table.decode().astype(np.float16).astype(np.float32))


@given(st.integers(1, 2000), st.sampled_from([1, 4, 50, 300]), st.floats(0.001, 1), st.integers(0, 2**32))
def test_prune_fills_its_budget(rows, dimension, share, seed):
    weight = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    budget = int(share * weight.nbytes)
    floor = min(sparse_bytes(rows, dimension, 1, 2, layout) for layout in ("csr", "coo"))
    if budget < floor:
        with pytest.raises(ec.BudgetError, match=f"the least it can reach is {floor} bytes"):
            ec.compress(weight, "prune", budget=budget)
        return
    table = ec.compress(weight, "prune", budget=budget)
    kept = np.count_nonzero(table.decode())
    assert table.stored_bytes <= budget
    if kept < weight.size:
        more = min(sparse_bytes(rows, dimension, kept + 1, 2, layout) for layout in ("csr", "coo"))
        assert more > budget


def test_prune_values_beyond_f16():
    weight = np.ones((20, 4), np.float32)
    weight[7, 2] = 70_000
    table = ec.compress(weight, "prune", density=0.5)
    assert table.parts()[0]["element"] == "f32"
    assert table.decode()[7, 2] == 70_000
    with pytest.raises(ValueError, match=r"row 7 has 70000\.0 in column 2, which does not fit f16"):
        ec.compress(weight, "prune", value_dtype="f16")
    assert ec.compress(np.minimum(weight, 65_519), "prune").parts()[0]["element"] == "f16"
    weight[3, 1] = np.nan
    with pytest.raises(ValueError, match="row 3 has nan"):
        ec.compress(weight, "prune")
    with pytest.raises(ValueError, match="either a density or a budget"):
        ec.compress(np.ones((3, 3), np.float32), "prune", density=0.5, budget=100)


def test_prune_does_not_depend_on_threads(rng, tmp_path):
    weight = np.round(rng.standard_normal((3000, 40)), 1).astype(np.float32)
    found = []
    for threads in (1, 2, 4):
        ec.set_num_threads(threads)
        found.append(ec.compress(weight, "prune", density=0.3).decode())
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    ec.compress_to_file(tmp_path / "a.safetensors", {"weight": weight}, "prune", density=0.3)
    np.testing.assert_array_equal(ec.load(tmp_path / "a.safetensors").decode(), found[0])
    calls = []
    ec.compress(weight, "prune", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (12_000, 12_000)
