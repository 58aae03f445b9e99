"""Tables with an optimizer of their own, which train in the form in which they are stored."""

import copy
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint
from trained_rows_reference import Rows, Step, take_step

import embedcompress as ec
from embedcompress import training

METHODS = ("full", "int8", "int16")
OPTIMIZERS = (
    training.SGD(0.5),
    training.Adagrad(0.1, weight_decay=0.01),
    training.RowwiseAdagrad(0.1),
    training.RowwiseAdam(0.05, betas=(0.8, 0.95)),
)
ROWS, DIMENSION = 90, 7


def make(method="int8", optimizer=OPTIMIZERS[2], **options):
    return training.embedding(method, ROWS, DIMENSION, budget=1.0, optimizer=optimizer, **options)


def rows_of(module):
    """The same table for the reference."""
    fused = module.fused
    state = fused.element_state, fused.row_state
    state = [np.zeros(0, np.float32) if one is None else one.numpy().copy() for one in state]
    scales = None if fused.scales is None else fused.scales.numpy().copy()
    elements = fused.elements.view(torch.uint8).numpy().copy()
    return Rows(fused.form, module.embedding_dim, elements, scales, *state)


def train(module, steps, seed=0):
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        ids = torch.randint(0, ROWS, (40, 3), generator=random)
        (module(ids) - 0.1).square().sum().backward()


def values(module):
    return module.freeze().decode()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda one: one.name)
def test_backward_is_a_step_of_the_reference(method, optimizer, rng):
    module = make(method, optimizer, seed=3)
    expected = rows_of(module)
    for number in range(1, 4):
        ids = rng.integers(0, ROWS, (20, 4))
        slopes = rng.standard_normal((20, 4, DIMENSION)).astype(np.float32)
        (module(torch.from_numpy(ids)) * torch.from_numpy(slopes)).sum().backward()
        name, rounding, *numbers = optimizer.numbers()
        take_step(expected, ids.ravel(), slopes.reshape(-1, DIMENSION), Step(name, rounding, *numbers, 3, number))
    for one, other in zip(rows_of(module).arrays, expected.arrays, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(module.eval()(torch.arange(ROWS)).numpy(), expected.values)
    np.testing.assert_array_equal(values(module), expected.values)


@pytest.mark.parametrize("method", METHODS)
def test_it_starts_as_the_table_that_torch_trains(method):
    options = {} if method == "full" else {"scope": "row"}
    plain = training.embedding(method, 3000, 500, budget=1.0, seed=4, **options)
    fused = training.embedding(method, 3000, 500, budget=1.0, seed=4, optimizer=training.SGD(0.1))
    np.testing.assert_array_equal(values(fused), values(plain))
    assert fused.stored_bytes == plain.stored_bytes == fused.freeze().stored_bytes


@pytest.mark.parametrize(
    ("own", "torchs"),
    [
        (training.SGD(0.01), lambda parameters: torch.optim.SGD(parameters, lr=0.01)),
        (training.Adagrad(0.1), lambda parameters: torch.optim.Adagrad(parameters, lr=0.1)),
    ],
    ids=["sgd", "adagrad"],
)
@pytest.mark.parametrize("mode", [None, "sum", "mean", "max"])
def test_full_tables_learn_what_they_learn_with_torch(own, torchs, mode, rng):
    fused = make("full", own, mode=mode)
    plain = training.embedding("full", ROWS, DIMENSION, budget=1.0, mode=mode)
    optimizer = torchs(plain.parameters())
    for _ in range(10):
        ids = torch.from_numpy(rng.integers(0, ROWS, (20, 4)))
        wanted = torch.from_numpy(rng.standard_normal(DIMENSION).astype(np.float32))
        for module in (fused, plain):
            optimizer.zero_grad()
            (module(ids) - wanted).square().sum().backward()
        optimizer.step()
    np.testing.assert_allclose(values(fused), values(plain), rtol=0, atol=2e-6)


@pytest.mark.parametrize("method", METHODS)
def test_there_is_no_parameter_and_all_bytes_are_counted(method):
    module = make(method, training.RowwiseAdagrad(0.1))
    assert list(module.parameters()) == []
    each = {"full": 4, "int8": 1, "int16": 2}[method]
    scales = 0 if method == "full" else 4
    rest = sum(tensor.nbytes for tensor in module.fields.buffers())
    assert module.training_bytes == ROWS * (DIMENSION * each + scales + 4) + rest
    assert make(method, training.SGD(0.1)).training_bytes == ROWS * (DIMENSION * each + scales) + rest
    adam = make(method, training.RowwiseAdam(0.1)).training_bytes
    assert adam == ROWS * (DIMENSION * (each + 4) + scales + 4) + rest


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda one: one.name)
def test_a_state_goes_on_bit_for_bit(method, optimizer):
    module = make(method, optimizer)
    train(module, 5)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    other = make(method, optimizer, seed=0)
    other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    twin = copy.deepcopy(module)
    for one in (module, other, twin):
        train(one, 5, seed=1)
    np.testing.assert_array_equal(values(other), values(module))
    np.testing.assert_array_equal(values(twin), values(module))


