"""Methods whose arrays of rows have an optimizer of their own, beside the same ones with an optimizer of torch."""

import copy
import io

import numpy as np
import pytest
import torch

import embedcompress as ec
from embedcompress import training
from embedcompress.training._fused import FusedRows
from embedcompress.training._rows import ParameterRows
from embedcompress.training.methods import tt

torch.set_num_threads(1)

FIELDS, DIMENSION = (7, 1500, 400), 8
ROWS = sum(FIELDS)
COUNTS = np.random.default_rng(5).zipf(1.3, ROWS).clip(max=10_000)
METHODS = {
    "full": {"budget": 1.0},
    "hash": {},
    "adapt": {},
    "dedup": {},
    "cafe": {"tracking": "exact"},
    "compo": {},
    "mde": {},
    "tt": {"budget": 0.5},
    "cce": {},
    "robe": {},
}
"""With what makes some rows of small tables plain, and others not."""
VARIANTS = [
    *METHODS.items(),
    ("compo", {"operation": "sum"}),
    ("robe", {"block": 3, "signs": True}),
    ("robe", {"block": 1}),
    ("robe", {"own": 0.4}),
    ("mde", {"widths": "powers"}),
    ("cafe", {"tracking": "sketch"}),
]
OPTIMIZERS = (
    training.SGD(0.02, weight_decay=0.01),
    training.Adagrad(0.1),
    training.RowwiseAdagrad(0.1, weight_decay=0.01),
    training.RowwiseAdam(0.05, betas=(0.8, 0.95)),
)


def make(name, **options):
    options = METHODS[name] | {"fields": FIELDS, "budget": 0.3, "counts": COUNTS} | METHODS[name] | options
    return training.embedding(name, sum(options["fields"]), DIMENSION, **options).train()


