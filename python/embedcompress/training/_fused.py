"""Tables that step by themselves, as they are stored: there is no gradient of the table's size, and no copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from .. import Table, uniform
from ._embedding import LearnedEmbedding, frozen_rows, numbers
from ._fused_batches import Bags, Ids
from ._memory import zeros
from ._row_optimizers import RowOptimizer
from ._spec import Spec
from ._steps import Steps, rounded_at_random

DTYPES = {"f32": torch.float32, "int8": torch.int8, "int16": torch.int16}
"""The element types of formats."""
BLOCK = 1 << 20
"""Elements that are made at a time."""


class FusedRows(nn.Module):
    """Rows and the state of their optimizer, all in buffers.

    What backward gives for the rows of a batch moves those rows there and then, each once, however often the batch has
    it. Rows of codes are `scale * code`, with a scale for each; it doubles where a value does not fit, and has 8
    significant bits at the start, so that products are exact.
    """

    elements: Tensor
    """(rows, d) f32, or codes of int8 or int16."""
    scales: Tensor | None
    """(rows,) f32, with codes."""
    element_state: Tensor | None
    """(rows, d) f32, if the optimizer keeps such."""
    row_state: Tensor | None
    """(rows,) f32, if the optimizer keeps such."""

    def __init__(self, rows: int, dimension: int, form: str, scale: float, optimizer: RowOptimizer, seed: int) -> None:
        """Make rows of zeros.

        Args:
            rows: How many.
            dimension: Their length.
            form: A key of `DTYPES`.
            scale: Of all rows of codes, at the start.
            optimizer: What moves them.
            seed: Of what is rounded at random.
        """
        super().__init__()
        self.form, self.optimizer = form, optimizer
        self.register_buffer("elements", zeros((rows, dimension), DTYPES[form]))
        self.register_buffer("scales", None if form == "f32" else zeros((rows,), torch.float32).fill_(scale))
        self.register_buffer(
            "element_state", zeros((rows, dimension), torch.float32) if optimizer.element_state else None
        )
        self.register_buffer("row_state", zeros((rows,), torch.float32) if optimizer.row_state else None)
        self.steps = Steps(seed)

    @property
    def limit(self) -> int:
        """Codes are from -limit to limit - 1."""
        return 1 << (8 * self.elements.element_size() - 1)

    @torch.no_grad()
    def fill(self, blocks: Iterator[Tensor]) -> None:
        """Take the rows of blocks, (…, d) f32, one after the other; codes are rounded at random."""
        start, random = 0, self.steps.generator()
        for values in blocks:
            place = slice(start, start + len(values))
            if self.scales is not None:
                scales = self.scales[place, None]
                values = rounded_at_random(values, scales, -self.limit, self.limit - 1, random)
                values = values.div_(scales).round_()
            self.elements[place] = values
            start += len(values)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows of (n,) ids, (n, d) f32, which in train mode move as a gradient comes back to them."""
        rows: Tensor = self._moving(Ids(ids))
        return rows

    def pooled(self, bags: Bags) -> Tensor:
        """Return sums or means of rows, (bags, d) f32, whose rows move as those of `forward` do."""
        rows: Tensor = self._moving(bags)
        return rows

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _moving(self, batch: Ids | Bags) -> Tensor:
        if batch.ids.device.type != "cpu" or self.elements.device.type != "cpu":
            device = self.elements.device if batch.ids.device.type == "cpu" else batch.ids.device
            raise ValueError(f"a table that has an optimizer of its own trains on a CPU only, not on {device}")
        if not self.training:
            return self.gather(batch)
        # What has no gradient of its own still has to be in the graph.
        rows: Tensor = _Rows.apply(torch.empty(0, requires_grad=True), self, batch)  # type: ignore[no-untyped-call]
        return rows

    def gather(self, batch: Ids | Bags) -> Tensor:
        """Return what a batch takes from the table, (n, d) f32."""
        rows = torch.empty(len(batch), self.elements.shape[1])
        batch.gather(self._table(), rows.numpy())
        return rows

    def step(self, batch: Ids | Bags, slopes: Tensor) -> None:
        """Move the rows of a batch against the gradients of what it took, (n, d) f32."""
        own: tuple[Any, ...] = (*self.optimizer.numbers(), self.steps.seed, self.steps.count + 1)
        batch.step(self._table(), slopes.contiguous().numpy(), own)
        self.steps.next()

    def frozen(self) -> Table:
        """Return the table as it is, on memory of its own."""
        if self.scales is None:
            return frozen_rows(self.elements)
        # From two's complement to what counts from the least code on.
        codes: np.ndarray[Any, Any] = self.elements.cpu().numpy() ^ -self.limit
        codes = codes.view(f"u{codes.itemsize}")
        scales = numbers(self.scales)
        return uniform(codes, scales, scales * np.float32(-self.limit), bits=8 * codes.itemsize)

    def _table(self) -> tuple[str, int, Any, Any, Any, Any]:
        def array(tensor: Tensor | None) -> Any:
            return None if tensor is None else tensor.numpy()

        states = array(self.scales), array(self.element_state), array(self.row_state)
        return self.form, self.elements.shape[1], self.elements.view(torch.uint8).numpy(), *states


