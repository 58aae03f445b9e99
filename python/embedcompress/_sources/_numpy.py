"""NumPy's files: .npy, an array, and .npz, a zip archive of arrays with names."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
from numpy.lib import format as npy

from .._atomic import AnyPath
from ._source import WEIGHT, Source, TensorInfo, malformed, numpy_type

Array = np.ndarray[Any, Any]


def read_npy(path: AnyPath, *, mmap: bool = False) -> Array:
    """Return the array of a .npy file.

    Raises:
        FormatError: it is not such a file, or is damaged.
        OSError: it can't be read.
    """
    try:
        array: object = np.load(path, "r" if mmap else None, allow_pickle=False)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        # Headers are Python's own text, and what NumPy raises for a broken one is anything that reading such text can.
        raise malformed(path, f"it is not a .npy file that can be read: {error}") from error
    if not isinstance(array, np.ndarray):
        raise malformed(path, "it is not a .npy file but an archive of several")
    return array


class Npy(Source):
    """An array, called "weight"."""

    kind = "a .npy file"

    def __init__(self, path: AnyPath):
        super().__init__(path)
        self._array = read_npy(path, mmap=True)

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """The array."""
        return (TensorInfo(WEIGHT, numpy_type(self._array.dtype), self._array.shape),)

    def read(self, info: TensorInfo, mmap: bool) -> Array:
        """Return the array, on the file's memory."""
        return self._array if mmap else np.array(self._array)


class Npz(Source):
    """Arrays by their names."""

    kind = "a .npz file"

    def __init__(self, path: AnyPath):
        super().__init__(path)
        self._tensors: list[TensorInfo] = []
        try:
            with zipfile.ZipFile(path) as archive:  # type: ignore[arg-type]
                for member in archive.infolist():
                    with archive.open(member) as file:
                        shape, dtype = _header(file)
                    self._tensors.append(TensorInfo(member.filename.removesuffix(".npy"), numpy_type(dtype), shape))
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise malformed(path, f"it is not a .npz file that can be read: {error}") from error

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """Every array."""
        return tuple(self._tensors)

    def read(self, info: TensorInfo, mmap: bool) -> Array:
        """Return a copy of an array."""
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(info.name + ".npy") as file:  # type: ignore[arg-type]
                values = npy.read_array(file, allow_pickle=False)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise malformed(self.path, f"array '{info.name}' can't be read: {error}") from error
        if values.shape != info.shape:
            raise malformed(self.path, f"array '{info.name}' has changed while it was read")
        return values


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array of an archive."""
    version = npy.read_magic(file)
    reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if reader is None:
        raise ValueError(f"version {version} of the format, which is for structured types")
    shape, _, dtype = reader(file)
    return shape, dtype


def is_npz(names: list[str]) -> bool:
    """Whether an archive of these members is NumPy's."""
    return bool(names) and all(name.endswith(".npy") for name in names)
