"""What is special to AutoDim: candidates, batch norm by field, temperatures, and the choice of columns for a budget."""

import itertools

import numpy as np
import pytest
import torch
from test_training_methods import rows_of, trained

import embedcompress as ec
from embedcompress import training
from embedcompress.training._by_field import ByField
from embedcompress.training._widths import candidates_of, field_bytes, most_probable

torch.set_num_threads(1)
FIELDS = (100, 3, 60)


def make(budget=0.5, fields=FIELDS, dimension=8, **options):
    return training.embedding("autodim", sum(fields), dimension, budget=budget, fields=fields, **options)


def test_candidates():
    assert [candidates_of(d) for d in (1, 2, 3, 16, 20)] == [[1], [2], [2, 3], [2, 4, 8, 16], [2, 4, 8, 16, 20]]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_products_by_field(count):
    random = torch.Generator().manual_seed(count)
    rows, matrices = torch.randn(count, 3, generator=random), torch.randn(5, 3, 4, generator=random)
    # Of field 2 there are none.
    field = torch.tensor([0, 1, 3, 4])[torch.randint(0, 4, (count,), generator=random)]
    batch = ByField(field, 5)
    found = batch.product(rows, matrices)
    torch.testing.assert_close(found, torch.einsum("ni,nio->no", rows, matrices[field]))
    tiles = batch.tiled(rows)
    assert torch.equal(batch.untiled(tiles), rows)
    torch.testing.assert_close(batch.sums(tiles.sum(1)), torch.zeros(5, 3).index_add(0, field, rows))


def test_a_row_alone_in_its_field_is_normed_to_zero():
    """It has no variance, and a division by its deviation must not make numbers of rounding errors."""
    module = make(fields=(5, 40)).train()
    rows = module(torch.tensor([3, 10, 11, 12, 12]))
    assert not rows[0].any()
    assert rows[1:].any()
    before = module.mean.clone()
    assert module.eval()(torch.tensor([3])).any()
    assert torch.equal(module.mean, before)


@pytest.mark.parametrize("seed", range(20))
def test_choice_is_close_to_the_best(seed):
    random = np.random.default_rng(seed)
    sizes = random.integers(2, 2000, 5)
    prices = [[field_bytes(int(size), width, 16) for width in (2, 4, 8, 16)] for size in sizes]
    scores = np.log(random.dirichlet(np.ones(4), 5)).tolist()
    low, high = sum(map(min, prices)), sum(map(max, prices))
    for budget in (low, (3 * low + high) // 4, (low + high) // 2, high):
        chosen = most_probable(scores, prices, budget)
        assert sum(prices[f][k] for f, k in enumerate(chosen)) <= budget
        value = sum(scores[f][k] for f, k in enumerate(chosen))
        every = [
            sum(scores[f][k] for f, k in enumerate(choice))
            for choice in itertools.product(range(4), repeat=5)
            if sum(prices[f][k] for f, k in enumerate(choice)) <= budget
        ]
        assert value >= max(every) - 1.5
        if budget == high:
            assert value == pytest.approx(max(every))


def test_equal_choices_take_what_the_budget_has():
    prices = [[field_bytes(1000, width, 16) for width in (2, 4, 8, 16)]] * 3
    scores = [[0.0] * 4] * 3
    assert most_probable(scores, prices, 3 * prices[0][3]) == [3, 3, 3]
    assert sorted(most_probable(scores, prices, prices[0][3] + 2 * prices[0][1])) == [1, 1, 3]
    assert most_probable(scores, prices, 3 * prices[0][0]) == [0, 0, 0]


def test_batch_norm_is_that_of_torch_in_each_field():
    module = make().train()
    ids = torch.arange(163).repeat_interleave(2)[torch.randperm(326, generator=torch.Generator().manual_seed(0))]
    for _ in range(3):
        module(ids)
    first = 0
    for candidate, width in enumerate(module.candidates):
        for field, start, end in ((0, 0, 100), (1, 100, 103), (2, 103, 163)):
            norm = torch.nn.BatchNorm1d(8, affine=False)
            wide = module.table[ids[(ids >= start) & (ids < end)], first : first + width]
            for _ in range(3):
                norm(wide @ module.matrix[field, first : first + width])
            torch.testing.assert_close(module.mean[field, candidate], norm.running_mean)
            torch.testing.assert_close(module.variance[field, candidate], norm.running_var)
        first += width


@pytest.mark.parametrize("tables", ["own", "shared"])
def test_retraining_goes_on_where_the_search_was(tables):
    """With alpha sure of its choice, rows are the same before and after."""
    module = make(budget=0.8, tables=tables, anneal_steps=3)
    module.train()
    for _ in range(3):
        module(torch.arange(163))
        module.after_step()
    assert module.temperature == 0.01
    with torch.no_grad():
        module.alpha[torch.arange(3), torch.tensor([1, 0, 2])] = 20
    before = rows_of(module.eval())
    module.enter("retrain")
    # The small field stays as it is, for a matrix would be larger.
    assert module.dims == [4, 8, 8]
    np.testing.assert_allclose(rows_of(module), before, rtol=1e-4, atol=1e-5)
    module.finish()
    assert module.stored_bytes == module.freeze().stored_bytes == 4 * (100 * 4 + 4 * 8 + 8 + 3 * 8 + 60 * 8)


def test_tables_of_a_search():
    assert make().table.shape == (163, 2 + 4 + 8)
    assert make(tables="shared").table.shape == (163, 8)


def test_noise_is_drawn_anew_and_goes_on_from_a_state():
    module = make().train()
    ids = torch.arange(163)
    first, second = module(ids), module(ids)
    assert not torch.equal(first, second)
    fresh = make().train()
    fresh.load_state_dict(module.state_dict())
    torch.testing.assert_close(fresh(ids), module(ids))
    noise = torch.stack([module.noise(draw) for draw in range(3000)])
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.03)
    assert float(noise.var()) == pytest.approx(np.pi**2 / 6, abs=0.08)


def test_alpha_is_searched_and_then_gone():
    module = make()
    assert module.architecture_parameters()[0] is module.alpha
    assert all(parameter is not module.alpha for parameter in module.weight_parameters())
    module.enter("retrain")
    assert not module.architecture_parameters()
    assert {name for name, _ in module.named_parameters()} == {"matrix", "flat", "bias"}


@pytest.mark.parametrize("budget", [0.4, 0.5, 0.7, 1.0])
def test_keeps_to_budgets(budget):
    module = trained(make(budget=budget, fields=(300, 300, 20)))
    assert module.freeze().stored_bytes == module.stored_bytes <= module.spec.budget


def test_refuses_less_than_the_fewest_columns():
    floor = 4 * (300 * 2 + 2 * 8 + 8) + 4 * 3 * 8
    with pytest.raises(ec.BudgetError, match=f"the least it can reach is {floor} bytes"):
        make(budget=floor - 1, fields=(300, 3))
    assert make(budget=floor, fields=(300, 3)).planned.stored_bytes == floor


@pytest.mark.parametrize(("options", "word"), [({"tables": "two"}, "tables"), ({"anneal_steps": 0}, "anneal_steps")])
def test_bad_options(options, word):
    with pytest.raises(ValueError, match=f": {word} must be"):
        make(**options)