def test_only_training_with_a_gradient_changes_anything():
    module = make()
    before = values(module)
    ids = torch.arange(ROWS)
    with torch.no_grad():
        assert not module(ids).requires_grad
    assert not module.eval()(ids).requires_grad
    module.train()(ids)
    np.testing.assert_array_equal(values(module), before)
    train(module, 1)
    assert (values(module) != before).any()


def test_an_invalid_id_or_gradient_changes_nothing():
    module = make()
    before, state = values(module), module.fused.row_state.clone()
    with pytest.raises(IndexError, match=f"id {ROWS} is out of range"):
        module(torch.tensor([0, ROWS]))
    rows = module(torch.arange(3))
    with pytest.raises(ValueError, match="gradients must be finite, but the one at position 0"):
        (rows * torch.nan).sum().backward()
    np.testing.assert_array_equal(values(module), before)
    assert torch.equal(module.fused.row_state, state)
    assert module.fused.steps.count == 0


@pytest.mark.filterwarnings("ignore:Using backward")
def test_backward_steps_once():
    module = make()
    loss = module(torch.arange(9)).square().sum()
    loss.backward(retain_graph=True)
    before = values(module)
    with pytest.raises(RuntimeError, match="backward runs a second time"):
        loss.backward()
    with pytest.raises(RuntimeError, match="no second derivatives"):
        module(torch.arange(9)).square().sum().backward(create_graph=True)
    np.testing.assert_array_equal(values(module), before)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_part_that_is_computed_again_steps_once(use_reentrant):
    plain, again = make(), make()
    weight = torch.ones(DIMENSION, requires_grad=True)
    ids = torch.arange(20) % 9
    (plain(ids) * weight).square().sum().backward()

    def part(scaled):
        return (again(ids) * scaled).square()

    checkpoint(part, weight, use_reentrant=use_reentrant).sum().backward()
    assert again.fused.steps.count == 1
    np.testing.assert_array_equal(values(again), values(plain))


def test_the_learning_rate_can_change():
    module = make(optimizer=training.SGD(0.5))
    module.set_learning_rate(0.0)
    assert module.optimizer == training.SGD(0.0)
    before = values(module)
    train(module, 2)
    np.testing.assert_array_equal(values(module), before)
    with pytest.raises(ValueError, match="lr must be finite and not negative"):
        module.set_learning_rate(-1.0)
    plain = training.embedding("full", ROWS, DIMENSION, budget=1.0)
    assert plain.optimizer is None
    with pytest.raises(ValueError, match="no optimizer of its own"):
        plain.set_learning_rate(0.1)


