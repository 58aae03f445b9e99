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


# Rows that least squares serves better


def constant(rng, dimension):
    return np.full(dimension, rng.standard_normal())


def offset(rng, dimension):
    return rng.standard_normal(dimension) + 30 * rng.standard_normal()


def of_two_values(rng, dimension):
    return rng.choice(rng.standard_normal(2), dimension)


def with_outlier(rng, dimension):
    return np.where(np.arange(dimension) == rng.integers(dimension), 100, 0.01 * rng.standard_normal(dimension))


def zeros(rng, dimension):
    return np.zeros(dimension)


ROWS_OF = [lambda rng, d: rng.standard_normal(d), constant, offset, of_two_values, with_outlier, zeros]


def row_errors(table, weight, weights=1):
    return (weights * (table.decode().astype(np.float64) - weight) ** 2).sum(axis=1)


def trellis_row_bytes(table):
    """Bytes of a row of trellis codes in a table, of the code of its first stage, and of its mean."""
    tree, arrays = table.parts()
    nodes, found = [tree], 0
    while nodes:
        node = nodes.pop()
        if node["kind"] == "trellis":
            found += arrays[node["tensors"]["rows"]].values.shape[1]
        found += node["kind"] == "product"
        found += 2 * (node["kind"] == "project")
        nodes += node.get("children", {}).values()
    return found


def least_squares_in(row_bytes, weight, **options):
    """Return least squares in no more bytes a row, with f32 scales where f16 can't hold them; None if it can't."""
    for scales in ("auto", "f32"):
        try:
            return ec.compress(weight, "least_squares", budget=len(weight) * row_bytes, scale_dtype=scales, **options)
        except ec.BudgetError:
            return None
        except ValueError:
            continue
    return None


