"""ALPT with an optimizer of its own: codes and scales that are learnt in a second pass, beside a slow reference."""

import copy
import io

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint
from trained_rows_reference import F, Rows, Step, take_step, write_rows

import embedcompress as ec
from embedcompress import training

ROWS, DIMENSION = 60, 18
OPTIMIZERS = (
    training.SGD(0.5, weight_decay=0.01),
    training.Adagrad(0.1),
    training.RowwiseAdagrad(0.1, rounding="nearest"),
    training.RowwiseAdam(0.05),
)


def make(bits=4, optimizer=OPTIMIZERS[2], rows=ROWS, dimension=DIMENSION, **options):
    options = {"bits": bits, "reach": 0.2, "scale_rate": 0.02} | options
    return training.embedding("alpt", rows, dimension, budget=1.0, seed=3, optimizer=optimizer, **options)


def values(module):
    return module.freeze().decode()


def rows_of(module):
    fused = module.fused
    states = [np.zeros(0, F) if one is None else one.numpy().copy() for one in (fused.element_state, fused.row_state)]
    elements = fused.elements.view(torch.uint8).numpy().copy()
    return Rows(fused.form, module.embedding_dim, elements, fused.scales.numpy().copy(), *states)


def loss_of(module, ids, wanted=0.3):
    return (module(ids) - wanted).square().sum()


def train(module, steps, seed=0):
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        ids = torch.randint(0, ROWS, (20, 3), generator=random)
        loss_of(module, ids).backward()
        training.second_pass(module, lambda ids=ids: loss_of(module, ids))


def reference_step(rows, ids, slopes_of, optimizer, passes, number):
    """Algorithm 1, a row at a time; `slopes_of` gives the gradients of (n, d) rows."""
    name, rounding, *numbers = optimizer.numbers()
    floats = Rows("f32", rows.dimension, rows.values.view(np.uint8).copy(), None, rows.element_state, rows.row_state)
    slopes = slopes_of(rows.values[ids])
    take_step(floats, ids, slopes, Step(name, rounding, *numbers, 3, number))
    distinct = np.unique(ids)
    moved = floats.values[distinct]
    if passes == 2:
        limit = F(128 if rows.format == "int8" else 8)
        scales = rows.scales[distinct, None]
        nearest = np.minimum(np.maximum(np.rint(moved / scales), -limit), limit - 1) * scales
        slopes = slopes_of(nearest[np.searchsorted(distinct, ids)])
    sums = np.zeros_like(moved)
    for position, row in enumerate(np.searchsorted(distinct, ids)):
        sums[row] += slopes[position]
    write_rows(rows, distinct, moved, sums, rounding, 0.02, 3, number)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda one: one.name)
