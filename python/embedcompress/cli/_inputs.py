"""The files that subcommands read tables from, and what they share of the arguments that choose some."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import embedcompress as ec

from .._sources import Npy, Safetensors, TensorInfo, open_source

READS = "safetensors, .npy, word vectors, Parquet or another kind that `embedcompress.load` reads"

ORIGIN = "origin."
"""Of the metadata's key that says what `convert` took a table over from; the table's name follows."""


def add_tensor(parser: Any, of: str, *, several: bool) -> None:
    """Add the arguments that choose tables of a file.

    Args:
        parser: Of a subcommand, or a group of it.
        of: What the subcommand calls the file.
        several: Whether it takes several tables.
    """
    parser.add_argument(
        "--tensor",
        action="append",
        default=[],
        metavar="NAME",
        help=f"a table of {of}, or a pattern such as 'emb*'; needed unless there is only one"
        + ("; any number of times" if several else ""),
    )
    parser.add_argument(
        "--axis",
        type=int,
        metavar="N",
        help="for tensors of more than two axes: the last that numbers rows, from 0 on; those after it are columns",
    )


class Input:
    """A file that tables can be taken from, one at a time and without reading the rest."""

    def __init__(self, path: str, axis: int | None = None):
        """Open a file.

        Args:
            path: The file, or a folder.
            axis: For tensors of more than two axes; see `embedcompress.load`.

        Raises:
            ValueError, OSError: it is of no kind that is read, is malformed, or can't be read.
        """
        self.path = path
        self.source = open_source(path)
        self.axis = axis
        self.names = self.source.names
        self.tensors = self.source.tensors
        self.is_table_file = isinstance(self.source, Safetensors) and self.source.is_table_file
        self.has_names = not isinstance(self.source, Npy)
        """Whether tables have names of their own, and not one that stands for the file's."""
        self._axes = {tensor.name: len(tensor.shape) for tensor in self.tensors}

    def table(self, name: str) -> ec.Table:
        """Return a table by name, on the file's memory where its layout allows.

        Raises:
            ValueError: there is none of that name, or it is of a type or a shape that no table has.
        """
        takes_axis = self._axes.get(name, 2) > 2 and not self.is_table_file
        return self.source.table(name, axis=self.axis if takes_axis else None)

    def info(self, name: str) -> TensorInfo | None:
        """Return the tensor that is a table; None in files of tables, which several tensors make up.

        Raises:
            ValueError: there is none of that name.
        """
        return None if self.is_table_file else self.source.find(name)

    def origin(self, name: str) -> str | None:
        """Return what a table of this library's file was taken over from; None if the file does not say."""
        said = self.source.metadata.get(ORIGIN + name) if isinstance(self.source, Safetensors) else None
        # Metadata is free: what is no kind and type says nothing.
        return said if said is not None and len(said.split()) == 2 else None

    def words(self, name: str) -> tuple[str, ...] | None:
        """Return what each row of a table stands for; None if the file does not say."""
        return self.source.words(name)

    def choose(self, wanted: Sequence[str]) -> list[str]:
        """Return the names that were asked for, or the only one there is.

        Args:
            wanted: Names and patterns.

        Raises:
            ValueError: none was asked for and there are several or none; the message lists them with their shapes. Or a
                pattern stands for nothing, or a name is given twice, or --axis is, and no tensor has so many axes.
        """
        found: list[str] = []
        for pattern in wanted:
            names = self.source.matching(pattern)
            # A name that is not there gets the error that lists those that are.
            for name in names or (pattern,):
                if name in found and name == pattern:
                    raise ValueError(f"--tensor {name} is given twice")
                if name not in found:
                    found.append(name)
        found = found or [self.source.only()]
        if self.axis is not None and not any(self._axes.get(name, 2) > 2 for name in found):
            raise ValueError(f"--axis is for tensors of more than two axes, which {', '.join(found)} has not")
        return found

    def choose_one(self, wanted: Sequence[str]) -> str:
        """Return the only name that was asked for, or the only one there is.

        Raises:
            ValueError: as `choose` does, or there are several.
        """
        names = self.choose(wanted)
        if len(names) > 1:
            raise ValueError(f"one table is taken, and --tensor names {len(names)}: {', '.join(names[:8])}")
        return names[0]


def training_package() -> ModuleType:
    """Return `embedcompress.training`; ValueError if what it needs is not installed."""
    try:
        from .. import training
    except ModuleNotFoundError as error:
        raise ValueError(f"methods that learn need {error.name}, which is not installed") from error
    return training
