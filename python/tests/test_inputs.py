"""The two rules of coercion: every dtype of NumPy, torch, pandas, polars and pyarrow as ids and as weights, taken or
refused by its name."""

import array
import re

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec

ROWS, DIMENSION = 20, 6
WEIGHT = np.random.default_rng(12).integers(-9, 9, (ROWS, DIMENSION)).astype(np.float32)
TABLE = ec.dense(WEIGHT)
IDS = np.array([3, 0, 19, 3])

INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
FLOATS = ["f2", "f4", "f8", "g"]
OTHERS = {
    "?": "bool",
    "F": "complex64",
    "D": "complex128",
    "M8[s]": r"datetime64\[s\]",
    "m8[ms]": r"timedelta64\[ms\]",
    "S3": "bytes",
    "U3": "str",
    "V4": "void32",
    "O": "object",
}
ORDERS = st.sampled_from("<>")
"""Byte orders: one of them is foreign."""


def unlike(values, rank):
    """Views of the same elements with other strides."""
    return st.sampled_from(
        [values, values[::-1].copy()[::-1], np.asfortranarray(values), np.repeat(values, 2, axis=rank - 1)[..., ::2]]
    )


# NumPy


@given(data=st.data(), kind=st.sampled_from(INTEGERS), order=ORDERS)
def test_ids_of_every_dtype_and_stride(data, kind, order):
    dtype = np.dtype(kind).newbyteorder(order)
    shape = data.draw(npst.array_shapes(min_dims=1, max_dims=3, max_side=4, min_side=0))
    ids = data.draw(npst.arrays(dtype, shape, elements=st.integers(0, ROWS - 1)))
    ids = data.draw(unlike(ids, ids.ndim))
    before = ids.copy()
    np.testing.assert_array_equal(TABLE.lookup(ids), WEIGHT[ids.astype(np.int64)])
    flat = data.draw(unlike(ids.ravel(), 1))
    offsets = np.array([0], dtype)
    wanted = WEIGHT[flat.astype(np.int64)].sum(axis=0, keepdims=True)
    np.testing.assert_array_equal(TABLE.bag(flat, offsets), wanted)
    np.testing.assert_array_equal(ids, before)


@given(data=st.data(), kind=st.sampled_from(INTEGERS + FLOATS), order=ORDERS)
def test_weights_of_every_dtype_and_stride(data, kind, order):
    dtype = np.dtype(kind).newbyteorder(order)
    low = 0 if dtype.kind == "u" else -9
    shape = data.draw(npst.array_shapes(min_dims=2, max_dims=2, max_side=9))
    weight = data.draw(unlike(data.draw(npst.arrays(dtype, shape, elements=st.integers(low, 9))), 2))
    before = weight.copy()
    np.testing.assert_array_equal(ec.dense(weight).decode(), weight.astype(np.float32))
    np.testing.assert_array_equal(
        ec.compress(weight, bits=8).decode(), ec.compress(weight.astype("f4"), bits=8).decode()
    )
    np.testing.assert_array_equal(weight, before)
    uses = data.draw(unlike(data.draw(npst.arrays(dtype, 4, elements=st.integers(0, 9))), 1))
    wanted = TABLE.bag(IDS, [0], per_sample_weights=uses.astype(np.float32))
    np.testing.assert_array_equal(TABLE.bag(IDS, [0], per_sample_weights=uses), wanted)


@pytest.mark.parametrize("kind", FLOATS + list(OTHERS))
def test_dtypes_that_are_no_ids(kind):
    ids = np.zeros(2, kind)
    name = OTHERS.get(kind, np.dtype(kind).name)
    for call in (TABLE.lookup, lambda ids: TABLE.bag(ids, [0]), lambda ids: TABLE.bag([1, 2], ids)):
        with pytest.raises((ValueError, TypeError), match=f"(ids|offsets) must be .*{name}"):
            call(ids)


@pytest.mark.parametrize("kind", list(OTHERS))
def test_dtypes_that_are_no_weights(kind):
    for call in (ec.dense, ec.compress, ec.rotated, lambda weight: ec.recommend(weight, 0.5)):
        with pytest.raises((ValueError, TypeError), match=f"weight must be .*numbers, not .*{OTHERS[kind]}"):
            call(np.zeros((2, 2), kind))


