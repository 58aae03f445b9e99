"""`Compressed`: what every module has whose weight is a table, and the making of such a module of any class.

A class that looks rows up, or multiplies, in a way of its own keeps it: a class derived from it has the table in the
place of the weight. Gemma's embeddings, which scale rows, and OPT's, which shift ids, go on calling the forward of
torch.nn.Embedding, which is that of CompressedEmbedding here; others read `self.weight`, for which a `CompressedWeight`
stands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling
from torch.nn.utils import parametrize

from .. import Table
from ._inputs import INPUT_QUANTIZER, quantize_inputs
from ._lookups import look_up
from ._parts import Parts
from ._weight import CompressedWeight

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class Compressed(nn.Module):
    """What every module over a compressed table has.

    Attributes:
        parts: The module whose buffers hold the table; modules with tied weights share it.
        dtype: Of the weight that the table stands for: that of the rows that are looked up.
        table: The compressed table.
        weight: A tensor of the weight's shape that is computed from the table; see `CompressedWeight`.
    """

    parts: Parts
    dtype: torch.dtype

    def _hold(self, table: Table | Parts, dtype: torch.dtype | None) -> None:
        """Take a table; nn.Module's own __init__ has been called."""
        self.parts = table if isinstance(table, Parts) else Parts(table)
        self.dtype = torch.float32 if dtype is None else dtype
        if self.dtype not in FLOATS:
            raise ValueError(f"dtype must be that of floats, not {dtype}")

    @property
    def table(self) -> Table:
        """The compressed table, on the memory of this module's buffers."""
        return self.parts.table()

    @property
    def weight(self) -> Tensor:
        """What stands for the dense weight."""
        if is_dynamo_compiling():
            # A graph can't make one; what is not used of this is not computed.
            return look_up(self.parts, torch.arange(self.parts.num_embeddings)).to(self.dtype)
        return CompressedWeight(self.parts, self.dtype)

    def __setattr__(self, name: str, value: Any) -> None:
        """Share the table whose weight is assigned, as ties are made."""
        if name != "weight":
            super().__setattr__(name, value)
        elif isinstance(value, CompressedWeight):
            self.parts = value.parts
        else:
            raise TypeError(
                f"the weight of a {type(self).__name__} is a table: a {type(value).__name__} can't take its place"
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        dtype = fn(torch.zeros(1, dtype=self.dtype)).dtype
        if dtype in FLOATS:
            self.dtype = dtype
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle a module of a derived class as one of the class that it is derived from."""
        kind: Any = type(self)
        original = kind.__dict__.get("_original")
        if original is None:
            return super().__reduce_ex__(protocol)
        return _empty, (original,), self.__getstate__()  # type: ignore[no-untyped-call]


def _empty(original: type[nn.Module]) -> nn.Module:
    kind = compressed_class(original)  # type: ignore[arg-type]
    return kind.__new__(kind)


_CLASSES: dict[type[nn.Module], type[Compressed]] = {}
"""The compressed classes of torch's own; a class has that of its first base that is here."""


def stands_for(original: type[nn.Module]) -> Callable[[type[Compressed]], type[Compressed]]:
    """Register the compressed class of one of torch's, from which it is derived."""

    def register(kind: Any) -> Any:
        _CLASSES[original] = kind
        return kind

    return register


@cache
def compressed_class(original: type[nn.Module]) -> type[Compressed]:
    """Return the class of modules over tables that act as those of a class do."""
    if original in _CLASSES:
        return _CLASSES[original]
    base = next((_CLASSES[kind] for kind in original.__mro__ if kind in _CLASSES), None)
    bases = (Compressed, original) if base is None else (original, base)
    names = {"_original": original, "weight": Compressed.weight, "__module__": original.__module__}
    return type(f"Compressed{original.__name__}", bases, names)


def compressed(
    module: nn.Module, parts: Parts, dtype: torch.dtype, input_quantizer: nn.Module | None = None
) -> Compressed:
    """Return a module that acts as another one does, with a table in the place of its matrix `weight`.

    Args:
        module: Of any class; it stays as it is, and shares its other parameters and buffers with the new one.
        parts: Of the table.
        dtype: Of the rows that are looked up.
        input_quantizer: For inputs, or None.
    """
    kind = compressed_class(parametrize.type_before_parametrizations(module))
    new: Any = kind.__new__(kind)
    for name, value in module.__dict__.items():
        new.__dict__[name] = value.copy() if isinstance(value, (dict, set)) else value
    new._parameters.pop("weight", None)
    new._modules.pop("parametrizations", None)
    new._hold(parts, dtype)
    if input_quantizer is not None and INPUT_QUANTIZER not in new._modules:
        quantize_inputs(new, input_quantizer)
    assert isinstance(new, Compressed)
    return new
