"""Which rows of a table of codes are kept in f16: those of ids that are used often, as many as the budget has room for.

What rounding at random adds to a row at each step adds up in rows that every batch has. Mixed precision by frequency is
that of the high-precision cache of Yang et al., "Mixed-Precision Embedding Using a Cache", arXiv 2010.11305; here it is
decided before training: by counts of ids where they are known, or by fields, those of fewest ids first.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import _core
from .._bisection import last_where
from ._counts import most_used
from ._formats import assignment_bytes
from ._spec import Spec, Values

SHARE = 0.1
"""Of rows that can be f16, if not given."""
_MOST_TABLES = 4096
"""Of a partition."""
_ALL_BUT_SIGN = 2**63 - 1


def high_rows(spec: Spec, share: float, low_bytes: Callable[[int], int]) -> tuple[int, list[int]]:
    """Return the bytes of a frozen table, and how many rows of each field are f16.

    As many are as the budget has room for. Short rows may take fewer bytes in f16 than as codes: where no number of
    them fits, it is that of the fewest bytes, which then are more than the budget.

    Args:
        spec: Has fields, counts and the budget.
        share: Of rows that can be f16 at most.
        low_bytes: Bytes of so many rows of codes in a table of their own.
    """
    most = int(share * spec.rows)
    if _by_counts(spec):
        return _by_use(spec, most, low_bytes)
    chosen, sizes = np.zeros(len(spec.sizes), bool), np.asarray(spec.sizes)
    best = low_bytes(spec.rows), chosen.copy()
    for field in np.argsort(sizes, kind="stable"):
        chosen[field] = True
        if int(sizes[chosen].sum()) > most:
            break
        runs = _runs(spec, chosen)
        found = sum(2 * spec.dimension * rows if is_high else low_bytes(rows) for is_high, rows in runs)
        if len(runs) <= _MOST_TABLES and found <= max(spec.budget, best[0] - 1):
            best = found, chosen.copy()
    return best[0], np.where(best[1], sizes, 0).tolist()


def _by_use(spec: Spec, most: int, low_bytes: Callable[[int], int]) -> tuple[int, list[int]]:
    assert spec.counts is not None
    # Ids that are never used have nothing that adds up.
    most = min(most, int(np.count_nonzero(spec.counts)))
    flags = assignment_bytes(spec.rows) or 0

    def size(high: int) -> int:
        rest = spec.rows - high
        return 2 * spec.dimension * high + (low_bytes(rest) if rest else 0) + (flags if high and rest else 0)

    def fits(high: int) -> bool:
        return size(high) <= spec.budget

    # Bytes rise with the rows in f16, or they fall: then none fit if the most do not.
    high = most if fits(most) else last_where(0, most, fits)
    if not fits(high):
        high = min((0, most), key=size)
    owner = np.searchsorted(np.cumsum(spec.sizes), most_used(spec.counts, high), side="right")
    return size(high), np.bincount(owner, minlength=len(spec.sizes)).tolist()


def _by_counts(spec: Spec) -> bool:
    return spec.counts is not None and assignment_bytes(spec.rows) is not None


def _runs(spec: Spec, chosen: Values) -> list[tuple[bool, int]]:
    """Return how many rows come after each other that are f16, or that are not."""
    changes = np.flatnonzero(np.diff(chosen)) + 1
    ends = np.cumsum(spec.sizes)
    bounds = [0, *(int(ends[change - 1]) for change in changes), spec.rows]
    first = bool(chosen[0])
    return [(first ^ bool(number % 2), end - start) for number, (start, end) in enumerate(pairwise(bounds))]


class Kinds(nn.Module):
    """Which rows are f16. The state of a table in which others are is refused before anything of it is taken.

    The place of a row is its number among the rows of its kind, and those that are f16 come after all others.
    """

    rows: int
    """Of both kinds."""
    count: int
    """How many are f16."""

    def places(self, ids: Tensor) -> Tensor:
        """Return the places of (n,) ids, (n,) int64; IndexError for an id out of range."""
        found = torch.empty(len(ids), dtype=torch.int64)
        _core.divided_rows_places(self.rows, *self._arrays(), ids.contiguous().numpy(), found.numpy())
        return found

    @abstractmethod
    def _arrays(self) -> tuple[Any, Any, Any, Any]:
        """Return what says the places: flags and how many are before each word, or the ends and the shifts of runs."""

    @abstractmethod
    def check(self, state: Mapping[str, Tensor], prefix: str) -> None:
        """Raise ValueError for a state that does not go with the rows that there are."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        self.check(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *arguments)


