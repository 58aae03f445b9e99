"""Tables with an optimizer of their own, which train in the form in which they are stored."""

import copy
import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint
from trained_rows_reference import Rows, Step, take_step

import embedcompress as ec
from embedcompress import training
from embedcompress.training._fused import DTYPES, FusedRows

FORMS = {
    "f32": ("full", {}),
    "bf16": ("full", {"dtype": "bf16"}),
    "f16": ("full", {"dtype": "f16"}),
    "int16": ("int16", {}),
    "int8": ("int8", {}),
    "int4": ("int4", {}),
}
"""How rows are held: the method, and its options."""
OPTIMIZERS = (
    training.SGD(0.5),
    training.Adagrad(0.1, weight_decay=0.01),
    training.RowwiseAdagrad(0.1),
    training.RowwiseAdam(0.05, betas=(0.8, 0.95)),
)
ROWS, DIMENSION = 90, 7


def make(form="int8", optimizer=OPTIMIZERS[2], **options):
    method, own = FORMS.get(form, (form, {}))
    options = own | options
    return training.embedding(method, ROWS, DIMENSION, **({"budget": 1.0, "optimizer": optimizer} | options))


def array_of(module):
    """The array of a table that is one."""
    return next(part for part in module.modules() if isinstance(part, FusedRows))


def rows_of(module):
    """The same table for the reference."""
    fused = array_of(module)
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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda one: one.name)
def test_backward_is_a_step_of_the_reference(form, optimizer, rng):
    module = make(form, optimizer, seed=3)
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


@pytest.mark.parametrize("form", FORMS)
def test_it_starts_as_the_table_that_torch_trains(form):
    method, options = FORMS[form]
    plain = training.embedding(method, 3000, 500, budget=1.0, seed=4, **({} if method == "full" else {"scope": "row"}))
    fused = training.embedding(method, 3000, 500, budget=1.0, seed=4, optimizer=training.SGD(0.1), **options)
    expected = values(plain)
    if options:
        expected = torch.from_numpy(expected).to(DTYPES[form]).float().numpy()
    np.testing.assert_array_equal(values(fused), expected)
    size = {"bf16": 2, "f16": 2}.get(form)
    assert fused.stored_bytes == fused.freeze().stored_bytes == (size * 3000 * 500 if size else plain.stored_bytes)


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


@pytest.mark.parametrize("form", FORMS)
def test_there_is_no_parameter_and_all_bytes_are_counted(form):
    module = make(form, training.RowwiseAdagrad(0.1))
    assert list(module.parameters()) == []
    each = {"f32": 28, "bf16": 14, "f16": 14, "int16": 14, "int8": 7, "int4": 4}[form]
    each += 4 if form.startswith("int") else 0
    rest = sum(tensor.nbytes for tensor in module.fields.buffers())
    assert module.training_bytes == ROWS * (each + 4) + rest
    assert make(form, training.SGD(0.1)).training_bytes == ROWS * each + rest
    assert make(form, training.RowwiseAdam(0.1)).training_bytes == ROWS * (each + DIMENSION * 4 + 4) + rest


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda one: one.name)
def test_a_state_goes_on_bit_for_bit(form, optimizer):
    module = make(form, optimizer)
    train(module, 5)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    other = make(form, optimizer, seed=0)
    other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    twin = copy.deepcopy(module)
    saved = pickle.loads(pickle.dumps(module))
    for one in (module, other, twin, saved):
        train(one, 5, seed=1)
    for one in (other, twin, saved):
        np.testing.assert_array_equal(values(one), values(module))


def test_a_copy_is_no_part_of_a_graph():
    """Also where rows are read where they lie."""
    module = make("tt", budget=0.5)
    rows = module(torch.arange(9))
    assert module.core1.uses
    twin, saved = copy.deepcopy(module), pickle.loads(pickle.dumps(module))
    rows.sum().backward()
    for one in (twin, saved):
        assert not one.core1.uses
        assert (values(one) != values(module)).any()
        train(one, 2)
    np.testing.assert_array_equal(values(twin), values(saved))


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


@pytest.mark.parametrize("method", ["full", "tt"])
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_parts_of_moved_rows_are_not_computed_again(use_reentrant, method):
    weight = torch.ones(DIMENSION, requires_grad=True)
    ids = torch.arange(20) % 9
    plain, again = (make(method, budget=0.5 if method == "tt" else 1.0) for _ in range(2))

    def part(scaled):
        return (again(ids) * scaled).square() + (again(ids + 3) * scaled).square()

    ((plain(ids) * weight).square() + (plain(ids + 3) * weight).square()).sum().backward()
    checkpoint(part, weight, use_reentrant=use_reentrant).sum().backward()
    np.testing.assert_allclose(values(again), values(plain), rtol=0, atol=1e-6)
    both = [checkpoint(part, weight, use_reentrant=use_reentrant) for _ in range(2)]
    with pytest.raises(RuntimeError, match="computed again after they have moved"):
        (both[0] + both[1]).sum().backward()
    # The next graph is another one.
    checkpoint(part, weight, use_reentrant=use_reentrant).sum().backward()


