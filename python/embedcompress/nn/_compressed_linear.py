"""`CompressedLinear`: torch.nn.Linear over a compressed table."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from .. import Table, compress, group_quantize
from .._checks import check_type, checked_integer
from ._compressed import Compressed, stands_for
from ._inputs import INPUT_QUANTIZER, quantize_inputs
from ._linear import multiply
from ._parts import Parts

TOPK_FEATURES = 1 << 15
"""Output features that `topk` computes at a time."""


@stands_for(nn.Linear)
class CompressedLinear(Compressed, nn.Linear):  # type: ignore[override]
    """torch.nn.Linear over a compressed table, for inference on the CPU.

    The core multiplies rows of the table, which are output features, with up to sixteen rows of input as it decodes
    them. For more, it decodes blocks of a mebibyte, and each is multiplied before the next is decoded into the same
    memory: the dense matrix never exists. Computes in f32, and returns the dtype of the input. Gradients with respect
    to the input, of any order, are computed by blocks, and a bias may have one; the table has none.

    Args:
        table: (out_features, in_features), of any expression, on whose memory the module's buffers are; or the `parts`
            of another module, such as a tied CompressedEmbedding, which then share it.
        bias: (out_features,), or None. A Parameter is used as it is.
        dtype: Of the weight that the table stands for, which models ask for; f32 by default.
        input_quantizer: Applied to the input, such as the `FakeQuantizedActivation` of a prepared model.

    Attributes:
        in_features: Of the input's last axis.
        out_features: Of the result's last axis.
        bias: A Parameter, or None.
        table, weight, parts, dtype: See `CompressedEmbedding`.

    Raises:
        ValueError: a bias of another shape.
    """

    bias: nn.Parameter | None  # type: ignore[assignment]

    def __init__(
        self,
        table: Table | Parts,
        bias: Tensor | None = None,
        *,
        dtype: torch.dtype | None = None,
        input_quantizer: nn.Module | None = None,
    ) -> None:
        nn.Module.__init__(self)
        self._hold(table, dtype)
        self.out_features, self.in_features = self.parts.num_embeddings, self.parts.embedding_dim
        if bias is not None:
            check_type(bias, Tensor, "bias", "a tensor")
        if bias is not None and tuple(bias.shape) != (self.out_features,):
            raise ValueError(f"bias must have the shape {(self.out_features,)}, not {tuple(bias.shape)}")
        if bias is not None and not isinstance(bias, nn.Parameter):
            bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
        self.register_parameter("bias", bias)
        if input_quantizer is not None:
            quantize_inputs(self, input_quantizer)

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
        bias = None if module.bias is None else module.bias.detach().clone()
        return cls(table, bias, dtype=weight.dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Multiply.

        Args:
            input: (..., in_features), of floats.

        Returns:
            (..., out_features), of the input's dtype.

        Raises:
            RuntimeError: another last axis, no floats, or not on the CPU.
        """
        parts: Parts = self._modules["parts"]  # type: ignore[assignment]
        return multiply(parts, input, self.bias, 0, parts.num_embeddings)

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
        quantizer = self._modules.get(INPUT_QUANTIZER)
        if quantizer is not None:
            input = quantizer(input)
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