class Ranges(Kinds):
    """Rows that are f16 by field: of runs of ids."""

    ends: Tensor
    is_high: Tensor
    shift: Tensor

    def __init__(self, spec: Spec, high: list[int]) -> None:
        """Take how many rows of each field are f16: all or none."""
        super().__init__()
        self.runs = _runs(spec, np.asarray(high) > 0)
        self.rows, self.count = spec.rows, sum(high)
        is_high = torch.tensor([one for one, _ in self.runs])
        rows = torch.tensor([count for _, count in self.runs])
        ends = rows.cumsum(0)
        of_kind = torch.where(is_high, (rows * is_high).cumsum(0), (rows * ~is_high).cumsum(0))
        # They belong to the state: rows mean nothing to ids that other fields put in other places.
        self.register_buffer("ends", ends)
        self.register_buffer("is_high", is_high)
        # How far places are from ids.
        shift = of_kind + is_high * (self.rows - self.count) - ends
        self.register_buffer("shift", shift, persistent=False)

    def check(self, state: Mapping[str, Tensor], prefix: str) -> None:
        """Raise ValueError for the state of a table that has other rows in f16."""
        for name, own in (("ends", self.ends), ("is_high", self.is_high)):
            given = state.get(prefix + name)
            if given is not None and not torch.equal(given.to(own), own):
                raise ValueError(
                    f"the state is of a table that has the rows of other fields in f16 (its {prefix}{name} differ): "
                    "make this one with the same fields, budget and high_precision"
                )

    def _arrays(self) -> tuple[Any, Any, Any, Any]:
        return None, None, self.ends.numpy(), self.shift.numpy()


class Flags(Kinds):
    """Rows that are f16 by counts: a bit for each id, in words of 64, and how many are before each word."""

    bits: Tensor
    before: Tensor

    def __init__(self, spec: Spec, high: list[int]) -> None:
        """Take how many rows of each field are f16, which are those of the largest counts of all."""
        super().__init__()
        assert spec.counts is not None
        self.rows, self.count = spec.rows, sum(high)
        words = -(-spec.rows // 64)
        flags = np.zeros(words * 8, np.uint8)
        ids = most_used(spec.counts, self.count)
        np.bitwise_or.at(flags, ids >> 3, (1 << (ids & 7)).astype(np.uint8))
        each = np.bincount(ids >> 6, minlength=words)
        # They belong to the state: rows mean nothing to ids that other counts put in other places.
        self.register_buffer("bits", torch.from_numpy(flags.view("<i8").astype(np.int64, copy=False)))
        self.register_buffer("before", torch.from_numpy((np.cumsum(each) - each).astype(np.int32)))

    def check(self, state: Mapping[str, Tensor], prefix: str) -> None:
        """Raise ValueError for the state of a table with another number of rows in f16; which ones, the state says."""
        bits = state.get(prefix + "bits")
        if bits is None:
            return
        found = int(_ones(bits & _ALL_BUT_SIGN).sum()) + int((bits < 0).sum())
        if found != self.count or bits.shape != self.bits.shape:
            raise ValueError(
                f"the state is of a table that has {found} of some {64 * len(bits)} rows in f16, not {self.count} of "
                f"{64 * len(self.bits)}: make this one with the same counts, budget and high_precision"
            )

    def are_high(self) -> Values:
        """Return the flag of each id, (rows,) uint8."""
        flags = self.bits.cpu().numpy().astype("<i8", copy=False).view(np.uint8)
        return np.unpackbits(flags, count=self.rows, bitorder="little")

    def _arrays(self) -> tuple[Any, Any, Any, Any]:
        return self.bits.numpy(), self.before.numpy(), None, None


def _ones(words: Tensor) -> Tensor:
    """Return how many bits of numbers from 0 to 2^63 - 1 are ones."""
    words = words - (words >> 1 & 0x5555555555555555)
    words = (words & 0x3333333333333333) + (words >> 2 & 0x3333333333333333)
    words = words + (words >> 4) & 0x0F0F0F0F0F0F0F0F
    return words * 0x0101010101010101 >> 56


def splitter(spec: Spec, high: list[int]) -> Ranges | Flags:
    """Return what says which rows are f16, of a plan that has some."""
    return Flags(spec, high) if _by_counts(spec) else Ranges(spec, high)


def given_share(options: Any, spec: Spec, has_codes: bool) -> float:
    """Return the share of the option `high_precision`; 0 where no row can be f16.

    Args:
        options: Of the method.
        spec: Of the table.
        has_codes: Whether rows are codes, and not f32 because codes would not be smaller.

    Raises:
        ValueError: a share is given for a table without an optimizer of its own; or one above 0, and nothing says which
            ids are used often, or no row is codes.
    """
    share = options["high_precision"]
    if spec.optimizer is None:
        if share is not None:
            raise ValueError(
                "high_precision is for a table with an optimizer of its own: give optimizer, or leave it out"
            )
        return 0.0
    if not has_codes:
        if share:
            raise ValueError("high_precision has no effect: rows are f32, as codes of theirs would not be smaller")
        return 0.0
    if share and share < 1 and spec.counts is None and len(spec.sizes) == 1:
        raise ValueError("high_precision has no effect without counts or fields, which say what ids are used often")
    return SHARE if share is None else float(share)
