"""What is special to methods that prune: schedules, masks, thresholds, and how many numbers fit."""

import copy

import numpy as np
import pytest
import torch
from test_training_methods import FIELDS, rows_of, trained

import embedcompress as ec
from embedcompress import training
from embedcompress.training import _kept_rows, _sparse
from embedcompress.training._evolution import evolve
from embedcompress.training._gradual import cubic

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


@pytest.mark.parametrize("name", ["deeplight", "gmp", "pep", "autosrh"])
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


@pytest.mark.parametrize("name", ["deeplight", "gmp"])
def test_rows_are_evaluated_as_they_are_deployed(name):
    module = make(name)
    for _ in range(2):
        pruned = rows_of(module.eval())
        assert np.count_nonzero(pruned) == module.nonzeros
        np.testing.assert_array_equal(
            module.train()(torch.arange(200)).detach().numpy(), module.weight.detach().numpy()
        )
        with torch.no_grad():
            module.weight.mul_(torch.rand(200, 8, generator=torch.Generator().manual_seed(3)))
    assert torch.count_nonzero(module.weight) == 1600
    pruned = rows_of(module.eval())
    module.finish()
    np.testing.assert_array_equal(rows_of(module), pruned)


def test_deeplight_prunes_after_its_warm_up_and_before_the_steps_are_over():
    module = make("deeplight", interval=1).train()
    assert module.to_prune(100) > 0
    module.schedule(1000)
    most = 1600 - module.nonzeros
    assert (module.to_prune(0), module.to_prune(300)) == (0, 0)
    assert 0 < module.to_prune(310) < module.to_prune(400) < module.to_prune(825) == int(0.999 * most)
    fresh = make("deeplight", interval=1)
    fresh.load_state_dict(module.state_dict())
    assert fresh.to_prune(600) == module.to_prune(600)
    for step in range(825):
        assert step > 300 or torch.count_nonzero(module.weight) == 1600
        module.after_step()
    assert int((module.weight == 0).sum()) == int(0.999 * most)
    module.schedule(10**6)
    assert module.decay_steps == 100
    given = make("deeplight", decay_steps=7)
    given.schedule(1000)
    assert (given.decay_steps, given.begin) == (7, 300)


def test_the_cubic_schedule():
    assert [cubic(done) for done in (-1, 0, 0.5, 1, 2)] == [0, 0, 0.875, 1, 1]


def test_gmp_prunes_from_its_begin_to_its_end():
    module = make("gmp", interval=5, begin=0.2, end=0.6).train()
    module.schedule(100)
    for step in range(1, 101):
        with torch.no_grad():
            module.weight.add_(0.01 * torch.randn(200, 8, generator=torch.Generator().manual_seed(step)))
        before = module.weight.detach().clone()
        module.after_step()
        if step % 5 or step <= 20:
            torch.testing.assert_close(module.weight.detach(), before)
            continue
        zero = module.weight == 0
        done = min((step / 100 - 0.2) / 0.4, 1)
        assert int(zero.sum()) == int((1600 - module.nonzeros) * (1 - (1 - done) ** 3))
        assert before[zero].abs().max() <= before[~zero].abs().min()
    assert int(torch.count_nonzero(module.weight)) == module.nonzeros
    fresh = make("gmp", interval=5, begin=0.2, end=0.6)
    fresh.load_state_dict(module.state_dict())
    assert (fresh.steps, fresh.total) == (100, 100)


def test_gmp_prunes_at_the_end_where_it_does_not_know_when_that_is():
    module = make("gmp", interval=1).train()
    for _ in range(20):
        module.after_step()
    assert torch.count_nonzero(module.weight) == 1600
    module.finish()
    assert torch.count_nonzero(module.weight) == module.nonzeros


@pytest.mark.parametrize("of", [make, lambda *name, **options: training.plan(*name, 200, 8, budget=0.3, **options)])
def test_gmp_begins_before_it_ends(of):
    with pytest.raises(ValueError, match=r"gmp: begin must be below end, not 0.5 and 0.5"):
        of("gmp", begin=0.5, end=0.5)


