"""`CompressedEmbedding` and `CompressedEmbeddingBag`: torch.nn.Embedding and EmbeddingBag over a compressed table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from .. import Table, compress
from ._operators import bag, bag_operator, lookup, lookup_operator, runs_eagerly
from ._parts import Parts

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class _Compressed(nn.Module):
    """What the two modules have in common."""

    parts: Parts

    def __init__(self, table: Table | Parts, padding_idx: int | None, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.parts = table if isinstance(table, Parts) else Parts(table)
        self.num_embeddings = self.parts.num_embeddings
        self.embedding_dim = self.parts.embedding_dim
        if padding_idx is not None:
            assert -self.num_embeddings <= padding_idx < self.num_embeddings, (
                "padding_idx must be within num_embeddings"
            )
            padding_idx %= self.num_embeddings
        self.padding_idx = padding_idx
        self.dtype = torch.float32 if dtype is None else dtype
        if self.dtype not in _FLOATS:
            raise ValueError(f"dtype must be that of floats, not {dtype}")

    @property
    def table(self) -> Table:
        """The compressed table, on the memory of this module's buffers."""
        return self.parts.table()

    def _parts(self) -> Parts:
        # Half a microsecond less than nn.Module's __getattr__ needs.
        return self._modules["parts"]  # type: ignore[return-value]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        dtype = fn(torch.zeros(1, dtype=self.dtype)).dtype
        if dtype in _FLOATS:
            self.dtype = dtype
        return self

    def _description(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.dtype is not torch.float32:
            text += f", dtype={self.dtype}"
        return text


class CompressedEmbedding(_Compressed):
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
        parts: The module whose buffers hold the table; modules with tied weights share it.

    Raises:
        AssertionError: padding_idx is out of range.
    """

    def __init__(
        self, table: Table | Parts, padding_idx: int | None = None, *, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(table, padding_idx, dtype)

    @classmethod
    def from_weight(
        cls, weight: object, method: str = "greedy", *, padding_idx: int | None = None, **options: Any
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
        return cls(compress(plain_weight(weight), method, **options), padding_idx, dtype=_dtype(weight))

    @classmethod
    def from_module(cls, module: nn.Embedding, method: str = "greedy", **options: Any) -> Self:
        """Compress an embedding.

        `scale_grad_by_freq` and `sparse` only concern training and have no effect here.

        Args:
            module: It stays as it is.
            method: A name from `embedcompress.methods()`.
            **options: As in `from_weight`.

        Raises:
            NotImplementedError: the module has max_norm, which rewrites rows as they are looked up.
            ValueError: see `embedcompress.compress`.
        """
        check_module(module)
        return cls.from_weight(module.weight, method, padding_idx=module.padding_idx, **options)

    def forward(self, input: Tensor) -> Tensor:
        """Look rows up.

        Args:
            input: int32 or int64 ids of any shape.

        Returns:
            (*input.shape, embedding_dim).

        Raises:
            IndexError: an id is outside [0, num_embeddings).
            RuntimeError: ids are not int32 or int64, or not on the CPU.
            TypeError: input is no tensor.
        """
        if runs_eagerly(input):
            rows = lookup(self._parts().table(), input)
        else:
            _check_tensor(input)
            rows = lookup_operator(self.parts.arrays(), self.parts.text, input)
        return rows if self.dtype is torch.float32 else rows.to(self.dtype)

    def extra_repr(self) -> str:
        """Describe the module as torch.nn.Embedding does."""
        return self._description()


class CompressedEmbeddingBag(_Compressed):
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
        table: The compressed table.
        parts: The module whose buffers hold the table; modules with tied weights share it.

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
        super().__init__(table, padding_idx, dtype)
        if mode not in ("sum", "mean", "max"):
            raise ValueError(f"mode must be one of sum, mean and max, not {mode!r}")
        self.mode = mode
        self.include_last_offset = bool(include_last_offset)

    @classmethod
    def from_weight(
        cls,
        weight: object,
        method: str = "greedy",
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
        table = compress(plain_weight(weight), method, **options)
        return cls(table, mode, padding_idx, include_last_offset, dtype=_dtype(weight))

    @classmethod
    def from_module(cls, module: nn.EmbeddingBag, method: str = "greedy", **options: Any) -> Self:
        """Compress an embedding bag; see `CompressedEmbedding.from_module`."""
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
            input: int32 or int64 ids: (ids,) with offsets, or (bags, ids of each) without.
            offsets: (bags,), where each bag begins in input, 0 first; one entry more with include_last_offset.
            per_sample_weights: The shape of input, f32 or the module's dtype; with mode "sum" only.

        Returns:
            (bags, embedding_dim); zeros for an empty bag.

        Raises:
            RuntimeError: an id is outside [0, num_embeddings); bad offsets; wrong dtypes; not on the CPU.
            ValueError: wrong ranks, or weights of another shape.
            NotImplementedError: weights with another mode than "sum", or that require grad.
            TypeError: input is no tensor.
        """
        if isinstance(per_sample_weights, Tensor):
            if per_sample_weights.requires_grad and torch.is_grad_enabled():
                raise NotImplementedError(
                    "per_sample_weights require grad, but a compressed table is for inference: detach them, or call "
                    "the module under torch.no_grad()"
                )
            if per_sample_weights.dtype is self.dtype and self.dtype is not torch.float32:
                per_sample_weights = per_sample_weights.float()
        mode, last, padding = self.mode, self.include_last_offset, self.padding_idx
        if runs_eagerly(input):
            rows = bag(self._parts().table(), input, offsets, mode, per_sample_weights, last, padding)
        else:
            _check_tensor(input)
            rows = bag_operator(
                self.parts.arrays(), self.parts.text, input, offsets, mode, per_sample_weights, last, padding
            )
        return rows if self.dtype is torch.float32 else rows.to(self.dtype)

    def extra_repr(self) -> str:
        """Describe the module as torch.nn.EmbeddingBag does."""
        text = f"{self._description()}, mode={self.mode!r}"
        return f"{text}, include_last_offset=True" if self.include_last_offset else text


def check_module(module: nn.Embedding | nn.EmbeddingBag) -> None:
    """Refuse what a table can't keep up."""
    if module.max_norm is not None:
        raise NotImplementedError(
            f"the module has max_norm={module.max_norm}, which rewrites rows as they are looked up; a compressed table "
            "is never written to"
        )


def plain_weight(weight: object) -> object:
    """Return a weight as `compress` takes it: a tensor becomes contiguous, and f32 if it is f64."""
    if isinstance(weight, Tensor):
        weight = weight.detach()
        return (weight.float() if weight.dtype is torch.float64 else weight).contiguous()
    return weight


def _dtype(weight: object) -> torch.dtype | None:
    return weight.dtype if isinstance(weight, Tensor) and weight.dtype in _FLOATS else None


def _check_tensor(value: object) -> None:
    # What stands for a tensor while a graph is traced has this too.
    if not hasattr(type(value), "__torch_function__"):
        raise TypeError(f"input must be a tensor, not {type(value).__name__}")