@given(
    kinds=st.lists(st.integers(0, len(ROWS_OF) - 1), min_size=1, max_size=60),
    dimension=st.sampled_from([5, 24, 33, 64]),
    bits=st.sampled_from([1, 2, 2.7, 4, 6]),
    exponent=st.sampled_from([-100, -12, 0, 90]),
    rotation=st.sampled_from(["none", "hadamard", "partial"]),
    stage=st.sampled_from(["none", "none", "vectors"]),
    weighted=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_row_is_worse_than_least_squares_of_no_more_bytes(
    kinds, dimension, bits, exponent, rotation, stage, weighted, seed
):
    rng = np.random.default_rng(seed)
    weight = np.ldexp(np.array([ROWS_OF[kind](rng, dimension) for kind in kinds]), exponent).astype(np.float32)
    options = {"effort": "fast", "rotation": rotation, "first_stage": stage}
    weights, given_weights = 1.0, {}
    if weighted and rotation == "none":
        weights = rng.random(weight.shape).astype(np.float32)
        given_weights = {"weights": weights}
        options |= given_weights
    plain = ec.compress(weight, "trellis", bits=bits, fallback=False, **options)
    table = ec.compress(weight, "trellis", bits=bits, **options)
    alone = row_errors(plain, weight, weights)
    squares = least_squares_in(trellis_row_bytes(plain), weight, **given_weights)
    if squares is None:
        np.testing.assert_array_equal(table.decode(), plain.decode())
        return
    other, found = row_errors(squares, weight, weights), row_errors(table, weight, weights)
    assert (found <= other * (1 + 1e-9)).all() and (found <= alone * (1 + 1e-9)).all()
    if (alone <= other).all():
        assert table.parts()[0] == plain.parts()[0]
    blocks = -(-len(weight) // 512)
    assert table.stored_bytes <= plain.stored_bytes + blocks * (8 + 64)
    assert table.parts()[0]["kind"] in ("trellis", "rotate", "combine", "uniform", "partition")
    np.testing.assert_array_equal(table.lookup(np.arange(len(weight))[::-1]), table.decode()[::-1])


def test_a_budget_may_have_no_room_for_saying_which_rows_are_of_least_squares(tmp_path):
    weight = normal(1200, 64)
    weight[::7] = 1 + weight[::7, :1]
    exact = 1200 * 17 + 1024 + 5 * 64
    # Where so many rows gain, all others have a byte less.
    for budget, codes in ((exact, 15), (exact + 60, 15), (exact + 500, 16), (int(1.5 * exact), 25)):
        table = ec.compress(weight, "trellis", budget=budget, effort="fast")
        assert table.stored_bytes <= budget
        assert abs(trellis_row_bytes(table) - 1 - codes) <= 1
        squares = least_squares_in(trellis_row_bytes(table), weight)
        assert (row_errors(table, weight) <= row_errors(squares, weight) * (1 + 1e-9)).all()
    # One such row among normal ones is not worth a byte of each: it stays, and is told of.
    weight = normal(1200, 64)
    weight[5] = 3
    for budget, shown in ((exact, "trellis"), (exact + 3 * 72, "partition")):
        table = ec.compress(weight, "trellis", budget=budget, effort="fast")
        assert table.stored_bytes <= budget and trellis_row_bytes(table) == 17
        assert table.parts()[0]["kind"] == shown
        report = ec.compress_to_file(tmp_path / "t", {"a": weight}, "trellis", budget=budget, effort="fast")["a"]
        assert report.fallback_share == pytest.approx(1 / 1200)


def test_the_rows_of_least_squares_are_shown_and_reported(tmp_path):
    weight = normal(700, 48)
    weight[[3, 699]] = 2.5
    table = ec.compress(weight, "trellis", bits=3, effort="fast")
    lines = str(table).splitlines()
    assert "Partition in 2 by assignment" in lines[0]
    assert "698 x 48" in lines[1] and "Trellis" in lines[1]
    assert "2 x 48" in lines[2] and "Uniform 2-bit" in lines[2]
    report = ec.compress_to_file(tmp_path / "t", {"a": weight}, "trellis", bits=3, effort="fast")["a"]
    assert report.fallback_share == pytest.approx(2 / 700)
    assert report.stored_bytes == table.stored_bytes
    np.testing.assert_array_equal(ec.load(tmp_path / "t", "a").decode(), table.decode())
    assert ec.compress_to_file(tmp_path / "t", {"a": normal(50, 48)}, "trellis")["a"].fallback_share == 0
    plain = ec.compress_to_file(tmp_path / "t", {"a": weight}, "trellis", bits=3, effort="fast", fallback=False)["a"]
    assert plain.fallback_share is None


def test_a_table_of_constant_rows_is_of_least_squares_alone():
    weight = np.repeat(normal(100, 1), 32, axis=1)
    table = ec.compress(weight, "trellis", bits=3, center="none")
    assert table.parts()[0]["kind"] == "uniform"
    assert relative_error(table, weight) < 1e-6


# A first stage of vectors


def clusters(rows, dimension, seed=0):
    rng = np.random.default_rng(seed)
    centers = 3 * rng.standard_normal((100, dimension))
    return (centers[rng.integers(0, 100, rows)] + rng.standard_normal((rows, dimension))).astype(np.float32)


@pytest.mark.parametrize("rotation", ["none", "partial", "hadamard"])
def test_vectors_take_a_byte_of_the_row_and_the_clusters_out(rotation, tmp_path):
    weight = clusters(6000, 48)
    options = {"bits": 2, "effort": "fast", "rotation": rotation}
    plain = ec.compress(weight, "trellis", **options)
    table = ec.compress(weight, "trellis", first_stage="vectors", **options)
    tree, _ = table.parts()
    assert (tree["kind"], tree["operation"]) == ("combine", "sum")
    product, _ = tree["children"].values()
    assert product["kind"] == "product" and product["bytes"] == 6000 + 256 * 48 * 2
    assert trellis_row_bytes(table) == trellis_row_bytes(plain) == 13
    assert table.stored_bytes <= plain.stored_bytes + 256 * 48 * 2
    assert relative_error(table, weight) < 0.5 * relative_error(plain, weight)
    values = table.decode()
    ids = np.random.default_rng(1).integers(0, 6000, 300)
    np.testing.assert_array_equal(table.lookup(ids), values[ids])
    np.testing.assert_allclose(table_bag(table, ids), values[ids].sum(axis=0), atol=5e-3)
    np.testing.assert_array_equal(table.slice(50, 5000).decode(), values[50:5000])
    table.save(tmp_path / "t")
    np.testing.assert_array_equal(ec.load(tmp_path / "t").decode(), values)
    for fallback in (True, False):
        made = ec.compress_to_file(
            tmp_path / "u", {"a": weight}, "trellis", first_stage="vectors", fallback=fallback, **options
        )["a"]
        assert made.stored_bytes == table.stored_bytes
        np.testing.assert_array_equal(ec.load(tmp_path / "u", "a").decode(), values)


def test_auto_takes_vectors_where_they_help():
    for weight, helps in ((clusters(6000, 48), True), (normal(6000, 48), False), (clusters(150, 48), False)):
        table = ec.compress(weight, "trellis", bits=2, effort="fast", first_stage="auto")
        assert (table.parts()[0]["kind"] == "combine") == helps
        other = ec.compress(weight, "trellis", bits=2, effort="fast", first_stage="vectors" if helps else "none")
        np.testing.assert_array_equal(table.decode(), other.decode())
    for budget in (6000 * 13 + 30_000, 6000 * 4):
        table = ec.compress(clusters(6000, 48), "trellis", budget=budget, effort="fast", first_stage="auto")
        assert budget - 6000 < table.stored_bytes <= budget


def test_a_budget_counts_the_vectors():
    weight = clusters(3000, 32)
    with pytest.raises(ec.BudgetError) as caught:
        ec.compress(weight, "trellis", budget=20_000, first_stage="vectors")
    floor = caught.value.floor
    assert ec.compress(weight, "trellis", budget=floor, first_stage="vectors").stored_bytes == floor


@pytest.mark.parametrize("shape", [(0, 8), (1, 1), (1, 8), (3, 1), (2, 2)])
@pytest.mark.parametrize("stage", ["vectors", "auto"])
def test_vectors_of_small_tables(shape, stage):
    weight = normal(*shape)
    table = ec.compress(weight, "trellis", first_stage=stage)
    assert table.shape == shape
    assert np.linalg.norm(table.decode() - weight) <= (0.01 if stage == "vectors" else 0.15) * np.linalg.norm(weight)


def test_inside_another_method_bytes_are_those_of_every_row():
    weight = normal(300, 16)
    for options, text in (
        ({"fallback": True}, "fallback of trellis must be false"),
        ({"first_stage": "auto"}, "must be 'none'"),
    ):
        with pytest.raises(ValueError, match=text):
            ec.compress(weight, "svd", inner="trellis", **options)
    weight[5] = 1
    assert "uniform" not in str(ec.compress(weight, "svd", rank=16, inner="trellis", bits=8)).lower()
