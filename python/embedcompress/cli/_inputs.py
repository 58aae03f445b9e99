"""The files that subcommands read tables from: safetensors and .npy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

import embedcompress as ec

from .._files import TensorInfo
from .._report import printable

NPY_NAME = "weight"
"""What the table of a .npy file is called: it has no name of its own."""


def read_npy(path: str | Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray[Any, Any]:
    """Return the array of a .npy file.

    Raises:
        ValueError: it is not such a file, or is damaged.
        OSError: it can't be read.
    """
    try:
        array: object = np.load(path, mmap_mode, allow_pickle=False)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        # Headers are Python's own text, and what NumPy raises for a broken one is anything that reading such text can.
        raise ValueError(f"'{path}' is not a .npy file that can be read: {error}") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"'{path}' is not a .npy file but an archive of several")
    return array


class Input:
    """A file that tables can be taken from, one at a time and without reading the rest."""

    def __init__(self, path: str):
        """Open a file.

        Raises:
            ValueError, OSError: it is neither safetensors nor .npy, is malformed, or can't be read.
        """
        self.path = path
        self.tensors: tuple[TensorInfo, ...] = ()
        """Every tensor of a safetensors file."""
        self._array: np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None = None
        with open(path, "rb") as file:
            self.is_npy = file.read(6) == b"\x93NUMPY"
        if self.is_npy:
            self._array = read_npy(path, mmap_mode="r")
            self.names: tuple[str, ...] = (NPY_NAME,)
            self.is_table_file = False
            return
        if path.endswith(".npy"):
            raise ValueError(f"'{path}' is not a .npy file")
        listed = ec.contents(path)
        self.names = listed.tables
        self.is_table_file = listed.is_table_file
        self.tensors = listed.tensors

    def table(self, name: str) -> ec.Table:
        """Return a table by name, on the file's memory where its layout allows.

        Raises:
            ValueError: there is none of that name, or it is not f32, f16 or bf16 of two axes.
        """
        if self._array is None:
            return ec.load(self.path, name)
        if name != NPY_NAME:
            raise ValueError(f"'{self.path}' is a .npy file: its only table is called '{NPY_NAME}'")
        # Fortran order and foreign byte order cost a copy.
        native = self._array.dtype.newbyteorder("=")
        return ec.dense(np.ascontiguousarray(self._array, dtype=native))

    def choose(self, wanted: Sequence[str]) -> list[str]:
        """Return the names that were asked for, or the only one there is.

        Raises:
            ValueError: none was asked for and there are several or none; the message lists them with their shapes.
        """
        if wanted:
            repeated = next((name for i, name in enumerate(wanted) if name in wanted[:i]), None)
            if repeated is not None:
                raise ValueError(f"--tensor {repeated} is given twice")
            return list(wanted)
        if len(self.names) == 1:
            return list(self.names)
        if not self.names:
            raise ValueError(f"'{self.path}' has no two-dimensional f32, f16 or bf16 tensor")
        raise ValueError(f"'{self.path}' has {len(self.names)} tables, name some with --tensor: {self._candidates()}")

    def _candidates(self, most: int = 8) -> str:
        """Return the names with their shapes: those that look like embeddings, or else the largest."""
        shapes = {tensor.name: tensor.shape for tensor in self.tensors}
        names = sorted(self.names, key=lambda name: -math.prod(shapes.get(name, ())))
        shown = ([name for name in names if _looks_like_embedding(name)] or names)[:most]
        texts = [f"{name} ({' x '.join(f'{n:,}' for n in shapes[name])})" if name in shapes else name for name in shown]
        if len(shown) < len(names):
            texts.append(f"and {len(names) - len(shown)} more that `embedcompress inspect` lists")
        return printable(", ".join(texts))


def _looks_like_embedding(name: str) -> bool:
    return "emb" in name.lower() or name.lower().endswith(("wte.weight", "wpe.weight"))


def training_package() -> ModuleType:
    """Return `embedcompress.training`; ValueError if what it needs is not installed."""
    try:
        from .. import training
    except ModuleNotFoundError as error:
        raise ValueError(f"methods that learn need {error.name}, which is not installed") from error
    return training
