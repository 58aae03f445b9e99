"""`allocate`: bits for each block at a byte budget, by the paper's ranking or by the least weighted error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .. import BudgetError
from .._budget import budget_bytes, checked_budget
from .._checks import check_type, checked_integer
from .._report import figure, text_table
from ._knapsack import least_cost
from ._result import Sensitivity

BlockSize: TypeAlias = "int | tuple[int, int] | Sequence[tuple[int, int]] | Mapping[int, int]"
"""Values, the shape of a matrix, shapes of several, or bytes by bits."""

METHODS = ("error", "ranking")


@dataclass(frozen=True)
class _Option:
    """A block at some bits."""

    bits: int
    size: int
    error: float
    cost: float
    """Ω times error."""


class Allocation(dict[str, int]):
    """Bits by the name of the block; prints as a table that says what a step up or down would change."""

    def __init__(self, chosen: Mapping[str, int], **about: Any):
        super().__init__(chosen)
        self.method: str = about["method"]
        """ "error" or "ranking"."""
        self.solver: str = about["solver"]
        """ "exact": no allocation costs less; "greedy": a good one, found where too many had to be compared; or
        "ranking"."""
        self.budget: int = about["budget"]
        """Bytes."""
        self.modelled: bool = about["modelled"]
        """Whether errors come from a formula, not from `measure`."""
        self._options: dict[str, list[_Option]] = about["options"]
        self._omegas: dict[str, float] = about["omegas"]

    @property
    def stored_bytes(self) -> int:
        """Bytes of all blocks."""
        return sum(self._option(name).size for name in self)

    @property
    def cost(self) -> float:
        """Sum over blocks of Ω times squared error."""
        return math.fsum(self._option(name).cost for name in self)

    def _option(self, name: str) -> _Option:
        return next(option for option in self._options[name] if option.bits == self[name])

    def as_table(self) -> str:
        """Return a table for a terminal, a line for each block, the highest Ω first.

        "up" is how much less Ω × error a step to more bits would give, for each kB that it takes, and "down" how much
        more one to fewer bits would, for each kB that it frees.
        """
        header = ["block", "Ω", "bits", "bytes", "squared error", "Ω × error", "up, per kB", "down, per kB"]
        rows = []
        for name in sorted(self, key=lambda name: -self._omegas[name]):
            options = self._options[name]
            place = next(place for place, option in enumerate(options) if option.bits == self[name])
            here = options[place]
            rows.append(
                [
                    name,
                    figure(self._omegas[name]),
                    str(here.bits),
                    f"{here.size:,}",
                    figure(here.error),
                    figure(here.cost),
                    figure(_slope(here, options[place + 1]) if place + 1 < len(options) else None),
                    figure(_slope(options[place - 1], here) if place else None),
                ]
            )
        errors = "errors by formula" if self.modelled else "errors as measured"
        return (
            f"{text_table(header, rows)}\n"
            f"{self.stored_bytes:,} of {self.budget:,} bytes; Ω × error {figure(self.cost)} in all "
            f"({self.solver}, {errors})"
        )

    def __str__(self) -> str:
        return self.as_table()


def allocate(
    sensitivities: Mapping[str, Sensitivity | float],
    sizes: Mapping[str, BlockSize],
    budget: int | float | str,
    choices: Sequence[int] = (2, 3, 4, 8),
    method: str = "error",
    *,
    errors: Mapping[str, Mapping[int, float]] | None = None,
    fixed: Mapping[str, int] | None = None,
    group: int | None = None,
    range_bytes: int = 4,
) -> Allocation:
    """Choose bits for each block within a budget of bytes; embeddings are blocks like others.

    "error" minimises the sum over blocks of Ω × squared quantization error: exactly, by dynamic programming over the
    allocations that none beats in both bytes and error, or if they are too many, greedily by the most error saved for
    a byte; `solver` says which. "ranking" is the order of Q-BERT, which has no rule for a budget: bits rise level by
    level, within a level from the highest Ω to the lowest, until a block doesn't fit. So no block has fewer bits than
    one of lower Ω, and no more than two neighbouring levels of the choices occur, as in the paper's 2/3 and 2/4 bits.

    Args:
        sensitivities: By block, what `sensitivity` gave, or a number that takes the place of Ω.
        sizes: By block: how many values it has, the shape (rows, columns) of its matrix, a list of shapes, or bytes by
            bits, as `measure` gives them.
        budget: Bytes, or as a float up to 1 or as "10%" a ratio of the f32 size, for which bytes by bits need an entry
            at 32.
        choices: Bits to choose from: 1 to 8, and 16 and 32 for f16 and f32.
        method: "error" or "ranking".
        errors: By block and bits, squared error, as `measure` gives it. None takes that of a uniform quantizer, for
            n values of range 1: n / (12 (2^bits − 1)²), as if all blocks had the same range.
        fixed: Bits of blocks that are not to be chosen, such as {"embeddings": 8}.
        group: Columns that share a range; None is the whole row of a matrix, and no ranges for a number of values.
        range_bytes: Of a range; the default is two f16 numbers. f16 and f32 have none.

    Returns:
        Bits by block.

    Raises:
        TypeError: an argument is of another type.
        BudgetError: the least bits of all don't fit; the message names the bytes that they take.
        ValueError: blocks of which something is missing, or numbers that make no sense; the message names them.
    """
    levels = _levels(choices)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    for name, given in (("sensitivities", sensitivities), ("sizes", sizes), ("errors", errors), ("fixed", fixed)):
        if given is not None or name in ("sensitivities", "sizes"):
            check_type(given, Mapping, name, "a mapping by block")
    if not sensitivities:
        raise ValueError("there are no blocks")
    _check_names(sensitivities, sizes, errors, fixed)
    group = None if group is None else checked_integer(group, "group")
    range_bytes = checked_integer(range_bytes, "range_bytes")
    if (group is not None and group < 1) or range_bytes < 0:
        raise ValueError(f"group must be at least 1 and range_bytes at least 0, not {group} and {range_bytes}")
    omegas = {name: _omega(name, given) for name, given in sensitivities.items()}
    options: dict[str, list[_Option]] = {}
    for name, omega in omegas.items():
        own = levels if not fixed or name not in fixed else _levels([fixed[name]])
        options[name] = []
        for bits in own:
            error = (
                _modelled(_values(name, sizes[name], sensitivities[name]), bits)
                if errors is None
                else _given(name, errors[name], bits, "errors")
            )
            size = _bytes(name, sizes[name], bits, group, range_bytes)
            options[name].append(_Option(bits, size, error, omega * error))
    checked = checked_budget(budget)
    full = sum(_bytes(name, sizes[name], 32, None, 0) for name in omegas) if isinstance(checked, float) else 0
    limit = budget_bytes(checked, full)
    least = sum(min(option.size for option in own) for own in options.values())
    if least > limit:
        raise _refusal(limit, least)
    if method == "ranking":
        places, solver = _ranked(options, omegas, limit), "ranking"
    else:
        found, exact = least_cost([[(o.size, o.cost) for o in own] for own in options.values()], limit)
        places, solver = dict(zip(options, found, strict=True)), "exact" if exact else "greedy"
    return Allocation(
        {name: options[name][place].bits for name, place in places.items()},
        method=method,
        solver=solver,
        budget=limit,
        modelled=errors is None,
        options=options,
        omegas=omegas,
    )


def _refusal(budget: int, floor: int) -> BudgetError:
    text = f"the blocks can't be that small: the least they can reach is {floor} bytes"
    return BudgetError(text, budget=budget, floor=floor)


def _ranked(options: Mapping[str, Sequence[_Option]], omegas: Mapping[str, float], limit: int) -> dict[str, int]:
    """Return the place of each block's bits among its options."""
    order = sorted(options, key=lambda name: -omegas[name])
    places = dict.fromkeys(options, 0)
    left = limit - sum(options[name][0].size for name in options)
    if left < 0:
        raise _refusal(limit, limit - left)
    for level in range(1, max(len(own) for own in options.values())):
        for name in order:
            if level < len(options[name]):
                more = options[name][level].size - options[name][level - 1].size
                if more > left:
                    return places
                places[name], left = level, left - more
    return places


