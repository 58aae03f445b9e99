"""The embeddings of torch.ao.nn.quantized, whose codes are taken over as they are.

Such a module holds an opaque packed weight. What torch gives out of it are the codes, and the f32 scale s and zero
point z that each row was packed from; the packed row itself, which lookups use, has s and the bias -(z * s), in f32 at
8 bits and rounded to f16 at 4. That is computed here as torch's prepack does, so that rows are torch's bit for bit.

torch.ao is not imported: its modules exist only where something else imported it, and torch means to remove it.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .. import Table, uniform

if TYPE_CHECKING:
    from torch.ao.nn.quantized import Embedding
    from typing_extensions import TypeIs

_BITS = {torch.quint8: 8, torch.quint4x2: 4}


def is_quantized(module: object) -> TypeIs[Embedding]:
    """Whether this is torch.ao.nn.quantized's Embedding, or its EmbeddingBag, which is a subclass."""
    kind = getattr(sys.modules.get("torch.ao.nn.quantized"), "Embedding", None)
    return kind is not None and isinstance(module, kind)


def is_quantized_bag(module: object) -> bool:
    """Whether this is torch.ao.nn.quantized's EmbeddingBag."""
    return is_quantized(module) and isinstance(module, torch.ao.nn.quantized.EmbeddingBag)


@dataclass(frozen=True)
class Packed:
    """What a quantized module holds."""

    module: Embedding
    rows: int
    dimension: int
    """Of the packed rows; the module's own, unless torch packed them wrongly."""
    bits: int

    @classmethod
    def of(cls, module: Embedding) -> Packed:
        """Describe a module's packed weight."""
        weight = _weight(module)
        rows, dimension = weight.shape
        return cls(module, rows, dimension, _BITS[weight.dtype])

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed rows."""
        return self.rows * (self.dimension * self.bits // 8 + (8 if self.bits == 8 else 4))

    def obstacle(self) -> str:
        """Return why the module can't be taken over, or an empty string."""
        module = self.module
        quantized = torch.ao.nn.quantized
        base = quantized.EmbeddingBag if is_quantized_bag(module) else quantized.Embedding
        if type(module).forward is not base.forward or "forward" in vars(module):
            kind = f"{type(module).__module__}.{type(module).__qualname__}"
            return f"{kind} has a forward of its own, which would be lost"
        if getattr(module, "pruned_weights", False):
            return "its rows are pruned, and the map from ids to them is an argument of each call"
        if (self.rows, self.dimension) != (module.num_embeddings, module.embedding_dim):
            # torch takes an odd number of 4-bit codes for the next even one, and each row begins where it does not.
            return (
                f"its packed weight is {self.rows} x {self.dimension}, not {module.num_embeddings} x "
                f"{module.embedding_dim}: torch packs rows of an odd number of 4-bit codes wrongly, and its own "
                "lookups in them are wrong"
            )
        return ""

    def notes(self) -> list[str]:
        """Return how a module of the same rows differs from torch's, which ignores part of what it was given."""
        found = []
        mode = getattr(self.module, "mode", "sum")
        if mode != "sum":
            found.append(f"torch's module sums in spite of mode={mode!r}, which the new one heeds")
        padding_idx = getattr(self.module, "padding_idx", None)
        if is_quantized_bag(self.module) and padding_idx is not None:
            found.append(f"torch's module pools the rows of padding_idx={padding_idx}, which the new one leaves out")
        read_as = _BITS.get(self.module.dtype)
        if read_as != self.bits:
            found.append(
                f"torch's module reads its {self.bits}-bit codes as {read_as}-bit ones; the new one returns the rows "
                "that they stand for"
            )
        return found

    def take_over(self) -> Table:
        """Return a table of the rows.

        Raises:
            ValueError: there is an obstacle; or a scale or a bias is not finite, as f16 ones are not past 65,504. The
                message names the row.
        """
        reason = self.obstacle()
        if reason:
            raise ValueError(f"the quantized module can't be taken over: {reason}")
        weight = _weight(self.module)
        codes = weight.int_repr().numpy().reshape(self.rows, self.dimension * self.bits // 8)
        scales = weight.q_per_channel_scales().numpy().astype(np.float32)
        biases = weight.q_per_channel_zero_points().numpy().astype(np.float32) * scales * np.float32(-1)
        scale_dtype = "f16" if self.bits == 4 else "f32"
        return uniform(codes, scales, biases, bits=self.bits, dimension=self.dimension, scale_dtype=scale_dtype)


def _weight(module: Embedding) -> Tensor:
    """Return codes, scales and zero points as torch's quantized tensor, which is a copy."""
    with warnings.catch_warnings():
        # torch warns that it means to remove these tensors, which is why somebody is here.
        warnings.simplefilter("ignore", UserWarning)
        weight: Tensor = module.weight()  # type: ignore[no-untyped-call]
    return weight
