"""Checkpoints of torch.save, through its loader of weights only, which runs no code of the file. Needs torch."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Mapping
from typing import Any

from .._atomic import AnyPath
from ._source import WEIGHT, Source, TensorInfo, malformed, missing

_TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8", "uint8": "U8"}
_TYPES |= {"int16": "I16", "uint16": "U16", "int32": "I32", "int64": "I64", "bool": "BOOL"}
_TYPES |= {"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}
_DEEPEST = 8
"""Mappings of mappings, such as {"model": {"state": {...}}}, that tensors are looked for in."""


class TorchFile(Source):
    """The tensors of a checkpoint, by their names; those of inner mappings with a point between."""

    kind = "a torch checkpoint"

    def __init__(self, path: AnyPath, *, is_zip: bool):
        """Read a file.

        Args:
            path: The file.
            is_zip: Whether it is of torch 1.6 or later, whose tensors stay in the file.
        """
        super().__init__(path)
        try:
            import torch
        except ImportError:
            raise missing(path, self.kind, "torch", "torch") from None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded = torch.load(os.fsdecode(path), map_location="cpu", weights_only=True, mmap=is_zip)
        except (FileNotFoundError, PermissionError, MemoryError):
            raise
        except pickle.UnpicklingError as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else "it is damaged"
            what = f"{self.kind} with more than weights, which torch.load(weights_only=True) refuses: {first[:200]}"
            raise malformed(path, what) from error
        except Exception as error:
            # A damaged archive or pickle raises anything.
            what = " ".join(str(error).split())[:200]
            raise malformed(path, f"{self.kind} that torch can't read: {what}") from error
        self._held: dict[str, Any] = {}
        self._collect("", loaded, torch.Tensor, 0)
        self._tensors = tuple(
            TensorInfo(name, _dtype(tensor), tuple(tensor.shape)) for name, tensor in self._held.items()
        )

    def _collect(self, name: str, value: object, tensor: type, depth: int) -> None:
        if isinstance(value, tensor):
            self._held[name or WEIGHT] = value.detach()  # type: ignore[attr-defined]
        elif isinstance(value, Mapping) and depth < _DEEPEST:
            for key, inner in value.items():
                self._collect(f"{name}.{key}" if name else str(key), inner, tensor, depth + 1)

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """Every tensor."""
        return self._tensors

    def read(self, info: TensorInfo, mmap: bool) -> Any:
        """Return a tensor; one of a type that `dense` does not take, in f32."""
        import torch

        tensor = self._held[info.name]
        if info.dtype in ("F32", "F16", "BF16"):
            return tensor if mmap else tensor.clone()
        return tensor.to(torch.float32)


def _dtype(tensor: Any) -> str:
    """Return a type's name as safetensors has it, or torch's own for what no table has."""
    name = str(tensor.dtype).removeprefix("torch.")
    if str(tensor.layout) != "torch.strided" or tensor.device.type != "cpu":
        return f"{tensor.layout} of {name}".removeprefix("torch.")
    return _TYPES.get(name, name)