def batches(count, seed=0, rows=ROWS):
    """Ids of which some come often, and the slopes of a loss by their rows."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        ids = random.integers(0, rows, (40, 3)) // random.integers(1, 30, (40, 3))
        slopes = random.standard_normal((40, 3, DIMENSION)).astype(np.float32)
        yield torch.from_numpy(ids), torch.from_numpy(slopes)


def train(module, steps, seed=0):
    for ids, slopes in batches(steps, seed, module.num_embeddings):
        (module(ids) * slopes).sum().backward()
        module.before_step()
        module.after_step()


def arrays_of(module):
    return {name: part for name, part in module.named_modules() if isinstance(part, (FusedRows, ParameterRows))}


class Slow:
    """The rule of an optimizer, in f64, for the rows that a sparse gradient has."""

    def __init__(self, rows, optimizer):
        self.rows, self.optimizer, self.steps = rows, optimizer, 0
        self.of_elements = torch.zeros(rows.elements.shape, dtype=torch.float64)
        self.of_rows = torch.zeros(len(rows), dtype=torch.float64)

    @torch.no_grad()
    def step(self):
        gradient, rule = self.rows.elements.grad, self.optimizer
        if gradient is None:
            return
        self.steps += 1
        gradient = gradient.coalesce()
        ids, slopes = gradient.indices()[0], gradient.values().double()
        if self.rows.is_padded:
            slopes, ids = slopes[ids < len(self.rows) - 1], ids[ids < len(self.rows) - 1]
        before = self.rows.elements[ids].double()
        if rule.name != "rowwise_adam":
            slopes = slopes + rule.weight_decay * before
        mean = slopes.square().mean(1)
        if rule.name == "sgd":
            moved = before - rule.lr * slopes
        elif rule.name == "adagrad":
            self.of_elements[ids] += slopes.square()
            moved = before - rule.lr * slopes / (self.of_elements[ids].sqrt() + rule.eps)
        elif rule.name == "rowwise_adagrad":
            self.of_rows[ids] += mean
            moved = before - rule.lr * slopes / (self.of_rows[ids].sqrt() + rule.eps)[:, None]
        else:
            first, second = rule.betas
            self.of_elements[ids] = first * self.of_elements[ids] + (1 - first) * slopes
            self.of_rows[ids] = second * self.of_rows[ids] + (1 - second) * mean
            divisor = (self.of_rows[ids] / (1 - second**self.steps)).sqrt() + rule.eps
            moved = before - rule.lr * self.of_elements[ids] / (1 - first**self.steps) / divisor[:, None]
        self.rows.elements[ids] = moved.float()


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda one: one.name)
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_steps_are_those_of_the_rule_on_gradients_of_torch(name, options, optimizer):
    own, plain = make(name, optimizer=optimizer, **options), make(name, sparse=True, **options)
    assert own.stored_bytes == plain.stored_bytes and not list(own.parameters())
    mine, theirs = arrays_of(own), arrays_of(plain)
    assert list(mine) == list(theirs)
    slow = {key: Slow(rows, optimizer) for key, rows in theirs.items()}
    for key, rows in mine.items():
        assert torch.equal(rows.elements, theirs[key].elements)
    for number, (ids, slopes) in enumerate(batches(4)):
        plain.zero_grad()
        found = [module(ids) for module in (own, plain)]
        if number == 0:
            assert torch.equal(*found)
        for rows in found:
            (rows * slopes).sum().backward()
        for module in (own, plain):
            module.before_step()
        for one in slow.values():
            one.step()
        for module in (own, plain):
            module.after_step()
        for key, rows in mine.items():
            torch.testing.assert_close(rows.elements, theirs[key].elements.detach(), rtol=1e-4, atol=2e-5)
            if rows.row_state is not None:
                torch.testing.assert_close(rows.row_state, slow[key].of_rows.float(), rtol=1e-3, atol=1e-5)
    assert any(
        not torch.equal(rows.elements, make(name, **options).get_submodule(key).elements) for key, rows in mine.items()
    )


@pytest.mark.parametrize("name", METHODS)
def test_it_freezes_to_what_it_returns(name):
    module = make(name, optimizer=training.RowwiseAdagrad(0.1))
    train(module, 6)
    module.finish()
    module.eval()
    rows = module(torch.arange(ROWS)).numpy()
    table = module.freeze()
    np.testing.assert_allclose(table.decode(), rows, rtol=1e-6, atol=1e-6 * np.abs(rows).max())
    assert table.stored_bytes == module.stored_bytes


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda one: one.name)
def test_a_state_goes_on_bit_for_bit(name, optimizer):
    options = {"cafe": {"interval": 3}, "cce": {"interval": 3}}.get(name, {})
    module = make(name, optimizer=optimizer, **options)
    train(module, 4)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    other = make(name, optimizer=optimizer, **options)
    other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    twin = copy.deepcopy(module)
    for one in (module, other, twin):
        train(one, 4, seed=1)
        one.finish()
    for one in (other, twin):
        np.testing.assert_array_equal(one.freeze().decode(), module.freeze().decode())


def test_states_take_the_shapes_of_other_counts():
    module = make("adapt", optimizer=training.RowwiseAdam(0.1))
    train(module, 3)
    other = make("adapt", optimizer=training.RowwiseAdam(0.1), counts=np.ones(ROWS))
    other.load_state_dict(module.state_dict())
    for one in (module, other):
        train(one, 3, seed=1)
    np.testing.assert_array_equal(other.freeze().decode(), module.freeze().decode())


@pytest.mark.parametrize("name", METHODS)
def test_threads_change_nothing(name):
    found = []
    for count in (1, 2, 5):
        ec.set_num_threads(count)
        module = make(name, optimizer=training.RowwiseAdam(0.1), fields=(9000, 500), counts=np.ones(9500))
        for turn in range(2):
            ids = torch.randint(0, 9500, (9000,), generator=torch.Generator().manual_seed(turn))
            (module(ids) - 0.3).square().sum().backward()
            module.after_step()
        module.finish()
        found.append(module.freeze().decode())
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("name", METHODS)
def test_bags_move_rows_as_sums_of_rows_do(name, mode):
    pooled = make(name, optimizer=training.SGD(0.1), mode=mode)
    single = make(name, optimizer=training.SGD(0.1))
    for ids, slopes in batches(3):
        (pooled(ids) * slopes[:, 0]).sum().backward()
        rows = single(ids)
        of_bags = {"sum": rows.sum(1), "mean": rows.mean(1), "max": rows.amax(1)}[mode]
        (of_bags * slopes[:, 0]).sum().backward()
    one, other = (module.state_dict() for module in (pooled, single))
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, other[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["hash", "tt"])
def test_weights_that_learn_are_given_gradients(name):
    module = make(name, optimizer=training.SGD(0.1), mode="sum")
    ids = torch.arange(12).view(4, 3)
    weights = torch.ones(4, 3, requires_grad=True)
    module(ids, per_sample_weights=weights).sum().backward()
    torch.testing.assert_close(weights.grad, make(name)(ids).detach().sum(2))


@pytest.mark.parametrize(("name", "array"), [("compo", "remainder"), ("cce", "tables"), ("cce", "plain")])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda one: one.name)
def test_padding_never_moves(name, array, optimizer):
    module = make(name, optimizer=optimizer)
    rows = module.get_submodule(array)
    last = rows.values()[-1].clone()
    train(module, 5)
    assert torch.equal(rows.values()[-1], last)
    assert rows.row_state is None or rows.row_state[-1] == 0
    assert not torch.equal(rows.values()[:-1], make(name).get_submodule(array).values()[:-1])


@pytest.mark.parametrize("name", METHODS)
def test_two_calls_in_a_graph_are_steps_by_the_gradients_of_both(name):
    """The second call's backward comes first; what the first one multiplies with is what it read."""
    module, plain = make(name, optimizer=training.SGD(0.1)), make(name, sparse=True)
    (first, slopes), (second, others) = batches(2)
    slow = [Slow(rows, training.SGD(0.1)) for rows in arrays_of(plain).values()]
    for one in (module, plain):
        ((one(first) * slopes).sum() + (one(second) * others).sum()).backward()
    for one in slow:
        one.step()
    for key, rows in arrays_of(module).items():
        torch.testing.assert_close(
            rows.values(), plain.get_submodule(key).values(), rtol=1e-5, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}"
        )


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("name", METHODS)
def test_backward_steps_once(name):
    module = make(name, optimizer=training.RowwiseAdagrad(0.1))
    loss = module(torch.arange(0, ROWS, 9)).square().sum()
    loss.backward(retain_graph=True)
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(RuntimeError, match="backward runs a second time"):
        loss.backward()
    with pytest.raises(RuntimeError, match="no second derivatives"):
        module(torch.arange(0, ROWS, 9)).square().sum().backward(create_graph=True)
    with pytest.raises(ValueError, match="must be finite"):
        (module(torch.arange(0, ROWS, 9)) * torch.nan).sum().backward()
    for key, value in module.state_dict().items():
        if isinstance(value, torch.Tensor) and "tracked" not in key:
            assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", METHODS)