def _slope(fewer: _Option, more: _Option) -> float | None:
    kilobytes = (more.size - fewer.size) / 1000
    return (fewer.cost - more.cost) / kilobytes if kilobytes else None


def _levels(choices: Sequence[int]) -> list[int]:
    levels = sorted(set(choices))
    for bits in levels:
        if isinstance(bits, bool) or not isinstance(bits, int) or not (1 <= bits <= 8 or bits in (16, 32)):
            raise ValueError(f"bits must be from 1 to 8, 16 or 32, not {bits!r}")
    if not levels:
        raise ValueError("there are no choices of bits")
    return levels


def _check_names(
    sensitivities: Mapping[str, object],
    sizes: Mapping[str, object],
    errors: Mapping[str, object] | None,
    fixed: Mapping[str, int] | None,
) -> None:
    for what, given in (("sizes", sizes), ("errors", errors)):
        if given is not None and (lacking := [name for name in sensitivities if name not in given]):
            raise ValueError(f"{what} have nothing for block {lacking[0]!r}")
        if given is not None and (unknown := [name for name in given if name not in sensitivities]):
            raise ValueError(f"{what} are given for {unknown[0]!r}, which has no sensitivity")
    if unknown := [name for name in fixed or () if name not in sensitivities]:
        raise ValueError(f"fixed has {unknown[0]!r}, which is not among the blocks")