def test_weights_keep_what_the_core_has():
    """f32, f16 and bf16 aren't copied where they are contiguous, and no table of them grows."""
    for dtype, size in ((np.float32, 4), (np.float16, 2), (np.float64, 4), (np.int8, 4)):
        assert ec.dense(WEIGHT.astype(dtype)).stored_bytes == ROWS * DIMENSION * size
    weight = WEIGHT.copy()
    table = ec.dense(weight)
    weight[0] = 7
    assert (table[0] == 7).all()


def test_what_f64_loses_is_lost():
    weight = np.random.default_rng(0).standard_normal((9, 5))
    np.testing.assert_array_equal(ec.dense(weight).decode(), weight.astype(np.float32))
    weight[2, 3], weight[4, 1] = np.nan, np.inf
    np.testing.assert_array_equal(ec.dense(weight).decode(), weight.astype(np.float32))


@pytest.mark.parametrize(
    "value, dtype, message",
    [
        (2**24 + 1, np.int64, r"weight has 16777217 at \[1, 2\]: float32 holds integers of up to 24 bits"),
        (-(2**31), np.int32, r"weight has -2147483648 at \[1, 2\]"),
        (2**63, np.uint64, r"weight has 9223372036854775808 at \[1, 2\]"),
        (1e39, np.float64, r"weight has 1e\+39 at \[1, 2\]: float32 can't hold that"),
    ],
)
def test_numbers_that_would_be_lost(value, dtype, message):
    weight = np.zeros((3, 4), dtype)
    weight[1, 2] = value
    with pytest.raises(ValueError, match=message):
        ec.compress(weight)


def test_integers_of_24_bits_are_kept():
    weight = np.array([[2**24, -(2**24), 2**24 - 1]])
    np.testing.assert_array_equal(ec.dense(weight).decode(), weight)


def test_counts_of_any_size_weigh():
    """What an error counts has no need of a count's last digits."""
    counts = np.arange(1, ROWS + 1) * (2**30 + 1)
    ec.compress(WEIGHT, "kmeans_cls", clusters=2, bits=2, weights=counts)


def test_ids_beyond_the_table_are_named():
    for ids, bad in (([[1, 2], [3, -1]], -1), (np.int8([1, 2, 3, -7]), -7), (np.uint64([1, 2, 3, 20]), 20)):
        with pytest.raises(ec.InvalidIdError, match=f"{bad}") as info:
            TABLE.lookup(ids)
        assert (info.value.id, info.value.position) == (bad, 3)
    with pytest.raises(ec.InvalidIdError, match=r"id 9223372036854775809 at position 1 of ids is out of range") as info:
        TABLE.lookup(np.array([[1, 2**63 + 1]], np.uint64))
    assert (info.value.id, info.value.position) == (2**63 + 1, 1)


def test_lists_and_buffers():
    wanted = WEIGHT[IDS]
    for ids in (
        IDS.tolist(),
        tuple(IDS),
        array.array("b", IDS),
        memoryview(IDS.astype(np.int16)),
        bytearray(IDS.tolist()),
    ):
        np.testing.assert_array_equal(TABLE.lookup(ids), wanted)
    assert TABLE.lookup([]).shape == (0, DIMENSION)
    np.testing.assert_array_equal(TABLE.lookup(3), WEIGHT[3])
    np.testing.assert_array_equal(ec.dense(WEIGHT.tolist()).decode(), WEIGHT)
    np.testing.assert_array_equal(ec.dense(list(WEIGHT)).decode(), WEIGHT)
    for weight, message in (([[1, 2], [3]], "rows of one length"), ([["a"]], "not str"), ({1: 2}, "not dict")):
        with pytest.raises((ValueError, TypeError), match=message):
            ec.dense(weight)


def test_a_mask_that_hides_something():
    ids, weight = np.ma.array(IDS, mask=[0, 1, 0, 0]), np.ma.array(WEIGHT)
    with pytest.raises(ValueError, match=r"ids has a mask, which hides 1 elements, the first at 1.*ids\.filled"):
        TABLE.lookup(ids)
    np.testing.assert_array_equal(ec.dense(weight).decode(), WEIGHT)
    weight[2, 1] = np.ma.masked
    with pytest.raises(ValueError, match=r"weight has a mask, .* the first at \[2, 1\]"):
        ec.compress(weight)


