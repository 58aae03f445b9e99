"""Products with a compressed table, decoded as it is multiplied: torch operators, and functions that call them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import Table, _core
from .._checks import check_type
from ._expression import assemble, parse
from ._operators import _library
from ._parts import Parts

BLOCK_BYTES = 1 << 20
"""The most that decoded rows take at a time, unless a single row takes more."""
FEW = 16
"""Up to so many rows of input, the core multiplies rows of codes as it decodes them: in another order than products
with a matrix, so that results differ from those of more rows by rounding."""
_TILES = (64, 16)
"""For more rows of input, blocks of multiples of so many rows give the same bits as one product with the whole matrix
does in MKL, which computes the columns of a result in tiles."""


def multiply(parts: Parts, input: Tensor, bias: Tensor | None, start: int, stop: int) -> Tensor:
    """Return the output features from start to stop of a table, (..., stop - start), in the input's dtype.

    Args:
        parts: Of a table of (output features, input features).
        input: (..., input features).
        bias: (stop - start,), or None.
        start: The first output feature.
        stop: The one after the last.
    """
    result: Tensor = linear_operator(parts.arrays(), parts.text, input, bias, start, stop)
    return result.to(input.dtype)


def multiply_transposed(parts: Parts, input: Tensor) -> Tensor:
    """Return the input times a table of (input features, output features), in the input's dtype.

    Args:
        parts: Of the table.
        input: (..., input features).
    """
    rows = parts.num_embeddings
    if input.dim() == 0 or input.shape[-1] != rows:
        raise RuntimeError(f"the input's last axis must be {rows}, but its shape is {tuple(input.shape)}")
    result: Tensor = transposed_operator(parts.arrays(), parts.text, input.float(), 0, rows)
    return result.to(input.dtype)


def _blocks(table: Table, start: int, stop: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of a table, decoded, each time in the same memory, with their places from `start` on."""
    rows = max(BLOCK_BYTES // (4 * table.dimension), 1)
    rows -= next((rows % tile for tile in _TILES if rows >= tile), 0)
    memory = np.empty((min(rows, stop - start), table.dimension), np.float32)
    for first in range(start, stop, rows):
        last = min(first + rows, stop)
        block = memory[: last - first]
        table.decode(first, last, out=block)
        yield slice(first - start, last - start), torch.from_numpy(block)


def _check(expression: str, input: Tensor, bias: Tensor | None, start: int, stop: int) -> int:
    """Return the input features; refuse what does not fit."""
    parsed = parse(expression)
    check_type(input, Tensor, "input", "a tensor")
    if input.dim() == 0 or input.shape[-1] != parsed.dimension:
        raise RuntimeError(f"the input's last axis must be {parsed.dimension}, but its shape is {tuple(input.shape)}")
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"the input must be of floats, not {input.dtype}")
    if not 0 <= start <= stop <= parsed.rows:
        raise RuntimeError(f"output features {start} to {stop} are not within {parsed.rows}")
    if bias is not None and tuple(bias.shape) != (stop - start,):
        raise RuntimeError(f"the bias must have the shape {(stop - start,)}, not {tuple(bias.shape)}")
    return parsed.dimension


def _linear(
    arrays: Sequence[Tensor], expression: str, input: Tensor, bias: Tensor | None, start: int, stop: int
) -> Tensor:
    width = _check(expression, input, bias, start, stop)
    table = assemble(expression, arrays)
    flat = input.reshape(-1, width).float()
    added = None if bias is None else bias.float()
    result = torch.empty((len(flat), stop - start), dtype=torch.float32)
    if len(flat) <= FEW:
        values = None if added is None else added.detach().contiguous().numpy()
        _core.multiply(table, start, stop, flat.detach().contiguous().numpy(), values, result.numpy())
        return result.reshape(*input.shape[:-1], stop - start)
    for place, block in _blocks(table, start, stop):
        result[:, place] = nn.functional.linear(flat, block, None if added is None else added[place])
    return result.reshape(*input.shape[:-1], stop - start)


def _fake_linear(
    arrays: Sequence[Tensor], expression: str, input: Tensor, bias: Tensor | None, start: int, stop: int
) -> Tensor:
    _check(expression, input, bias, start, stop)
    return input.new_empty((*input.shape[:-1], stop - start), dtype=torch.float32)


def _linear_transposed(arrays: Sequence[Tensor], expression: str, gradient: Tensor, start: int, stop: int) -> Tensor:
    table = assemble(expression, arrays)
    flat = gradient.reshape(-1, stop - start)
    result = torch.zeros((len(flat), table.dimension), dtype=torch.float32)
    for place, block in _blocks(table, start, stop):
        result.addmm_(flat[:, place], block)
    return result.reshape(*gradient.shape[:-1], table.dimension)


def _fake_transposed(arrays: Sequence[Tensor], expression: str, gradient: Tensor, start: int, stop: int) -> Tensor:
    return gradient.new_empty((*gradient.shape[:-1], parse(expression).dimension))


def _linear_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.arrays, ctx.expression, input, bias, ctx.start, ctx.stop = inputs
    ctx.dtype, ctx.bias_dtype = input.dtype, None if bias is None else bias.dtype


def _linear_backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    result = transposed_operator(ctx.arrays, ctx.expression, gradient, ctx.start, ctx.stop).to(ctx.dtype)
    bias = None
    if ctx.bias_dtype is not None:
        bias = gradient.reshape(-1, ctx.stop - ctx.start).sum(0).to(ctx.bias_dtype)
    return [None] * len(ctx.arrays), None, result, bias, None, None


def _transposed_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.arrays, ctx.expression, _, ctx.start, ctx.stop = inputs


def _transposed_backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    result = linear_operator(ctx.arrays, ctx.expression, gradient, None, ctx.start, ctx.stop)
    return [None] * len(ctx.arrays), None, result, None, None


_LINEAR = "linear(Tensor[] arrays, str expression, Tensor input, Tensor? bias, SymInt start, SymInt stop) -> Tensor"
_TRANSPOSED = "linear_transposed(Tensor[] arrays, str expression, Tensor gradient, SymInt start, SymInt stop) -> Tensor"
for _signature, _function, _fake, _context, _backward in (
    (_LINEAR, _linear, _fake_linear, _linear_context, _linear_backward),
    (_TRANSPOSED, _linear_transposed, _fake_transposed, _transposed_context, _transposed_backward),
):
    _name = _signature.partition("(")[0]
    _library.define(_signature, tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]
    _library.impl(_name, _function, "CPU")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"embedcompress::{_name}", _fake, lib=_library)
    torch.library.register_autograd(f"embedcompress::{_name}", _backward, setup_context=_context, lib=_library)

linear_operator = torch.ops.embedcompress.linear.default
transposed_operator = torch.ops.embedcompress.linear_transposed.default