@pytest.mark.parametrize(
    ("name", "options", "first"),
    [
        ("gmp", {}, 84),
        ("gmp", {"begin": 0.0, "end": 0.1}, 9),
        ("deeplight", {}, 83),
        ("autosrh", {"schedule": "gradual"}, 84),
        # Never as pruned as that.
        ("deeplight", {"decay_steps": 100}, 101),
    ],
)
def test_scores_count_once_pruning_has_ended(name, options, first):
    """Neither patience nor the best state goes by scores of tables that would be pruned at once."""
    module = make(name, **options)
    evaluated, states = iter(range(100, 0, -1)), []

    def evaluate(model):
        finished = copy.deepcopy(module)
        finished.finish()
        states.append(finished.weight)
        return float(next(evaluated))

    def batches(epoch):
        return torch.randint(0, 200, (100, 16), generator=torch.Generator().manual_seed(epoch))

    trainer = training.Trainer(
        module, lambda model, ids: (model(ids) - 1).square().mean(), evaluate=evaluate, evaluations=100, patience=3
    )
    history = trainer.fit(batches, batches)
    assert [one.step for one in history if one.counts] == list(range(first, min(first + 4, 101)))
    # Scores fall, so that the first one that counts is the best.
    assert torch.equal(module.weight, states[min(first, 100) - 1])
    assert len(history) == min(first + 3, 100)


def test_all_scores_of_gmp_count_where_it_prunes_at_the_end():
    module = make("gmp")
    assert module.counts_scores()
    module.schedule(100)
    assert not module.counts_scores()


def test_schedules_do_not_run_faster_beside_a_table_that_searches():
    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pruned, self.searched = make("gmp"), make("autosrh", schedule="gradual")

        def forward(self, ids):
            return self.pruned(ids) + self.searched(ids)

    model, seen = Both(), []

    def batches(epoch):
        return torch.randint(0, 200, (50, 16), generator=torch.Generator().manual_seed(epoch))

    training.Trainer(
        model,
        lambda model, ids: (model(ids) - 1).square().mean(),
        progress=lambda step, steps: seen.append((model.pruned.steps, model.searched.steps)),
    ).fit(batches, batches)
    assert seen == [(step, 2 * step) for step in range(1, 51)]


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_states_of_large_tables_go_on_with_sparse_and_with_dense_gradients(before, after):
    """A row that was pruned and moved since is not pruned again, and one that is to be pruned is."""
    rows = 20_000
    module = make("deeplight", rows=rows, interval=2, decay_steps=0.1, sparse=before).train()
    ids = torch.arange(0, rows, 3)
    for _ in range(3):
        module.weight.grad = None
        module(ids).sum().backward()
        module.before_step()
        with torch.no_grad():
            module.weight[ids] += module.threshold / 2
        module.after_step()
    wanted = module(torch.arange(rows)).detach()
    assert float(module.threshold) > 0 and int(((wanted != 0) & (wanted.abs() < module.threshold)).sum()) > 1000
    fresh = make("deeplight", rows=rows, interval=2, decay_steps=0.1, sparse=after).train()
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(fresh(torch.arange(rows)), wanted)


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.1, 0.5, 0.99, 0.999, 1.0])
def test_sampled_thresholds_are_near_the_exact_ones(share):
    values = torch.randn(1000, 2000, generator=torch.Generator().manual_seed(0))
    threshold = _sparse.sampled_threshold(values, share, torch.Generator().manual_seed(1))
    below = float((values.abs() < threshold).float().mean())
    error = (share * (1 - share) / _sparse.SAMPLE) ** 0.5
    assert share - 8 * error - 2 / _sparse.SAMPLE <= below <= share
    assert _sparse.sampled_threshold(torch.full((5, 7), 0.25), share, torch.Generator()) <= 0.25