def test_steps_are_those_of_the_reference(bits, passes, optimizer, rng):
    module = make(bits, optimizer, passes=passes)
    expected, first = rows_of(module), module.fused.scales.clone()
    for number in range(1, 6):
        ids = rng.integers(0, ROWS, 40)
        wanted = rng.standard_normal(DIMENSION).astype(F)
        batch = torch.from_numpy(ids), torch.from_numpy(wanted)

        def loss(batch=batch):
            return loss_of(module, *batch)

        loss().backward()
        training.second_pass(module, loss)
        reference_step(expected, ids, lambda rows, wanted=wanted: 2 * (rows - wanted), optimizer, passes, number)
    for one, other in zip(rows_of(module).arrays, expected.arrays, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (module.fused.scales != first).any()
    np.testing.assert_array_equal(module.eval()(torch.arange(ROWS)).numpy(), expected.values)
    np.testing.assert_array_equal(values(module), expected.values)
    assert module.freeze().stored_bytes == module.stored_bytes


@pytest.mark.parametrize("passes", [1, 2])
def test_threads_change_nothing(passes):
    found = []
    for threads in (1, 2):
        ec.set_num_threads(threads)
        torch.set_num_threads(threads)
        module = make(rows=9000, optimizer=training.RowwiseAdagrad(0.1), passes=passes)
        for turn in range(3):
            ids = torch.randint(0, 9000, (9000,), generator=torch.Generator().manual_seed(turn))
            loss_of(module, ids).backward()
            training.second_pass(module, lambda ids=ids, module=module: loss_of(module, ids))
        found.append((values(module), module.fused.scales.numpy()))
    ec.set_num_threads(2)
    torch.set_num_threads(1)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_state_goes_on_bit_for_bit(passes):
    module = make(passes=passes)
    train(module, 5)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    assert len(file.getvalue()) < ROWS * (DIMENSION // 2 + 8) + 8_000
    other = make(passes=passes)
    other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    twin = copy.deepcopy(module)
    for one in (module, other, twin):
        train(one, 5, seed=1)
    np.testing.assert_array_equal(values(other), values(module))
    np.testing.assert_array_equal(values(twin), values(module))


def test_without_the_second_pass_all_else_is_an_error():
    module, ids = make(), torch.arange(9)
    loss_of(module, ids).backward()
    for call in (
        lambda: module(ids),
        lambda: module.eval()(ids),
        module.freeze,
        module.state_dict,
    ):
        with pytest.raises(RuntimeError, match=r"wait for their second pass: call training\.second_pass"):
            call()
    training.second_pass(module.train(), lambda: loss_of(module, ids))
    assert module.freeze().rows == ROWS


def test_a_second_pass_that_fails_can_be_taken_again():
    module, twin, ids = make(), make(), torch.arange(9)
    for one in (module, twin):
        loss_of(one, ids).backward()

    def fails():
        loss_of(module, ids)
        raise OSError("no batch")

    with pytest.raises(OSError, match="no batch"):
        training.second_pass(module, fails)
    with pytest.raises(ValueError, match="gradients of the second pass must be finite"):
        training.second_pass(module, lambda: loss_of(module, ids) * torch.nan)
    with pytest.raises(RuntimeError, match="wait for their second pass"):
        module(ids)
    for one in (module, twin):
        training.second_pass(one, lambda one=one: loss_of(one, ids))
    np.testing.assert_array_equal(values(module), values(twin))


def test_a_loss_without_the_rows_is_an_error_and_none_does_without():
    module, twin, ids = make(), make(), torch.arange(9)
    for one in (module, twin):
        loss_of(one, ids).backward()
    other = torch.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="does not depend on any of the rows"):
        training.second_pass(module, lambda: other.sum())
    scales = module.fused.scales.clone()
    training.second_pass(module, None)
    assert torch.equal(module.fused.scales, scales)
    assert module.freeze().rows == ROWS
    training.second_pass(twin, lambda: loss_of(twin, ids))
    assert not torch.equal(twin.fused.scales, scales)


@pytest.mark.parametrize("fails", ["gradient", "begin"])
def test_a_table_that_fails_leaves_no_other_one_behind(fails, monkeypatch):
    model, ids = torch.nn.ModuleList([make(), make()]), torch.arange(9)
    expected = copy.deepcopy(model)

    def loss(one):
        return loss_of(one[0], ids) + loss_of(one[1], ids)

    loss(model).backward()
    loss(expected).backward()
    with monkeypatch.context() as patch:
        if fails == "begin":
            patch.setattr(model[1], "begin_second_pass", lambda: 1 / 0)
        with pytest.raises((ValueError, ZeroDivisionError)):
            training.second_pass(model, lambda: loss_of(model[0], ids) * torch.nan + loss_of(model[1], ids))
    for table in model:
        with pytest.raises(RuntimeError, match="wait for their second pass"):
            table(ids)
    for one in (model, expected):
        training.second_pass(one, lambda one=one: loss(one))
    for table, twin in zip(model, expected, strict=True):
        np.testing.assert_array_equal(values(table), values(twin))


def test_a_state_that_is_loaded_ends_a_step():
    module, ids = make(), torch.arange(9)
    state = copy.deepcopy(module.state_dict())
    loss_of(module, ids).backward()
    module.load_state_dict(state)
    np.testing.assert_array_equal(values(module), values(make()))


def test_the_second_pass_moves_scales_only():
    model = torch.nn.Sequential(make(), torch.nn.Linear(DIMENSION, 1))
    ids = torch.arange(30)
    model(ids).square().sum().backward()
    before = model[1].weight.grad.clone()
    calls = []

    def loss():
        calls.append(1)
        return model(ids).square().sum()

    training.second_pass(model, loss)
    assert calls == [1]
    assert torch.equal(model[1].weight.grad, before)
    training.second_pass(model, loss)
    training.second_pass(model[1], loss)
    assert calls == [1], "nothing waits"


def test_rows_that_only_one_of_the_passes_has():
    module, other = make(), make()
    for one, again in ((module, torch.arange(5, 20)), (other, torch.arange(5, 10))):
        loss_of(one, torch.arange(10)).backward()
        training.second_pass(one, lambda one=one, again=again: loss_of(one, again))
    np.testing.assert_array_equal(values(module), values(other))
    scales = module.fused.scales
    assert (scales[:5] == scales[30]).all() and (scales[5:10] != scales[30]).all()
    empty = torch.empty(0, dtype=torch.int64)
    loss_of(module, empty).backward()
    training.second_pass(module, lambda: loss_of(module, empty))
    np.testing.assert_array_equal(values(module), values(other))


@pytest.mark.parametrize("passes", [1, 2])
def test_several_calls_of_a_step(passes):
    """Rows of the second call go on from where the first has moved them; in the second pass slopes are added up."""
    module, other = (make(optimizer=training.SGD(0.05), passes=passes, scale_rate=0.0) for _ in range(2))
    ids = torch.arange(8), torch.arange(4, 12)

    def loss(one):
        return loss_of(one, ids[0]) + loss_of(one, ids[1])

    loss(module).backward()
    training.second_pass(module, lambda: loss(module))
    loss_of(other, torch.cat(ids)).backward()
    training.second_pass(other, lambda: loss_of(other, torch.cat(ids)))
    # Both are off by up to a code: they are rounded at random, once or twice.
    assert np.abs(values(module) - values(other)).max() <= 2.001 * float(other.fused.scales[0])
    assert np.abs(values(module) - 0.3)[4:8].mean() < np.abs(values(make()) - 0.3)[4:8].mean()


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_part_that_is_computed_again_steps_once(use_reentrant):
    plain, again = make(), make()
    weight = torch.ones(DIMENSION, requires_grad=True)
    ids = torch.arange(20) % 9
    (plain(ids) * weight).square().sum().backward()
    training.second_pass(plain, lambda: (plain(ids) * weight).square().sum())
    checkpoint(lambda scaled: (again(ids) * scaled).square(), weight, use_reentrant=use_reentrant).sum().backward()
    training.second_pass(again, lambda: (again(ids) * weight).square().sum())
    np.testing.assert_array_equal(values(again), values(plain))


@pytest.mark.parametrize("passes", [1, 2])
def test_it_learns_rows_and_scales(passes):
    module = make(scale_rate=0.05, reach=0.1, optimizer=training.RowwiseAdagrad(0.1), passes=passes)
    train(module, 200)
    assert (module.fused.scales > 2 * 0.1 / 8).all(), "grids end before the values, and grow"
    assert np.abs(values(module) - 0.3).mean() < 0.03


@pytest.mark.parametrize("bits", [8, 4])
def test_a_trainer_takes_both_passes(bits, tmp_path):
    def fit(folder, stop=None):
        model = torch.nn.Sequential(make(bits), torch.nn.Linear(DIMENSION, 1))
        with torch.no_grad():
            model[1].weight.fill_(0.1)
            model[1].bias.zero_()
        calls = []

        def loss(model, ids):
            calls.append(ids)
            return (model(ids) - 0.3).square().mean()

        trainer = training.Trainer(
            model,
            loss,
            epochs=3,
            evaluate=lambda model: -float((model(torch.arange(ROWS)) - 0.3).square().mean().detach()),
            checkpoints=folder,
            checkpoint_steps=2,
            progress=lambda done, total: done != stop,
        )
        if stop is None:
            history = trainer.fit(lambda epoch: torch.arange(ROWS).split(10))
            assert history[-1].score > history[0].score
        else:
            with pytest.raises(KeyboardInterrupt):
                trainer.fit(lambda epoch: torch.arange(ROWS).split(10))
        return model, calls

    model, calls = fit(tmp_path / "whole")
    assert len(calls) == 2 * 3 * 6
    fit(tmp_path / "part", stop=9)
    resumed, _ = fit(tmp_path / "part")
    np.testing.assert_array_equal(values(resumed[0]), values(model[0]))


def test_ten_million_rows_take_less_than_three_tenths():
    plan = training.plan("alpt", 10_000_000, 16, budget=0.3, bits=4)
    assert plan.stored_bytes == 10_000_000 * 12 + 64
    module = make(4, training.RowwiseAdagrad(0.1), rows=100_000, dimension=16)
    assert module.training_bytes <= 0.2501 * 100_000 * 64
    fields = sum(tensor.nbytes for tensor in module.fields.buffers())
    assert module.training_bytes - fields == 100_000 * (8 + 4 + 4)


def test_what_it_does_not_take():
    with pytest.raises(ValueError, match="bits must be 8 or 4 for a table with an optimizer of its own, not 2"):
        make(2)
    with pytest.raises(ec.BudgetError, match="the least it can reach is 12064 bytes"):
        training.embedding("alpt", 1000, 16, budget=0.13, optimizer=training.SGD(0.1))
    for name, value in (("passes", 1), ("scale_rate", 0.1)):
        with pytest.raises(ValueError, match=f"{name} is for a table with an optimizer of its own"):
            training.embedding("alpt", 1000, 16, budget=0.5, **{name: value})
    with pytest.raises(ValueError, match="passes must be an integer from 1 to 2"):
        make(passes=3)
    own = training.SGD(0.1)
    assert training.embedding("alpt", 1000, 16, budget=0.3, optimizer=own).bits == 4
    assert training.plan("alpt", 1000, 16, budget=0.2, optimizer=own).knobs["bits"] == 4
    assert training.plan("alpt", 1000, 16, budget=0.2, bits=2).knobs["bits"] == 2
    assert training.plan("int8", 1000, 16, budget=0.9, optimizer=own).stored_bytes == 1000 * (16 + 8)


def test_rows_that_codes_make_no_smaller_are_floats():
    module = make(8, training.SGD(0.1), dimension=1)
    assert module.fused.form == "f32"
    loss_of(module, torch.arange(9)).backward()
    training.second_pass(module, lambda: pytest.fail("there is nothing to learn"))
    np.testing.assert_array_equal(values(module), module.eval()(torch.arange(ROWS)).numpy())
