"""`CompressedEmbedding` and `CompressedEmbeddingBag`: torch.nn.Embedding and EmbeddingBag over a compressed table."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from .. import Table, compress
from .._checks import check_type, checked_integer
from ._compressed import FLOATS, Compressed, stands_for
from ._lookups import look_up, pool
from ._parts import Parts
from ._quantized import Packed, is_quantized, is_quantized_bag

if TYPE_CHECKING:
    from torch.ao.nn import quantized


class _Lookup(Compressed):
    """What the two modules have in common."""

    def _describe(self, table: Table | Parts, padding_idx: int | None, dtype: torch.dtype | None) -> None:
        nn.Module.__init__(self)
        self._hold(table, dtype)
        self.num_embeddings, self.embedding_dim = self.parts.num_embeddings, self.parts.embedding_dim
        if padding_idx is not None:
            padding_idx = checked_integer(padding_idx, "padding_idx")
            assert -self.num_embeddings <= padding_idx < self.num_embeddings, (
                "padding_idx must be within num_embeddings"
            )
            padding_idx %= self.num_embeddings
        self.padding_idx = padding_idx
        # What torch's own modules have, for those who ask.
        self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse = None, 2.0, False, False

    def _description(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.dtype is not torch.float32:
            text += f", dtype={self.dtype}"
        return text


@stands_for(nn.Embedding)
class CompressedEmbedding(_Lookup, nn.Embedding):  # type: ignore[misc, override]
    """torch.nn.Embedding over a compressed table, for inference on the CPU.

    `.half()`, `.to(torch.bfloat16)` and their like set the dtype of the rows that it returns, as they would for
    torch.nn.Embedding, and leave the table as it is. `load_state_dict` takes the state of any table of the same shape,
    however it was compressed. Rows don't require grad.

    Args:
        table: (rows, dimension), on whose memory the module's buffers are.
        padding_idx: Kept for the model's own use, as in torch.nn.Embedding, where it only concerns gradients; negative
            ones count from the end.
        dtype: Of the rows that it returns; f32 by default.

    Attributes:
        num_embeddings: ids are 0 to num_embeddings - 1.
        embedding_dim: The length of a row.
        padding_idx: From 0 to num_embeddings - 1, or None.
        table: The compressed table.
        weight: What stands for the dense weight where code asks for it: a `CompressedWeight`, which `nn.functional`'s
            embedding and linear compute with, and whose other uses decode it.
        parts: The module whose buffers hold the table; modules with tied weights share it.
        dtype: Of the rows that it returns.

    Raises:
        AssertionError: padding_idx is out of range.
    """

    def __init__(
        self, table: Table | Parts, padding_idx: int | None = None, *, dtype: torch.dtype | None = None
    ) -> None:
        self._describe(table, padding_idx, dtype)

    @classmethod
    def from_weight(
        cls, weight: object, method: str = "least_squares", *, padding_idx: int | None = None, **options: Any
    ) -> Self:
        """Compress a weight.

        Args:
            weight: (rows, dimension), what `embedcompress.compress` takes, or a torch CPU tensor of any strides. Rows
                are returned in its dtype if it is a tensor.
            method: A name from `embedcompress.methods()`.
            padding_idx: As in the constructor.
            **options: The method's own, and budget and progress; see `embedcompress.compress`.

        Raises:
            ValueError: see `embedcompress.compress`.
        """
        return cls(compress(weight, method, **options), padding_idx, dtype=_dtype(weight))

    @classmethod
    def from_module(
        cls, module: nn.Embedding | quantized.Embedding, method: str = "least_squares", **options: Any
    ) -> Self:
        """Compress an embedding, or take a quantized one over.

        `scale_grad_by_freq` and `sparse` only concern training and have no effect here.

        Of a torch.ao.nn.quantized.Embedding the codes, scales and biases are taken over as they are, whatever the
        method: rows are those that torch looks up, bit for bit at 4 bits, and to the last rounding at 8. Rows of 4 bits
        that torch's own module reads as 8-bit ones, as what `quantize_dynamic` makes of an Embedding does, come out as
        what they stand for, with a warning.

        Args:
            module: It stays as it is.
            method: A name from `embedcompress.methods()`; not used for a quantized module.
            **options: As in `from_weight`; not used for a quantized module.

        Raises:
            NotImplementedError: the module has max_norm, which rewrites rows as they are looked up.
            ValueError: see `embedcompress.compress`; or a quantized module that can't be taken over: rows of an odd
                number of 4-bit codes, which torch packs wrongly, a scale or a bias that is not finite.
        """
        if is_quantized(module):
            return cls(_take_over(module), getattr(module, "padding_idx", None))
        check_type(module, nn.Embedding, "module", "a torch.nn.Embedding")
        check_module(module)
        return cls.from_weight(module.weight, method, padding_idx=module.padding_idx, **options)

    def forward(self, input: Tensor) -> Tensor:
        """Look rows up.

        Args:
            input: Integer ids of any shape.

        Returns:
            (*input.shape, embedding_dim).

        Raises:
            IndexError: an id is outside [0, num_embeddings).
            RuntimeError: ids are not integers, or not on the CPU.
            TypeError: input is no tensor.
        """
        parts: Parts = self._modules["parts"]  # type: ignore[assignment]  # quicker than __getattr__
        rows = look_up(parts, input)
        return rows if self.dtype is torch.float32 else rows.to(self.dtype)

    def extra_repr(self) -> str:
        """Describe the module as torch.nn.Embedding does."""
        return self._description()


@stands_for(nn.EmbeddingBag)
class CompressedEmbeddingBag(_Lookup, nn.EmbeddingBag):  # type: ignore[misc, override]
    """torch.nn.EmbeddingBag over a compressed table, for inference on the CPU.

    Where torch reads outside the ids or contradicts itself from mode to mode, this raises RuntimeError: offsets that
    decrease, ids without offsets, and a last offset (with include_last_offset) that is not the number of ids. Rows of a
    matrix without columns are empty bags.

    Args:
        table: (rows, dimension), on whose memory the module's buffers are.
        mode: "sum", "mean" or "max".
        padding_idx: Ids that take no part; negative ones count from the end.
        include_last_offset: offsets has one more entry, the number of ids.
        dtype: Of what it returns; f32 by default. Pooling is done in f32.

    Attributes:
        num_embeddings: ids are 0 to num_embeddings - 1.
        embedding_dim: The length of a row.
        mode: "sum", "mean" or "max".
        padding_idx: From 0 to num_embeddings - 1, or None.
        include_last_offset: As given.
        table, weight, parts, dtype: See `CompressedEmbedding`.

    Raises:
        AssertionError: padding_idx is out of range.
        ValueError: an unknown mode.
    """

    def __init__(
        self,
        table: Table | Parts,
        mode: str = "mean",
        padding_idx: int | None = None,
        include_last_offset: bool = False,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._describe(table, padding_idx, dtype)
        if mode not in ("sum", "mean", "max"):
            raise ValueError(f"mode must be one of sum, mean and max, not {mode!r}")
        self.mode = mode
        self.include_last_offset = bool(include_last_offset)

    @classmethod
    def from_weight(
        cls,
        weight: object,
        method: str = "least_squares",
        *,
        mode: str = "mean",
        padding_idx: int | None = None,
        include_last_offset: bool = False,
        **options: Any,
    ) -> Self:
        """Compress a weight.

        Args:
            weight: As in `CompressedEmbedding.from_weight`.
            method: A name from `embedcompress.methods()`.
            mode: As in the constructor, as are the next two.
            padding_idx: Ids that take no part.
            include_last_offset: offsets has one more entry.
            **options: The method's own, and budget and progress; see `embedcompress.compress`.

        Raises:
            ValueError: see `embedcompress.compress`.
        """
        table = compress(weight, method, **options)
        return cls(table, mode, padding_idx, include_last_offset, dtype=_dtype(weight))

    @classmethod
    def from_module(
        cls, module: nn.EmbeddingBag | quantized.EmbeddingBag, method: str = "least_squares", **options: Any
    ) -> Self:
        """Compress an embedding bag, or take a quantized one over; see `CompressedEmbedding.from_module`.

        torch.ao.nn.quantized.EmbeddingBag always sums, whatever its mode, and has no padding_idx. The new module pools
        by the mode and padding_idx (if there is such an attribute) of the quantized one, as torch.nn.EmbeddingBag
        means them, and warns if that is another result. To keep the sums, set its mode to "sum" before.

        Raises:
            TypeError: the module is a quantized Embedding, which does not pool.
            NotImplementedError: see `CompressedEmbedding.from_module`.
            ValueError: see there; or a quantized module whose rows are pruned.
        """
        if is_quantized(module):
            if not is_quantized_bag(module):
                raise TypeError(f"{type(module).__name__} does not pool; CompressedEmbedding.from_module takes it")
            padding_idx = getattr(module, "padding_idx", None)
            return cls(_take_over(module), module.mode, padding_idx, module.include_last_offset)
        check_type(module, nn.EmbeddingBag, "module", "a torch.nn.EmbeddingBag")
        check_module(module)
        return cls.from_weight(
            module.weight,
            method,
            mode=module.mode,
            padding_idx=module.padding_idx,
            include_last_offset=module.include_last_offset,
            **options,
        )

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """Look rows up and pool those of each bag.

        Args:
            input: Integer ids: (ids,) with offsets, or (bags, ids of each) without.
            offsets: (bags,), where each bag begins in input, 0 first; one entry more with include_last_offset.
            per_sample_weights: Real numbers in the shape of input; with mode "sum" only.

        Returns:
            (bags, embedding_dim); zeros for an empty bag.

        Raises:
            RuntimeError: an id is outside [0, num_embeddings); bad offsets; wrong dtypes; not on the CPU.
            ValueError: wrong ranks, or weights of another shape.
            NotImplementedError: weights with another mode than "sum", or that require grad.
            TypeError: input is no tensor.
        """
        parts: Parts = self._modules["parts"]  # type: ignore[assignment]  # quicker than __getattr__
        last, padding = self.include_last_offset, self.padding_idx
        rows = pool(parts, input, offsets, self.mode, per_sample_weights, last, padding)
        return rows if self.dtype is torch.float32 else rows.to(self.dtype)

    def extra_repr(self) -> str:
        """Describe the module as torch.nn.EmbeddingBag does."""
        text = f"{self._description()}, mode={self.mode!r}"
        return f"{text}, include_last_offset=True" if self.include_last_offset else text


def _take_over(module: quantized.Embedding) -> Table:
    """Return a quantized module's table; warn of what will differ."""
    packed = Packed.of(module)
    table = packed.take_over()
    for note in packed.notes():
        warnings.warn(note, UserWarning, stacklevel=3)
    return table


def check_module(module: nn.Module) -> None:
    """Refuse what a table can't keep up."""
    max_norm = getattr(module, "max_norm", None)
    if max_norm is not None:
        raise NotImplementedError(
            f"the module has max_norm={max_norm}, which rewrites rows as they are looked up; a compressed table "
            "is never written to"
        )


def _dtype(weight: object) -> torch.dtype | None:
    return weight.dtype if isinstance(weight, Tensor) and weight.dtype in FLOATS else None
