"""Clicks that are generated, not collected: a stream of any length, of which nothing is stored for an id.

They are no data set: the shape is Criteo's, ids and labels are drawn. There are 26 fields, whose sizes are in
proportion to those of Criteo's Kaggle data. Within a field, the id of rank r has the probability of (r + 1, r + 2)
under a density that falls as x^-skew on (1, size + 1). Each id has an effect, which a hash of it gives: a triangular
number of mean 0 and variance 1. A row is clicked with the probability sigmoid(BIAS + SPREAD * sum of its effects /
sqrt(26)). So the best that any model can do is known: predictions that are these probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Values = np.ndarray[Any, Any]

CRITEO_SIZES = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992, 5461306, 10, 5652,
    2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip
"""Ids of each field of Criteo's Kaggle data, by the loader of the VLDB 2024 study."""
LEAST = 2
"""Ids of the smallest field, however few there are in all."""
SKEW = 1.05
"""Of ids, if not given: 0 is none."""
BIAS, SPREAD = -1.4, 1.6
PARTS = {"train": 0, "validation": 1, "test": 2}


def field_sizes(rows: int) -> tuple[int, ...]:
    """Return the ids of each field, which add up to `rows`.

    Raises:
        ValueError: there are fewer than two for each field.
    """
    if rows < LEAST * len(CRITEO_SIZES):
        raise ValueError(f"rows must be at least {LEAST * len(CRITEO_SIZES)}, {LEAST} for each field, not {rows}")
    spare, total = rows - LEAST * len(CRITEO_SIZES), sum(CRITEO_SIZES)
    sizes = [LEAST + size * spare // total for size in CRITEO_SIZES]
    # What rounding left goes to the largest field.
    sizes[CRITEO_SIZES.index(max(CRITEO_SIZES))] += rows - sum(sizes)
    return tuple(sizes)


@dataclass(frozen=True)
class Generated:
    """A stream of clicks, which the number of ids and the seed decide."""

    rows: int
    """Ids of all fields."""
    seed: int = 0
    skew: float = SKEW
    """How the use of ids falls with their rank; of one field a power law."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Ids of each field."""
        return field_sizes(self.rows)

    def batch(self, part: str, number: int, count: int) -> tuple[Values, Values, Values]:
        """Return a batch, the same whenever it is asked for.

        Args:
            part: One of `PARTS`, which have no batch in common.
            number: Of the batch, from 0.
            count: Its rows.

        Returns:
            (count, 26) int64 ids of a table that all fields share; (count,) f32 labels, 0 or 1; (count,) f64
            probabilities of 1.
        """
        random = np.random.default_rng((self.seed, PARTS[part], number))
        sizes = np.asarray(self.sizes)
        ids = _ranks(random.random((count, len(sizes))), sizes, self.skew) + (np.cumsum(sizes) - sizes)
        chances = self.probabilities(ids)
        return ids, (random.random(count) < chances).astype(np.float32), chances

    def probabilities(self, ids: Values) -> Values:
        """Return the probability of a click, (count,), of rows of ids, (count, 26)."""
        total = effects(ids, self.seed).sum(1) / np.sqrt(ids.shape[1])
        found: Values = 1 / (1 + np.exp(-(BIAS + SPREAD * total)))
        return found

    def counts(self, samples: int) -> Values:
        """Return how often each id is used in so many rows, as expected, (rows,) f64."""
        return np.concatenate([samples * _shares(size, self.skew) for size in self.sizes])

    def uses(self, ids: Values, samples: int) -> Values:
        """Return `counts` of these ids, (any, 26), without those of all others."""
        sizes = np.asarray(self.sizes)
        places = ids - (np.cumsum(sizes) - sizes) + 1.0
        rises = _cumulated(places + 1, self.skew) - _cumulated(places, self.skew)
        found: Values = samples * rises / _cumulated(sizes + 1.0, self.skew)
        return found


def effects(ids: Values, seed: int) -> Values:
    """Return the effect of each id, of any shape: SplitMix64's (Steele et al. 2014) two halves, added up."""
    bits = ids.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    halves = (bits >> np.uint64(32)).astype(np.float64) + (bits & np.uint64(0xFFFFFFFF)).astype(np.float64)
    found: Values = (halves / 2**32 - 1) * np.sqrt(6)
    return found


def _cumulated(places: Values, skew: float) -> Values:
    """Return the integral of x^-skew from 1 to places, over what does not depend on them."""
    found: Values = np.log(places) if skew == 1 else places ** (1 - skew) - 1
    return found


def _ranks(uniform: Values, sizes: Values, skew: float) -> Values:
    """Return ranks from uniform numbers of [0, 1), by the inverse of the distribution function."""
    reached = uniform * _cumulated(sizes + 1.0, skew)
    # Rounding may leave nothing of a tail under a large skew, and bring a uniform number next to 1 up to the end.
    left = np.maximum(1 + reached, np.finfo(np.float64).tiny)
    places = np.exp(reached) if skew == 1 else left ** (1 / (1 - skew))
    found: Values = np.minimum(places, sizes).astype(np.int64) - 1
    return found


def _shares(size: int, skew: float) -> Values:
    """Return the probability of each rank, (size,)."""
    cumulated = _cumulated(np.arange(1, size + 2, dtype=np.float64), skew)
    found: Values = np.diff(cumulated) / cumulated[-1]
    return found
