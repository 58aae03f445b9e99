"""MLX's safetensors: a layer of codes, scales and biases for each `Uniform` table, and plain numbers as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .._sources import BITS, GROUPS, QUANTIZATION, SCALES, WEIGHT, settings_text
from .._table import Table
from .._uniform_rows import UniformRows
from ._fit import Grouped, converted, described, plain, refused
from ._tensors import Tensor

Array = np.ndarray[Any, Any]

KIND = "a safetensors file of MLX"
FITS = (
    "what fits are 2, 3, 4, 5, 6 or 8 bits in groups of a multiple of 32 columns, "
    "as of compress(weight, 'least_squares', bits=4, group=64)"
)


def tensors(tables: Mapping[str, Table], types: Mapping[str, str | None]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of tables, and the metadata that says bits and groups.

    Args:
        tables: By their names, which end in "weight" or are those of layers.
        types: Of the scales of each, "F16", "BF16" or "F32"; None takes the type that the table has.

    Raises:
        ValueError: MLX can't say a table exactly, or a type does not hold its scales.
    """
    result: dict[str, Tensor] = {}
    settings: dict[str, tuple[int, int]] = {}
    for name, table in tables.items():
        numbers = plain(table)
        if numbers is not None:
            if types[name] is not None:
                raise refused(name, KIND, f"it is {described(table)}, without scales of {types[name]}", FITS)
            _add(result, {name: numbers}, name)
            continue
        grouped = _grouped(name, table)
        prefix = name.removesuffix(WEIGHT) if f".{name}".endswith(f".{WEIGHT}") else f"{name}."
        settings[prefix.removesuffix(".")] = grouped.rows.bits, grouped.group
        layer = {f"{prefix}{part}": tensor for part, tensor in _layer(name, grouped, types[name]).items()}
        _add(result, layer, name)
    metadata = {"format": "mlx"} | ({QUANTIZATION: settings_text(settings)} if settings else {})
    return result, metadata


def _add(tensors: dict[str, Tensor], found: Mapping[str, Tensor], name: str) -> None:
    """Add the tensors of a table to those of others; a ValueError says which name two have."""
    if taken := sorted(tensors.keys() & found.keys()):
        raise ValueError(f"table '{name}' can't be written to {KIND}: another table has a tensor '{taken[0]}' already")
    tensors |= found


def _grouped(name: str, table: Table) -> Grouped:
    rows = UniformRows.of(table)
    # What has such groups keeps them; of wider ones scales are repeated as rarely as can be.
    found = None
    if rows is not None and rows.bits in BITS:
        found = Grouped.of(rows, tuple(sorted(GROUPS, reverse=True)))
    if found is None:
        raise refused(name, KIND, f"it is {described(table)} of {table.dimension:,} columns", FITS)
    return found


def _layer(name: str, grouped: Grouped, type: str | None) -> dict[str, Tensor]:
    rows = grouped.rows
    type = type or rows.scale_dtype.upper()
    if type not in SCALES:
        raise refused(name, KIND, f"there are no scales of {type}", f"types are {', '.join(SCALES)}")
    if type != "F32" and not grouped.holds(type):
        raise refused(name, KIND, f"its scales or biases are not all of {type}", "F32 holds them")
    groups = rows.dimension // grouped.group
    width = 4 if type == "F32" else 2

    def codes() -> Iterable[Array]:
        return (np.ascontiguousarray(rows.packed_codes(block)) for block in grouped.blocks())

    def parameters(which: int) -> Iterable[Array]:
        return (converted(grouped.parameters(block)[which], type) for block in grouped.blocks())

    count = rows.rows * groups * width
    return {
        WEIGHT: Tensor("U32", (rows.rows, rows.code_bytes // 4), rows.rows * rows.code_bytes, codes),
        "scales": Tensor(type, (rows.rows, groups), count, lambda: parameters(0)),
        "biases": Tensor(type, (rows.rows, groups), count, lambda: parameters(1)),
    }
