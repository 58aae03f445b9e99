"""Tables that step by themselves, as they are stored: there is no gradient of the table's size, and no copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from .. import Table, _core, dense, uniform
from ._blocks import blocks
from ._embedding import LearnedEmbedding, numbers
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
        # Codes of zeros.
        byte = 0x88 if form == "int4" else 0
        self.register_buffer("elements", torch.full((spec.rows, columns), byte, dtype=DTYPES[form]))
        self.register_buffer("scales", torch.full((spec.rows,), scale) if form in BITS else None)
        states = spec.optimizer.element_state, spec.optimizer.row_state
        self.register_buffer("element_state", torch.zeros(spec.rows, spec.dimension) if states[0] else None)
        self.register_buffer("row_state", torch.zeros(spec.rows) if states[1] else None)
        self.steps = Steps(spec.seed)

    @property
    def limit(self) -> int:
        """Codes are from -limit to limit - 1."""
        return 1 << (BITS[self.form] - 1)

    @torch.no_grad()
    def fill(self, values: Iterator[Tensor]) -> None:
        """Take the rows of blocks, (…, d) f32, one after the other: codes at random, floats to the nearest."""
        start, random = 0, self.steps.generator()
        for block in values:
            place = slice(start, start + len(block))
            if self.scales is None:
                self.elements[place] = block
            else:
                scales = self.scales[place, None]
                block = rounded_at_random(block, scales, -self.limit, self.limit - 1, random).div_(scales).round_()
                self.elements[place] = packed(block) if self.form == "int4" else block
            start += len(block)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows of (n,) ids, (n, d) f32, which in train mode move as a gradient comes back to them."""
        if ids.device.type != "cpu" or self.elements.device.type != "cpu":
            device = self.elements.device if ids.device.type == "cpu" else ids.device
            raise ValueError(f"a table that has an optimizer of its own trains on a CPU only, not on {device}")
        if not self.training:
            return self.gather(ids)
        # What has no gradient of its own still has to be in the graph.
        rows: Tensor = _Rows.apply(torch.empty(0, requires_grad=True), self, ids)  # type: ignore[no-untyped-call]
        return rows

    def gather(self, ids: Tensor) -> Tensor:
        """Return the rows of (n,) ids, (n, d) f32."""
        rows = torch.empty(len(ids), self.dimension)
        _core.trained_rows_gather(self._table(), ids.contiguous().numpy(), rows.numpy())
        return rows

    def step(self, ids: Tensor, slopes: Tensor) -> None:
        """Move the rows of (n,) ids against their gradients, (n, d) f32."""
        batch = ids.contiguous().numpy(), slopes.contiguous().numpy()
        own: tuple[Any, ...] = (*self.optimizer.numbers(), self.steps.seed, self.steps.count + 1)
        _core.trained_rows_step(self._table(), *batch, *own)
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
    """Rows of a table that step as their gradient comes."""

    @staticmethod
    def forward(context: Any, gate: Tensor, rows: FusedRows, ids: Tensor) -> Tensor:
        context.rows, context.is_done = rows, False
        context.save_for_backward(ids)
        return rows.gather(ids)

    @staticmethod
    def backward(context: Any, slopes: Tensor) -> tuple[None, None, None]:
        (ids,) = context.saved_tensors
        if context.is_done:
            raise RuntimeError("backward runs a second time: a table with an optimizer of its own has stepped already")
        if torch.is_grad_enabled():
            raise RuntimeError("a table with an optimizer of its own has no second derivatives: leave out create_graph")
        context.rows.step(ids, slopes)
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
