"""Trellis codes against their definition in NumPy, and against every row of bits that there is."""

import itertools

import numpy as np
import pytest
import random_tables
from hypothesis import given
from hypothesis import strategies as st
from store_reference import trellis_parts

import embedcompress as ec

# Relative squared errors of normal values that a search outside this library reached, and a little more.
MOST = {"fast": {1: 0.29, 2: 0.078, 3: 0.0208, 4: 0.0056}, "default": {1: 0.281, 2: 0.0735, 3: 0.0192, 4: 0.0050}}
dimensions = st.one_of(st.integers(2, 70), st.sampled_from([127, 128, 129, 300, 768]))


def normal(rows: int, dimension: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)


def relative_error(table, weight):
    return ((table.decode().astype(np.float64) - weight) ** 2).sum() / (weight.astype(np.float64) ** 2).sum()


@given(dimensions, st.integers(8, 16), st.integers(0, 2**32))
def test_any_bits_are_the_rows_that_the_definition_says(dimension, states, seed):
    rng = np.random.default_rng(seed)
    table = random_tables.random_trellis(rng, 11, dimension, states)
    tree, arrays = table.parts()
    if tree["kind"] != "trellis":
        assert dimension * min(8, states - 4) < states + 8
        return
    wanted, _ = trellis_parts(tree, arrays)
    np.testing.assert_allclose(table.decode(), wanted, rtol=3e-7)
    ids = rng.integers(0, 11, 40)
    offsets = np.array([0, 0, 1, 3, 20])
    sums = [wanted[ids[start:stop]].sum(axis=0) for start, stop in itertools.pairwise([*offsets, 40])]
    np.testing.assert_allclose(table.bag(ids, offsets), sums, atol=1e-5 * np.abs(wanted).max() * 20)
    weights = rng.standard_normal(40).astype(np.float32)
    sums = [(weights[a:b, None] * wanted[ids[a:b]]).sum(axis=0) for a, b in itertools.pairwise([*offsets, 40])]
    np.testing.assert_allclose(
        table.bag(ids, offsets, per_sample_weights=weights), sums, atol=1e-5 * np.abs(wanted).max() * 60
    )