def test_only_training_with_a_gradient_changes_anything(name):
    module = make(name, optimizer=training.RowwiseAdagrad(0.1))
    before = copy.deepcopy(module.state_dict())
    ids = torch.arange(0, ROWS, 9)
    with torch.no_grad():
        assert not module(ids).requires_grad
    assert module(ids).requires_grad
    assert not module.eval()(ids).requires_grad
    for key, value in module.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", METHODS)
def test_all_bytes_are_counted_and_the_rate_can_change(name):
    module, plain = make(name, optimizer=training.RowwiseAdagrad(0.5)), make(name)
    rows = sum(len(one) for one in arrays_of(module).values())
    assert module.training_bytes == plain.training_bytes + 4 * rows
    module.set_learning_rate(0.0)
    assert module.optimizer == training.RowwiseAdagrad(0.0)
    before = [one.values().clone() for one in arrays_of(module).values()]
    (module(torch.arange(ROWS)) - 1).square().sum().backward()
    assert all(map(torch.equal, before, [one.values() for one in arrays_of(module).values()]))


@pytest.mark.parametrize("name", METHODS)
def test_a_trainer_takes_it_and_goes_on_bit_for_bit(name, tmp_path):
    def fit(folder, stop=None):
        torch.manual_seed(3)
        model = torch.nn.Sequential(make(name, optimizer=training.RowwiseAdagrad(0.1)), torch.nn.Linear(DIMENSION, 1))
        trainer = training.Trainer(
            model,
            lambda model, ids: (model(ids) - 0.3).square().mean(),
            epochs=2,
            checkpoints=folder,
            checkpoint_steps=3,
            progress=lambda step, total: step != stop,
        )
        given = lambda epoch: torch.randint(0, ROWS, (8, 50), generator=torch.Generator().manual_seed(epoch))  # noqa: E731
        trainer.fit(given)
        return model

    whole = fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "part", stop=7)
    again = fit(tmp_path / "part")
    np.testing.assert_array_equal(again[0].freeze().decode(), whole[0].freeze().decode())
    assert torch.equal(again[1].weight, whole[1].weight)


