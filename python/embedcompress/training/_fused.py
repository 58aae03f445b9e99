"""Tables that step by themselves, as they are stored: there is no gradient of the table's size, and no copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from .. import Table, dense, uniform
from ._blocks import blocks
from ._embedding import LearnedEmbedding, numbers
from ._fused_batches import Bags, Ids
from ._memory import zeros
from ._row_optimizers import RowOptimizer
from ._spec import Spec
from ._steps import Steps, rounded_at_random

DTYPES = {
    "f32": torch.float32,
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "int16": torch.int16,
    "int8": torch.int8,
    "int4": torch.uint8,
}
"""The element types of forms; of int4, that of the bytes that two codes are in."""
BITS = {"int16": 16, "int8": 8, "int4": 4}
"""Of a code."""


class FusedRows(nn.Module):
    """Rows and the state of their optimizer, all in buffers.

    What backward gives for the rows of a batch moves those rows there and then, each once, however often the batch has
    it. Rows of codes are `scale * code`, with a scale for each; it doubles where a value does not fit, and has 8
    significant bits at the start, so that products are exact.
    """

    pools: ClassVar[bool] = True
    """Whether a batch can be bags, whose rows are added up while they are read."""
    elements: Tensor
    """(rows, d) floats or codes with their sign; of int4 (rows, ceil(d / 2)) bytes of codes plus 8, low bits first."""
    scales: Tensor | None
    """(rows,) f32, with codes."""
    element_state: Tensor | None
    """(rows, d) f32, if the optimizer keeps such."""
    row_state: Tensor | None
    """(rows,) f32, if the optimizer keeps such."""

    def __init__(self, spec: Spec, form: str, scale: float = 1.0) -> None:
        """Make rows of zeros.

        Args:
            spec: Has their number, their length, the optimizer, and the seed of what is rounded at random.
            form: A key of `DTYPES`.
            scale: Of all rows of codes, at the start.
        """
        super().__init__()
        assert spec.optimizer is not None
        self.form, self.optimizer, self.dimension = form, spec.optimizer, spec.dimension
        columns = (spec.dimension + 1) // 2 if form == "int4" else spec.dimension
        elements, of_rows = zeros((spec.rows, columns), DTYPES[form]), (spec.rows,)
        # Codes of zeros.
        self.register_buffer("elements", elements.fill_(0x88) if form == "int4" else elements)
        self.register_buffer("scales", zeros(of_rows, torch.float32).fill_(scale) if form in BITS else None)
        states = spec.optimizer.element_state, spec.optimizer.row_state
        of_elements = spec.rows, spec.dimension
        self.register_buffer("element_state", zeros(of_elements, torch.float32) if states[0] else None)
        self.register_buffer("row_state", zeros(of_rows, torch.float32) if states[1] else None)
        self.steps = Steps(spec.seed)

    @property
    def limit(self) -> int:
        """Codes are from -limit to limit - 1."""
        return 1 << (BITS[self.form] - 1)

    @torch.no_grad()
    def fill(self, values: Iterator[Tensor]) -> None:
        """Take the rows of blocks, (…, d) f32, one after the other."""
        start, random = 0, self.steps.generator()
        for block in values:
            self.put(start, block, random)
            start += len(block)

    def put(self, start: int, values: Tensor, random: torch.Generator) -> None:
        """Take rows from one on, (n, d) f32: codes at random, floats to the nearest."""
        place = slice(start, start + len(values))
        if self.scales is None:
            self.elements[place] = values
        else:
            scales = self.scales[place, None]
            codes = rounded_at_random(values, scales, -self.limit, self.limit - 1, random).div_(scales).round_()
            self.elements[place] = packed(codes) if self.form == "int4" else codes

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
        devices = [one.device for one in (*self.buffers(), *batch.tensors) if one.device.type != "cpu"]
        if devices:
            device = devices[0]
            raise ValueError(f"a table that has an optimizer of its own trains on a CPU only, not on {device}")
        if not self.training:
            return self.gather(batch)
        # What has no gradient of its own still has to be in the graph.
        rows: Tensor = _Rows.apply(torch.empty(0, requires_grad=True), self, batch)  # type: ignore[no-untyped-call]
        return rows

    def gather(self, batch: Ids | Bags) -> Tensor:
        """Return what a batch takes from the table, (n, d) f32."""
        rows = torch.empty(len(batch), self.dimension, dtype=torch.float32, device="cpu")
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
            return dense(self.elements.cpu().clone())
        scales = numbers(self.scales)
        biases = scales * np.float32(-self.limit)
        if self.form == "int4":
            return uniform(self.elements.cpu().numpy(), scales, biases, bits=4, dimension=self.dimension)
        # From two's complement to what counts from the least code on.
        codes: np.ndarray[Any, Any] = self.elements.cpu().numpy() ^ -self.limit
        return uniform(codes.view(f"u{codes.itemsize}"), scales, biases, bits=8 * codes.itemsize)

    def _table(self) -> tuple[str, int, Any, Any, Any, Any]:
        def array(tensor: Tensor | None) -> Any:
            return None if tensor is None else tensor.numpy()

        states = array(self.scales), array(self.element_state), array(self.row_state)
        return self.form, self.dimension, self.elements.view(torch.uint8).numpy(), *states


class FusedEmbedding(LearnedEmbedding):
    """A learned table that can have an optimizer of its own, which is what `fused` then is; it is None elsewhere."""

    fused: FusedRows | None
    fused_options: ClassVar[Mapping[str, Any]] = {}
    """Options that have another default with an optimizer."""

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.fused = None

    def fuse(self, rows: FusedRows) -> None:
        """Take rows of zeros as the table, and give them the initial values that it would have without an optimizer."""
        self.fused = rows
        dimension, random, bound = self.spec.dimension, self.generator(), max(self.spec.sizes) ** -0.5
        rows.fill(
            torch.empty(block.stop - block.start, dimension).uniform_(-bound, bound, generator=random)
            for block in blocks(self.spec.rows, dimension)
        )

    def pooled(self, ids: Tensor, starts: Tensor, lengths: Tensor, weights: Tensor | None) -> Tensor:
        """Return pooled rows, (bags, d); sums and means are made while rows are read, and no row exists beside them."""
        if self.fused is None:
            return super().pooled(ids, starts, lengths, weights)
        learns_weights = weights is not None and weights.requires_grad and torch.is_grad_enabled()
        assert self.mode is not None
        if self.mode == "max" or learns_weights or not self.fused.pools:
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
        context.save_for_backward(*batch.tensors)
        return rows.gather(batch)

    @staticmethod
    def backward(context: Any, slopes: Tensor) -> tuple[None, None, None]:
        if context.is_done:
            raise RuntimeError("backward runs a second time: a table with an optimizer of its own has stepped already")
        if torch.is_grad_enabled():
            raise RuntimeError("a table with an optimizer of its own has no second derivatives: leave out create_graph")
        # Asking for them is an error if they have changed since.
        _ = context.saved_tensors
        context.rows.step(context.batch, slopes)
        context.is_done = True
        return None, None, None


def packed(codes: Tensor) -> Tensor:
    """Return (n, d) whole numbers from -8 to 7 as (n, ceil(d / 2)) uint8, as rows of int4 lie."""
    positive = (codes + 8).to(torch.uint8)
    result = positive[:, ::2].clone()
    result[:, : codes.shape[1] // 2] |= positive[:, 1::2] << 4
    return result


def unpacked(elements: Tensor, dimension: int) -> Tensor:
    """Return the codes plus 8 of rows of int4, (n, d) uint8."""
    codes = elements.new_empty(len(elements), dimension)
    codes[:, ::2] = elements & 15
    codes[:, 1::2] = elements[:, : dimension // 2] >> 4
    return codes
