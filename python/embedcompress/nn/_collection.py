"""`CompressedEmbeddingBagCollection`: the bags of many compressed tables in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from .. import Table
from .._checks import checked_items
from .._table_set import TableSet, feature_columns
from ._compressed import FLOATS
from ._lookups import check_tensor, inference_weights
from ._operators import SEPARATOR, bags, bags_operator, runs_eagerly
from ._parts import Parts


class CompressedEmbeddingBagCollection(nn.Module):
    """Embedding bags of many features over compressed tables, pooled together, for inference on the CPU.

    Ids and offsets are laid out as in FBGEMM's table-batched embeddings and torchrec's KeyedJaggedTensor (its values()
    and offsets()). `.half()` and its like set the dtype of what it returns, and leave the tables as they are;
    `load_state_dict` takes the state of any tables of the same shapes.

    Args:
        tables: Of any kinds and dimensions, on whose memory the module's buffers are; or the `parts` of other modules,
            which then share them.
        mode: "sum", "mean" or "max".
        features: The table of each feature, as an index into tables, if they are not one a table.
        dtype: Of what it returns; f32 by default. Pooling is done in f32.

    Attributes:
        mode: "sum", "mean" or "max".
        features: A tuple of indices into the tables.
        columns: Each feature's slice of the columns.
        embedding_dim: Columns of what it returns: the sum of the dimensions of the features' tables.
        tables: The compressed tables, as an `embedcompress.TableSet` on the memory of this module's buffers.
        parts: The modules whose buffers hold the tables.

    Raises:
        TypeError: features are not integers.
        ValueError: an unknown mode; no features, or one without a table.
    """

    def __init__(
        self,
        tables: Sequence[Table | Parts],
        mode: str = "sum",
        features: Sequence[int] | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            [table if isinstance(table, Parts) else Parts(table) for table in checked_items(tables, "tables")]
        )
        self.features, self.columns = feature_columns([part.embedding_dim for part in self._parts()], features)
        self.embedding_dim = self.columns[-1].stop
        if mode not in ("sum", "mean", "max"):
            raise ValueError(f"mode must be one of sum, mean and max, not {mode!r}")
        self.mode = mode
        self.dtype = torch.float32 if dtype is None else dtype
        if self.dtype not in FLOATS:
            raise ValueError(f"dtype must be that of floats, not {dtype}")

    def _parts(self) -> list[Parts]:
        return list(self.parts._modules.values())  # type: ignore[arg-type]

    @property
    def tables(self) -> TableSet:
        """The compressed tables, on the memory of this module's buffers."""
        return TableSet([part.table() for part in self._parts()], self.features)

    def _apply(self, fn: object, recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        dtype = fn(torch.zeros(1, dtype=self.dtype)).dtype  # type: ignore[operator]
        if dtype in FLOATS:
            self.dtype = dtype
        return self

    def forward(self, ids: Tensor, offsets: Tensor, per_sample_weights: Tensor | None = None) -> Tensor:
        """Look the rows of every feature up and pool those of each bag.

        Args:
            ids: Integers, (ids,): those of the first feature, then those of the second, and so on.
            offsets: (features * batch + 1,): feature f has ids[offsets[f * batch + s] : offsets[f * batch + s + 1]] in
                sample s; 0 first, the number of ids last.
            per_sample_weights: Real numbers in the shape of ids; with mode "sum" only.

        Returns:
            (batch, embedding_dim), in which columns[f] are those of feature f; zeros for an empty bag.

        Raises:
            RuntimeError: an id is outside its table; bad offsets; wrong dtypes; not on the CPU.
            ValueError: wrong ranks, weights of another shape, or offsets of a number that the features don't divide.
            NotImplementedError: weights with another mode than "sum", or that require grad.
            TypeError: ids are no tensor.
        """
        weights = None if per_sample_weights is None else inference_weights(per_sample_weights)
        if runs_eagerly(ids):
            tables = [part.table() for part in self._parts()]
            rows = bags(tuple(tables[index] for index in self.features), ids, offsets, self.mode, weights)
        else:
            check_tensor(ids)
            parts = self._parts()
            arrays = [array for part in parts for array in part.arrays()]
            texts = SEPARATOR.join([part.text for part in parts])
            rows = bags_operator(arrays, texts, list(self.features), ids, offsets, self.mode, weights)
        return rows if self.dtype is torch.float32 else rows.to(self.dtype)

    def extra_repr(self) -> str:
        """Say how many features there are, and what comes out."""
        text = f"{len(self.features)} features, {self.embedding_dim}, mode={self.mode!r}"
        return text if self.dtype is torch.float32 else f"{text}, dtype={self.dtype}"
