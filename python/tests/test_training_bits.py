"""Learned tables whose arrays are codes of few bits while they are trained."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress import training
from embedcompress.training._coded_rows import CodedRows, rounded
from embedcompress.training._formats import array_bytes
from embedcompress.training._fused_batches import Bags
from embedcompress.training._hashing import hashed, mixed, scaled
from embedcompress.training._new_rows import zero_rows
from embedcompress.training._registry import METHODS
from embedcompress.training._rows import ParameterRows
from embedcompress.training._spec import BITS, Spec

TAKING = sorted(name for name, kind in METHODS.items() if kind.takes_bits)


def reaching(scale, last):
    """The nearest f16 number, or the next larger one where that ends more than a step before the last code."""
    nearest = np.float32(np.float16(scale))
    is_short = scale < 2**-14 and (scale - nearest) * np.float32(last) > nearest
    return nearest + np.float32(2**-24) if is_short else nearest


def reference(rows, bits):
    """What codes of rows stand for, a number at a time."""
    found = np.empty_like(rows)
    for row, out in zip(rows, found, strict=True):
        if len(row) <= 32:
            reach = ((1 << bits) - 1) / 2
            exact = np.float32(np.abs(row).max()) / np.float32(reach)
            scale = reaching(exact, reach) if exact > 2**-25 else np.float32(0)
            for column, value in enumerate(row):
                code = np.round(value / scale + np.float32(reach)) if scale else np.float32(0)
                out[column] = (np.clip(code, 0, 2 * reach) - np.float32(reach)) * scale
            continue
        for start in range(0, len(row), 32):
            group = row[start : start + 32]
            bias = np.float32(np.float16(group.min()))
            last = (1 << bits) - 1
            scale = reaching(max(group.max() - bias, np.float32(0)) / np.float32(last), last)
            code = np.round((group - bias) / scale) if scale else 0 * group
            out[start : start + 32] = np.clip(code, 0, (1 << bits) - 1) * scale + bias
    return found


@given(
    st.integers(0, 6),
    st.sampled_from([1, 2, 7, 16, 31, 32, 33, 64, 65, 100]),
    st.sampled_from(list(BITS)),
    st.sampled_from([0.0, 1e-8, 1e-5, 1.0, 1e4]),
    st.integers(0, 2**32),
)
def test_numbers_are_rounded_to_their_codes(count, dimension, bits, size, seed):
    rows = (np.random.default_rng(seed).standard_normal((count, dimension)) * size).astype(np.float32)
    found = rounded(torch.from_numpy(rows), bits).numpy()
    np.testing.assert_array_equal(found, reference(rows, bits))
    if size >= 1:
        # At most half a step away, of f16's rounding of the scale and the bias.
        step = np.abs(rows).max(1, keepdims=True, initial=0) * 2 / ((1 << bits) - 1)
        assert (np.abs(found - rows) <= step * 0.52 + np.abs(rows).max(initial=0) * 2e-3).all()


@given(st.integers(0, 5), st.sampled_from([1, 16, 32, 33, 70]), st.sampled_from(list(BITS)), st.integers(0, 2**32))
def test_an_array_is_frozen_as_it_is_read(count, dimension, bits, seed):
    spec = Spec.of(10, 16, 1.0, bits=bits)
    rows = CodedRows(spec, count, dimension)
    rows.fill([torch.from_numpy(np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32))])
    table = rows.frozen()
    np.testing.assert_array_equal(table.decode(), rows(torch.arange(count)).detach().numpy())
    assert table.stored_bytes == array_bytes(count, dimension, bits)


def made(method, rows=400, dimension=16, budget=0.3, fields=(300, 97, 3), **options):
    counts = np.random.default_rng(3).zipf(1.3, rows) if METHODS[method].needs_counts else None
    if method == "dhe":
        options = {"hashes": 8} | options
    return training.embedding(method, rows, dimension, budget=budget, fields=fields, counts=counts, seed=5, **options)


def small(method, **options):
    """A table that is compressed not by its codes alone."""
    options = {"rows": 400, "dimension": 16, "budget": 1.0 if method == "full" else 0.06} | options
    try:
        module = made(method, **options)
    except ec.BudgetError as error:
        module = made(method, **options | {"budget": int(error.floor)})
    numbers = sum(parameter.numel() for parameter in module.parameters())
    assert (numbers < 0.8 * options["rows"] * options["dimension"]) == (method != "full")
    return module


@pytest.mark.parametrize("dimension", [16, 128])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("method", TAKING)
def test_the_frozen_table_is_the_module(method, bits, dimension):
    module = small(method, bits=bits, dimension=dimension)
    optimizer = torch.optim.Adagrad(module.parameters(), lr=0.1)
    ids = torch.randint(0, 400, (64,), generator=torch.Generator().manual_seed(1))
    before = module(ids).detach().clone()
    for _ in range(5):
        optimizer.zero_grad()
        (module(ids) - 0.3).square().sum().backward()
        optimizer.step()
    assert (module(ids) - 0.3).square().sum() < (before - 0.3).square().sum()
    table = module.eval().freeze()
    every = torch.arange(400)
    np.testing.assert_allclose(table.decode(), module(every).detach().numpy(), rtol=0, atol=1e-6)
    assert table.stored_bytes == module.stored_bytes <= module.spec.budget


@settings(max_examples=40)
@given(
    st.sampled_from(TAKING),
    st.lists(st.integers(1, 600), min_size=1, max_size=6),
    st.sampled_from([1, 3, 8, 16, 20, 40, 65, 128]),
    st.floats(0.005, 1),
    st.sampled_from([2, 3, 4, 8, "auto"]),
)
def test_budgets_hold_to_the_byte(method, fields, dimension, budget, bits):
    try:
        module = made(method, sum(fields), dimension, budget, fields, bits=bits)
    except ec.BudgetError as error:
        # What the error says would do, does.
        module = made(method, sum(fields), dimension, int(error.floor), fields, bits=bits)
    table = module.freeze()
    assert table.stored_bytes == module.stored_bytes <= module.spec.budget
    every = torch.arange(sum(fields))
    np.testing.assert_allclose(table.decode(), module.eval()(every).detach().numpy(), rtol=0, atol=1e-6)


def test_sizes_that_do_not_rise_with_a_knob():
    """Short rows of codes have a table of what codes stand for, which may be more than longer rows take."""
    sizes = [31, 64, 90, 125, 200, 300, 600, 2000]
    for dimension, budget, rank in ((16, 12710, 5), (32, 11614, 3)):
        plan = training.plan("tt", sum(sizes), dimension, budget=budget, bits=8, fields=sizes)
        assert plan.knobs["rank"] == rank
        assert plan.stored_bytes <= budget
        with pytest.raises(ec.BudgetError) as caught:
            training.plan("tt", sum(sizes), dimension, budget=100, bits=8, fields=sizes)
        floor = int(caught.value.floor)
        assert training.plan("tt", sum(sizes), dimension, budget=floor, bits=8, fields=sizes).stored_bytes == floor
        with pytest.raises(ec.BudgetError):
            training.plan("tt", sum(sizes), dimension, budget=floor - 1, bits=8, fields=sizes)
    # Two small arrays have two such tables.
    plan = training.plan("compo", 20, 32, budget=1280, bits=8)
    assert plan.stored_bytes == 1192
    assert plan.knobs["k"] == [1]


def of_rounded(module):
    """The same table on f32 parameters, which are what codes stand for."""
    found = copy.deepcopy(module)
    for network in found.networks if module.method.name == "dhe" else ():
        for layer, weight in enumerate(network.weights):
            weight.data = network._weight(layer).detach()
        network.bits = None
    if module.method.name == "cafe":
        # Own rows are stored as sums.
        found.spec = replace(module.spec, bits=None)
        ids, places = module.tracked.hot()
        own = module(ids).detach()
        found.weight.write(slice(None), rounded(module.weight.values(), module.spec.bits))
        found.weight.write(places, own)
    for parent in list(found.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, CodedRows):
                rows = ParameterRows(module.spec, len(child), child.dimension, child.is_padded)
                moving = len(child) - child.is_padded
                rows.write(slice(None), child.elements.detach())
                rows.write(slice(0, moving), rounded(child.elements.detach()[:moving], child.bits))
                parent.add_module(name, rows)
    return found


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("dimension", [16, 128])
@pytest.mark.parametrize("method", TAKING)
def test_gradients_pass_through_the_rounding(method, dimension, bits, sparse):
    """They are those of rows that are what codes stand for; in f64, of which torch makes all products and gradients."""
    coded = small(method, bits=bits, dimension=dimension, sparse=sparse)
    # Hashes are floats.
    plain = of_rounded(coded) if method == "dhe" else of_rounded(coded).double()
    assert not any(isinstance(part, CodedRows) for part in plain.modules())
    # Some of every field.
    ids = torch.cat([torch.randint(0, 400, (64,), generator=torch.Generator().manual_seed(1)), torch.arange(390, 400)])
    slopes = torch.randn(len(ids), dimension, generator=torch.Generator().manual_seed(2))
    found = [module(ids) for module in (coded, plain)]
    torch.testing.assert_close(found[0], found[1].float(), rtol=1e-5, atol=1e-6)
    for rows in found:
        (rows * slopes).sum().backward()
    for one, other in zip(coded.parameters(), plain.parameters(), strict=True):
        assert one.grad.abs().sum() > 0
        dense = ((grad.to_dense() if grad.is_sparse else grad).float() for grad in (one.grad, other.grad))
        torch.testing.assert_close(*dense, rtol=1e-4, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 140),
    st.integers(0, 200),
    st.integers(1, 140),
    st.lists(st.integers(0, 299), max_size=20),
    st.booleans(),
)
def test_runs_of_lines_are_those_of_the_whole_array(dimension, more, block, ids, sparse):
    """Also where a run is in many lines, and where it is longer than the array."""
    block = min(block, dimension)
    with pytest.raises(ec.BudgetError) as caught:
        training.plan("robe", 300, dimension, budget=1, block=block, bits=4)
    budget = int(caught.value.floor) + more
    module = training.embedding("robe", 300, dimension, budget=budget, block=block, signs=False, sparse=sparse, bits=4)
    ids = torch.tensor(ids, dtype=torch.int64)
    slopes = torch.randn(len(ids), dimension, generator=torch.Generator().manual_seed(3))
    assert module.array.dimension <= 32
    weight = rounded(module.array.elements.detach(), 4).requires_grad_()
    runs = -(-dimension // block)
    starts = scaled(mixed(ids[:, None] * runs + torch.arange(runs), 0), module.count)
    places = (starts[:, :, None] + torch.arange(block)) % module.count
    expected = weight.flatten()[places].flatten(1)[:, :dimension]
    rows = module(ids)
    assert torch.equal(rows, expected)
    for one in (rows, expected):
        (one * slopes).sum().backward()
    gradient = module.array.elements.grad
    assert gradient.is_sparse == sparse
    torch.testing.assert_close(gradient.to_dense(), weight.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", TAKING)
def test_it_compiles_or_says_why_not(method):
    module = small(method, bits=4)
    if module.compiles:
        with pytest.raises(RuntimeError, match=r"(?i)data-dependent|trace"):
            torch.compile(module, backend="eager", fullgraph=True)(torch.tensor([1, 50, 399]))
        return
    ids = torch.tensor([1, 50, 399])
    found = torch.compile(module, backend="eager", fullgraph=True)(ids)
    torch.testing.assert_close(found, module(ids))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([1, 5, 16, 40]), st.sampled_from(list(BITS)), st.floats(0.03, 0.3), st.integers(0, 2**32))
def test_a_hot_row_of_cafe_is_the_shared_one_and_what_codes_add(dimension, bits, budget, seed):
    counts = np.random.default_rng(seed).permutation(300)
    try:
        module = training.embedding("cafe", 300, dimension, budget=budget, counts=counts, seed=seed, bits=bits)
    except ec.BudgetError as error:
        budget = int(error.floor)
        module = training.embedding("cafe", 300, dimension, budget=budget, counts=counts, seed=seed, bits=bits)
    if module.tracked is None:
        return
    weight = module.weight.elements.detach().numpy()
    shared = reference(weight[module.hot :], bits)
    every = torch.arange(300)
    expected = shared[hashed(every, module.shared, module.seed).numpy()]
    ids, places = (found.numpy() for found in module.tracked.hot())
    assert set(ids) <= set(np.argsort(-counts)[: module.hot])
    with np.errstate(invalid="ignore"):
        expected[ids] = expected[ids] + reference(weight[places] - expected[ids], bits)
    np.testing.assert_array_equal(module(every).detach().numpy(), expected)
    np.testing.assert_array_equal(module.freeze().decode(), expected)
    # Its gradient is its own row's; the shared row has none of it.
    module(every).sum().backward()
    gradient = module.weight.elements.grad
    assert (gradient[torch.from_numpy(places)] == 1).all()
    assert gradient[module.hot :].sum() == dimension * (300 - len(ids))


def test_padded_rows_are_not_pooled():
    bags = Bags(torch.tensor([0, 3]), torch.tensor([0]), "sum", None)
    for optimizer in (None, training.SGD(0.1)):
        spec = Spec.of(10, 16, 1.0, optimizer=optimizer)
        assert zero_rows(spec, 4, 16).can_pool(bags)
        assert not zero_rows(spec, 4, 16, is_padded=True).can_pool(bags)


def test_a_state_dict_goes_on(tmp_path):
    module, other = made("robe", bits=4), made("robe", bits=4)
    with torch.no_grad():
        next(module.parameters()).mul_(3)
    torch.save(module.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=False))
    np.testing.assert_array_equal(other.freeze().decode(), module.freeze().decode())
    for bits in (None, 8):
        # As many parameters, which mean something else.
        another = training.embedding("hash", 400, 16, budget=1.0, bits=bits)
        with pytest.raises(ValueError, match=f"has bits={bits}, but the state is one of a table with bits=4"):
            another.load_state_dict(training.embedding("hash", 400, 16, budget=1.0, bits=4).state_dict())


@pytest.mark.parametrize("dimension", [16, 40])
def test_rows_that_are_not_finite_are_named(dimension):
    module = made("full", dimension=dimension, budget=1.0, bits=4, fields=(400,))
    with torch.no_grad():
        module.weight.elements[7, 3] = torch.nan
        module.weight.elements[9, 3] = torch.inf
    with pytest.raises(ValueError, match=f"row 7 of an array of 400 rows of {dimension} numbers"):
        module.freeze()


def test_auto_takes_what_the_budget_allows():
    assert made("hash", budget=0.5, bits="auto").spec.bits == 8
    assert made("hash", budget=0.1, bits="auto").spec.bits == 4
    assert made("hash", budget=0.1).spec.bits is None
    # Each field has a table of what codes stand for: one of all rows would fit.
    assert made("hash", budget=400 * 18 + 512 + 511, bits="auto").spec.bits == 4
    assert made("full", budget=400 * 18 + 3 * 512, bits="auto").spec.bits == 8
    assert training.plan("alpt", 400, 16, budget=0.5, bits=4).knobs["bits"] == 4


def test_what_is_refused():
    for bits in (0, 1, 9, 4.0, True, "four"):
        with pytest.raises(ValueError, match="bits must be from 2 to 8, 'auto' or None"):
            made("robe", bits=bits)
    with pytest.raises(ValueError, match="pep takes no bits; the methods that do are adapt"):
        made("pep", bits=4)
    with pytest.raises(ValueError, match="an optimizer of torch trains"):
        made("robe", bits=4, optimizer=training.SGD(0.1))
    with pytest.raises(ec.BudgetError, match="the least it can reach"):
        made("robe", bits=4, budget=20)
    with pytest.raises(ValueError, match="dtype 'f16' is for a table with an optimizer of its own"):
        training.plan("full", 400, 16, budget=1.0, bits=4, dtype="f16")


@pytest.mark.parametrize("hashes", [1024, 20_000])
def test_the_widest_networks_of_dhe_are_read_from_files(hashes, tmp_path):
    """What is decoded of them is limited, of many of them, too."""
    rows = [10_000_000] * 3
    module = training.embedding("dhe", sum(rows), 16, budget=0.9, fields=rows, bits=8, hashes=hashes)
    width = module.width
    weights = width * (hashes + 4 * width + 16)
    assert 4 * weights <= 6 << 20 < 4 * (width + 1) * (hashes + 4 * (width + 1) + 16)
    table = module.eval().freeze()
    assert table.stored_bytes == module.stored_bytes <= module.spec.budget
    table.save(tmp_path / "table.safetensors")
    ids = np.arange(0, sum(rows), 1_234_567)
    found = ec.load(tmp_path / "table.safetensors").lookup(ids)
    np.testing.assert_array_equal(found, table.lookup(ids))
    np.testing.assert_allclose(found, module(torch.from_numpy(ids)).detach().numpy(), rtol=0, atol=1e-6)


def test_codes_of_dhe_have_batch_norm_folded_in():
    """Its frozen weights are codes of what batch norm makes of the trained ones, with scales of both signs and 0."""
    module = training.embedding("dhe", 5000, 16, budget=0.1, hashes=16, bits=4, seed=3)
    network = module.networks[0]
    with torch.no_grad():
        network.scales[1, :3] = torch.tensor([0.0, -1.0, 2.0])
        network.variances.uniform_(0.5, 2)
        network.means.uniform_(-1, 1)
    weights, _ = network.folded()
    # In training mode, weights are such that folding makes what codes stand for.
    factors = (network.scales / (network.variances + 1e-5).sqrt()).detach()
    for layer in range(5):
        expected = reference(weights[layer].detach().numpy(), 4)
        found = (network._weight(layer) * factors[layer]).detach().numpy()
        # No weight makes more than 0 of a factor of 0.
        is_any = factors[layer].numpy() != 0
        assert (~is_any).sum() == (layer == 1)
        np.testing.assert_allclose(found[:, is_any], expected[:, is_any], rtol=1e-5, atol=1e-7)
    every = torch.arange(5000)
    np.testing.assert_allclose(module.eval()(every).detach(), module.freeze().decode(), rtol=0, atol=1e-6)
