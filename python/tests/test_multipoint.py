"""Multipoint: sums of rows of few bits, as many as each row needs, against a slow reference."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import embedcompress as ec


def mixed(rng, rows, columns):
    """Rows of very different norms."""
    return (rng.standard_normal((rows, columns)) * rng.gamma(0.5, 2, (rows, 1))).astype(np.float32)


def squares(rows, weights=1.0):
    return (rows.astype(np.float64) ** 2 * weights).sum(axis=1)


def points(weight, number, weights=None, **options):
    """What least squares makes of the weight, of what that leaves, and so on."""
    left, found = weight.copy(), []
    for _ in range(number):
        found.append(ec.compress(left, "least_squares", weights=weights, **options).decode())
        left = left - found[-1]
    return found


def partition_bytes(rows, classes):
    bits = (classes - 1).bit_length()
    return -(-rows // 512) * (4 * classes + 64 * bits) if classes > 1 else 0


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("threshold", [0, 0.05, 0.2, 0.5, 1])
def test_rows_have_points_until_they_are_near_enough(rng, bits, threshold):
    weight = mixed(rng, 700, 24)
    weight[::3] = np.round(weight[::3])
    table = ec.compress(weight, "multipoint", bits=bits, points=3, threshold=threshold, scale_dtype="f32")
    found = points(weight, 3, bits=bits, scale_dtype="f32")
    sums = np.cumsum(np.stack(found), axis=0, dtype=np.float32)
    # What points leave, one after the other.
    left = [weight - found[0], weight - found[0] - found[1]]
    near = np.stack([squares(one) <= threshold**2 * squares(weight) for one in left])
    counts = np.where(near[0], 1, np.where(near[1], 2, 3))
    wanted = sums[counts - 1, np.arange(len(weight))]
    same = (table.decode() == wanted).all(axis=1)
    # An error may be at the threshold, but for rounding.
    assert same.mean() > 0.99
    used = len(np.unique(counts))
    row = -(-24 * bits // 8) + 8
    assert abs(table.stored_bytes - counts.sum() * row - partition_bytes(700, used)) <= 5 * row


def best_counts(errors, row, budget, classes=None):
    """The least error of any numbers of points within a budget, by trying them all.

    With `classes`, rows of different numbers take the bytes of a partition of so many.
    """
    rows, most = errors.shape[1], len(errors)
    least = np.inf
    for counts in itertools.product(range(most), repeat=rows):
        numbers = np.array(counts)
        used = len(set(counts))
        size = (numbers + 1).sum() * row + partition_bytes(rows, classes if classes and used > 1 else used)
        if size <= budget:
            least = min(least, errors[numbers, np.arange(rows)].sum())
    return least


@given(
    st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([3, 8, 17]), st.sampled_from([1, 2, 3]),
    st.sampled_from([0, 150]),
)  # fmt: skip
@example(44, 5, 3, 3, 0)
def test_a_budget_is_spent_as_well_as_it_can_be(seed, rows, columns, bits, more):
    rng = np.random.default_rng(seed)
    weight = mixed(rng, rows, columns)
    row = -(-columns * bits // 8) + 8
    budget = int(rng.integers(rows * row, 4 * rows * row)) + more
    table = ec.compress(weight, "multipoint", bits=bits, points=3, budget=budget, scale_dtype="f32")
    assert table.stored_bytes <= budget
    sums = np.cumsum(np.stack(points(weight, 3, bits=bits, scale_dtype="f32")), axis=0, dtype=np.float32)
    errors = np.stack([squares(one - weight) for one in sums])
    found = squares(table.decode() - weight).sum()
    assert found >= best_counts(errors, row, budget) * (1 - 1e-5) - 1e-9
    # Points go to the largest gains first, which is the best but for what a last point might have gone to; or all rows
    # have as many.
    gains = -np.diff(errors, axis=0)
    assert found <= best_counts(errors, row, budget, classes=3) + max(gains.max(), 0) + 1e-9


def test_small_tables_have_points_for_all_rows():
    """A partition of few rows takes more bytes than another point of each."""
    rng = np.random.default_rng(44)
    weight = mixed(rng, 5, 3)
    table = ec.compress(weight, "multipoint", bits=3, points=3, budget=140, scale_dtype="f32")
    assert table.stored_bytes == 5 * 10 * 2
    wanted = sum(points(weight, 2, bits=3, scale_dtype="f32"))
    np.testing.assert_array_equal(table.decode(), wanted)


@pytest.mark.parametrize("bits", [2, 4])
def test_scales_of_the_last_points_choose_their_type(rng, bits):
    """f16 holds the scales of the first point of such values, but not those of what is left after three."""
    weight = (rng.standard_normal((200, 24)) * 3e-6).astype(np.float32)
    options = {"bits": bits, "points": 4, "threshold": 0}
    errors = {
        own: squares(ec.compress(weight, "multipoint", scale_dtype=own, **options).decode() - weight).sum()
        for own in ("auto", "f16", "f32")
    }
    assert errors["f16"] > 1.3 * errors["f32"]
    assert errors["auto"] == errors["f32"]
    one = ec.compress(weight, "multipoint", bits=bits, points=1)
    assert one.stored_bytes == 200 * (3 * bits + 4)


def test_rows_have_no_points_that_take_nothing_away(rng):
    weight = np.round(rng.uniform(0, 3, (50, 8))).astype(np.float32)
    weight[:, 0], weight[:, 1] = 0, 3
    weight[7] = 0
    table = ec.compress(weight, "multipoint", bits=2, points=4, threshold=0, scale_dtype="f32")
    np.testing.assert_array_equal(table.decode(), weight)
    assert table.stored_bytes == 50 * (2 + 8)
    # f16 can't hold what is left, and further points only cost bytes.
    tiny = np.full((20, 8), 3e-8, np.float32) * rng.uniform(0.1, 0.4, (20, 8)).astype(np.float32)
    few = ec.compress(tiny, "multipoint", bits=2, points=4, threshold=0, scale_dtype="f16")
    assert few.stored_bytes == 20 * (2 + 4)


@pytest.mark.parametrize("ratio", [0.12, 0.15, 0.2, 0.3])
def test_budgets_are_met_to_less_than_a_row(rng, ratio):
    weight = mixed(rng, 3000, 48)
    table = ec.compress(weight, "multipoint", bits=2, budget=ratio)
    budget = int(ratio * weight.nbytes)
    assert budget - (2 * 48 // 8 + 4) - 1 <= table.stored_bytes <= budget
    assert table.stored_bytes == sum(array.values.nbytes for array in table.parts()[1].values())


def test_points_go_where_they_take_most_error_away(rng):
    weight = mixed(rng, 2000, 32)
    options = {"bits": 2, "scale_dtype": "f16"}
    plain = ec.compress(weight, **options)
    table = ec.compress(weight, "multipoint", budget=int(1.5 * plain.stored_bytes), **options)
    before, after = squares(plain.decode() - weight), squares(table.decode() - weight)
    more = after < before * 0.99
    assert 0.2 < more.mean() < 0.5
    assert before[more].min() > 0.5 * before[~more].max()
    assert after.sum() < 0.15 * before.sum()


def test_weights_say_whose_error_counts(rng):
    weight = rng.standard_normal((600, 16)).astype(np.float32)
    uses = np.where(np.arange(600) < 150, 1000.0, 1.0)
    budget = 600 * 8 + 200 * 8 + 500
    table = ec.compress(weight, "multipoint", budget=budget, weights=uses, scale_dtype="f16")
    errors = squares(table.decode() - weight)
    assert errors[:150].max() < errors[150:].mean()
    elements = (rng.random((600, 16)) ** 4).astype(np.float32)
    costs = [
        squares(ec.compress(weight, "multipoint", budget=budget, weights=own).decode() - weight, elements).sum()
        for own in (elements, None)
    ]
    assert costs[0] < 0.9 * costs[1]


def test_one_point_is_least_squares(rng):
    weight = mixed(rng, 50, 20)
    for bits in (1, 2, 8):
        table = ec.compress(weight, "multipoint", bits=bits, points=1)
        plain = ec.compress(weight, "least_squares", bits=bits)
        assert table.parts()[0] == plain.parts()[0]
        np.testing.assert_array_equal(table.decode(), plain.decode())


def test_results_do_not_depend_on_threads(rng):
    weight = mixed(rng, 4000, 16)
    before, found = ec.get_num_threads(), []
    try:
        for threads in (1, 3):
            ec.set_num_threads(threads)
            found.append(ec.compress(weight, "multipoint", budget=0.3).parts())
    finally:
        ec.set_num_threads(before)
    assert found[0][0] == found[1][0]
    for name, array in found[0][1].items():
        np.testing.assert_array_equal(array.values, found[1][1][name].values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0.5, "threshold": 0.1}, "give multipoint either threshold or a budget, not both"),
        ({"points": 0}, "multipoint: points must be an integer from 1 to 16"),
        ({"threshold": 2}, "multipoint: threshold must be a number from 0"),
        ({"bits": 16}, "multipoint: bits must be one of 1, 2"),
    ],
)
def test_what_is_refused(rng, options, message):
    with pytest.raises(ValueError, match=message):
        ec.compress(mixed(rng, 5, 8), "multipoint", **options)


def test_a_budget_that_is_too_small_names_the_least(rng):
    weight = mixed(rng, 100, 16)
    with pytest.raises(ec.BudgetError) as caught:
        ec.compress(weight, "multipoint", budget=100)
    assert caught.value.floor == 100 * 8
    assert ec.compress(weight, "multipoint", budget=caught.value.floor).stored_bytes == 800


def test_tables_without_rows():
    assert ec.compress(np.zeros((0, 8), np.float32), "multipoint").shape == (0, 8)
    assert ec.compress(np.zeros((0, 8), np.float32), "multipoint", budget=0).stored_bytes == 0