def test_cafe_sees_gradients_and_copies_rows():
    module = make("cafe", optimizer=training.RowwiseAdagrad(0.1), interval=1, counts=None)
    shared = module.weight.values()[module._shared_place(torch.tensor([5]))].clone()
    (module(torch.tensor([5, 5, 9])) * torch.tensor([[3.0], [1.0], [0.5]])).sum().backward()
    assert float(module.tracked.score.max()) == pytest.approx(4 * DIMENSION**0.5)
    moved = module.weight.values()[module._shared_place(torch.tensor([5]))].clone()
    assert not torch.equal(moved, shared)
    state = module.weight.row_state.clone()
    module.after_step()
    place = module.tracked.places(torch.tensor([5]))
    assert int(place) >= 0
    assert torch.equal(module.weight.values(place), moved)
    assert torch.equal(module.weight.row_state, state), "states stay with the places"


def test_cce_clusters_rows_that_have_an_optimizer():
    module = make("cce", optimizer=training.RowwiseAdagrad(0.1), interval=2, clusterings=1)
    train(module, 1)
    before, places = module.tables.row_state.clone(), module.map.clone()
    module.eval()
    module.after_step()
    assert not torch.equal(module.map, places)
    assert torch.equal(module.tables.row_state, before)
    assert not module.tables.values()[-1].any()


def test_dedup_goes_on_with_rows_without_a_state():
    module = make("dedup", optimizer=training.RowwiseAdam(0.1))
    train(module, 3)
    module.enter("tune")
    assert len(module.weight) < ROWS
    assert not module.weight.row_state.any() and not module.weight.element_state.any()
    assert len(module.weight.row_state) == len(module.weight) and module.weight.steps.count == 0
    train(module, 2)
    assert module.weight.row_state.any()


def test_tt_learns_by_torch_what_it_learns_by_the_core(monkeypatch):
    found = []
    for is_ours in (True, False):
        monkeypatch.setattr(tt, "takes", lambda rows, is_ours=is_ours: is_ours)
        module = make("tt", optimizer=training.RowwiseAdagrad(0.1))
        train(module, 4)
        found.append(module.freeze().decode())
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-5)


def test_what_goes_with_no_optimizer():
    names = "adapt, alpt, cafe, cce, compo, dedup, full, hash, int16, int4, int8, mde, robe, tt"
    for name in ("dpq", "dhe", "mgqe", "autodim", "optembed", "pep", "deeplight", "autosrh"):
        with pytest.raises(ValueError, match=f"{name} takes no optimizer; the methods that do are {names}"):
            training.embedding(name, ROWS, DIMENSION, budget=0.5, counts=COUNTS, optimizer=training.SGD(0.1))
    with pytest.raises(ValueError, match="sparse must be False"):
        make("hash", optimizer=training.SGD(0.1), sparse=True)
    with pytest.raises(ec.BudgetError):
        make("compo", optimizer=training.SGD(0.1), budget=1000)


def test_widths_that_a_batch_lacks_take_part_in_its_step():
    """So that optimizers that count steps count the same ones everywhere."""
    sizes = (8, 500, 4000)
    own = training.RowwiseAdam(0.1)
    module = training.embedding("mde", sum(sizes), 16, budget=0.1, fields=sizes, optimizer=own)
    assert len(module.widths) > 1
    steps = [part.steps for part in module.modules() if isinstance(part, FusedRows)]
    for number in range(1, 4):
        before = [rows.elements.clone() for rows in module.tables]
        module(torch.tensor([600, 4000])).sum().backward()
        assert [one.count for one in steps] == [number] * len(steps)
        assert sum(not torch.equal(one, rows.elements) for one, rows in zip(before, module.tables, strict=True)) == 1
