"""Rounding of weights and activations while training: the core beside torch, and what the core refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embedcompress import _core
from embedcompress._groups import KINDS, Groups
from embedcompress.nn import _fake


@given(
    st.integers(1, 20),
    st.integers(1, 70),
    st.sampled_from(KINDS),
    st.integers(1, 30),
    st.sampled_from([8, 16, 24]),
    st.integers(1, 8),
    st.integers(0, 2**31),
)
def test_the_core_gives_the_bits_and_gradients_of_torch(rows, columns, kind, groups, block, bits, seed):
    generator = torch.Generator().manual_seed(seed)
    layout = Groups.of(kind, rows, columns, groups, block)
    values = torch.randn(rows, columns, generator=generator)
    # Narrower ranges than those of the values, so that some are clipped; a constant group; infinity and no number.
    low, high = (0.7 * layout.reduced(values, bound) for bound in (torch.amin, torch.amax))
    scale = (high - low).clamp(min=0) / (2**bits - 1)
    scale.view(-1)[-1] = 0
    values[0, 0], values[-1, -1] = torch.inf, torch.nan
    upstream = torch.randn(rows, columns, generator=generator)
    results = []
    for eager in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_fake, "runs_eagerly", lambda tensor, eager=eager: eager)
            leaf = values.clone().requires_grad_()
            result = _fake.rounded(leaf, scale, low, layout, bits)
            result.backward(upstream)
            results.append((result.detach().numpy(), leaf.grad.numpy()))
    for found, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_gradients_pass_whole_where_nothing_is_clipped():
    layout = Groups.of("tensor", 2, 3, 1, None)
    values = torch.arange(6.0).reshape(2, 3).requires_grad_()
    _fake.rounded(values, torch.tensor(1.0), torch.tensor(0.0), layout, 3).sum().backward()
    torch.testing.assert_close(values.grad, torch.ones(2, 3))


def test_bounds_of_groups_are_those_of_their_elements():
    values = np.random.default_rng(0).standard_normal((10, 23)).astype(np.float32)
    for kind in KINDS:
        layout = Groups.of(kind, 10, 23, 4, 8)
        expected = layout.join([part.max(axis=1) for part in layout.matrices(values)])
        np.testing.assert_array_equal(layout.reduced(values, np.amax), expected)
        torch.testing.assert_close(layout.reduced(torch.from_numpy(values), torch.amax).numpy(), expected)


def call(values=(4, 6), groups=6, rows=2, columns=2, last=3, out=(4, 6), kept=(4, 6)):
    numbers = np.ones(groups, np.float32)
    arrays = np.zeros(out, np.float32), np.zeros(kept, np.uint8)
    return _core.fake_quantize(np.ones(values, np.float32), numbers, numbers.copy(), rows, columns, last, *arrays)


def test_counts_what_is_clipped():
    assert call() == 0
    values = np.array([[-9, 0, 3, 9]], np.float32)
    out, kept = np.zeros_like(values), np.zeros(values.shape, np.uint8)
    one = np.ones(1, np.float32)
    assert _core.fake_quantize(values, one, 0 * one, 1, 4, 3, out, kept) == 2
    np.testing.assert_array_equal(out, [[0, 0, 3, 3]])
    np.testing.assert_array_equal(kept, [[0, 1, 1, 0]])


def test_no_elements():
    assert call((0, 6), 0, out=(0, 6), kept=(0, 6)) == 0
    assert call((4, 0), 0, out=(4, 0), kept=(4, 0)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": 4}, "values must be"),
        ({"out": (4, 5)}, "as many elements"),
        ({"kept": (4, 5)}, "as many elements"),
        ({"groups": 5}, "each of 6 groups"),
        ({"rows": 0}, "must have rows and columns"),
        ({"columns": -1}, "must have rows and columns"),
        ({"last": 0}, "from 1 to 255"),
        ({"last": 256}, "from 1 to 255"),
    ],
)
def test_refuses_what_does_not_agree(arguments, message):
    with pytest.raises(ValueError, match=message):
        call(**arguments)


def test_refuses_other_types():
    ones, bytes_ = np.ones((1, 1), np.float32), np.zeros((1, 1), np.uint8)
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="kept must be uint8"):
        _core.fake_quantize(ones, one, one, 1, 1, 3, ones.copy(), np.zeros((1, 1), np.int64))
    with pytest.raises(TypeError, match="kept must be a writable uint8 array"):
        _core.fake_quantize(ones, one, one, 1, 1, 3, ones.copy(), [[0]])
    with pytest.raises(ValueError, match="out must not share memory with values"):
        _core.fake_quantize(ones, one, one, 1, 1, 3, ones, bytes_)
    bytes_.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        _core.fake_quantize(ones, one, one, 1, 1, 3, ones.copy(), bytes_)
    bytes_ = np.zeros((1, 1), np.uint8)
    with pytest.raises(ValueError, match="values must be"):
        _core.fake_quantize(ones.astype(np.complex64), one, one, 1, 1, 3, ones.copy(), bytes_)
