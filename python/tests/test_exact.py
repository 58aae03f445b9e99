"""Tables whose every bit comes back: the store of packed exponents, and the method that chooses it."""

import itertools

import numpy as np
import pytest
import random_tables
from hypothesis import given
from hypothesis import strategies as st
from store_reference import packed_float_parts

import embedcompress as ec

dimensions = st.one_of(st.integers(1, 70), st.sampled_from([127, 128, 129, 300, 768]))
SPECIAL = np.array([0.0, -0.0, 1e-45, -1e-40, 1.1754944e-38, -6e-8, 6.1e-5, 65504.0, 3.4e38, -3.3e38], np.float32)
ELEMENTS = {"f32": 0, "f16": 13, "bf16": 16, "12 bits": 11, "2 bits": 21, "powers": 23}
"""Bits at the end of a mantissa that are zeros."""


def bits(values):
    return np.ascontiguousarray(values, np.float32).view(np.uint32)


def random_values(rng, shape, element, spread=0.0, special=0.0):
    """Numbers of a type, as f32."""
    values = (rng.standard_normal(shape) * np.exp(rng.standard_normal(shape) * spread)).astype(np.float32)
    values = np.where(rng.random(shape) < special, rng.choice(SPECIAL, shape), values)
    if element == "f16":
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        values = np.where(np.isfinite(halves), halves, np.float16(65504)).astype(np.float32)
    dropped = ELEMENTS[element]
    return values if element == "f16" else (bits(values) >> dropped << dropped).view(np.float32)


def table_of(rng, rows, dimension, exponent_bits, element):
    return ec.packed_floats(random_values(rng, (rows, dimension), element, 1.0, 0.05), exponent_bits=exponent_bits)


@given(
    st.integers(0, 40),
    dimensions,
    st.sampled_from(sorted(ELEMENTS)),
    st.sampled_from([0.0, 1.0, 20.0]),
    st.sampled_from([0.0, 0.02, 0.5]),
    st.integers(0, 2**32),
)
def test_every_bit_comes_back(rows, dimension, element, spread, special, seed):
    rng = np.random.default_rng(seed)
    weight = random_values(rng, (rows, dimension), element, spread, special)
    table = ec.compress(weight, "exact")
    assert (bits(table.decode()) == bits(weight)).all()
    halves = rows == 0 or (bits(weight.clip(-65504, 65504).astype(np.float16)) == bits(weight)).all()
    least = 2 if halves or (bits(weight) & 0xFFFF == 0).all() else 4
    assert table.stored_bytes <= weight.size * least
    if rows:
        ids = rng.integers(0, rows, 30)
        assert (bits(table.lookup(ids)) == bits(weight[ids])).all()
    start, stop = sorted(rng.integers(0, rows + 1, 2).tolist())
    assert (bits(table.slice(start, stop).decode()) == bits(weight[start:stop])).all()
    assert (bits(table.aligned(32).decode()) == bits(weight)).all()
    again = ec.Table.from_parts(*table.parts())
    assert (bits(again.decode()) == bits(weight)).all()


@given(
    st.integers(1, 40), dimensions, st.integers(1, 8), st.sampled_from(["f16", "bf16", "12 bits"]), st.integers(0, 99)
)
def test_rows_are_what_the_definition_says(rows, dimension, exponent_bits, element, seed):
    rng = np.random.default_rng(seed)
    weight = random_values(rng, (rows, dimension), element, 1.0, 0.05)
    # All bits of a mantissa are there, so that it is not too short.
    weight[0, 0] = {"f16": 2 - 2.0**-10, "bf16": 2 - 2.0**-7, "12 bits": 2 - 2.0**-12}[element]
    table = ec.packed_floats(weight, exponent_bits=exponent_bits)
    assert (bits(table.decode()) == bits(weight)).all()
    tree, arrays = table.parts()
    values, _ = packed_float_parts(tree, arrays)
    assert (bits(values) == bits(weight)).all()


@given(st.integers(1, 60), dimensions, st.integers(1, 8), st.integers(0, 2**32))
def test_pooled_rows_are_those_of_the_dense_table(rows, dimension, exponent_bits, seed):
    rng = np.random.default_rng(seed)
    table = random_tables.random_packed_floats(rng, rows, dimension)
    weight = table.decode()
    ids = rng.integers(0, rows, 300)
    offsets = np.array([0, 0, 1, 3, 20, 290])
    importance = rng.standard_normal(300).astype(np.float32)
    for given_weights in (None, importance):
        factors = np.ones(300) if given_weights is None else importance.astype(np.float64)
        terms = factors[:, None] * weight[ids].astype(np.float64)
        for mode in ("sum",) if given_weights is not None else ("sum", "mean", "max"):
            found = table.bag(ids, offsets, mode, per_sample_weights=given_weights)
            for bag, (a, b) in enumerate(itertools.pairwise([*offsets, 300])):
                if a == b:
                    wanted, size = np.zeros(dimension), np.zeros(dimension)
                elif mode == "max":
                    wanted, size = terms[a:b].max(axis=0), np.zeros(dimension)
                else:
                    share = b - a if mode == "mean" else 1
                    wanted, size = terms[a:b].sum(axis=0) / share, np.abs(terms[a:b]).sum(axis=0) / share
                assert (np.abs(found[bag] - wanted) <= size * (b - a + 2) * 2.0**-23).all()


