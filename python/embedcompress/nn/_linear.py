"""`CompressedLinear`: torch.nn.Linear over a compressed table, which is decoded as it is multiplied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from .. import Table, _core, compress, group_quantize
from .._checks import check_type, checked_integer
from ._expression import assemble, parse
from ._operators import _library
from ._parts import Parts

BLOCK_BYTES = 1 << 20
"""The most that decoded rows take at a time, unless a single row takes more."""
FEW = 16
"""Up to so many rows of input, the core multiplies rows of codes as it decodes them."""
TOPK_FEATURES = 1 << 15
"""Output features that `topk` computes at a time."""
_TILES = (64, 16)
"""Blocks of multiples of so many rows give the same bits as one product with the whole matrix does in MKL, which
computes the columns of a result in tiles."""


class CompressedLinear(nn.Module):
    """torch.nn.Linear over a compressed table, for inference on the CPU.

    The core multiplies rows of the table, which are output features, with up to `FEW` rows of input as it decodes them.
    For more, it decodes blocks of `BLOCK_BYTES`, and each is multiplied before the next is decoded into the same
    memory: the dense matrix never exists. Computes in f32, and returns the dtype of the input. Gradients
    with respect to the input, of any order, are computed by blocks, and a bias may have one; the table has none.

    Args:
        table: (out_features, in_features), of any expression, on whose memory the module's buffers are; or the `parts`
            of another module, such as a tied CompressedEmbedding, which then share it.
        bias: (out_features,), or None. A Parameter is used as it is.
        input_quantizer: Applied to the input, such as the `FakeQuantizedActivation` of a prepared model.

    Attributes:
        in_features: Of the input's last axis.
        out_features: Of the result's last axis.
        bias: A Parameter, or None.
        table: The compressed table.
        parts: The module whose buffers hold the table.

    Raises:
        ValueError: a bias of another shape.
    """

    parts: Parts
    bias: nn.Parameter | None

    def __init__(
        self, table: Table | Parts, bias: Tensor | None = None, *, input_quantizer: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.parts = table if isinstance(table, Parts) else Parts(table)
        self.out_features, self.in_features = self.parts.num_embeddings, self.parts.embedding_dim
        if bias is not None:
            check_type(bias, Tensor, "bias", "a tensor")
        if bias is not None and tuple(bias.shape) != (self.out_features,):
            raise ValueError(f"bias must have the shape {(self.out_features,)}, not {tuple(bias.shape)}")
        if bias is not None and not isinstance(bias, nn.Parameter):
            bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
        self.register_parameter("bias", bias)
        self.input_quantizer = input_quantizer

    @property
    def table(self) -> Table:
        """The compressed table, on the memory of this module's buffers."""
        return self.parts.table()

    @classmethod
    def from_module(cls, module: nn.Linear, method: str = "least_squares", **options: Any) -> Self:
        """Compress a linear layer, which stays as it is.

        Args:
            module: torch.nn.Linear.
            method: A name from `embedcompress.methods()`, or "group_quantize" for that function.
            **options: The method's own; see `embedcompress.compress` and `embedcompress.group_quantize`.

        Raises:
            ValueError: see there.
        """
        check_type(module, nn.Linear, "module", "a torch.nn.Linear")
        weight = module.weight
        table = group_quantize(weight, **options) if method == "group_quantize" else compress(weight, method, **options)
        return cls(table, None if module.bias is None else module.bias.detach().clone())

    def forward(self, input: Tensor) -> Tensor:
        """Multiply.

        Args:
            input: (..., in_features), of floats.

        Returns:
            (..., out_features), of the input's dtype.

        Raises:
            RuntimeError: another last axis, no floats, or not on the CPU.
        """
        if self.input_quantizer is not None:
            input = self.input_quantizer(input)
        return multiply(self.parts, input, self.bias, 0, self.out_features)

    def topk(self, input: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the largest results and their output features, without all results at once: for language models.

        Args:
            input: (..., in_features), of floats.
            k: How many; at most out_features.

        Returns:
            (..., k) values, largest first, of the input's dtype, and as many features, int64.

        Raises:
            ValueError: k is out of range.
            RuntimeError: as `forward` has it.
        """
        if not 0 <= checked_integer(k, "k") <= self.out_features:
            raise ValueError(f"k must be from 0 to {self.out_features}, not {k}")
        if self.input_quantizer is not None:
            input = self.input_quantizer(input)
        shape = (*input.shape[:-1], 0)
        values, features = input.new_empty(shape), input.new_empty(shape, dtype=torch.int64)
        for start in range(0, self.out_features, TOPK_FEATURES):
            stop = min(start + TOPK_FEATURES, self.out_features)
            bias = None if self.bias is None else self.bias[start:stop]
            found = multiply(self.parts, input, bias, start, stop).topk(min(k, stop - start))
            values = torch.cat([values, found.values], -1)
            features = torch.cat([features, found.indices + start], -1)
            values, order = values.topk(min(k, values.shape[-1]))
            features = features.gather(-1, order)
        return values, features

    def extra_repr(self) -> str:
        """Describe the module as torch.nn.Linear does."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


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
    operator = torch.ops.embedcompress.linear_transposed.default
    result = operator(ctx.arrays, ctx.expression, gradient, ctx.start, ctx.stop).to(ctx.dtype)
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