@pytest.mark.parametrize("sparse", [False, True])
def test_deeplight_prunes_large_tables_by_samples(sparse):
    """Rows that are used have what pruning all rows at every threshold leaves; bytes at the end are exact."""
    rows = 30_000
    module = make("deeplight", rows=rows, interval=3, decay_steps=0.5, sparse=sparse).train()
    assert module.weight.numel() > _sparse.SAMPLE
    wanted = module.weight.detach().clone()
    optimizer = torch.optim.SGD([module.weight], lr=0.002)
    random = torch.Generator().manual_seed(0)
    for step in range(1, 31):
        # Some rows are used again before the next threshold, some long after.
        ids = (torch.rand(400, generator=random) ** 3 * rows).long()
        slopes = torch.randn(400, 8, generator=random)
        optimizer.zero_grad()
        found = module(ids)
        torch.testing.assert_close(found.detach(), wanted[ids])
        (found * slopes).sum().backward()
        module.before_step()
        optimizer.step()
        wanted.index_add_(0, ids, slopes, alpha=-0.002)
        module.after_step()
        if step % 3 == 0:
            wanted[wanted.abs() < module.threshold] = 0
            share = module.to_prune(step) / wanted.numel()
            error = (share * (1 - share) / _sparse.SAMPLE) ** 0.5
            assert share - 8 * error <= float((wanted == 0).float().mean()) <= share
    fresh = make("deeplight", rows=rows, interval=3, decay_steps=0.5, sparse=sparse).train()
    fresh.load_state_dict(module.state_dict())
    ids = torch.arange(rows)
    torch.testing.assert_close(fresh(ids).detach(), wanted)
    module.finish()
    assert int(torch.count_nonzero(module.weight)) == module.nonzeros
    assert module.freeze().stored_bytes == module.planned.stored_bytes <= module.spec.budget


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


@pytest.mark.parametrize("rows", [200, 20_000])
def test_pep_searches_until_it_is_as_sparse_as_the_budget_wants(rows):
    """Numbers fall below thresholds that nothing but decay raises, until those that fit are left."""
    module = make("pep", rows=rows, budget=0.2, decay=0.02).train()
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        module.weight.copy_(torch.randn(rows, 8, generator=random).exp() * 0.01)
    steps = 0
    while not module.is_over():
        module.after_step()
        steps += 1
        assert steps < 500
    assert steps % 10 == 0
    for late, compare in ((0, torch.le), (10, torch.gt)):
        threshold = torch.sigmoid(torch.tensor(-15 * 0.98 ** (steps - late)))
        passing = (module.weight.abs() > threshold).float().mean()
        # Of the large table, from a sample.
        apart = 0.005 if module.weight.numel() > _sparse.SAMPLE else 0
        wanted = module.nonzeros / module.weight.numel() + (apart if late == 0 else -apart)
        assert compare(passing, wanted)
    fresh = make("pep", rows=rows, budget=0.2, decay=0.02)
    fresh.load_state_dict(module.state_dict())
    assert fresh.is_over() and fresh.steps == steps
    ids = torch.arange(rows)
    torch.testing.assert_close(fresh(ids), module(ids))
    module.enter("retrain")
    assert module.is_over() is None


def test_pep_plans_the_decay_for_the_steps_of_its_search():
    module = make("pep")
    assert module.decay == 1e-3
    module.schedule(500)
    for _ in range(500):
        module.after_step()
    torch.testing.assert_close(module.threshold * module.shrink, torch.full((200, 8), -15 / 16), rtol=1e-4, atol=0)
    given = make("pep", decay=0.25)
    given.schedule(500)
    assert given.decay == 0.25