def test_sparse_matrices_are_named():
    scipy = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"not csr_matrix: use weight.toarray\(\)"):
        ec.compress(scipy.csr_matrix(WEIGHT))


# torch


def torch_dtypes(kinds):
    torch = pytest.importorskip("torch")
    return [getattr(torch, name) for name in kinds if hasattr(torch, name)]


TORCH_INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
TORCH_FLOATS = [
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
]
TORCH_OTHERS = ["bool", "complex64", "complex128", "qint8", "quint8", "qint32", "uint4", "bits8", "float4_e2m1fn_x2"]


def test_tensors_of_ids():
    torch = pytest.importorskip("torch")
    from embedcompress import nn

    module, bag = nn.CompressedEmbedding(TABLE), nn.CompressedEmbeddingBag(TABLE, mode="sum")
    for dtype in torch_dtypes(TORCH_INTEGERS):
        ids = torch.tensor(IDS).to(dtype)
        spread = torch.stack([ids, ids]).T[:, 0]
        for given_ids in (ids, spread):
            np.testing.assert_array_equal(TABLE.lookup(given_ids), WEIGHT[IDS])
            np.testing.assert_array_equal(module(given_ids), WEIGHT[IDS])
            pooled = bag(given_ids, torch.tensor([0]).to(dtype))
            np.testing.assert_array_equal(pooled, WEIGHT[IDS].sum(0, keepdims=True))
    for dtype in torch_dtypes(TORCH_FLOATS + TORCH_OTHERS):
        ids = torch.empty(4, dtype=dtype)
        name = str(dtype).removeprefix("torch.")
        with pytest.raises(ValueError, match=f"ids must be (integers|numbers), not .*{name}"):
            TABLE.lookup(ids)
    for dtype in (torch.float32, torch.bool, torch.complex64):
        ids = torch.zeros(4, dtype=dtype)
        for call in (lambda ids: module(ids), lambda ids: bag(ids, torch.tensor([0]))):
            with pytest.raises(RuntimeError, match=f"input must be integers, not {dtype}"):
                call(ids)


def test_tensors_of_weights():
    torch = pytest.importorskip("torch")
    from embedcompress import nn

    for dtype in torch_dtypes(TORCH_INTEGERS + TORCH_FLOATS):
        weight = torch.tensor(np.abs(WEIGHT)).to(dtype)
        wanted = weight.float().numpy()
        for made in (weight, weight.T.contiguous().T):
            np.testing.assert_array_equal(ec.dense(made).decode(), wanted)
            found = nn.CompressedEmbedding.from_weight(made, "int8")
            np.testing.assert_array_equal(found.parts.table().decode(), ec.compress(wanted, "int8").decode())
    for dtype in torch_dtypes(TORCH_OTHERS):
        weight = torch.empty((2, 2), dtype=dtype)
        with pytest.raises(ValueError, match=f"weight must be .*numbers, not .*{str(dtype).removeprefix('torch.')}"):
            ec.compress(weight)


def test_weights_of_samples_in_modules():
    torch = pytest.importorskip("torch")
    from embedcompress import nn

    bag = nn.CompressedEmbeddingBag(TABLE, mode="sum")
    ids, offsets, uses = torch.tensor(IDS), torch.tensor([0]), [1, 2, 0, 3]
    wanted = bag(ids, offsets, torch.tensor(uses, dtype=torch.float32))
    for dtype in torch_dtypes(["float16", "bfloat16", "float64", "int8", "int64", "uint16"]):
        assert torch.equal(bag(ids, offsets, torch.tensor(uses).to(dtype)), wanted)
    for dtype in (torch.bool, torch.complex64):
        with pytest.raises(RuntimeError, match=f"per_sample_weights must be real numbers, not {dtype}"):
            bag(ids, offsets, torch.ones(4, dtype=dtype))


def test_tables_that_learn_take_the_same_ids():
    torch = pytest.importorskip("torch")
    from embedcompress import training

    layer = training.embedding("hash", ROWS, 8, budget=0.5)
    wanted = layer(torch.tensor(IDS))
    for dtype in torch_dtypes(TORCH_INTEGERS):
        assert torch.equal(layer(torch.tensor(IDS).to(dtype)), wanted)
    for dtype in (torch.bool, torch.float32):
        with pytest.raises(ValueError, match=f"ids must be integers, not {dtype}"):
            layer(torch.ones(2, dtype=dtype))


