"""Learned tables whose arrays are codes of few bits while they are trained."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress import training
from embedcompress.training._coded_rows import CodedRows, rounded
from embedcompress.training._formats import array_bytes
from embedcompress.training._registry import METHODS
from embedcompress.training._spec import BITS, Spec

TAKING = sorted(name for name, kind in METHODS.items() if kind.takes_bits)


def reference(rows, bits):
    """What codes of rows stand for, a number at a time."""
    found = np.empty_like(rows)
    for row, out in zip(rows, found, strict=True):
        if len(row) <= 32:
            reach = ((1 << bits) - 1) / 2
            scale = np.float32(np.float16(np.float32(np.abs(row).max()) / np.float32(reach)))
            for column, value in enumerate(row):
                code = np.round(value / scale + np.float32(reach)) if scale else np.float32(0)
                out[column] = (np.clip(code, 0, 2 * reach) - np.float32(reach)) * scale
            continue
        for start in range(0, len(row), 32):
            group = row[start : start + 32]
            bias = np.float32(np.float16(group.min()))
            scale = np.float32(np.float16(max(group.max() - bias, 0) / np.float32((1 << bits) - 1)))
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
    np.testing.assert_array_equal(table.decode(), rows.whole().detach().numpy())
    assert table.stored_bytes == array_bytes(count, dimension, bits)


def made(method, rows=400, dimension=16, budget=0.3, fields=(300, 97, 3), **options):
    counts = np.random.default_rng(3).zipf(1.3, rows) if METHODS[method].needs_counts else None
    return training.embedding(method, rows, dimension, budget=budget, fields=fields, counts=counts, seed=5, **options)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("method", TAKING)
def test_the_frozen_table_is_the_module(method, bits):
    module = made(method, budget=0.5, bits=bits)
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
    st.sampled_from([1, 3, 8, 16, 20, 40]),
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


@pytest.mark.parametrize("method", TAKING)
def test_gradients_pass_through_the_rounding(method):
    """With codes of so many bits that rounding hardly shows they are those of the same table in f32."""
    coded = made(method, budget=0.9, bits=8)
    plain = made(method, budget=1.0)
    if dict(coded.planned.knobs) != dict(plain.planned.knobs):
        pytest.skip("the budgets choose tables of other sizes")
    plain.load_state_dict(coded.state_dict())
    ids = torch.randint(0, 400, (64,), generator=torch.Generator().manual_seed(1))
    slopes = torch.randn(64, 16, generator=torch.Generator().manual_seed(2))
    for module in (coded, plain):
        (module(ids) * slopes).sum().backward()
    for one, other in zip(coded.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("method", TAKING)
def test_sparse_gradients_are_the_dense_ones(method):
    modules = [made(method, bits=4, sparse=sparse) for sparse in (False, True)]
    ids = torch.randint(0, 400, (64,), generator=torch.Generator().manual_seed(1))
    for module in modules:
        module(ids).square().sum().backward()
    for one, other in zip(*(module.parameters() for module in modules), strict=True):
        found = other.grad.to_dense() if other.grad.is_sparse else other.grad
        torch.testing.assert_close(found, one.grad, rtol=1e-5, atol=1e-6)


def test_a_state_dict_goes_on(tmp_path):
    module, other = made("robe", bits=4), made("robe", bits=4)
    with torch.no_grad():
        next(module.parameters()).mul_(3)
    torch.save(module.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=False))
    np.testing.assert_array_equal(other.freeze().decode(), module.freeze().decode())


def test_auto_takes_what_the_budget_allows():
    assert made("hash", budget=0.5, bits="auto").spec.bits == 8
    assert made("hash", budget=0.1, bits="auto").spec.bits == 4
    assert made("hash", budget=0.1).spec.bits is None
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