@pytest.mark.parametrize("form", FORMS)
def test_types_stay(form):
    for change, dtype in ((torch.nn.Module.half, "float16"), (torch.nn.Module.double, "float64")):
        module = change(make(form))
        for mode in (True, False):
            with pytest.raises(ValueError, match=rf"keeps its types, but its \w+ are torch\.({dtype}|b?float16)"):
                module.train(mode)(torch.arange(3))


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
    with pytest.raises(ValueError, match="dhe takes no optimizer; the methods that do are adapt, alpt, cafe, cce, "):
        make("dhe")
    with pytest.raises(ValueError, match="scope must be 'row'"):
        make("int8", scope="table")
    with pytest.raises(ValueError, match="sparse must be False"):
        make("full", sparse=True)
    with pytest.raises(TypeError, match=r"optimizer must be training\.SGD"):
        make("full", optimizer="sgd")
    with pytest.raises(ec.BudgetError):
        training.embedding("int8", ROWS, DIMENSION, budget=0.1, optimizer=training.SGD(0.1))
    for dtype in ("bf16", "f16"):
        with pytest.raises(ValueError, match=f"dtype '{dtype}' is for a table .*: give optimizer"):
            training.embedding("full", ROWS, DIMENSION, budget=1.0, dtype=dtype)
    with pytest.raises(ValueError, match="dtype must be one of 'f32', 'bf16', 'f16'"):
        make("full", dtype="f64")
    with pytest.raises(ec.BudgetError, match=f"the least it can reach is {2 * ROWS * DIMENSION} bytes"):
        make("bf16", budget=0.4)


@pytest.mark.parametrize("form", FORMS)
def test_threads_change_nothing(form, monkeypatch):
    found = []
    for threads in (1, 2):
        ec.set_num_threads(threads)
        method, options = FORMS[form]
        module = training.embedding(method, 9000, 17, budget=1.0, optimizer=training.RowwiseAdam(0.1), **options)
        for turn in range(3):
            ids = torch.randint(0, 9000, (9000,), generator=torch.Generator().manual_seed(turn))
            (module(ids) - 0.3).square().sum().backward()
        found.append(values(module))
    ec.set_num_threads(2)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dimension", [2, 17])
def test_a_table_of_one_row_and_a_batch_without_ids(form, dimension):
    method, options = FORMS[form]
    module = training.embedding(method, 1, dimension, budget=1.0, optimizer=training.SGD(0.1), **options)
    empty = module(torch.empty(0, 3, dtype=torch.int64))
    assert empty.shape == (0, 3, dimension)
    empty.sum().backward()
    for _ in range(50):
        (module(torch.zeros(2, dtype=torch.int64)) - 0.25).square().sum().backward()
    np.testing.assert_allclose(values(module), 0.25, atol=0.05)
    assert module.freeze().stored_bytes == module.stored_bytes


def test_plans_follow_the_form():
    plan = training.plan("full", 1000, 16, budget=0.5, dtype="f16", optimizer=training.SGD(0.1))
    assert plan.stored_bytes == 32_000
    assert training.plan("int4", 1000, 16, budget=0.5, scope="row").stored_bytes == 1000 * (8 + 8)
    with pytest.raises(ec.BudgetError):
        training.plan("full", 1000, 16, budget=0.5)


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
@pytest.mark.parametrize("form", FORMS)
def test_a_trainer_takes_it(form, has_head, tmp_path):
    head = torch.nn.Linear(DIMENSION, 1) if has_head else torch.nn.Identity()
    model = torch.nn.Sequential(make(form), head)

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
import resource, sys, torch
from embedcompress import training
method, options, rows = sys.argv[1], eval(sys.argv[2]), int(sys.argv[3])
def make(rows):
    return training.embedding(method, rows, 16, budget=1.0, optimizer=training.RowwiseAdagrad(0.1), **options)
make(100_000)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
module = make(rows)
made = peak()
table = module.freeze()
print(made - before, peak() - before, module.training_bytes, table.stored_bytes)
"""


@pytest.mark.parametrize("form", [*FORMS, "alpt8", "alpt4"])
def test_construction_makes_nothing_else_of_the_size_of_the_table(form):
    method, options = FORMS.get(form, ("alpt", {"bits": int(form[-1]) if form[-1].isdigit() else None}))
    given = [sys.executable, "-c", CONSTRUCTION, method, repr(options), "5000000"]
    done = subprocess.run(given, capture_output=True, text=True, check=True)
    taken, frozen, own, stored = (int(word) for word in done.stdout.split())
    # In f32, rows and states would have 340 MB.
    assert taken < 1.25 * own
    # Beside the frozen table there are at most codes of a byte each.
    assert frozen < 1.25 * (own + stored) + 5_000_000 * 16 * (form not in ("f32", "bf16", "f16")) * (
        2 if form == "int16" else 1
    )


def test_construction_for_an_optimizer_of_torch_takes_little_more_than_the_table():
    script = CONSTRUCTION.replace("optimizer=training.RowwiseAdagrad(0.1), ", "")
    for scope in ("table", "row"):
        given = [sys.executable, "-c", script, "int8", repr({"scope": scope}), "5000000"]
        done = subprocess.run(given, capture_output=True, text=True, check=True)
        taken, frozen, own, stored = (int(word) for word in done.stdout.split())
        assert taken < 1.25 * own
        assert frozen < 1.25 * (own + stored) + 5_000_000 * 16


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
    ("dedup", "deeplight", "gmp", "optembed"): (0.1, 1, 1.001),
    ("dpq", "mgqe", "autosrh"): (0.1, 1, 1.02),
    ("int4", "int8", "alpt"): (0.35, 1, 1.07),
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
    for method, options, share in (
        ("full", {}, 1.0625),
        ("full", {"dtype": "bf16"}, 0.5625),
        ("full", {"dtype": "f16"}, 0.5625),
        ("int16", {}, 0.625),
        ("int8", {}, 0.375),
        ("alpt", {"bits": 8}, 0.375),
        ("int4", {}, 0.25),
        ("alpt", {"bits": 4}, 0.25),
    ):
        own = training.RowwiseAdagrad(0.05)
        table = training.embedding(method, 100_000, 16, budget=1.0, optimizer=own, **options)
        assert share <= table.training_bytes / 6_400_000 < share + 0.001