# pandas, polars, pyarrow


def check(make, taken, refused):
    """Go through dtypes of columns: `make(dtype)` gives ids, and a frame with them in two columns."""
    for dtype, kind in taken.items():
        ids, frame = make(dtype)
        np.testing.assert_array_equal(
            ec.dense(frame).decode(), np.float32([[1, 1], [2, 2], [3, 3]]), err_msg=str(dtype)
        )
        if kind == "ids":
            np.testing.assert_array_equal(TABLE.lookup(ids), WEIGHT[1:4])
        else:
            with pytest.raises(ValueError, match="ids must be integers, not float"):
                TABLE.lookup(ids)
    for dtype, name in refused.items():
        ids, frame = make(dtype)
        with pytest.raises((ValueError, TypeError), match=f"ids must be .*{re.escape(name)}"):
            TABLE.lookup(ids)
        with pytest.raises((ValueError, TypeError), match=rf"weight\['a'\] must be .*{re.escape(name)}"):
            ec.compress(frame)


def test_columns_of_pandas():
    pandas = pytest.importorskip("pandas")

    def make(dtype):
        values = [True, False, True] if dtype in ("bool", "boolean") else [1, 2, 3]
        column = pandas.Series(values).astype(dtype)
        return column, pandas.DataFrame({"a": column, "b": column})

    sizes = [8, 16, 32, 64]
    taken = {f"{kind}{bits}": "ids" for kind in ("int", "uint", "Int", "UInt") for bits in sizes}
    taken |= dict.fromkeys(["float16", "float32", "float64", "Float32", "Float64", "Sparse[float64]"], "weights")
    refused = {name: name for name in ("bool", "string", "category", "object", "datetime64[ns]")} | {"boolean": "bool"}
    check(make, taken, refused)
    codes = pandas.Series(list("bcbd")).astype("category").cat.codes
    assert codes.dtype == np.int8
    np.testing.assert_array_equal(TABLE.lookup(codes), WEIGHT[[0, 1, 0, 2]])
    np.testing.assert_array_equal(TABLE.lookup(pandas.RangeIndex(3)), WEIGHT[:3])
    with pytest.raises(ValueError, match=r"their codes are Series\.cat\.codes"):
        TABLE.lookup(pandas.Series([1, 2]).astype("category"))
    with pytest.raises(ValueError, match="ids has a null at 1"):
        TABLE.lookup(pandas.Series([1, None], dtype="Int64"))
    with pytest.raises(ec.InvalidIdError, match="id -1 at position 1"):
        TABLE.lookup(pandas.Series(["a", None]).astype("category").cat.codes)
    vectors = pandas.DataFrame({"vector": list(WEIGHT)})
    for weight in (vectors, vectors["vector"], vectors["vector"].map(list)):
        np.testing.assert_array_equal(ec.dense(weight).decode(), WEIGHT)
    with pytest.raises(ValueError, match=r"rows of one length, not of \(2,\) and \(3,\)"):
        ec.dense(pandas.Series([np.ones(2), np.ones(3)]))


def test_columns_of_pandas_on_arrow():
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")

    def make(dtype):
        column = pandas.Series([1, 2, 3]).astype(dtype)
        return column, pandas.DataFrame({"a": column, "b": column})

    taken = {"int8[pyarrow]": "ids", "uint64[pyarrow]": "ids", "double[pyarrow]": "weights"}
    check(make, taken, {"string[pyarrow]": "string", "bool[pyarrow]": "bool"})
    vectors = pandas.Series(WEIGHT.tolist(), dtype=pandas.ArrowDtype(pyarrow.list_(pyarrow.float32())))
    np.testing.assert_array_equal(ec.dense(vectors).decode(), WEIGHT)


