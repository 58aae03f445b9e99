"""Tables that step by themselves, as they are stored: there is no gradient of the table's size, and no copy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor

from .. import Table, dense, uniform
from ._embedding import numbers
from ._fused_batches import Bags, Ids
from ._memory import zeros
from ._nibbles import packed
from ._row_optimizers import Stepping
from ._rows import Rows, StepKernel, Use
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


class FusedRows(Rows, Stepping):
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

    def __init__(self, spec: Spec, form: str, scale: float = 1.0, is_padded: bool = False) -> None:
        """Make rows of zeros.

        Args:
            spec: Has their number, their length, the optimizer, and the seed of what is rounded at random.
            form: A key of `DTYPES`.
            scale: Of all rows of codes, at the start.
            is_padded: Whether the last row never moves.
        """
        super().__init__()
        assert spec.optimizer is not None
        self.form, self.optimizer, self.dimension = form, spec.optimizer, spec.dimension
        self.is_padded, self.first_scale = is_padded, scale
        self._allocate(spec.rows)
        self.steps = Steps(spec.seed)
        self._begin_graphs()

    def _begin_graphs(self) -> None:
        """Be part of no graph."""
        self.uses: WeakSet[FusedUse] = WeakSet()
        """Those that read rows where they lie, and may do so again backward."""
        self.moved_in = -1
        """Torch's number of the backward in which rows have moved last; later ones have larger numbers."""

    def __getstate__(self) -> dict[str, Any]:
        """Return all but what belongs to graphs, which copies are no part of."""
        return {name: value for name, value in self.__dict__.items() if name not in ("uses", "moved_in")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__getstate__` returned."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._begin_graphs()

    def _allocate(self, rows: int) -> None:
        columns = (self.dimension + 1) // 2 if self.form == "int4" else self.dimension
        elements = zeros((rows, columns), DTYPES[self.form])
        # Codes of zeros.
        self.register_buffer("elements", elements.fill_(0x88) if self.form == "int4" else elements)
        scales = zeros((rows,), torch.float32).fill_(self.first_scale) if self.form in BITS else None
        self.register_buffer("scales", scales)
        of_elements, of_rows = self.optimizer.element_state, self.optimizer.row_state
        self.register_buffer("element_state", zeros((rows, self.dimension), torch.float32) if of_elements else None)
        self.register_buffer("row_state", zeros((rows,), torch.float32) if of_rows else None)

    @property
    def limit(self) -> int:
        """Codes are from -limit to limit - 1."""
        return 1 << (BITS[self.form] - 1)

    def fill(self, values: Iterable[Tensor]) -> None:
        """Take the rows of blocks, (…, d) f32, one after the other: codes at random, floats to the nearest."""
        start, random = 0, self.steps.generator()
        for block in values:
            self.put(slice(start, start + len(block)), block, random)
            start += len(block)

    def write(self, place: slice | Tensor, values: Tensor) -> None:
        """Change rows, (n, d): codes at random, floats to the nearest. The state of the optimizer stays."""
        self.put(place, values, self.steps.generator())

    @torch.no_grad()
    def put(self, place: slice | Tensor, values: Tensor, random: torch.Generator) -> None:
        """Change rows, (n, d): codes by these random numbers, floats to the nearest."""
        if self.scales is not None:
            scales = self.scales[place, None]
            values = rounded_at_random(values, scales, -self.limit, self.limit - 1, random).div_(scales).round_()
            values = packed(values) if self.form == "int4" else values
        self.elements[place] = values.to(self.elements.dtype)

    def values(self, place: slice | Tensor = slice(None)) -> Tensor:
        """Return rows as they are, (n, d) floats."""
        if self.scales is None:
            return self.elements[place]
        return self.gather(Ids(torch.arange(len(self))[place]))

    def resize(self, rows: int) -> None:
        """Become rows of zeros, with a state of zeros and no step behind them."""
        self._allocate(rows)
        self.steps.count = 0

    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows of (n,) ids, (n, d) f32, which in train mode move as a gradient comes back to them."""
        rows: Tensor = self._moving(Ids(ids))
        return rows

    def once(self, places: Tensor) -> Tensor:
        """Return the same: a step adds up the gradients of a row in any case."""
        rows: Tensor = self(places)
        return rows

    take = once

    def can_pool(self, bags: Bags) -> bool:
        """Return whether `pooled` takes these bags: no maxima, no weights that learn, and no row that never moves."""
        return self.pools and not self.is_padded and bags.mode != "max" and not bags.learn_weights

    def use(self) -> Use:
        """Begin a use of the array by a kernel of its own."""
        return FusedUse(self)

    def pooled(self, bags: Bags) -> Tensor:
        """Return sums or means of rows, (bags, d) f32, whose rows move as those of `forward` do."""
        rows: Tensor = self._moving(bags)
        return rows

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _moving(self, batch: Ids | Bags) -> Tensor:
        self.check_memory(*batch.tensors)
        batch = self._placed(batch)
        if not self.training:
            return self.gather(batch)
        use = FusedUse(self)
        rows: Tensor = _Rows.apply(use.gate, use, batch)  # type: ignore[no-untyped-call]
        return rows

    def _placed(self, batch: Ids | Bags) -> Ids | Bags:
        """Return a batch by where rows are in the table."""
        return batch

    def check_memory(self, *given: Tensor) -> None:
        """Refuse tensors that are not on a CPU, these or the table's, and a table of other types."""
        devices = [one.device for one in (*self.buffers(), *given) if one.device.type != "cpu"]
        if devices:
            raise ValueError(f"a table that has an optimizer of its own trains on a CPU only, not on {devices[0]}")
        self.check_types()

    def check_types(self) -> None:
        """Refuse a table whose numbers were made others, as `Module.half` and `Module.double` do."""
        states = {"scales": self.scales, "element_state": self.element_state, "row_state": self.row_state}
        wanted = {"elements": (self.elements, DTYPES[self.form])} | {
            name: (state, torch.float32) for name, state in states.items() if state is not None
        }
        for name, (tensor, dtype) in wanted.items():
            if tensor.dtype != dtype:
                raise ValueError(
                    f"a table that has an optimizer of its own keeps its types, but its {name} are {tensor.dtype}, not "
                    f"{dtype}: leave out .half(), .double() and .to() of a type, and choose the form with the method"
                )

    def gather(self, batch: Ids | Bags) -> Tensor:
        """Return what a batch takes from the table, (n, d) f32."""
        rows = torch.empty(len(batch), self.dimension, dtype=torch.float32, device="cpu")
        batch.gather(self._table(), rows.numpy())
        return rows

    def step(self, batch: Ids | Bags, slopes: Tensor) -> None:
        """Move the rows of a batch against the gradients of what it took, (n, d) f32; bags are those of `can_pool`."""
        if self.is_padded and isinstance(batch, Ids) and bool((is_still := batch.ids == len(self) - 1).any()):
            moving = (~is_still).nonzero().view(-1)
            batch, slopes = Ids(batch.ids[moving]), slopes[moving]
        self.step_by(lambda table, own: batch.step(table, slopes.contiguous().numpy(), own))

    def step_by(self, kernel: StepKernel) -> None:
        """Have rows stepped by the core."""
        kernel(self._table(), (*self.optimizer.numbers(), self.steps.seed, self.steps.count + 1))
        self.steps.next()

    def frozen(self, part: slice = slice(None)) -> Table:
        """Return a table of some rows as they are, on memory of its own."""
        elements = self.elements[part].cpu()
        if self.scales is None:
            return dense(elements.clone())
        scales = numbers(self.scales[part])
        biases = scales * np.float32(-self.limit)
        if self.form == "int4":
            return uniform(elements.numpy(), scales, biases, bits=4, dimension=self.dimension)
        # From two's complement to what counts from the least code on.
        codes: np.ndarray[Any, Any] = elements.numpy() ^ -self.limit
        return uniform(codes.view(f"u{codes.itemsize}"), scales, biases, bits=8 * codes.itemsize)

    def _table(self) -> tuple[Any, ...]:
        """Return what functions of the core take as a table."""

        def array(tensor: Tensor | None) -> Any:
            return None if tensor is None else tensor.numpy()

        states = array(self.scales), array(self.element_state), array(self.row_state)
        return self.form, self.dimension, self.elements.view(torch.uint8).numpy(), *states


class FusedUse:
    """What a graph does with an array once: backward steps its rows, and only the first time."""

    def __init__(self, rows: FusedRows) -> None:
        self.rows, self.is_done = rows, False
        # What has no gradient of its own still has to be in the graph.
        self.gate = torch.empty(0, requires_grad=rows.training)
        self.places: Tensor | None = None
        self.kept: tuple[Tensor, Tensor] | None = None
        rows.check_memory()
        # Forward inside of a backward is activation checkpointing, which is to have the rows of its first time.
        if rows.training and torch.is_grad_enabled() and rows.moved_in >= _number_of_backward() >= 0:
            raise RuntimeError(
                "rows are computed again after they have moved: with activation checkpointing, a table with an "
                "optimizer of its own can be called once in a graph, or several times in one checkpointed part"
            )

    def read(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return memory with the rows as they were forward, and where those of places are in it."""
        if self.places is None:
            self.places = places
            self.rows.uses.add(self)
        if self.kept is None:
            return self.rows.elements, places
        ids, values = self.kept
        return values, torch.searchsorted(ids, places)

    def keep(self) -> None:
        """Copy the rows, which are about to move, although backward has not come here yet."""
        if self.kept is None and self.places is not None and not self.is_done:
            ids = torch.unique(self.places)
            self.kept = ids, self.rows.gather(Ids(ids))

    def check(self) -> None:
        """Refuse what can't be done backward."""
        if self.is_done:
            raise RuntimeError("backward runs a second time: a table with an optimizer of its own has stepped already")
        if torch.is_grad_enabled():
            raise RuntimeError("a table with an optimizer of its own has no second derivatives: leave out create_graph")

    def give(self, found: Tensor, sums: Tensor) -> None:
        """Step rows."""
        self.step(Ids(found), sums)

    def step(self, batch: Ids | Bags, slopes: Tensor) -> None:
        """Step the rows of a batch."""
        self._begin_step()
        self.rows.step(batch, slopes)
        self.is_done = True

    def step_by(self, kernel: StepKernel) -> bool:
        """Have a kernel step the rows, if they are where it reads them."""
        if self.kept is not None:
            return False
        self._begin_step()
        self.rows.step_by(kernel)
        self.is_done = True
        return True

    def _begin_step(self) -> None:
        self.rows.moved_in = _number_of_backward()
        for other in self.rows.uses:
            if other is not self:
                other.keep()


def _number_of_backward() -> int:
    """Return the number of the backward that runs in this thread, larger than those of all that began before; or -1."""
    number: int = torch._C._current_graph_task_id()
    return number


class _Rows(torch.autograd.Function):
    """What a batch takes from a table whose rows step as the gradient comes."""

    @staticmethod
    def forward(context: Any, gate: Tensor, use: FusedUse, batch: Ids | Bags) -> Tensor:
        context.use, context.batch = use, batch
        context.save_for_backward(*batch.tensors)
        return use.rows.gather(batch)

    @staticmethod
    def backward(context: Any, slopes: Tensor) -> tuple[None, None, None]:
        context.use.check()
        # Asking for them is an error if they have changed since.
        _ = context.saved_tensors
        context.use.step(context.batch, slopes)
        return None, None, None
