"""What every learned table does, whatever its method: budgets, gradients, freezing, saving, hooks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import training_reference

import embedcompress as ec
from embedcompress import training
from embedcompress.training._registry import METHODS

torch.set_num_threads(1)

FIELDS = (40, 7, 300)
ROWS, DIMENSION = sum(FIELDS), 8
COUNTS = np.random.default_rng(5).zipf(1.3, ROWS).clip(max=10_000)
BUDGETS = {"full": 1.0, "int16": 0.6}
"""Where not half of the table; None where the method takes no budget."""
OPTIONS = {"dhe": {"hashes": 16}, "cafe": {"interval": 2}, "cce": {"interval": 2}, "pep": {"decay": 0.01}}
"""What makes a method fit tables as small as these, and trainings as short."""
DEPENDS_ON_BATCH = ("dhe",)
"""Methods whose rows in training mode depend on the others of the batch."""


def make(name, fields=FIELDS, budget=None, dimension=DIMENSION, **options):
    rows = sum(fields)
    counts = COUNTS[:rows] if rows <= ROWS else np.resize(COUNTS, rows)
    budget = BUDGETS.get(name, 0.5) if budget is None else budget
    options = OPTIONS.get(name, {}) | options
    return training.embedding(name, rows, dimension, budget=budget, counts=counts, fields=fields, **options)


def trained(module, steps=4, optimizer=torch.optim.Adam, seed=1):
    """Train all stages on random rows, by hand and with nothing but the hooks."""
    random = torch.Generator().manual_seed(seed)
    wanted = torch.randn(module.num_embeddings, module.embedding_dim, generator=random)
    for stage in module.stages:
        module.enter(stage)
        module.train()
        weights = optimizer(module.weight_parameters(), lr=0.05)
        searched = list(module.architecture_parameters())
        search = torch.optim.SGD(searched, lr=0.01) if searched else None
        for step in range(steps):
            ids = torch.randint(0, module.num_embeddings, (64, 3), generator=random)
            loss = (module(ids) - wanted[ids]).square().mean() + module.regularization()
            of = search if search and step % 2 else weights
            weights.zero_grad()
            if search:
                search.zero_grad()
            loss.backward()
            module.before_step()
            of.step()
            module.after_step()
    module.finish()
    return module.eval()


def rows_of(module):
    with torch.no_grad():
        return module(torch.arange(module.num_embeddings)).numpy()


@pytest.fixture(params=list(METHODS))
def name(request):
    return request.param


@pytest.mark.parametrize("fields", [FIELDS, (ROWS,), (1, 2, 3)], ids=["fields", "one", "tiny"])
def test_freezes_to_what_it_returns(name, fields, tmp_path):
    try:
        module = make(name, fields)
    except ec.BudgetError:
        assert fields == (1, 2, 3)
        return
    trained(module)
    table = module.freeze()
    rows = rows_of(module)
    np.testing.assert_allclose(table.decode(), rows, rtol=1e-6, atol=1e-6 * np.abs(rows).max())
    assert table.stored_bytes == module.stored_bytes <= module.spec.budget
    table.save(tmp_path / "table.safetensors")
    np.testing.assert_array_equal(ec.load(tmp_path / "table.safetensors").decode(), table.decode())
    before = table.decode()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    np.testing.assert_array_equal(table.decode(), before)


def test_learns(name):
    """Rows come closer to what they are trained for, in the mean over ids that share them."""
    module = make(name, (64,), budget=BUDGETS.get(name, 0.6))
    wanted = torch.randn(64, DIMENSION, generator=torch.Generator().manual_seed(3)) * 0.5
    ids = torch.arange(64).repeat(2)

    def loss():
        with torch.no_grad():
            return float((torch.from_numpy(rows_of(module.eval())) - wanted).square().mean())

    before = loss()
    for stage in module.stages:
        module.enter(stage)
        module.train()
        optimizer = torch.optim.Adam(module.weight_parameters(), lr=0.02)
        for _ in range(150):
            optimizer.zero_grad()
            ((module(ids) - wanted[ids]).square().mean() + module.regularization()).backward()
            module.before_step()
            optimizer.step()
            module.after_step()
    module.finish()
    assert loss() < 0.9 * before


@pytest.mark.parametrize("budget", [0.9, 0.5, 0.25, 0.1, 0.03, 0.01, 0.0001])
def test_budgets_are_met_or_refused(name, budget):
    fields = (5000, 30, 1000)
    try:
        plan = training.plan(name, sum(fields), 16, budget=budget, counts=np.resize(COUNTS, sum(fields)), fields=fields)
    except ec.BudgetError as error:
        floor = int(str(error).split("the least it can reach is ")[1].split()[0])
        assert floor > budget * sum(fields) * 64
        counts = np.resize(COUNTS, sum(fields))
        least = training.plan(name, sum(fields), 16, budget=floor, counts=counts, fields=fields)
        assert least.stored_bytes <= floor
        return
    assert plan.stored_bytes <= budget * sum(fields) * 64


def test_is_reproducible(name):
    rows = [rows_of(trained(make(name))) for _ in range(2)]
    np.testing.assert_array_equal(*rows)


def test_state_goes_into_a_fresh_module(name, tmp_path):
    module = trained(make(name))
    torch.save(module.state_dict(), tmp_path / "state.pt")
    fresh = make(name)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=False))
    np.testing.assert_array_equal(rows_of(fresh.eval()), rows_of(module))
    assert fresh.freeze().stored_bytes == module.freeze().stored_bytes


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_pools_like_an_embedding_bag(name, mode):
    module = trained(make(name))
    module.mode = mode
    plain = torch.nn.EmbeddingBag.from_pretrained(torch.from_numpy(rows_of_plain(module)), mode=mode)
    random = torch.Generator().manual_seed(2)
    ids, offsets = torch.randint(0, ROWS, (50,), generator=random), torch.tensor([0, 0, 10, 49, 50])
    torch.testing.assert_close(module(ids, offsets), plain(ids, offsets), rtol=1e-5, atol=1e-6)
    matrix = ids.reshape(10, 5)
    torch.testing.assert_close(module(matrix), plain(matrix), rtol=1e-5, atol=1e-6)
    if mode == "sum":
        weights = torch.rand(50, generator=random)
        torch.testing.assert_close(module(ids, offsets, weights), plain(ids, offsets, weights), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_pools_with_the_gradients_of_rows(name, mode, sparse):
    """Those of rows that are made first and pooled by torch, also of bags without ids and of a batch without bags."""
    if name in DEPENDS_ON_BATCH:
        pytest.skip("rows depend on the others of the batch")
    random = torch.Generator().manual_seed(2)
    ids = torch.randint(0, ROWS, (50,), generator=random)
    offsets, lengths = torch.tensor([0, 0, 10, 49, 50]), [0, 10, 39, 1, 0]
    slopes, found = torch.randn(5, DIMENSION, generator=random), []
    weights = torch.rand(50, generator=random) if mode == "sum" else None
    for is_bag in (True, False):
        module = make(name, sparse=sparse).eval()
        module.mode = mode if is_bag else None
        own = None if weights is None else weights.clone().requires_grad_()
        if is_bag:
            pooled = module(ids, offsets, own)
            assert module(ids[:0], offsets[:0]).shape == (0, DIMENSION)
        else:
            rows = module(ids) if own is None else module(ids) * own[:, None]
            bags = rows.split(lengths)
            pooled = torch.stack([bag.sum(0) / (len(bag) or 1 if mode == "mean" else 1) for bag in bags])
        (pooled * slopes).sum().backward()
        grads = [torch.zeros_like(one) if one.grad is None else one.grad.to_dense() for one in module.parameters()]
        found.append([pooled.detach(), *grads, *([] if own is None else [own.grad])])
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


def rows_of_plain(module):
    mode, module.mode = module.mode, None
    rows = rows_of(module)
    module.mode = mode
    return rows


VARIANTS = [
    *((name, {}) for name in METHODS),
    ("compo", {"operation": "sum"}),
    ("dpq", {"kind": "sx"}),
    ("autodim", {"tables": "shared"}),
    *(("pep", {"granularity": kind, "initial_threshold": -4}) for kind in ("element", "row", "dimension", "global")),
    ("robe", {"block": 3, "seed": 2**61 + 12345}),
    ("robe", {"signs": False}),
    ("robe", {"own": 0.4}),
    ("adapt", {"top_percent": 0.25}),
    ("dhe", {"encoding": "normal"}),
    ("mde", {"widths": "powers"}),
    ("mde", {"alpha": 0.0, "budget": 0.7}),
    ("alpt", {"bits": 2}),
    ("autosrh", {"schedule": "gradual"}),
]
"""Methods, with options that make their rows others."""


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_gradients_are_those_of_a_naive_version(name, options):
    module = make(name, **options).train(name not in DEPENDS_ON_BATCH)
    module.enter(module.stages[0])
    ids = torch.tensor([0, 5, 5, 39, 40, 46, 47, 99, 346, 346])
    slopes = torch.randn(len(ids), DIMENSION, generator=torch.Generator().manual_seed(4))
    rows = module(ids)
    (rows * slopes).sum().backward()
    parameters = {key: value.detach().double().requires_grad_() for key, value in module.named_parameters()}
    # A module lets go of the counts that it was made with.
    module.spec = replace(module.spec, counts=COUNTS)
    naive = training_reference.rows(module, parameters, ids)
    torch.testing.assert_close(rows.detach().double(), naive.detach(), rtol=1e-5, atol=1e-7)
    (naive * slopes.double()).sum().backward()
    for key, parameter in module.named_parameters():
        wanted = parameters[key].grad
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if wanted is None:
            wanted = torch.zeros_like(parameters[key])
        scale = max(float(wanted.abs().max()), 1e-12)
        torch.testing.assert_close(
            found.double(), wanted, rtol=1e-4, atol=1e-5 * scale, msg=lambda m, key=key: f"{key}: {m}"
        )


def test_sparse_gradients_are_the_dense_ones(name):
    grads = []
    for sparse in (False, True):
        module = make(name, sparse=sparse).train()
        module.enter(module.stages[0])
        (module(torch.tensor([1, 1, 50, 300])).square().sum() + module.regularization()).backward()
        grads.append({key: value.grad for key, value in module.named_parameters() if value.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for key, grad in grads[0].items():
        torch.testing.assert_close(grads[1][key].to_dense(), grad)


def test_every_parameter_gets_a_gradient(name):
    module = make(name)
    for stage in module.stages:
        module.enter(stage)
        module.train()
        module.zero_grad()
        ids = torch.arange(module.num_embeddings)
        random = torch.randn(module.num_embeddings, module.embedding_dim, generator=torch.Generator().manual_seed(0))
        ((module(ids) * random).sum() + module.regularization()).backward()
        trained_here = [*module.weight_parameters(), *module.architecture_parameters()]
        assert trained_here
        assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in trained_here)
        for parameter in trained_here:
            assert parameter.grad is None or torch.isfinite(parameter.grad.to_dense()).all()


def test_refuses_ids_out_of_range(name):
    module = make(name)
    for bad in (-1, ROWS):
        with pytest.raises(IndexError, match=f"id {bad} is out of range"):
            module(torch.tensor([0, bad]))


def test_refuses_options_that_it_does_not_have(name):
    with pytest.raises(ValueError, match=f"{name} has no option 'wrong'"):
        make(name, wrong=1)


def test_trains_on_cuda(name):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    module = make(name).cuda()
    for stage in module.stages:
        module.enter(stage)
        module.train()
        optimizer = torch.optim.Adam(module.weight_parameters(), lr=0.01)
        ids = torch.arange(module.num_embeddings, device="cuda")
        (module(ids).square().sum() + module.regularization()).backward()
        module.before_step()
        optimizer.step()
        module.after_step()
    module.finish()
    rows = module.eval()(ids).detach().cpu().numpy()
    np.testing.assert_allclose(module.freeze().decode(), rows, rtol=1e-5, atol=1e-6)


def test_compiles_or_says_why_not(name):
    module = make(name).train()
    module.enter(module.stages[0])
    if module.compiles:
        pytest.skip(module.compiles)
    ids = torch.tensor([[1, 50], [346, 1]])
    found = []
    for compiled in (False, True):
        torch.compiler.reset()
        call = torch.compile(module, backend="aot_eager", fullgraph=True) if compiled else module
        module.zero_grad()
        rows = call(ids)
        rows.square().sum().backward()
        grads = [torch.zeros_like(one) if one.grad is None else one.grad for one in module.parameters()]
        found.append([rows.detach(), *grads])
    torch.testing.assert_close(found[1], found[0])