def test_columns_of_polars():
    polars = pytest.importorskip("polars")

    def make(dtype):
        column = polars.Series("a", [1, 2, 3])
        names = {polars.Categorical: polars.String, polars.Binary: polars.String}
        column = column.cast(names.get(dtype, dtype)).cast(dtype)
        return column, polars.DataFrame([column, column.alias("b")])

    integers = [polars.Int8, polars.Int16, polars.Int32, polars.Int64]
    integers += [polars.UInt8, polars.UInt16, polars.UInt32, polars.UInt64]
    refused = [polars.Boolean, polars.String, polars.Binary, polars.Categorical, polars.Date, polars.Time]
    refused += [polars.Int128] if hasattr(polars, "Int128") else []
    names = {dtype: "bool" if dtype is polars.Boolean else str(dtype) for dtype in refused}
    taken = dict.fromkeys(integers, "ids") | dict.fromkeys([polars.Float32, polars.Float64], "weights")
    check(make, taken, names | {polars.Datetime("ms"): "Datetime", polars.Decimal(9, 2): "Decimal"})
    for kind in (polars.List(polars.Float64), polars.Array(polars.Float32, DIMENSION)):
        vectors = polars.Series("vector", WEIGHT.tolist(), dtype=kind)
        for weight in (vectors, vectors.to_frame()):
            np.testing.assert_array_equal(ec.dense(weight).decode(), WEIGHT)
    with pytest.raises(ValueError, match="ids has a null at 1"):
        TABLE.lookup(polars.Series([1, None]))
    with pytest.raises(ValueError, match="rows of one length, not of 1 and 2"):
        ec.dense(polars.Series([[1.0, 2.0], [3.0]]))
    with pytest.raises(TypeError, match=r"not LazyFrame: use weight.collect\(\)"):
        ec.dense(polars.LazyFrame({"a": [1]}))


def test_columns_of_arrow():
    pa = pytest.importorskip("pyarrow")

    def make(kind):
        if pa.types.is_null(kind):
            return pa.nulls(3), pa.table({"a": pa.nulls(3), "b": pa.nulls(3)})
        values = pa.array([1, 2, 3])
        if pa.types.is_dictionary(kind):
            values = values.dictionary_encode()
        elif pa.types.is_binary(kind):
            values = values.cast(pa.string()).cast(kind)
        elif kind in (pa.float16(), pa.date32()):
            values = values.cast(pa.int32() if kind == pa.date32() else pa.float32()).cast(kind)
        else:
            values = values.cast(kind)
        chunks = pa.chunked_array([values[:1], values[1:]])
        return chunks, pa.table({"a": chunks, "b": values})

    integers = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
    taken = dict.fromkeys(integers, "ids") | dict.fromkeys([pa.float16(), pa.float32(), pa.float64()], "weights")
    kinds = [pa.bool_(), pa.string(), pa.binary(), pa.date32(), pa.timestamp("s"), pa.decimal128(30, 2)]
    check(make, taken, {kind: str(kind) for kind in kinds} | {pa.dictionary(pa.int32(), pa.int64()): "dictionary"})
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(WEIGHT.ravel()), DIMENSION)
    for vectors in (fixed, pa.array(WEIGHT.tolist()), pa.chunked_array([fixed[:7], fixed[7:]])):
        np.testing.assert_array_equal(ec.dense(vectors).decode(), WEIGHT)
        np.testing.assert_array_equal(ec.dense(pa.table({"vector": vectors})).decode(), WEIGHT)
    np.testing.assert_array_equal(ec.dense(fixed[5:9]).decode(), WEIGHT[5:9])
    np.testing.assert_array_equal(ec.dense(pa.record_batch({"a": [1.0], "b": [2.0]})).decode(), [[1, 2]])
    np.testing.assert_array_equal(ec.dense(pa.Tensor.from_numpy(WEIGHT)).decode(), WEIGHT)
    for ids, message in ((pa.array([1, None]), "ids has a null at 1"), (pa.nulls(2), "ids has a null at 0")):
        with pytest.raises(ValueError, match=message):
            TABLE.lookup(ids)
    for weight, message in (
        (pa.array([[1.0, 2.0], None]), "weight has a null at 1"),
        (pa.array([[1.0, 2.0], [3.0]]), "rows of one length, not of 1 and 2"),
        (pa.table({"a": [[1.0, 2.0]], "b": [1]}), r"weight\['a'\] must be numbers, not vectors of 2"),
    ):
        with pytest.raises(ValueError, match=message):
            ec.dense(weight)


def test_importing_no_frames(run_python):
    """Columns and frames are recognised without their libraries."""
    run_python(
        "import sys, numpy, embedcompress as ec; ec.compress(numpy.ones((3, 4))).lookup([1]); "
        "assert not {'pandas', 'polars', 'pyarrow', 'torch'} & set(sys.modules)"
    )