def _omega(name: str, given: Sensitivity | float) -> float:
    omega = float(given.omega if isinstance(given, Sensitivity) else given)
    if not math.isfinite(omega) or omega < 0:
        raise ValueError(f"Ω of block {name!r} must be finite and not negative, not {omega}")
    return omega


def _given(name: str, found: Mapping[int, Any], bits: int, what: str) -> Any:
    if bits not in found:
        raise ValueError(f"{what} of block {name!r} have nothing for {bits} bits")
    value = found[bits]
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{what} of block {name!r} at {bits} bits must be finite and not negative, not {value}")
    return value


def _modelled(values: int, bits: int) -> float:
    return 0.0 if bits == 32 else values / (12 * (2**bits - 1) ** 2)


def _shapes(name: str, size: BlockSize) -> list[tuple[int, int]]:
    """Return matrices; a number of values is one of a single row."""
    given: Any = size
    if isinstance(given, int):
        given = [(1, given)]
    elif len(given) == 2 and all(isinstance(extent, int) for extent in given):
        given = [given]
    shapes = [tuple(shape) for shape in given]
    if not shapes or any(len(shape) != 2 or min(shape) < 1 for shape in shapes):
        raise ValueError(f"the size of block {name!r} must be positive: values, (rows, columns) or a list of such")
    return [(int(rows), int(columns)) for rows, columns in shapes]


def _values(name: str, size: BlockSize, given: Sensitivity | float) -> int:
    if not isinstance(size, Mapping):
        return sum(rows * columns for rows, columns in _shapes(name, size))
    if isinstance(given, Sensitivity):
        return given.parameters
    raise ValueError(f"errors are needed for block {name!r}: its sizes are bytes, and don't say how many values it has")


def _bytes(name: str, size: BlockSize, bits: int, group: int | None, range_bytes: int) -> int:
    if isinstance(size, Mapping):
        return int(_given(name, size, bits, "sizes"))
    total = 0
    for rows, columns in _shapes(name, size):
        ranges = 0 if bits > 8 or (group is None and isinstance(size, int)) else -(-columns // (group or columns))
        total += rows * (-(-columns * bits // 8) + ranges * range_bytes)
    return total
