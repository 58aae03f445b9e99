"""`CompressedMultiheadAttention`: torch.nn.MultiheadAttention over compressed tables."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._compressed_linear import CompressedLinear
from ._inputs import rounded_once
from ._linear import multiply
from ._parts import Parts


class CompressedMultiheadAttention(nn.Module):
    """torch.nn.MultiheadAttention (Vaswani et al. 2017) whose projections are CompressedLinear.

    Takes and returns what that does, on the CPU, but nested tensors.

    Args:
        module: The attention that this takes the place of; its biases are used as they are, its matrices are not.
        parts: The packed form of each of its matrices by name: "in_proj_weight", or "q_proj_weight", "k_proj_weight"
            and "v_proj_weight"; and "out_proj.weight".
        input_quantizer: Applied to query, key and value.

    Attributes:
        in_proj: The projection of query, key and value together; or q_proj, k_proj and v_proj.
        out_proj: The output layer.
    """

    # What torch.nn.TransformerEncoderLayer asks before it reads dense weights.
    _qkv_same_embed_dim = False

    q_proj: CompressedLinear
    k_proj: CompressedLinear
    v_proj: CompressedLinear
    in_proj_bias: Tensor | None
    bias_k: Tensor | None
    bias_v: Tensor | None

    def __init__(
        self, module: nn.MultiheadAttention, parts: Mapping[str, Parts], input_quantizer: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = module.embed_dim, module.num_heads, module.head_dim
        self.kdim, self.vdim = module.kdim, module.vdim
        self.dropout, self.batch_first, self.add_zero_attn = module.dropout, module.batch_first, module.add_zero_attn
        for name in ("in_proj_bias", "bias_k", "bias_v"):
            self.register_parameter(name, getattr(module, name))
        for name, table in parts.items():
            if name != "out_proj.weight":
                self.add_module(name.removesuffix("_weight"), CompressedLinear(table))
        self.out_proj = CompressedLinear(parts["out_proj.weight"], module.out_proj.bias)
        self.input_quantizer = input_quantizer

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend, as torch.nn.MultiheadAttention does; see there for shapes and masks.

        Raises:
            RuntimeError: wrong shapes, or is_causal without attn_mask.
        """
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal is a hint of what attn_mask is, which has to be given too")
        batched = query.dim() == 3
        if self.input_quantizer is not None:
            query, key, value = rounded_once(self.input_quantizer, (query, key, value))
        q, k, v = (self._batches(tensor, batched) for tensor in self._projected(query, key, value))
        samples, length = q.shape[:2]
        mask = self._mask(attn_mask, key_padding_mask, batched, samples, q.dtype)
        k, v, mask = self._extended(k, v, mask)
        q, k, v = (tensor.reshape(samples, -1, self.num_heads, self.head_dim).transpose(1, 2) for tensor in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (q * math.sqrt(1.0 / self.head_dim)) @ k.transpose(-2, -1)
            weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
            weights = functional.dropout(weights, dropout)
            attended = weights @ v
            weights = weights.mean(dim=1) if average_attn_weights else weights
        else:
            attended = functional.scaled_dot_product_attention(q, k, v, mask, dropout)
        result = self.out_proj(attended.transpose(1, 2).reshape(samples, length, self.embed_dim))
        if not batched:
            return result.squeeze(0), None if weights is None else weights.squeeze(0)
        return result if self.batch_first else result.transpose(0, 1), weights

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """Return query, key and value as they are projected."""
        inputs, size = (query, key, value), self.embed_dim
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        together = self._modules.get("in_proj")
        if isinstance(together, CompressedLinear):
            if query is key and key is value:
                return list(multiply(together.parts, query, self.in_proj_bias, 0, 3 * size).chunk(3, dim=-1))
            return [
                multiply(together.parts, input, bias, i * size, (i + 1) * size)
                for i, (input, bias) in enumerate(zip(inputs, biases, strict=True))
            ]
        layers = (self.q_proj, self.k_proj, self.v_proj)
        return [
            multiply(layer.parts, input, bias, 0, size)
            for layer, input, bias in zip(layers, inputs, biases, strict=True)
        ]

    def _batches(self, tensor: Tensor, batched: bool) -> Tensor:
        """Return (samples, length, features)."""
        if not batched:
            return tensor.unsqueeze(0)
        return tensor if self.batch_first else tensor.transpose(0, 1)

    def _mask(
        self, attn_mask: Tensor | None, padding: Tensor | None, batched: bool, samples: int, dtype: torch.dtype
    ) -> Tensor | None:
        """Return both masks as one to be added to the scores, which broadcasts to (samples, heads, length, keys)."""
        masks = []
        if attn_mask is not None:
            shape = (samples, self.num_heads, *attn_mask.shape[1:]) if attn_mask.dim() == 3 else attn_mask.shape
            masks.append(_added(attn_mask, dtype).reshape(shape))
        if padding is not None:
            masks.append(_added(padding if batched else padding.unsqueeze(0), dtype)[:, None, None, :])
        return masks[0] + masks[1] if len(masks) == 2 else masks[0] if masks else None

    def _extended(self, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return keys and values with the learned ones and the zero ones behind them, which no mask covers."""
        before = k.shape[1]
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (
                torch.cat([tensor, bias.expand(len(tensor), 1, -1)], dim=1)
                for tensor, bias in ((k, self.bias_k), (v, self.bias_v))
            )
        if self.add_zero_attn:
            k, v = (functional.pad(tensor, (0, 0, 0, 1)) for tensor in (k, v))
        if mask is not None and k.shape[1] > before:
            mask = functional.pad(mask, (0, k.shape[1] - before))
        return k, v, mask


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask as numbers to be added: a true element of a mask of bools forbids."""
    if mask.dtype is torch.bool:
        return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -torch.inf)
    return mask.to(dtype)
