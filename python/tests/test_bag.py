"""`bag` against the reference, and against torch.nn.functional.embedding_bag on the decoded weights."""

import numpy as np
import pytest
import random_tables
import reference
from hypothesis import example, given
from hypothesis import strategies as st

import embedcompress as ec


@st.composite
def bags(draw, rows):
    """Ids and offsets, with empty bags, single ids, and bags longer than a block of 256."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32), label="seed"))
    lengths = draw(
        st.lists(st.sampled_from([0, 0, 1, 1, 2, 3, 7, 30, 255, 256, 257, 600]), max_size=8), label="lengths"
    )
    padding = draw(st.one_of(st.none(), st.integers(0, rows - 1)), label="padding_idx")
    ids = rng.integers(0, rows, sum(lengths))
    if padding is not None and draw(st.booleans(), label="much padding"):
        ids[rng.random(len(ids)) < 0.7] = padding
    mode = draw(st.sampled_from(["sum", "mean", "max"]), label="mode")
    weights = None
    if mode == "sum" and draw(st.booleans(), label="weights"):
        weights = rng.standard_normal(len(ids)).astype(np.float32)
    last = draw(st.booleans(), label="include_last_offset")
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return {
        "ids": ids.astype(draw(random_tables.id_types)),
        "offsets": (offsets if last else offsets[:-1]).astype(draw(random_tables.id_types)),
        "mode": mode,
        "per_sample_weights": weights,
        "include_last_offset": last,
        "padding_idx": padding,
    }


def longest(call):
    ends = call["offsets"] if call["include_last_offset"] else [*call["offsets"], len(call["ids"])]
    return int(np.diff(ends).max(initial=0))


def expected(table, call):
    call = dict(call)
    return reference.bag(reference.rows(table), weights=call.pop("per_sample_weights"), **call)


@given(random_tables.tables(max_depth=2), st.data())
def test_bag_agrees_with_the_reference(table, data):
    call = data.draw(bags(table.rows))
    wanted = expected(table, call)
    found = table.bag(**call)
    reference.assert_pooled(found, wanted, longest(call), repeated=True)
    out = np.full(found.shape, np.nan, np.float32)
    assert table.bag(**call, out=out) is out
    np.testing.assert_array_equal(out, found)


@given(random_tables.tables(max_depth=1), st.data())
def test_bag_agrees_with_torch(table, data):
    torch = pytest.importorskip("torch")
    call = data.draw(bags(table.rows))
    # torch refuses ids and offsets of different types.
    ids, offsets = call["ids"], call["offsets"].astype(call["ids"].dtype)
    weights = call["per_sample_weights"]
    wanted = torch.nn.functional.embedding_bag(
        torch.from_numpy(ids),
        torch.from_numpy(table.decode()),
        torch.from_numpy(offsets),
        mode=call["mode"],
        per_sample_weights=None if weights is None else torch.from_numpy(weights),
        include_last_offset=call["include_last_offset"],
        padding_idx=call["padding_idx"],
    )
    magnitude = expected(table, call).magnitude
    reference.assert_pooled(
        table.bag(**call), reference.Rows(wanted.numpy(), magnitude), 2 * longest(call), repeated=True
    )


@given(random_tables.tables(max_depth=1), st.integers(0, 5), st.integers(0, 300), st.data())
@example(random_tables.random_uniform(np.random.default_rng(0), 4, 9), 0, 3, None)
def test_two_axes_are_bags_of_equal_length(table, count, length, data):
    ids = np.random.default_rng(count * 1000 + length).integers(0, table.rows, (count, length))
    mode = "mean" if data is None else data.draw(st.sampled_from(["sum", "mean", "max"]))
    weights = np.random.default_rng(5).standard_normal((count, length)).astype(np.float32) if mode == "sum" else None
    offsets = np.arange(count) * length
    flat = table.bag(ids.ravel(), offsets, mode, None if weights is None else weights.ravel())
    np.testing.assert_array_equal(table.bag(ids, mode=mode, per_sample_weights=weights), flat)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("kept", [0, 1, 100, 256, 300])
def test_a_long_bag_whose_last_block_is_all_padding(rng, mode, kept):
    """A bag is pooled 256 ids at a time; padding may leave any of the pieces empty."""
    table = random_tables.random_uniform(rng, 50, 33)
    ids = np.full(1000, 7)
    others = np.delete(np.arange(50), 7)
    ids[:kept] = rng.choice(others, kept)
    for arrangement in (ids, ids[::-1].copy(), np.concatenate([ids, [3]]), np.concatenate([[3], ids])):
        call = {"ids": arrangement, "offsets": [0], "mode": mode, "padding_idx": 7}
        wanted = reference.bag(reference.rows(table), **call)
        reference.assert_pooled(table.bag(**call), wanted, 1001)


@pytest.mark.parametrize("bits", reference.BITS)
@pytest.mark.parametrize("dimension", reference.DIMENSIONS)
def test_every_width_of_code_at_every_dimension(rng, bits, dimension):
    ids = rng.integers(0, 30, 60)
    offsets = np.array([0, 0, 5, 25, 26])
    weights = rng.standard_normal(60).astype(np.float32)
    for group in (None, 8):
        table = random_tables.random_uniform(rng, 30, dimension, bits, group)
        wanted = reference.rows(table)
        for mode, given_weights in (("sum", None), ("sum", weights), ("mean", None), ("max", None)):
            found = table.bag(ids, offsets, mode, given_weights)
            reference.assert_pooled(found, reference.bag(wanted, ids, offsets, mode, given_weights), 34)


def test_max_of_negative_rows_is_negative():
    table = ec.dense(-np.ones((4, 20), np.float32))
    np.testing.assert_array_equal(table.bag([0, 1, 2], [0, 0, 3], "max"), [[0] * 20, [-1] * 20, [0] * 20])


def test_weights_of_zero_and_weights_of_none(rng):
    table = random_tables.random_uniform(rng, 20, 12)
    zeros = np.zeros(5, np.float32)
    np.testing.assert_array_equal(table.bag(np.arange(5), [0], per_sample_weights=zeros), np.zeros((1, 12)))
    assert table.bag([], [0], per_sample_weights=np.zeros(0, np.float32)).shape == (1, 12)
    np.testing.assert_array_equal(
        table.bag([1, 2], [0], per_sample_weights=[1.0, 1.0]), table.bag([1, 2], [0], per_sample_weights=None)
    )


def test_no_bags_at_all(rng):
    table = random_tables.random_dense(rng, 4, 6)
    assert table.bag([], []).shape == (0, 6)
    assert table.bag([], [0], include_last_offset=True).shape == (0, 6)
    assert table.bag(np.empty((0, 5), np.int64)).shape == (0, 6)
    np.testing.assert_array_equal(table.bag(np.empty((3, 0), np.int64)), np.zeros((3, 6)))


def test_a_bag_does_not_depend_on_the_bags_beside_it(rng):
    """Bit for bit: what is packed into one block with a bag is not part of its sum."""
    table = random_tables.random_uniform(rng, 300, 37, 4)
    pieces = [rng.integers(0, 300, length) for length in (3, 700, 1, 0, 255, 256, 12, 257, 90)]
    offsets = np.cumsum([0, *map(len, pieces)])[:-1]
    for mode in ("sum", "mean", "max"):
        together = table.bag(np.concatenate(pieces), offsets, mode)
        alone = np.concatenate([table.bag(piece, [0], mode) for piece in pieces])
        np.testing.assert_array_equal(together, alone)


def test_very_many_bags_and_a_very_long_one(rng):
    table = random_tables.random_uniform(rng, 1000, 16, 8)
    ids = rng.integers(0, 1000, 60_000)
    wanted = reference.rows(table)
    offsets = np.sort(rng.integers(0, 60_001, 20_000))
    offsets[0] = 0
    reference.assert_pooled(table.bag(ids, offsets), reference.bag(wanted, ids, offsets), 100)
    reference.assert_pooled(table.bag(ids, [0], "mean"), reference.bag(wanted, ids, [0], "mean"), 60_000)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("length", [5, 256, 700])
def test_invalid_ids_are_rows_of_zeros(rng, mode, length):
    """As -1 in a map is: they count in a mean, and are larger than a negative maximum."""
    table = random_tables.random_uniform(rng, 30, 17, 4)
    ids = rng.integers(0, 30, 3 * length)
    bad = rng.random(len(ids)) < 0.3
    bad[:length] = True
    route = ec.remap(table, map=[*range(30), -1])
    offsets = np.array([0, length, length, 2 * length])
    wanted = route.bag(np.where(bad, 30, ids), offsets, mode)
    reference.assert_pooled(wanted, reference.bag(reference.rows(route), np.where(bad, 30, ids), offsets, mode), length)
    for value in (-1, 30, 2**40):
        found = table.bag(np.where(bad, value, ids), offsets, mode, on_invalid="zero")
        if mode == "max":
            np.testing.assert_array_equal(found, wanted)
        else:
            # Rows behind a route are summed in another order.
            expected = reference.bag(reference.rows(route), np.where(bad, 30, ids), offsets, mode)
            reference.assert_pooled(found, expected, length)
    assert table.invalid_count == 3 * bad.sum()


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("dimension", [48, 50, 64, 65, 127, 128, 130, 300])
@pytest.mark.parametrize("kind", ["alike", "spread", "negative", "subnormal", "zero", "infinite"])
def test_scales_of_every_kind(rng, bits, dimension, kind):
    """Sums in whole numbers: scales of any power, sign and size, and those that are no numbers."""
    rows, code_bytes = 200, (dimension * bits + 7) // 8
    stored = np.zeros((rows, code_bytes + 4), np.uint8)
    stored[:, :code_bytes] = rng.integers(0, 256, (rows, code_bytes))
    scales = rng.uniform(1, 2, rows)
    if kind == "spread":
        scales *= 2.0 ** rng.integers(-14, 15, rows)
    elif kind == "negative":
        scales *= rng.choice([-1, 1], rows) * 2.0 ** rng.integers(-3, 4, rows)
    elif kind == "subnormal":
        scales *= 2.0 ** rng.integers(-24, -10, rows)
    elif kind == "zero":
        scales[rng.random(rows) < 0.5] = 0
    elif kind == "infinite":
        scales[7], scales[8] = np.inf, np.nan
    stored[:, code_bytes:].view(np.float16)[:] = np.stack([scales, rng.standard_normal(rows)], axis=1)
    tree, arrays = ec.compress(np.ones((rows, dimension), np.float32), "asym", bits=bits).parts()
    name = next(iter(arrays))
    table = ec.Table.from_parts(tree, {name: (arrays[name].dtype, stored)})
    ids = rng.integers(9, rows, 700)
    offsets = np.array([0, 1, 3, 7, 8, 13, 77, 141, 142, 400])
    decoded = table.decode().astype(np.float64)
    found = table.bag(ids, offsets)
    magnitude = np.stack([np.abs(part).sum(0) for part in np.split(decoded[ids], offsets[1:])])
    wanted = np.stack([part.sum(0) for part in np.split(decoded[ids], offsets[1:])])
    assert np.all(np.abs(found - wanted) <= 3e-6 * magnitude + 1e-30)
    if kind == "infinite":
        ids[[100, 500]] = 7, 8
        found, wanted = table.bag(ids, offsets), np.stack([decoded[part].sum(0) for part in np.split(ids, offsets[1:])])
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(wanted))


def test_bags_of_one_id_are_rows(rng):
    table = random_tables.random_uniform(rng, 50, 33)
    for width in (np.int32, np.int64):
        ids = rng.integers(0, 50, 300).astype(width)
        offsets = np.arange(301, dtype=width)
        for mode in ("sum", "mean", "max"):
            np.testing.assert_array_equal(table.bag(ids, offsets[:-1], mode), table.lookup(ids))
            np.testing.assert_array_equal(table.bag(ids, offsets, mode, include_last_offset=True), table.lookup(ids))
        others = offsets[:-1].copy()
        others[150:] += 1
        others[299] = 299
        np.testing.assert_array_equal(table.bag(ids, others)[:149], table.lookup(ids)[:149])
        assert table.bag(ids, others)[299].tolist() != [0] * 33
    with pytest.raises(IndexError):
        table.bag(np.array([3, 50]), np.array([0, 1]))