def test_normal_values_take_few_bytes():
    rng = np.random.default_rng(0)
    shape = (2000, 256)
    shares = {"bf16": 0.77 * 0.5, "f16": 0.95 * 0.5, "f32": 0.89}
    for element, share in shares.items():
        table = ec.compress(random_values(rng, shape, element), "exact")
        assert table.parts()[0]["kind"] == "packed_floats"
        assert table.ratio < share, element
    table = ec.compress(random_values(rng, shape, "bf16"), "exact")
    assert str(table).startswith("PackedFloats 12 bits: sign, 4 of exponent, 7 of mantissa")


def test_what_does_not_pack_is_dense_of_the_smallest_type():
    rng = np.random.default_rng(1)
    shape = (300, 8)
    sizes = 2.0 ** rng.integers(-100, 100, shape)
    for element, values in (
        ("f16", random_values(rng, (300, 1), "f16")),
        ("bf16", random_values(rng, (300, 1), "bf16") * np.float32(2.0**60)),
        ("f32", (rng.standard_normal(shape) * sizes).astype(np.float32)),
    ):
        tree, _ = ec.compress(values, "exact").parts()
        assert (tree["kind"], tree["element"]) == ("dense", element)


def test_f16_and_bf16_arrays_and_files(tmp_path):
    rng = np.random.default_rng(2)
    weight = random_values(rng, (3000, 40), "f16", 0.5)
    tables = [ec.compress(weight.astype(np.float16), "exact"), ec.compress(ec.dense(weight), "exact")]
    np.save(tmp_path / "weight.npy", weight)
    tables.append(ec.compress(np.load(tmp_path / "weight.npy", mmap_mode="r"), "exact"))
    tables.append(ec.compress(tmp_path / "weight.npy", "exact"))
    ec.compress_to_file(tmp_path / "table", {"weight": weight}, "exact")
    tables.append(ec.load(tmp_path / "table"))
    tables[0].save(tmp_path / "saved")
    tables.append(ec.load(tmp_path / "saved", verify=True))
    for table in tables:
        assert str(table) == str(tables[0])
        assert (bits(table.decode()) == bits(weight)).all()
    brain = random_tables.random_dense(rng, 500, 30, "bf16")
    assert (bits(ec.compress(brain, "exact").decode()) == bits(brain.decode())).all()


@pytest.mark.parametrize("count", [1, 3])
def test_threads_give_the_same_bytes(count):
    weight = random_values(np.random.default_rng(3), (5000, 48), "bf16")
    before = ec.get_num_threads()
    try:
        ec.set_num_threads(count)
        found = ec.compress(weight, "exact")
    finally:
        ec.set_num_threads(before)
    tree, arrays = found.parts()
    wanted, others = ec.compress(weight, "exact").parts()
    assert tree == wanted and "exceptions" in tree["children"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(array.values, others[name].values)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_refused(value):
    weight = np.ones((20, 4), np.float32)
    weight[7, 2] = value
    with pytest.raises(ValueError, match=r"row 7 has -?(nan|inf) in column 2"):
        ec.compress(weight, "exact")


def test_a_budget_is_kept_or_refused():
    weight = random_values(np.random.default_rng(4), (200, 64), "f32")
    size = ec.compress(weight, "exact").stored_bytes
    assert ec.compress(weight, "exact", budget=size).stored_bytes == size
    with pytest.raises(ec.BudgetError) as error:
        ec.compress(weight, "exact", budget=size - 1)
    assert (error.value.floor, error.value.budget) == (size, size - 1)


@pytest.mark.parametrize(("mantissa", "exponent"), [(2, 4), (23, 8)])
def test_bits_that_make_no_value_are_refused(mantissa, exponent):
    values = np.full((3, 4), 2 - 2.0**-mantissa, np.float32)
    with pytest.raises(ValueError, match=f"8 to 30 together, not {mantissa} and {exponent}"):
        ec.packed_floats(values, exponent_bits=exponent)


def test_rows_of_any_bytes_are_some_rows(rng):
    """What a file may hold: rows, marks and exceptions that nobody wrote."""
    weight = random_values(rng, (64, 33), "bf16", 1.0, 0.05)
    tree, arrays = ec.packed_floats(weight, exponent_bits=4).parts()
    exceptions = tree["children"]["exceptions"]["tensors"]
    for name, array in arrays.items():
        changed = dict(arrays)
        values = rng.integers(0, 256, array.values.nbytes, np.uint8).view(array.values.dtype)
        changed[name] = type(array)(array.dtype, values.reshape(array.values.shape))
        table = ec.Table.from_parts(tree, changed)
        if name == exceptions["columns"]:
            with pytest.raises(ec.FormatError, match="column"):
                table.decode()
            table.lookup(np.arange(64), on_invalid="zero")
        else:
            assert table.decode().shape == (64, 33)
            table.bag(rng.integers(0, 64, 100), [0, 50])
    for field, value in (("mantissa_bits", 24), ("exponent_bits", 0), ("exponent_bits", 9), ("mantissa_bits", 2)):
        with pytest.raises(ec.FormatError):
            ec.Table.from_parts(tree | {field: value}, arrays)
    for changed in ({"kind": "dense", "element": "f32"}, {"rows": 63}, {"layout": "csr"}):
        child = tree["children"]["exceptions"] | changed
        with pytest.raises(ec.FormatError):
            ec.Table.from_parts(tree | {"children": {"exceptions": child}}, arrays)