def test_autosrh_has_groups_of_ids_used_as_often():
    module = make("autosrh", groups=7)
    assert module.group.bincount().tolist() == [29, 29, 28, 29, 28, 29, 28]
    counts = torch.from_numpy(np.random.default_rng(1).permutation(200))
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
    before, deployed = module.products().detach().numpy(), rows_of(module.eval())
    module.finish()
    after = rows_of(module)
    np.testing.assert_allclose(after, deployed, rtol=1e-6)
    np.testing.assert_allclose(after[after != 0], before[after != 0], rtol=1e-6)
    assert np.abs(before[after == 0]).max() <= np.abs(after[after != 0]).min()


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.Adagrad])
def test_autosrh_retrains_what_it_keeps(optimizer):
    module = make("autosrh")
    with torch.no_grad():
        module.alpha.copy_(torch.rand(6, 8, generator=torch.Generator().manual_seed(1)))
    wanted = largest(module)
    module.enter("retrain")
    assert torch.equal(module.weight != 0, wanted)
    moved = optimizer([module.weight], lr=0.01)
    for _ in range(5):
        moved.zero_grad()
        (module.train()(torch.arange(200)) - 1).square().sum().backward()
        moved.step()
        module.after_step()
    assert torch.equal(module.weight != 0, wanted)
    assert np.count_nonzero(rows_of(module.eval())) == module.nonzeros


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.Adagrad])
def test_autosrh_retrains_what_it_keeps_with_a_trainer(optimizer):
    """What was pruned has moments of the search, which must not move it."""
    module = make("autosrh", rows=300, budget=0.1)
    most = []

    def see(step, steps):
        if module.stage == "retrain":
            most.append(int(torch.count_nonzero(module.weight)))

    def loss(model, ids):
        return (model(ids) - torch.sin(ids.float())[:, None]).square().mean()

    def batches(epoch):
        return torch.randint(0, 300, (20, 64), generator=torch.Generator().manual_seed(epoch))

    training.Trainer(module, loss, optimizer=lambda found: optimizer(found, lr=0.01), progress=see).fit(
        batches, lambda epoch: batches(9 + epoch)
    )
    assert len(most) == 20
    assert max(most) <= module.nonzeros


