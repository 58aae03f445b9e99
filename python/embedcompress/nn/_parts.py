"""The module that holds a table's arrays as buffers.

It is a child of the embedding module, so that modules with tied weights share one: it is saved once, and loading into
it reaches all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from .. import FormatError, Table
from .._core import has_values, is_read_only
from ._expression import as_bytes, assemble, from_bytes, parse, take_apart

EXPRESSION = "expression"
"""The buffer that holds the text; the others hold arrays."""


class Parts(nn.Module):
    """The arrays of a table as plain integer buffers, and its expression as a buffer of UTF-8 bytes.

    The table runs on the memory of the buffers, which stay on the CPU and which casts leave as they are. Only
    `load_state_dict` changes them: it replaces them by those of any expression of the same rows and dimension. Who
    writes to a buffer changes this module's rows, and never a file that they are mapped from; of arrays that were lent
    for reading only, the buffers are copies.
    """

    num_embeddings: int
    embedding_dim: int
    _text: str
    _held: tuple[Table | None, tuple[Tensor | None, ...]]

    def __init__(self, table: Table) -> None:
        super().__init__()
        if not isinstance(table, Table):
            raise TypeError(
                f"table must be an embedcompress.Table, not {type(table).__name__}; from_weight and "
                "embedcompress.compress make one of an array or a tensor"
            )
        self.replace(table)

    def replace(self, table: Table) -> None:
        """Take another table, of any shape."""
        self.num_embeddings, self.embedding_dim = table.shape
        text, tensors = take_apart(table)
        if any(is_read_only(tensor.numpy()) for tensor in tensors):
            # torch writes to buffers, as when it sends them to all processes of a group.
            self._adopt(text, [tensor.clone() for tensor in tensors])
        else:
            self._install(table, text, tensors)

    def _install(self, table: Table | None, text: str, tensors: Sequence[Tensor]) -> None:
        """Take a table and the tensors on its memory, or a text and tensors without data."""
        keys = parse(text).keys
        for key in keys:
            if key == EXPRESSION or (hasattr(self, key) and key not in self._buffers):
                raise FormatError(f"an array can't be named {key!r}")
        device = "meta" if table is None else "cpu"
        self._buffers = {EXPRESSION: as_bytes(text).to(device), **dict(zip(keys, tensors, strict=True))}
        self._text, self._held = text, (table, (*self._buffers.values(),))

    def _adopt(self, text: str, tensors: Sequence[Tensor]) -> None:
        """Take tensors that nobody else writes to."""
        tensors = [tensor.detach().contiguous() for tensor in tensors]
        table = assemble(text, tensors)
        if table.shape != (self.num_embeddings, self.embedding_dim):
            raise FormatError(
                f"the table is {table.rows} x {table.dimension}, but the module is "
                f"{self.num_embeddings} x {self.embedding_dim}"
            )
        # torch moves a tensor to shared memory by exchanging the memory under it (share_memory_, or sending it to a
        # process), which would leave the table on freed memory. So the buffers get storages of their own here, and
        # the table keeps the first ones. What is in shared memory already is never moved.
        buffers = [tensor if _is_shared(tensor) else torch.from_numpy(tensor.numpy()) for tensor in tensors]
        self._install(table, text, buffers)

    @classmethod
    def hollow(cls, rows: int, columns: int) -> Self:
        """Return parts of a table that is not there yet; `fill` brings it."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim = rows, columns
        self._text, self._held = "", (None, ())
        return self

    def fill(self, text: str, tensors: Sequence[Tensor]) -> None:
        """Take a table of the same shape, as its text and arrays on the CPU that nobody else writes to.

        Raises:
            FormatError: they are not those of such a table.
        """
        self._adopt(text, tensors)

    @property
    def text(self) -> str:
        """The expression and the arrays' names, as JSON."""
        return self._text

    def arrays(self) -> list[Tensor]:
        """Return the buffers that hold arrays, in the order of the text."""
        return [tensor for name, tensor in self._buffers.items() if name != EXPRESSION and tensor is not None]

    @property
    def device(self) -> torch.device:
        """Where the buffers are: the CPU, or the meta device."""
        expression = self._buffers.get(EXPRESSION)
        return torch.device("meta") if expression is None else expression.device

    def _expression(self) -> Tensor:
        tensor = self._buffers[EXPRESSION]
        assert tensor is not None
        return tensor

    def table(self) -> Table:
        """Return the table.

        Raises:
            RuntimeError: the module is on the meta device.
        """
        table, buffers = self._held
        if not has_values(self._buffers, buffers):
            # As torch.func.functional_call replaces them for the time of a call.
            return assemble(self._text, self.arrays())
        if table is None:
            raise RuntimeError("the module has no data, being on the meta device; load_state_dict gives it some")
        return table

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Parts:
        probe = fn(torch.zeros(1, dtype=torch.uint8))
        if probe.device.type == "meta":
            self._install(None, self._text, [tensor.to("meta") for tensor in self.arrays()])
        elif probe.device.type != "cpu":
            raise RuntimeError(
                f"a compressed table can't be moved to {probe.device}: rows are looked up on the CPU. Move the rest of "
                "the model, and the rows that this module returns"
            )
        elif self._held[0] is not None and _is_shared(probe) and not all(map(_is_shared, self.arrays())):
            self._adopt(self._text, [_share(tensor.clone()) for tensor in self.arrays()])
            _share(self._expression())
        return self

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        given = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
        names: set[str] = set(self._buffers)
        try:
            if EXPRESSION in given:
                text = from_bytes(_plain(given, EXPRESSION))
                keys = parse(text).keys
                names = {EXPRESSION, *keys}
                if names <= given.keys():
                    copy = not local_metadata.get("assign_to_params_buffers", False)
                    self._adopt(text, [_plain(given, key, copy) for key in keys])
        except (FormatError, TypeError) as error:
            error_msgs.append(f"While loading the compressed table {prefix.removesuffix('.')!r}: {error}")
        if strict:
            missing_keys.extend(prefix + name for name in sorted(names - given.keys()))
            unexpected_keys.extend(prefix + name for name in given if name not in names)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the table, which stands on the buffers."""
        return {key: value for key, value in self.__dict__.items() if key != "_held"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the table on the buffers."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        tensors = self.arrays()
        if self._expression().is_meta:
            self._install(None, self._text, tensors)
        else:
            self._adopt(self._text, tensors)

    def extra_repr(self) -> str:
        """Name the arrays."""
        return ", ".join(
            f"{k}: {tuple(v.shape)}" for k, v in self._buffers.items() if k != EXPRESSION and v is not None
        )


def _plain(given: Mapping[str, Any], key: str, copy: bool = False) -> Tensor:
    """Return a tensor of a state_dict on the CPU; a copy if one is wanted."""
    value = given[key]
    if not isinstance(value, Tensor):
        raise TypeError(f"{key!r} must be a tensor, not {type(value).__name__}")
    if value.is_meta:
        raise FormatError(f"{key!r} is on the meta device and has no data")
    return value.detach().to("cpu", copy=copy, memory_format=torch.contiguous_format)


def _is_shared(tensor: Tensor) -> bool:
    return bool(tensor.is_shared())  # type: ignore[no-untyped-call]


def _share(tensor: Tensor) -> Tensor:
    """Move a tensor to shared memory."""
    return tensor.share_memory_()  # type: ignore[no-untyped-call, no-any-return]