class FusedEmbedding(LearnedEmbedding):
    """A learned table that can have an optimizer of its own, which is what `fused` then is; it is None elsewhere."""

    fused: FusedRows | None
    fused_options: ClassVar[Mapping[str, Any]] = {}
    """Options that have another default with an optimizer."""

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.fused = None

    def fuse(self, form: str, scale: float = 1.0) -> None:
        """Make the table in a form of `DTYPES`, with the initial values that it would have without an optimizer."""
        assert self.spec.optimizer is not None
        rows, dimension = self.spec.rows, self.spec.dimension
        self.fused = FusedRows(rows, dimension, form, scale, self.spec.optimizer, self.spec.seed)
        each, random, bound = max(BLOCK // dimension, 1), self.generator(), max(self.spec.sizes) ** -0.5
        self.fused.fill(
            torch.empty(min(each, rows - start), dimension).uniform_(-bound, bound, generator=random)
            for start in range(0, rows, each)
        )

    def pooled(self, ids: Tensor, starts: Tensor, lengths: Tensor, weights: Tensor | None) -> Tensor:
        """Return pooled rows, (bags, d); sums and means are made while rows are read, and no row exists beside them."""
        if self.fused is None:
            return super().pooled(ids, starts, lengths, weights)
        learns_weights = weights is not None and weights.requires_grad and torch.is_grad_enabled()
        if self.mode is None or self.mode == "max" or learns_weights:
            return LearnedEmbedding.pooled(self, ids, starts, lengths, weights)
        return self.fused.pooled(Bags(ids, starts, self.mode, weights))

    @property
    def optimizer(self) -> RowOptimizer | None:
        """The table's own optimizer; None if one of torch trains it."""
        return None if self.fused is None else self.fused.optimizer

    def set_learning_rate(self, lr: float) -> None:
        """Change the learning rate of the table's own optimizer.

        Raises:
            ValueError: it is not finite or negative, or the table has no optimizer of its own.
        """
        if self.fused is None:
            raise ValueError("the table has no optimizer of its own; the learning rate is that of torch's")
        self.fused.optimizer = replace(self.fused.optimizer, lr=lr)


class _Rows(torch.autograd.Function):
    """What a batch takes from a table whose rows step as the gradient comes."""

    @staticmethod
    def forward(context: Any, gate: Tensor, rows: FusedRows, batch: Ids | Bags) -> Tensor:
        context.rows, context.batch, context.is_done = rows, batch, False
        # Only so that torch sees whether they have changed.
        context.save_for_backward(batch.ids)
        return rows.gather(batch)

    @staticmethod
    def backward(context: Any, slopes: Tensor) -> tuple[None, None, None]:
        if context.is_done:
            raise RuntimeError("backward runs a second time: a table with an optimizer of its own has stepped already")
        if torch.is_grad_enabled():
            raise RuntimeError("a table with an optimizer of its own has no second derivatives: leave out create_graph")
        assert context.saved_tensors
        context.rows.step(context.batch, slopes)
        context.is_done = True
        return None, None, None