@pytest.mark.parametrize("effort", ["fast", "default"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_the_error_of_normal_values_is_near_the_least_possible(effort, bits):
    weight = normal(60, 256)
    table = ec.compress(weight, "trellis", bits=bits, effort=effort)
    assert table.stored_bytes == 60 * (32 * bits + 1) + 1024 + 5 * 256
    assert 0.25**bits < relative_error(table, weight) < MOST[effort][bits]


def test_more_effort_and_more_bits_have_less_error():
    weight = normal(40, 64)
    efforts = [
        relative_error(ec.compress(weight, "trellis", bits=2, effort=e), weight) for e in ("fast", "default", "best")
    ]
    assert efforts == sorted(efforts, reverse=True) and len(set(efforts)) == 3
    widths = [0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8]
    errors = [relative_error(ec.compress(weight, "trellis", bits=bits), weight) for bits in widths]
    assert errors == sorted(errors, reverse=True)


def test_short_rows_are_not_far_from_the_nearest_of_all():
    """Every ring of 16 bits, at the scale that suits it best, which the search doesn't know."""
    weight = normal(30, 6)
    table = ec.compress(weight, "trellis", bits=16 / 6, effort="fast")
    tree, arrays = table.parts()
    every = np.arange(2**16, dtype="<u2").view(np.uint8).reshape(-1, 2)
    name = tree["tensors"]["rows"]
    rings = arrays | {name: (arrays[name].dtype, np.hstack([every, np.ones((2**16, 1), np.uint8)]))}
    values, _ = trellis_parts(tree | {"rows": 2**16}, {key: type(arrays[name])(*value) for key, value in rings.items()})
    held = np.maximum(weight @ values.T, 0) ** 2 / (values**2).sum(axis=1)
    least = (weight**2).sum() - held.max(axis=1).sum()
    assert least < relative_error(table, weight) * (weight**2).sum() < 3 * least


def test_rows_and_columns_of_any_size_have_the_same_error():
    weight = normal(50, 64)
    plain = relative_error(ec.compress(weight, "trellis", bits=3), weight)
    for exponent in (-124, -120, -40, -20, 40, 110):
        scaled = np.ldexp(weight, exponent).astype(np.float32)
        assert relative_error(ec.compress(scaled, "trellis", bits=3), scaled) == pytest.approx(plain, rel=0.02)
    # One tiny row makes steps between scales large.
    for bits, most in ((4, 1.3), (8, 3.0)):
        alone = relative_error(ec.compress(weight, "trellis", bits=bits), weight)
        tiny = np.vstack([weight, weight[:1] * np.float32(1e-15)])
        assert relative_error(ec.compress(tiny, "trellis", bits=bits), tiny) < most * alone
    sizes = np.exp(np.random.default_rng(1).standard_normal((50, 1)) * 2).astype(np.float32)
    table = ec.compress(weight * sizes, "trellis", bits=3)
    assert (((table.decode() / sizes - weight) ** 2).sum() / (weight**2).sum()) < 1.05 * plain
    columns = np.exp(np.random.default_rng(2).standard_normal(64)).astype(np.float32)
    assert relative_error(ec.compress(weight * columns, "trellis", bits=3), weight * columns) < 1.05 * plain


@pytest.mark.parametrize("rotation", ["none", "partial", "hadamard"])
def test_values_at_the_ends_of_f32_are_kept_or_refused(rotation):
    weight = normal(40, 16)
    for size in (2e-37, 1e-38):
        small = (weight * size).astype(np.float32)
        assert relative_error(ec.compress(small, "trellis", bits=8, rotation=rotation), small) < 1e-3
    large = np.where(weight > 0, 3.3e38, -3.3e38).astype(np.float32)
    with pytest.raises(ValueError, match=r"row \d+|too large"):
        ec.compress(large, "trellis", rotation=rotation)


def test_weights_may_be_of_any_size():
    weight = normal(20, 24)
    importance = np.random.default_rng(3).random((20, 24)).astype(np.float32)
    plain = ec.compress(weight, "trellis", bits=2, weights=importance).decode()
    for size in (1e-30, 1e30):
        found = ec.compress(weight, "trellis", bits=2, weights=(importance * size).astype(np.float32)).decode()
        assert ((found - weight) ** 2 * importance).sum() < 1.05 * ((plain - weight) ** 2 * importance).sum()
    zeros = ec.compress(weight, "trellis", bits=2, weights=np.zeros((20, 24), np.float32))
    assert relative_error(zeros, weight) < 0.12


def test_rows_of_zeros_have_no_sign():
    weight = normal(5, 20)
    weight[1] = 0
    table = ec.compress(weight, "trellis")
    assert not np.signbit(table.lookup([1])).any()
    assert not np.signbit(ec.remap(table, map=np.array([0, -1])).lookup([1])).any()


def test_weights_say_which_columns_count():
    weight = normal(40, 48)
    importance = np.where(np.arange(48) % 4 == 0, 30.0, 1.0).astype(np.float32) * np.ones((40, 1), np.float32)

    def error(table):
        return (importance * (table.decode() - weight) ** 2).sum()

    assert error(ec.compress(weight, "trellis", bits=2, weights=importance)) < 0.8 * error(
        ec.compress(weight, "trellis", bits=2)
    )


@pytest.mark.parametrize("dimension", [2, 3, 5, 16, 17, 50])
def test_a_budget_is_used_up(dimension):
    weight = normal(40, dimension)
    table = ec.compress(weight, "trellis", bits=1.7)
    size = table.stored_bytes
    assert ec.compress(weight, "trellis", budget=size).parts()[0] == table.parts()[0]
    assert ec.compress(weight, "trellis", budget=size + 39).stored_bytes == size
    floor = ec.compress(weight, "trellis", bits=0.25).stored_bytes
    with pytest.raises(ec.BudgetError) as caught:
        ec.compress(weight, "trellis", budget=floor - 1)
    assert caught.value.floor == floor
    with pytest.raises(ec.BudgetError):
        ec.compress(np.zeros((0, dimension), np.float32), "trellis", budget=1)


@pytest.mark.parametrize("rotation", ["partial", "full", "hadamard"])
def test_rotations_are_turned_back(rotation, tmp_path):
    rng = np.random.default_rng(4)
    weight = (
        rng.standard_normal((300, 6)) @ rng.standard_normal((6, 40)) + 0.3 * rng.standard_normal((300, 40))
    ).astype("f4")
    plain = ec.compress(weight, "trellis", bits=2, effort="fast")
    turned = ec.compress(weight, "trellis", bits=2, effort="fast", rotation=rotation)
    assert turned.parts()[0]["kind"] == "rotate"
    if rotation != "hadamard":
        assert relative_error(turned, weight) < 0.6 * relative_error(plain, weight)
    turned.save(tmp_path / "t")
    np.testing.assert_array_equal(ec.load(tmp_path / "t").decode(), turned.decode())
    ids = rng.integers(0, 300, 50)
    np.testing.assert_allclose(table_bag(turned, ids), turned.decode()[ids].sum(axis=0), atol=2e-3)
    assert ec.compress(weight[:, :1], "trellis", rotation=rotation).shape == (300, 1)


def table_bag(table, ids):
    return table.bag(ids, np.array([0]))[0]


def test_zeros_stay_zeros_and_a_table_may_have_no_rows():
    weight = normal(5, 32)
    weight[2] = 0
    assert (ec.compress(weight, "trellis").decode()[2] == 0).all()
    assert (ec.compress(np.zeros((4, 20), np.float32), "trellis").decode() == 0).all()
    assert ec.compress(np.zeros((0, 20), np.float32), "trellis").decode().shape == (0, 20)
    assert ec.compress(np.zeros((0, 20), np.float32), "trellis", budget=3000).stored_bytes <= 3000


def test_the_result_does_not_depend_on_threads_and_streams_to_a_file(tmp_path):
    weight = normal(700, 40)
    threads = ec.get_num_threads()
    tables = []
    try:
        for count in (1, 2):
            ec.set_num_threads(count)
            tables.append(ec.compress(weight, "trellis", bits=2.3, effort="fast"))
    finally:
        ec.set_num_threads(threads)
    np.testing.assert_array_equal(tables[0].decode(), tables[1].decode())
    ec.compress_to_file(tmp_path / "t", {"a": weight}, "trellis", bits=2.3, effort="fast")
    np.testing.assert_array_equal(ec.load(tmp_path / "t", "a").decode(), tables[0].decode())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"states": 7}, "from 8 to 16"),
        ({"bits": np.full(16, 9)}, "0 to 8 bits"),
        ({"bits": np.full(16, 4), "states": 8, "codes": np.full((3, 16), 16)}, "from 0 to 15"),
        ({"bits": np.r_[np.zeros(4, int), np.full(12, 4)]}, "at most 3 columns"),
        ({"bits": np.r_[np.full(15, 4), 3]}, "whole bytes"),
        ({"scales": np.ones(256)}, "the first must be 0"),
        ({"scales": np.arange(256) / 3}, "14 significant bits"),
        ({"scales": np.zeros(255)}, "256 scales"),
        ({"factors": np.full(16, np.inf)}, "finite"),
        ({"scale_codes": np.full(3, 256)}, "from 0 to 255"),
        ({"scale_codes": np.zeros(2, int)}, "3 scale_codes"),
    ],
)
def test_what_is_no_trellis_is_refused(change, text):
    given = {
        **{"codes": np.zeros((3, 16), int), "scale_codes": np.zeros(3, int), "bits": np.full(16, 4)},
        **{"scales": np.arange(256.0), "factors": np.ones(16), "states": 12, "multiplier": 5},
    }
    assert ec.trellis(**given).shape == (3, 16)
    with pytest.raises(ValueError, match=text):
        ec.trellis(**(given | change))


def test_a_column_alone_has_all_bits_of_its_row():
    weight = normal(200, 1)
    table = ec.compress(weight, "trellis")
    assert table.stored_bytes == 200 * 2 + 1024 + 5
    assert relative_error(table, weight) < 0.02
