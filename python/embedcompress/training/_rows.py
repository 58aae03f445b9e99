"""Arrays of rows, which learned tables are made of: what trains them is their own affair."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import Table
from ._distinct import Distinct, gradient_of, take
from ._embedding import frozen_rows
from ._fused_batches import Bags
from ._spec import Spec

StepKernel = Callable[[Any, tuple[Any, ...]], None]
"""Steps rows, from a table and an optimizer with the number of the step, as functions of the core take them."""


class Use(Protocol):
    """What a kernel has of an array that reads rows where they lie: once forward, and once backward."""

    gate: Tensor
    """What the kernel gives to autograd in place of the array."""

    def read(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return memory with the rows as they were forward, (…, width) f32, and where those of (n,) places are in it.

        All calls are to have the same places.
        """

    def check(self) -> None:
        """Refuse what can't be done backward, before there is anything of it."""

    def give(self, found: Tensor, sums: Tensor) -> Tensor | None:
        """Take the gradients of rows, (m, width), each row once and in order; return that of `gate`."""

    def step_by(self, kernel: StepKernel) -> bool:
        """Have a kernel step the rows, in place of `give`; False if it is not to, and nothing is done."""


class Rows(nn.Module):
    """An array of rows of a learned table, gathered by places; a method has one or more of them, and no parameters.

    A place may come several times in what is gathered: its gradients are added up.
    """

    elements: Tensor
    """(rows, …), in a form of the array's own."""
    dimension: int
    """Columns of a row."""
    is_padded: bool
    """Whether the last row never moves."""

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.elements)

    @abstractmethod
    def forward(self, places: Tensor) -> Tensor:
        """Return the rows at (n,) int64 places, (n, d)."""

    @abstractmethod
    def once(self, places: Tensor) -> Tensor:
        """Return the same for places of which many are alike: each row is read once, and has one gradient."""

    @abstractmethod
    def take(self, places: Tensor) -> Tensor:
        """Return the same for places that rise."""

    @abstractmethod
    def can_pool(self, bags: Bags) -> bool:
        """Return whether `pooled` takes these bags."""

    @abstractmethod
    def pooled(self, bags: Bags) -> Tensor:
        """Return sums or means of rows, (bags, d), made while rows are read."""

    @abstractmethod
    def use(self) -> Use:
        """Begin a use of the array by a kernel of its own; rows are f32, and all move."""

    @abstractmethod
    def values(self, place: slice | Tensor = slice(None)) -> Tensor:
        """Return rows as they are, (n, d) floats without a gradient. They may lie in the array's memory."""

    @abstractmethod
    def write(self, place: slice | Tensor, values: Tensor) -> None:
        """Change rows, (n, d). What an optimizer keeps for them stays."""

    @abstractmethod
    def fill(self, values: Iterable[Tensor]) -> None:
        """Take the rows of blocks, (…, d), one after the other."""

    @abstractmethod
    def resize(self, rows: int) -> None:
        """Become rows of zeros, for which no optimizer keeps anything."""

    @abstractmethod
    def frozen(self, part: slice = slice(None)) -> Table:
        """Return a table of some rows as they are, on memory of its own."""


class ParameterRows(Rows):
    """Rows in a parameter, which an optimizer of torch trains."""

    elements: nn.Parameter

    def __init__(self, spec: Spec, rows: int, dimension: int, is_padded: bool = False) -> None:
        """Make rows of zeros.

        Args:
            spec: Says whether gradients are sparse.
            rows: How many.
            dimension: Columns.
            is_padded: Whether the last row never moves.
        """
        super().__init__()
        self.dimension, self.is_sparse, self.is_padded = dimension, spec.sparse, is_padded
        self.elements = nn.Parameter(torch.zeros(rows, dimension))

    def forward(self, places: Tensor) -> Tensor:
        """Return the rows at (n,) int64 places, (n, d)."""
        padding = len(self) - 1 if self.is_padded else None
        return functional.embedding(places, self.elements, padding_idx=padding, sparse=self.is_sparse)

    def once(self, places: Tensor) -> Tensor:
        """Return the same for places of which many are alike."""
        batch = Distinct(places)
        return batch.spread(batch.take(self.elements, self.is_sparse, self.is_padded))

    def take(self, places: Tensor) -> Tensor:
        """Return the same for places that rise."""
        return take(self.elements, places, self.is_sparse)

    def can_pool(self, bags: Bags) -> bool:
        """Return whether `pooled` takes these bags."""
        # Pooling by torch gives every row a gradient, and has no sparse ones of maxima.
        return not self.is_padded and bags.mode != "max"

    def pooled(self, bags: Bags) -> Tensor:
        """Return sums or means of rows, (bags, d)."""
        return functional.embedding_bag(
            bags.ids,
            self.elements,
            bags.starts,
            mode=bags.mode,
            sparse=self.is_sparse,
            per_sample_weights=None if bags.weights is None else bags.weights.to(self.elements.dtype),
        )

    def use(self) -> Use:
        """Begin a use of the array by a kernel of its own."""
        return ParameterUse(self.elements, self.is_sparse)

    def values(self, place: slice | Tensor = slice(None)) -> Tensor:
        """Return rows as they are."""
        return self.elements.detach()[place]

    def write(self, place: slice | Tensor, values: Tensor) -> None:
        """Change rows."""
        self.elements.data[place] = values.to(self.elements.dtype)

    def fill(self, values: Iterable[Tensor]) -> None:
        """Take the rows of blocks, one after the other."""
        start = 0
        for block in values:
            self.write(slice(start, start + len(block)), block)
            start += len(block)

    def resize(self, rows: int) -> None:
        """Become rows of zeros, in another parameter."""
        self.elements = nn.Parameter(self.elements.new_zeros(rows, self.dimension))

    def frozen(self, part: slice = slice(None)) -> Table:
        """Return a dense table of some rows, on memory of its own."""
        return frozen_rows(self.elements[part])


class ParameterUse:
    """A parameter that is read where it lies; it changes after backward only, or torch says that it did."""

    def __init__(self, parameter: Tensor, is_sparse: bool) -> None:
        self.gate, self.is_sparse = parameter, is_sparse

    def read(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parameter's memory, and the places."""
        return self.gate.detach(), places

    def check(self) -> None:
        """Parameters can be asked for gradients as often as one likes."""

    def step_by(self, kernel: StepKernel) -> bool:
        """A parameter is given gradients."""
        return False

    def give(self, found: Tensor, sums: Tensor) -> Tensor:
        """Return the parameter's gradient."""
        return gradient_of(self.gate.shape, found, sums, self.is_sparse)
