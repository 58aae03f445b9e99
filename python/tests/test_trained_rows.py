"""Steps of the core on tables that are trained as they are stored, beside a slow reference of the same bits."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trained_rows_reference import BITS, OPTIMIZERS, F, Rows, Step, packed, rounded, take_step, unpacked, write_rows

import embedcompress as ec
from embedcompress import _core


def gathered(rows, ids):
    out = np.full((len(ids), rows.dimension), np.nan, F)
    _core.trained_rows_gather(rows.table, ids, out)
    return out


def step_core(rows, ids, gradients, step):
    _core.trained_rows_step(rows.table, ids, gradients, *step.arguments)


def assert_same(found, expected):
    for one, other in zip(found.arrays, expected.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(sorted(BITS)),
    st.sampled_from(OPTIMIZERS),
    st.sampled_from(["nearest", "stochastic"]),
    st.sampled_from([1, 2, 3, 15, 16, 17, 33, 64]),
    st.integers(1, 300),
    st.integers(0, 200),
    st.sampled_from([np.int32, np.int64]),
    st.sampled_from([0.0, 0.01]),
    st.integers(0, 2**32),
)
def test_a_step_is_that_of_the_reference(format, optimizer, rounding, dimension, rows, count, kind, decay, seed):
    rng = np.random.default_rng(seed)
    found = Rows.random(rng, format, rows, dimension)
    expected = found.copy()
    for number in (1, 2):
        ids = rng.integers(0, rows, count).astype(kind)
        gradients = (rng.standard_normal((count, dimension)) * 10.0 ** rng.integers(-3, 2)).astype(F)
        step = Step(optimizer, rounding, 0.05, weight_decay=decay, seed=seed, step=number)
        step_core(found, ids, gradients, step)
        take_step(expected, ids, gradients, step)
    assert_same(found, expected)
    every = np.arange(rows, dtype=kind)[::-1].copy()
    np.testing.assert_array_equal(gathered(found, every), expected.values[::-1])


@pytest.mark.parametrize("format", sorted(BITS))
def test_threads_change_no_bit(format, rng):
    before = ec.get_num_threads()
    start = Rows.random(rng, format, 3000, 17)
    ids = rng.integers(0, 3000, 9000)
    gradients = rng.standard_normal((9000, 17)).astype(F)
    results = []
    try:
        for threads in (1, 2, 5):
            ec.set_num_threads(threads)
            results.append(start.copy())
            step_core(results[-1], ids, gradients, Step("rowwise_adam"))
    finally:
        ec.set_num_threads(before)
    assert any((one != other).any() for one, other in zip(results[0].arrays, start.arrays, strict=True))
    assert_same(results[1], results[0])
    assert_same(results[2], results[0])


@pytest.mark.parametrize(
    ("optimizer", "reference"),
    [
        ("sgd", lambda w: torch.optim.SGD([w], lr=0.1)),
        ("adagrad", lambda w: torch.optim.Adagrad([w], lr=0.1, eps=1e-10)),
    ],
)
def test_f32_steps_are_those_of_torch(optimizer, reference, rng):
    rows = Rows.random(rng, "f32", 200, 19)
    rows.element_state[:] = 0
    module = torch.nn.Embedding.from_pretrained(torch.from_numpy(rows.values), freeze=False, sparse=True)
    trained = reference(module.weight)
    for number in range(1, 20):
        ids = rng.integers(0, 200, 300)
        gradients = rng.standard_normal((300, 19)).astype(F)
        step_core(rows, ids, gradients, Step(optimizer, eps=1e-10, step=number))
        trained.zero_grad()
        (module(torch.from_numpy(ids)) * torch.from_numpy(gradients)).sum().backward()
        with torch.sparse.check_sparse_tensor_invariants():
            trained.step()
    np.testing.assert_allclose(rows.values, module.weight.detach().numpy(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("format", [name for name in sorted(BITS) if name != "f32"])
def test_stochastic_rounding_has_the_value_as_its_mean(format):
    # Many rows of the same numbers, which a step of SGD moves to a place between two that the format has.
    count, dimension = 20_000, 3
    start = np.tile(np.array([[0.5, -0.25, 1e-6 if format == "f16" else 0.375]], F), (count, 1))
    scales = None
    if format.startswith("int"):
        scales = np.full(count, 0.125, F)
        start[:, 2] = 0
        elements = packed(start / F(0.125), format).copy()
    else:
        elements = packed(rounded(start, format, None), format).copy()
    state = np.zeros((count, dimension), F), np.zeros(count, F)
    rows = Rows(format, dimension, elements, scales, *state)
    before = rows.values
    # A third of the distance to the next value.
    after = rounded(np.nextafter(before, F(np.inf)), format, None) if scales is None else before + F(0.125)
    if scales is None:
        step_up = {"bf16": 2.0**-8, "f16": 2.0**-11}[format]
        after = np.where(np.abs(before) < 2**-14, before + F(2**-24), before + np.abs(before) * F(step_up))
    gradients = ((before - after) / 3).astype(F)
    step_core(rows, np.arange(count), gradients, Step("sgd", learning_rate=1.0, seed=5))
    moved = (rows.values - before) / (after - before)
    mean, error = moved.mean(0), moved.std(0) / np.sqrt(count)
    assert (error > 0).all()
    assert (np.abs(mean - 1 / 3) < 5 * error).all(), (mean, error)


def test_values_of_the_format_stay_as_they_are(rng):
    for format in BITS:
        rows = Rows.random(rng, format, 500, 16)
        before = rows.copy()
        step_core(rows, np.arange(500), np.zeros((500, 16), F), Step("sgd"))
        assert_same(rows, before)


def test_a_scale_doubles_until_all_fits():
    rows = Rows.random(np.random.default_rng(0), "int8", 2, 4)
    rows.scales[:] = 0.25
    step_core(rows, np.array([1]), np.array([[-100, 0, 0, 0]], F), Step("sgd", "nearest", learning_rate=1.0))
    assert rows.scales.tolist() == [0.25, 1.0]
    assert 60 < rows.values[1, 0] <= 127


def test_a_scale_of_four_bits_becomes_what_fits():
    rows = Rows.random(np.random.default_rng(0), "int4", 3, 4)
    rows.scales[:] = 0.25
    ids, gradients = np.array([0, 1]), np.array([[-100, 0, 0, 0], [80, 0, 0, 0]], F)
    before = rows.values
    step_core(rows, ids, gradients, Step("sgd", "nearest", learning_rate=1.0))
    fitting = np.array([(before[0, 0] + 100) / 7, (80 - before[1, 0]) / 8], F)
    assert (rows.scales[:2] >= fitting).all() and (rows.scales[:2] <= 1.01 * fitting).all()
    assert rows.scales[2] == 0.25
    assert (rows.scales.view(np.uint32) & 0xFFFF == 0).all()
    np.testing.assert_allclose(rows.values[:2, 0], before[:2, 0] - gradients[:, 0], rtol=0.01)
    step_core(rows, ids, rows.values[:2] - 0.01, Step("sgd", "nearest", learning_rate=1.0))
    assert (rows.scales[:2] < 0.0015).all(), "they shrink, too"


def test_a_row_without_a_scale_is_one_of_zeros_and_learns():
    elements = np.full((3, 4), 7, np.uint8)
    scales = np.array([0, np.nan, -1], F)
    rows = Rows("int8", 4, elements, scales, np.zeros((3, 4), F), np.zeros(3, F))
    assert not gathered(rows, np.arange(3)).any()
    step_core(rows, np.arange(3), np.full((3, 4), -0.5, F), Step("sgd", "nearest", learning_rate=1.0))
    np.testing.assert_array_equal(rows.values, np.full((3, 4), 0.5, F))


@pytest.mark.parametrize("bad", [-1, 100, 2**40])
def test_an_invalid_id_writes_nothing(bad, rng):
    rows = Rows.random(rng, "int8", 100, 8)
    before, ids = rows.copy(), rng.integers(0, 100, 50)
    ids[33] = bad
    with pytest.raises(ec.InvalidIdError, match=f"id {bad} at position 33"):
        step_core(rows, ids, np.ones((50, 8), F), Step("adagrad"))
    assert_same(rows, before)
    out = np.full((50, 8), 7, F)
    with pytest.raises(ec.InvalidIdError, match="position 33"):
        _core.trained_rows_gather(rows.table, ids, out)
    assert (out == 7).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_writes_nothing(bad, rng):
    rows = Rows.random(rng, "bf16", 100, 18)
    before = rows.copy()
    gradients = rng.standard_normal((5000, 18)).astype(F)
    gradients[4321, 17] = bad
    with pytest.raises(ValueError, match=r"position 4321 has .* in column 17"):
        step_core(rows, rng.integers(0, 100, 5000), gradients, Step("rowwise_adagrad"))
    assert_same(rows, before)


def test_sums_that_overflow_end_nothing():
    for format in BITS:
        rows = Rows.random(np.random.default_rng(0), format, 2, 5)
        gradients = np.full((2, 5), 3e38, F)
        gradients[:, 1] = -3e38
        for optimizer in OPTIMIZERS:
            step_core(rows, np.array([1, 1]), gradients, Step(optimizer, learning_rate=1e30))


def test_refused_memory_writes_nothing(rng):
    rows = Rows.random(rng, "int16", 5000, 40)
    before, ids, gradients = rows.copy(), rng.integers(0, 5000, 9000), rng.standard_normal((9000, 40)).astype(F)
    refused, is_refused = 0, True
    while is_refused:
        # A new thread has no memory yet of earlier calls.
        with ThreadPoolExecutor(1) as pool:
            _core.refuse_allocation(refused)
            call = pool.submit(step_core, rows, ids, gradients, Step("rowwise_adagrad"))
            is_refused = isinstance(call.exception(), MemoryError)
        _core.refuse_allocation(-1)
        if is_refused:
            refused += 1
            assert_same(rows, before)
    assert call.exception() is None
    assert refused > 3


def test_arguments_are_checked(rng):
    rows = Rows.random(rng, "int8", 10, 8)
    ids, gradients = np.arange(4), np.zeros((4, 8), F)
    for change, message in [
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": np.nan}, "learning_rate"),
        ({"eps": np.inf}, "eps"),
        ({"beta1": 1.0}, "beta1"),
        ({"beta2": -0.1}, "beta2"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"step": 0}, "step"),
        ({"rounding": "up"}, "rounding"),
        ({"optimizer": "lion"}, "optimizer"),
    ]:
        with pytest.raises(ValueError, match=message):
            step_core(rows, ids, gradients, Step(**{"optimizer": "sgd", **change}))
    with pytest.raises(ValueError, match="gradients"):
        step_core(rows, ids, gradients[:3], Step("sgd"))
    with pytest.raises(ValueError, match="elements"):
        _core.trained_rows_gather(("f32", 8, rows.elements, None, None, None), ids, gradients)
    with pytest.raises(ValueError, match="scales must not be null"):
        _core.trained_rows_gather(("int8", 8, rows.elements, None, None, None), ids, gradients)
    with pytest.raises(ValueError, match="row_state must not be null"):
        table = ("int8", 8, rows.elements, rows.scales, None, None)
        _core.trained_rows_step(table, ids, gradients, *Step("rowwise_adagrad").arguments)
    with pytest.raises(ValueError, match="share memory"):
        step_core(rows, ids, rows.element_state[:4], Step("adagrad"))


def test_formats_are_as_the_reference_packs_them(rng):
    for format in BITS:
        rows = Rows.random(rng, format, 20, 7)
        codes = unpacked(rows.elements, format, 7)
        np.testing.assert_array_equal(packed(codes, format), rows.elements)


@pytest.mark.parametrize("dimension", [4, 7])
def test_codes_of_four_bits_lie_as_in_a_store(dimension, rng):
    rows = Rows.random(rng, "int4", 20, dimension)
    step_core(rows, np.arange(20), rng.standard_normal((20, dimension)).astype(F), Step("sgd"))
    codes = unpacked(rows.elements, "int4", dimension).astype(np.int64) + 8
    table = ec.uniform(codes, rows.scales, rows.scales * F(-8), bits=4)
    np.testing.assert_array_equal(table.decode(), rows.values)
    (stored,) = [np.asarray(memory) for name, _, _, memory in _core.arrays(table) if name == "rows"]
    np.testing.assert_array_equal(stored.reshape(20, -1)[:, : rows.elements.shape[1]], rows.elements)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(sorted(BITS)),
    st.sampled_from(["nearest", "stochastic"]),
    st.sampled_from([1, 2, 3, 15, 16, 17, 33, 64]),
    st.integers(1, 300),
    st.sampled_from([np.int32, np.int64]),
    st.sampled_from([None, 0.0, 0.01, 10.0]),
    st.integers(0, 2**32),
)
def test_rows_are_written_as_those_of_the_reference(format, rounding, dimension, rows, kind, rate, seed):
    rng = np.random.default_rng(seed)
    found = Rows.random(rng, format, rows, dimension)
    expected = found.copy()
    ids = np.flatnonzero(rng.random(rows) < 0.7).astype(kind)
    values = (found.values[ids] + rng.standard_normal((len(ids), dimension)) * 10.0 ** rng.integers(-3, 1)).astype(F)
    slopes = None
    if rate is not None and found.scales is not None:
        slopes = rng.standard_normal((len(ids), dimension)).astype(F)
        slopes[rng.random(len(ids)) < 0.1] = 0
    how = rounding, rate or 0.0, seed, 3
    _core.trained_rows_write(found.table, ids, values, slopes, *how)
    write_rows(expected, ids, values, slopes, *how)
    assert_same(found, expected)


def test_scales_move_against_their_slopes():
    rows = Rows.random(np.random.default_rng(0), "int4", 4, 3)
    rows.scales[:] = 0.5
    # A row within its codes, whose values lie above their codes; two beyond the codes; one without slopes.
    values = np.array([[3.2, 0, 0], [6, 0, 0], [6, 0, 0], [3.2, 0, 0]], F)
    slopes = np.array([[1, 0, 0], [-1, 0, 0], [1, 0, 0], [0, 0, 0]], F)
    _core.trained_rows_write(rows.table, np.arange(4), values, slopes, "nearest", 0.01, 0, 1)
    np.testing.assert_allclose(rows.scales, [0.5 * (1 + 0.004), 0.5 * (1 + 0.07), 0.5 * (1 - 0.07), 0.5], rtol=1e-6)
    _core.trained_rows_write(rows.table, np.arange(4), values, slopes, "nearest", 1e6, 0, 1)
    np.testing.assert_allclose(rows.scales[1:3], [1.07, 0.2325], rtol=1e-6)


def test_scales_that_are_far_off_become_what_fits():
    rows = Rows.random(np.random.default_rng(0), "int8", 4, 3)
    rows.scales[:] = 0.5
    values = np.array([[200, 0, 0], [-1, 0, 0.5], [40, 0, 0], [0, 0, 0]], F)
    _core.trained_rows_write(rows.table, np.arange(4), values, np.zeros((4, 3), F), "nearest", 0.01, 0, 1)
    np.testing.assert_allclose(rows.scales, [200 / 127, 1 / 128, 0.5, 0.5], rtol=0.008)
    np.testing.assert_allclose(rows.values, values, rtol=0.003)


def test_what_can_not_be_written_writes_nothing(rng):
    rows = Rows.random(rng, "int8", 10, 8)
    before, ids, values = rows.copy(), np.arange(4), np.ones((4, 8), F)

    def refuse(
        message, ids=ids, values=values, slopes=None, table=rows.table, how=("nearest", 0.1, 0, 1), error=ValueError
    ):
        with pytest.raises(error, match=message):
            _core.trained_rows_write(table, ids, values, slopes, *how)

    refuse("id 10 at position 3", np.array([0, 1, 2, 10]), error=ec.InvalidIdError)
    refuse("ids must rise, but the one at position 2", np.array([0, 3, 3, 4]))
    refuse(
        "slopes must be finite, but the one at position 1", slopes=np.array([[0], [np.inf], [0], [0]], F).repeat(8, 1)
    )
    refuse("values must have a row", values=values[:3])
    refuse("slopes must have a row", slopes=values[:3])
    refuse("scale_rate must be finite", how=("nearest", -1.0, 0, 1))
    refuse("step must be at least 1", how=("nearest", 0.1, 0, 0))
    refuse("rounding", how=("up", 0.1, 0, 1))
    refuse("scales must not be null", table=("int8", 8, rows.elements, None, None, None))
    refuse("share memory", values=rows.element_state[:4])
    floats = Rows.random(rng, "f16", 10, 8)
    refuse("slopes are for rows of codes", slopes=values, table=floats.table)
    assert_same(rows, before)