def test_what_goes_with_no_optimizer():
    with pytest.raises(ValueError, match="hash takes no optimizer; the methods that do are full, int16, int8"):
        make("hash")
    with pytest.raises(ValueError, match="scope must be 'row'"):
        make("int8", scope="table")
    with pytest.raises(ValueError, match="sparse must be False"):
        make("full", sparse=True)
    with pytest.raises(TypeError, match=r"optimizer must be training\.SGD"):
        make("full", optimizer="sgd")
    with pytest.raises(ec.BudgetError):
        training.embedding("int8", ROWS, DIMENSION, budget=0.1, optimizer=training.SGD(0.1))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: training.SGD(-1), ValueError, "lr"),
        (lambda: training.SGD("fast"), TypeError, "lr"),
        (lambda: training.Adagrad(0.1, eps=float("nan")), ValueError, "eps"),
        (lambda: training.RowwiseAdagrad(0.1, weight_decay=-1), ValueError, "weight_decay"),
        (lambda: training.RowwiseAdam(0.1, betas=(0.9, 1.0)), ValueError, "betas"),
        (lambda: training.RowwiseAdam(0.1, betas=0.9), ValueError, "betas"),
        (lambda: training.SGD(0.1, rounding="up"), ValueError, "rounding"),
    ],
)
def test_numbers_are_checked(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_it_trains_on_a_cpu_only():
    module = make().to("meta")
    with pytest.raises(ValueError, match="trains on a CPU only, not on meta"):
        module(torch.arange(3))


@pytest.mark.parametrize("has_head", [False, True])
def test_a_trainer_takes_it(has_head, tmp_path):
    head = torch.nn.Linear(DIMENSION, 1) if has_head else torch.nn.Identity()
    model = torch.nn.Sequential(make("int8"), head)

    def loss(model, ids):
        return (model(ids) - 0.3).square().mean()

    given = []

    def optimizer(parameters):
        given.append(len(parameters))
        return torch.optim.SGD(parameters, lr=0.05)

    trainer = training.Trainer(
        model,
        loss,
        epochs=3,
        head_optimizer=optimizer,
        evaluate=lambda model: -float(loss(model, torch.arange(ROWS)).detach()),
        checkpoints=tmp_path,
    )
    history = trainer.fit(lambda epoch: torch.arange(ROWS).split(10))
    assert given == ([2] if has_head else [])
    assert history[-1].score > history[0].score
    assert model[0].freeze().rows == ROWS


CONSTRUCTION = """
import resource, torch
from embedcompress import training
make = lambda rows: training.embedding("int8", rows, 16, budget=1.0, optimizer=training.RowwiseAdagrad(0.1))
make(100_000)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
module = make(8_000_000)
print(peak() - before, module.training_bytes)
"""


def test_construction_makes_nothing_else_of_the_size_of_the_table():
    done = subprocess.run([sys.executable, "-c", CONSTRUCTION], capture_output=True, text=True, check=True)
    taken, own = (int(word) for word in done.stdout.split())
    # In f32 it would have 512 MB.
    assert 0 <= own - 8_000_000 * (16 + 8) < 100
    assert taken < 1.25 * own + 32_000_000


def test_it_does_not_train_beside_a_search():
    model = torch.nn.ModuleList([make("int8"), training.embedding("autodim", ROWS, DIMENSION, budget=0.8)])

    def batches(epoch):
        return torch.arange(ROWS).split(10)

    trainer = training.Trainer(model, lambda model, ids: (model[0](ids) + model[1](ids)).square().mean())
    before = values(model[0])
    with pytest.raises(ValueError, match="would learn from validation batches"):
        trainer.fit(batches, batches)
    np.testing.assert_array_equal(values(model[0]), before)


HELD = {
    ("mde",): (0.1, 0.05, 0.07),
    ("compo", "robe", "hash", "tt", "dhe", "cafe"): (0.1, 0.085, 0.105),
    ("adapt",): (0.1, 0.1, 0.11),
    ("cce",): (0.1, 0.11, 0.12),
    ("full",): (1.0, 1, 1.001),
    ("dedup", "deeplight", "optembed"): (0.1, 1, 1.001),
    ("dpq", "mgqe", "autosrh"): (0.1, 1, 1.02),
    ("int8", "alpt"): (0.35, 1, 1.07),
    ("int16",): (1.0, 1, 1.001),
    ("autodim",): (0.35, 1.87, 1.88),
    ("pep",): (0.1, 1.99, 2.01),
}
"""What docs/training.md says that training holds: by methods, the budget, and the least and the most."""


def test_training_holds_what_the_documentation_says():
    assert {method for methods in HELD for method in methods} == {one.name for one in training.methods()}
    counts = np.arange(100_000)[::-1].copy()
    for methods, (budget, least, most) in HELD.items():
        for method in methods:
            table = training.embedding(method, 100_000, 16, budget=budget, counts=counts)
            assert least <= table.training_bytes / 6_400_000 <= most, method
    for method, share in (("int8", 0.375), ("int16", 0.625)):
        table = training.embedding(method, 100_000, 16, budget=1.0, optimizer=training.RowwiseAdagrad(0.05))
        assert share <= table.training_bytes / 6_400_000 < share + 0.001