def test_autosrh_can_search_and_prune_in_one_pass():
    module = make("autosrh", schedule="gradual").train()
    assert module.stages == ("search",) and not module.is_finished
    assert module.architecture_parameters()
    with torch.no_grad():
        module.alpha.copy_(torch.rand(6, 8, generator=torch.Generator().manual_seed(1)))
    module.enter("search")
    for _ in range(30):
        module.after_step()
    assert torch.count_nonzero(module.weight) == 1600
    module.schedule(50)
    wanted = largest(module)
    # A step of weights, and one of alpha.
    for step in range(1, 101):
        module.after_step()
        done = min(max((step // 10 * 10 / 100 - 0.3) / 0.6, 0), 1)
        pruned = int((1600 - module.nonzeros) * (1 - (1 - done) ** 3))
        assert int(torch.count_nonzero(module.weight)) == pytest.approx(1600 - pruned, abs=1)
        fresh = make("autosrh", schedule="gradual")
        fresh.load_state_dict(module.state_dict())
        assert (fresh.steps, fresh.total) == (step, 100)
    assert torch.equal(module.weight != 0, wanted)


def largest(module):
    return _sparse.largest_mask(module.products().detach().abs(), module.nonzeros)


@pytest.mark.parametrize(("rows", "kept"), [(3, 1), (5, 2), (9, 9), (9, 0), (600, 500), (600, 3), (600, 599)])
@pytest.mark.parametrize("width", [1, 3, 4])
def test_kept_rows_in_the_form_of_fewest_bytes(rows, kept, width):
    random = np.random.default_rng(rows + kept)
    is_kept = np.zeros(rows, bool)
    is_kept[random.permutation(rows)[:kept]] = True
    values = random.standard_normal((kept, width)).astype(np.float32)
    table = _kept_rows.kept_rows(values, is_kept, 4)
    wanted = np.zeros((rows, 4), np.float32)
    wanted[is_kept, :width] = values
    np.testing.assert_array_equal(table.decode(), wanted)
    assert table.stored_bytes == _kept_rows.kept_bytes(rows, kept, width)
    if kept:
        inner = ec.dense(np.zeros((kept, width), np.float32))
        numbers = np.where(is_kept, np.cumsum(is_kept) - 1, -1)
        assert table.stored_bytes <= min(ec.remap(inner, map=numbers).stored_bytes, 4 * rows * width)


def test_optembed_drops_rows_by_thresholds_of_fields():
    module = make("optembed", fields=(150, 50), budget=0.9)
    norm = module.weight.detach().abs().sum(1)
    with torch.no_grad():
        module.threshold.copy_(torch.tensor([norm[:150].median(), norm[150:].min()]))
    wanted = torch.cat([norm[:150] > norm[:150].median(), norm[150:] > norm[150:].min()])
    rows = rows_of(module.eval())
    np.testing.assert_array_equal((rows != 0).any(1), wanted)
    module.enter("retrain")
    np.testing.assert_array_equal((rows_of(module) != 0).any(1), wanted)
    assert module.kept == [75, 49]


def test_optembed_drops_rows_of_small_norm_until_one_column_fits():
    module = make("optembed", fields=(1500, 500), rows=2000, budget=0.05)
    norm = module.weight.detach().abs().sum(1)
    module.finish()
    kept = module.place < len(module.weight) - 1
    assert norm[kept].min() > norm[~kept].max()
    assert 0.95 * module.spec.budget < module.freeze().stored_bytes == module.stored_bytes <= module.spec.budget
    assert module.dims.tolist() == [1, 1]


def test_optembed_keeps_columns_of_most_energy():
    module = make("optembed", fields=(100, 100), budget=0.5)
    with torch.no_grad():
        module.weight[:100] *= 0.01
    module.finish()
    assert module.dims.tolist() == [1, 7]


def test_optembed_has_random_columns_in_training_only():
    module = make("optembed", budget=1.0).train()
    first, second = ((module(torch.arange(200)) != 0).sum(1) for _ in range(2))
    assert sorted(set(first.tolist())) == list(range(1, 9))
    assert (first != second).any()
    np.testing.assert_array_equal(rows_of(module.eval()), module.weight.detach().numpy())
    fresh = make("optembed", budget=1.0)
    fresh.load_state_dict(module.state_dict())
    ids = torch.arange(200)
    torch.testing.assert_close(fresh.train()(ids), module.train()(ids))


def test_optembed_moves_thresholds_itself():
    module = make("optembed", threshold_rate=0.5, alpha=2.0).train()
    module.regularization().backward()
    module.before_step()
    assert module.threshold.grad is None
    module.after_step()
    assert module.threshold.item() == pytest.approx(1.0)


def test_optembed_searches_by_a_score():
    """The score wants columns that the energy would not give."""
    found = []
    for _ in range(2):
        module = make("optembed", fields=(50, 50, 100), budget=0.5, rounds=30)
        seen = []

        def score(module=module, seen=seen):
            dims = module.dims.tolist()
            seen.append(sum(n * d for n, d in zip((50, 50, 100), dims, strict=True)) * 4)
            widths = (rows_of(module) != 0).sum(1)
            assert widths[[0, 50, 100]].tolist() == dims
            return -abs(dims[0] - 2) - abs(dims[1] - 8) - abs(dims[2] - 3)

        module.search(score)
        assert max(seen) <= module.spec.budget
        assert module.training
        module.enter("retrain")
        found.append(module.dims.tolist())
        module.finish()
        assert module.freeze().stored_bytes <= module.spec.budget
    assert found[0] == found[1] == [2, 8, 3]


def test_evolution_keeps_to_what_fits():
    scored = []

    def score(genes):
        scored.append(genes)
        return float(sum(genes))

    best = evolve((1,) * 6, 9, score, lambda genes: sum(genes) <= 20, 4, np.random.default_rng(0))
    assert sum(best) == 20
    assert len(scored) == len(set(scored)) <= 100
    assert all(sum(genes) <= 20 and min(genes) >= 1 for genes in scored)


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("deeplight", {"interval": 0}, "interval"),
        ("deeplight", {"decay_steps": 0}, "decay_steps"),
        ("deeplight", {"values": "f64"}, "values"),
        ("gmp", {"begin": 1.5}, "begin"),
        ("pep", {"decay": -1}, "decay"),
        ("autosrh", {"schedule": "late"}, "schedule"),
        ("pep", {"granularity": "block"}, "granularity"),
        ("pep", {"initial_threshold": "low"}, "initial_threshold"),
        ("autosrh", {"groups": 0}, "groups"),
        ("autosrh", {"l1": -1}, "l1"),
        ("optembed", {"rounds": -1}, "rounds"),
        ("optembed", {"alpha": -1}, "alpha"),
        ("optembed", {"threshold_rate": "slow"}, "threshold_rate"),
    ],
)
def test_bad_options(name, options, word):
    with pytest.raises(ValueError, match=f": {word} must be"):
        make(name, fields=FIELDS, rows=sum(FIELDS), **options)
