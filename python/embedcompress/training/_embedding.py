"""What every learned table is: a torch module with rows, hooks around a step, and a frozen form."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from .. import Method, Table, dense, partition
from .._arrays import has_integers
from ._blocks import blocks
from ._fields import Fields
from ._row_optimizers import RowOptimizer, Stepping
from ._spec import Plan, Spec

MODES = ("sum", "mean", "max")


class LearnedEmbedding(nn.Module):
    """A compressed table that is trained: called like torch.nn.Embedding, or EmbeddingBag if it has a mode.

    A method is a subclass with `method`, `plan`, `rows` and `_frozen`, made known by `training.register`. What it does
    around a step it says by overriding the hooks, which do nothing here:

    - `enter(stage)` begins one of `stages`. Parameters may be others afterwards.
    - `schedule(steps)` is called after `enter`, with the steps that the stage is going to have, where that is known.
    - `before_step()` is called after backward, before the optimizer's step; `after_step()` after it. While there are
      architecture parameters, both are called for steps on validation batches, too: twice for a step of the schedule.
    - `regularization()` is added to the loss.
    - `architecture_parameters()` are trained on validation batches.
    - `counts_scores()` says from when on scores tell which state is the best.
    - `begin_second_pass()` and `end_second_pass(gradients)` let it learn from the batch once more, after the step.
    - `is_over()` ends a stage before its epochs are.
    - `search(score)` may choose what the next stage has by a score on validation data; called at the end of a stage.
    - `finish()` brings the table into its frozen form, after the last stage.

    In eval mode, after `finish()`, the module returns what the frozen table returns.
    """

    method: ClassVar[Method]
    """The catalogue's entry. Its options are the keyword arguments of the constructor and of `plan`: all of them, with
    values that have the types and are in the ranges that it says."""
    needs_counts: ClassVar[bool] = False
    """Whether it can't do without knowing how often ids are used."""
    uses_counts: ClassVar[bool] = False
    """Whether it does without, but makes use of it."""
    stages: ClassVar[tuple[str, ...]] = ("train",)
    """What training consists of, in order."""
    ends_with_last: ClassVar[tuple[str, ...]] = ()
    """Stages that end with their last state, as their scores are not of what they look for; others with their best."""
    looked_up: ClassVar[tuple[str, ...]] = ()
    """Names of parameters, or of modules and lists with parameters, whose gradients are sparse tensors where the spec
    says so. Where it does not, and for all other parameters, they are dense."""
    takes_optimizer: ClassVar[bool] = False
    """Whether tables can have an optimizer of their own, which is `spec.optimizer`."""
    takes_bits: ClassVar[bool] = False
    """Whether arrays of tables can be codes of `spec.bits` bits."""
    own_options: ClassVar[Mapping[str, Any]] = {}
    """Options that have another default with an optimizer of the table's own."""
    compiles: ClassVar[str] = ""
    """Why torch.compile does not work on it; empty if it does."""

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__()
        if mode is not None and mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)} or None, not {mode!r}")
        self.spec = spec
        self.mode = mode
        self.options = options
        self.planned = self.plan(spec, **options)
        """What the budget chose."""
        self.num_embeddings, self.embedding_dim = spec.rows, spec.dimension
        self.fields = Fields(spec.sizes)
        self.stage = self.stages[0]
        self.is_finished = self.stages == ("train",)
        """Whether the table can be frozen."""

    # What a method says

    @classmethod
    @abstractmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Solve the knobs for a budget, without allocating anything.

        Raises:
            BudgetError: it can't be met; the message has the least bytes.
        """

    @abstractmethod
    def rows(self, ids: Tensor) -> Tensor:
        """Return the rows of (n,) int64 ids that are in range, (n, d) f32."""

    @abstractmethod
    def _frozen(self) -> Table:
        """Return the table as it is, on memory of its own."""

    # Hooks

    def enter(self, stage: str) -> None:
        """Begin a stage.

        Raises:
            ValueError: the method has no such stage.
        """
        if stage not in self.stages:
            raise ValueError(f"{self.method.name} has no stage {stage!r}; its stages are {', '.join(self.stages)}")
        self.stage = stage

    def schedule(self, steps: int) -> None:
        """Be told how many steps the stage has, where that is known before its first one."""

    def before_step(self) -> None:
        """Do what the method does between backward and the optimizer's step."""

    def after_step(self) -> None:
        """Do what the method does after the optimizer's step."""

    def counts_scores(self) -> bool:
        """Return whether a score now counts for the best state of the stage, and for patience."""
        return True

    def is_over(self) -> bool | None:
        """Return whether the stage has what it is for; None, if it is over when its epochs are."""
        return None

    def begin_second_pass(self) -> Sequence[Tensor]:
        """Return what has to have a gradient once more, after the step; nothing if no second pass is needed.

        The loss of the batch is then computed again, and `end_second_pass` called.
        """
        return ()

    def end_second_pass(self, gradients: Sequence[Tensor | None] | None) -> None:
        """Take the gradients, of which those are None that the loss did not depend on; None if there was an error."""

    def regularization(self) -> Tensor:
        """Return what is added to the loss."""
        return torch.zeros((), device=self.device)

    def architecture_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters that validation batches train, in stages that have such."""
        return ()

    def weight_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that training batches train."""
        others = {id(parameter) for parameter in self.architecture_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in others]

    def sparse_parameters(self) -> list[nn.Parameter]:
        """Return the parameters whose gradients are sparse tensors, which need an optimizer that takes such."""
        names = self.looked_up if self.spec.sparse else ()
        return [
            parameter
            for name, parameter in self.named_parameters()
            if any(f"{name}.".startswith(f"{one}.") for one in names)
        ]

    def search(self, score: Callable[[], float]) -> None:
        """Choose what the next stage has.

        Args:
            score: How good the module is as it is when this is called, on validation data; more is better.
        """

    def finish(self) -> None:
        """Bring the table into the form that is frozen."""
        self.is_finished = True

    def structure(self) -> dict[str, Any]:
        """Return what decides the shapes of parameters and buffers, as tensors and plain values."""
        return {}

    def restructure(self, structure: dict[str, Any]) -> None:
        """Take shapes from what `structure` returned, so that the state can be loaded."""

    # What all methods share

    @property
    def optimizer(self) -> RowOptimizer | None:
        """The table's own optimizer; None if one of torch trains it."""
        return self.spec.optimizer

    def set_learning_rate(self, lr: float) -> None:
        """Change the learning rate of the table's own optimizer.

        Raises:
            ValueError: it is not finite or negative, or the table has no optimizer of its own.
        """
        if self.spec.optimizer is None:
            raise ValueError("the table has no optimizer of its own; the learning rate is that of torch's")
        optimizer = replace(self.spec.optimizer, lr=lr)
        self.spec = replace(self.spec, optimizer=optimizer)
        for part in self.modules():
            if isinstance(part, Stepping):
                part.optimizer = optimizer

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next((tensor.device for tensor in (*self.parameters(), *self.buffers())), torch.device("cpu"))

    def freeze(self) -> Table:
        """Return the trained table, for lookups without torch.

        Raises:
            RuntimeError: stages of the method are still to come.
        """
        if not self.is_finished:
            raise RuntimeError(
                f"{self.method.name} is in its stage {self.stage!r} of {', '.join(self.stages)}: train them all and "
                "call finish(), or let a Trainer do it"
            )
        with torch.no_grad():
            return self._frozen()

    @property
    def stored_bytes(self) -> int:
        """Bytes of the frozen table."""
        return self.planned.stored_bytes

    @property
    def training_bytes(self) -> int:
        """Bytes of parameters and buffers while training; gradients and the optimizer's state come on top."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (*self.parameters(), *self.buffers()))

    def forward(self, ids: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """Return rows, or pooled rows if the module has a mode.

        Args:
            ids: Integers. Of any shape without a mode; with one, (bags, n), or (n,) with offsets.
            offsets: (bags,): where each bag begins.
            per_sample_weights: Like ids; for the mode sum.

        Returns:
            (*ids.shape, d), or (bags, d) of pooled rows.

        Raises:
            IndexError: an id is out of range.
            ValueError: arguments that do not go together, or ids that are not integers.
        """
        if not has_integers(ids):
            raise ValueError(f"ids must be integers, not {ids.dtype}")
        flat = ids.reshape(-1).long()
        if not torch.compiler.is_compiling() and flat.device.type == "cpu" and flat.numel():
            low, high = (int(value) for value in torch.aminmax(flat))
            if low < 0 or high >= self.num_embeddings:
                bad = low if low < 0 else high
                raise IndexError(f"id {bad} is out of range: the table has {self.num_embeddings} rows")
        if self.mode is None:
            if offsets is not None or per_sample_weights is not None:
                raise ValueError("offsets and per_sample_weights need a mode")
            return self.rows(flat).reshape(*ids.shape, self.embedding_dim)
        return self._pooled(flat, ids, offsets, per_sample_weights)

    def _pooled(self, flat: Tensor, ids: Tensor, offsets: Tensor | None, weights: Tensor | None) -> Tensor:
        if (ids.dim() == 2) == (offsets is not None) or ids.dim() not in (1, 2):
            raise ValueError("give ids of shape (bags, n), or ids of shape (n,) and offsets")
        if weights is not None and (self.mode != "sum" or weights.shape != ids.shape):
            raise ValueError("per_sample_weights go with the mode sum, and have the shape of ids")
        if offsets is None:
            bags, each = ids.shape
            lengths = torch.full((bags,), each, device=flat.device)
            starts = torch.arange(bags, device=flat.device) * each
        else:
            bags, starts = len(offsets), offsets.long()
            lengths = torch.cat([starts[1:], starts.new_tensor([len(flat)])]) - starts
            if bags and (int(starts[0]) != 0 or int(lengths.min()) < 0):
                raise ValueError("offsets must begin with 0, and not fall or pass the number of ids")
        return self.pooled(flat, starts, lengths, None if weights is None else weights.reshape(-1))

    def pooled(self, ids: Tensor, starts: Tensor, lengths: Tensor, weights: Tensor | None) -> Tensor:
        """Return pooled rows, (bags, d); a method overrides it that need not make every row first.

        Args:
            ids: (n,) int64, in range.
            starts: (bags,) int64, where each bag begins.
            lengths: (bags,) int64, how many ids each bag has.
            weights: (n,), of each row, or None.
        """
        rows = self.rows(ids)
        bags = len(starts)
        if weights is not None:
            rows = rows * weights[:, None].to(rows.dtype)
        bag = torch.repeat_interleave(torch.arange(bags, device=ids.device), lengths, output_size=len(ids))
        out = rows.new_zeros(bags, self.embedding_dim)
        if self.mode == "max":
            index = bag[:, None].expand_as(rows)
            return out.scatter_reduce(0, index, rows, "amax", include_self=False)
        out = out.index_add(0, bag, rows)
        return out / lengths.clamp(min=1)[:, None] if self.mode == "mean" else out

    @property
    def rounding(self) -> dict[str, int | None]:
        """The bits of codes that parameters are rounded to, None for f32, by the names of arguments."""
        return {"bits": self.spec.bits}

    def get_extra_state(self) -> dict[str, Any]:
        """Return the stage, the structure, and what parameters are rounded to."""
        stage = {"stage": self.stage, "is_finished": self.is_finished}
        return stage | {"structure": self.structure()} | self.rounding

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the stage; the rest was taken or checked before parameters were loaded."""
        self.stage, self.is_finished = state["stage"], state["is_finished"]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        extra = state_dict.get(f"{prefix}_extra_state")
        for name, bits in self.rounding.items():
            if extra is not None and extra.get(name) != bits:
                raise ValueError(
                    f"{prefix.rstrip('.') or 'the table'} has {name}={bits}, but the state is one of a table with "
                    f"{name}={extra.get(name)}: make it with the same"
                )
        if extra is not None and extra["structure"]:
            self.restructure(extra["structure"])
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def extra_repr(self) -> str:
        """Return the shape, and what the budget chose."""
        knobs = ", ".join(f"{name}={value}" for name, value in self.planned.knobs.items() if not _is_long(value))
        return f"{self.method.name}, {self.num_embeddings}, {self.embedding_dim}, {self.stored_bytes} bytes, {knobs}"

    # For methods

    def generator(self, purpose: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a generator of random numbers that the seed and the purpose decide."""
        return torch.Generator(device).manual_seed((self.spec.seed * 1_000_003 + purpose) % 2**63)

    def initial(self, *shape: int, purpose: int = 0, bound: float | None = None) -> Tensor:
        """Return uniform numbers; within the root of 1 / the largest field's rows by default, as in the study."""
        bound = self._bound(bound)
        return torch.empty(shape).uniform_(-bound, bound, generator=self.generator(purpose))

    def initial_blocks(
        self, rows: int, dimension: int, purpose: int = 0, bound: float | None = None
    ) -> Iterator[Tensor]:
        """Yield the numbers of `initial(rows, dimension)` in blocks of rows: there is nothing of the table's size."""
        bound, random = self._bound(bound), self.generator(purpose)
        for block in blocks(rows, dimension):
            yield torch.empty(block.stop - block.start, dimension).uniform_(-bound, bound, generator=random)

    def _bound(self, bound: float | None) -> float:
        return max(self.spec.sizes) ** -0.5 if bound is None else bound

    def forget_counts(self) -> None:
        """Let go of the counts of ids, which take more memory than some tables, once they have decided what they do."""
        self.spec = replace(self.spec, counts=None)

    def per_field(self, tables: Iterable[Table]) -> Table:
        """Return a table of all fields from one for each."""
        found = list(tables)
        return found[0] if len(found) == 1 else partition(found)


def numbers(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Return a copy of a tensor for a frozen table."""
    return tensor.detach().cpu().numpy().copy()


def frozen_rows(tensor: Tensor) -> Table:
    """Return rows as they are, on memory of their own."""
    return dense(np.ascontiguousarray(numbers(tensor), np.float32))


def _is_long(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 4
