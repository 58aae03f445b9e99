"""What is special to methods that prune: schedules, masks, thresholds, and how many numbers fit."""

import numpy as np
import pytest
import torch
from test_training_methods import FIELDS, rows_of, trained

import embedcompress as ec
from embedcompress import training
from embedcompress.training import _sparse

torch.set_num_threads(1)


def make(name, rows=200, dimension=8, budget=0.3, fields=None, **options):
    counts = np.random.default_rng(1).permutation(rows)
    return training.embedding(name, rows, dimension, budget=budget, counts=counts, fields=fields, **options)


@pytest.mark.parametrize("values", ["f32", "f16"])
@pytest.mark.parametrize("dimension", [3, 300])
def test_bytes_of_non_zeros_are_those_of_the_store(dimension, values):
    random = np.random.default_rng(0)
    for nonzeros in (1, 7, 40, 41, 42, 50 * dimension // 2, 50 * dimension - 1, 50 * dimension):
        flat = np.zeros(50 * dimension, np.float16 if values == "f16" else np.float32)
        flat[random.permutation(len(flat))[:nonzeros]] = 1
        matrix = flat.reshape(50, dimension)
        least = min(ec.sparse(matrix).stored_bytes, ec.dense(matrix).stored_bytes)
        assert _sparse.stored_bytes(50, dimension, nonzeros, values) == least


@pytest.mark.parametrize("ties", [False, True])
def test_mask_of_the_largest(ties):
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(50, 40, generator=random)
    if ties:
        scores = (scores * 2).round() / 2
    order = torch.sort(scores.reshape(-1), descending=True, stable=True).indices
    for count in (0, 1, 2, 333, 1000, 1999, 2000):
        wanted = torch.zeros(2000, dtype=torch.bool)
        wanted[order[:count]] = True
        torch.testing.assert_close(_sparse.largest_mask(scores, count).reshape(-1), wanted)


@pytest.mark.parametrize("name", ["deeplight", "pep", "autosrh"])
@pytest.mark.parametrize("budget", [0.02, 0.1, 0.5, 0.9, 1.0, 9])
@pytest.mark.parametrize("values", ["f32", "f16"])
def test_as_many_numbers_as_fit(name, budget, values):
    module = trained(make(name, fields=(150, 50), budget=budget, values=values))
    room, kept = module.spec.budget, module.planned.knobs["nonzeros"]
    size = _sparse.stored_bytes(200, 8, kept, values)
    assert module.freeze().stored_bytes == size == module.planned.stored_bytes <= room
    assert kept == 1600 or _sparse.stored_bytes(200, 8, kept + 1, values) > room
    np.testing.assert_array_equal(module.freeze().decode(), rows_of(module))


def test_equal_numbers_do_not_pass_the_budget():
    module = make("deeplight")
    with torch.no_grad():
        module.weight.fill_(0.25)
    module.finish()
    assert module.freeze().stored_bytes == module.planned.stored_bytes <= module.spec.budget


def test_refuses_less_than_one_number():
    with pytest.raises(ec.BudgetError, match="the least it can reach is 9 bytes"):
        make("deeplight", budget=8)


@pytest.mark.parametrize(("ratio", "kept"), [(0.5, 0.219), (0.2, 0.069), (0.1, 0.0333)])
def test_what_the_study_keeps(ratio, kept):
    plan = training.plan("deeplight", 1_000_000, 16, budget=ratio)
    assert plan.study["kept"] == pytest.approx(kept, abs=5e-4)
    assert plan.study["ratio"] == pytest.approx(ratio, abs=1e-5)
    assert plan.knobs["nonzeros"] > plan.study["kept"] * 16_000_000


def test_deeplight_prunes_by_its_schedule():
    module = make("deeplight", interval=5, decay_steps=2).train()
    module.enter("prune")
    for step in range(1, 31):
        with torch.no_grad():
            module.weight.add_(0.01 * torch.randn(200, 8, generator=torch.Generator().manual_seed(step)))
        before = module.weight.detach().clone()
        module.after_step()
        if step % 5:
            torch.testing.assert_close(module.weight.detach(), before)
            continue
        wanted = int((1600 - module.nonzeros) * (1 - 0.99 ** (step / 2)))
        zero = module.weight == 0
        assert int(zero.sum()) == wanted
        assert before[zero].abs().max() <= before[~zero].abs().min()
    fresh = make("deeplight", interval=5, decay_steps=2)
    fresh.load_state_dict(module.state_dict())
    assert fresh.steps == 30


def test_deeplight_does_not_prune_in_its_first_stage():
    module = make("deeplight")
    for _ in range(20):
        module.after_step()
    assert torch.count_nonzero(module.weight) == 1600


@pytest.mark.parametrize("granularity", ["element", "row", "dimension", "global"])
def test_pep_retrains_from_the_start_under_its_mask(granularity):
    module = make("pep", granularity=granularity)
    initial = module.weight.detach().clone()
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        module.weight.copy_(torch.randn(200, 8, generator=random))
        module.threshold.copy_(torch.randn(module.threshold.shape, generator=random))
    score = (module.weight.abs() - module.threshold.sigmoid()).detach()
    module.enter("retrain")
    assert int(module.mask.sum()) == module.nonzeros
    assert score[module.mask].min() >= score[~module.mask].max()
    torch.testing.assert_close(torch.from_numpy(rows_of(module.eval())), initial * module.mask)
    module.train()(torch.arange(200)).sum().backward()
    torch.testing.assert_close(module.weight.grad, module.mask.float())


def test_pep_shrinks_by_its_thresholds():
    module = make("pep", granularity="row")
    with torch.no_grad():
        module.weight.fill_(0.6)
        module.weight[0] = -0.6
        module.threshold.zero_()
        module.threshold[2] = 3
    rows = rows_of(module)
    np.testing.assert_allclose(rows[:3, 0], [-0.1, 0.1, 0], rtol=1e-6)


def test_autosrh_has_groups_of_ids_used_as_often():
    module = make("autosrh", groups=7)
    assert module.group.bincount().tolist() == [29, 29, 28, 29, 28, 29, 28]
    counts = torch.from_numpy(module.spec.counts)
    for group in range(6):
        assert counts[module.group == group].min() > counts[module.group == group + 1].max()
    with pytest.raises(ValueError, match="autosrh needs counts"):
        training.embedding("autosrh", 200, 8, budget=0.3)


def test_autosrh_searches_weights_of_columns():
    module = make("autosrh", l1=0.5)
    assert not module.architecture_parameters()
    module.enter("search")
    assert module.architecture_parameters()[0] is module.alpha
    assert module.weight_parameters() == [module.weight]
    torch.testing.assert_close(module.regularization(), torch.tensor(0.5 * 48))
    module.train()
    (module(torch.arange(200)).square().sum() + module.regularization()).backward()
    module.before_step()
    torch.testing.assert_close(module.alpha.grad.abs().mean(1), torch.ones(6))
    with torch.no_grad():
        module.alpha.sub_(module.alpha.grad.sign() * torch.linspace(-0.5, 1.5, 8))
    module.after_step()
    assert (module.alpha.min(), module.alpha.max()) == (0, 1)
    module.enter("retrain")
    assert not module.architecture_parameters()
    (module(torch.arange(200)).sum()).backward()
    before = rows_of(module.eval())
    module.finish()
    after = rows_of(module)
    np.testing.assert_allclose(after[after != 0], before[after != 0], rtol=1e-6)
    assert np.abs(before[after == 0]).max() <= np.abs(after[after != 0]).min()


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("deeplight", {"interval": 0}, "interval"),
        ("deeplight", {"decay_steps": 0}, "decay_steps"),
        ("deeplight", {"values": "f64"}, "values"),
        ("pep", {"granularity": "block"}, "granularity"),
        ("pep", {"initial_threshold": "low"}, "initial_threshold"),
        ("autosrh", {"groups": 0}, "groups"),
        ("autosrh", {"l1": -1}, "l1"),
    ],
)
def test_bad_options(name, options, word):
    with pytest.raises(ValueError, match=f"^{word} must be"):
        make(name, fields=FIELDS, rows=sum(FIELDS), **options)
