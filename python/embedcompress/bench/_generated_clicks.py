"""Generated clicks as a data set of `bench train`: parts of a stream, made as they are read and never listed.

Rows come in blocks, each of which its number decides: a smaller part is the beginning of a larger one, and what is in
it does not depend on the size of batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._generated import SKEW, Generated, Values

READER = "generated"
BLOCK = 8192
"""Rows that are made at once."""
MOST_SKEW = 4
"""Beyond it a field has hardly an id but its first."""


@dataclass(frozen=True)
class GeneratedPart:
    """Rows of a stream."""

    stream: Generated
    name: str
    """Of `_generated.PARTS`."""
    samples: int

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self.samples

    def batches(self, size: int, random: np.random.Generator | None = None) -> Iterator[tuple[Values, Values, Values]]:
        """Yield ids, (size, 26) int64, no numbers, (size, 0) f32, and labels, (size,) f32, a batch after the other.

        Args:
            size: Rows of a batch; the last one has those that are left.
            random: Draws the order of the blocks, and of the rows of each; None leaves rows as they are.
        """
        waiting: list[tuple[Values, Values]] = []
        count = 0
        for more_ids, more_labels, _ in self._blocks(random):
            waiting.append((more_ids, more_labels))
            count += len(more_labels)
            if count < size:
                continue
            ids, labels = (np.concatenate(column) for column in zip(*waiting, strict=True))
            whole = count // size * size
            for start in range(0, whole, size):
                yield _batch(ids[start : start + size], labels[start : start + size])
            waiting, count = [(ids[whole:], labels[whole:])], count - whole
        if count:
            yield _batch(*(np.concatenate(column) for column in zip(*waiting, strict=True)))

    def truth(self) -> tuple[Values, Values]:
        """Return the labels, (rows,) f32, and the probabilities that they were drawn with, (rows,) f64."""
        blocks = [(labels, chances) for _, labels, chances in self._blocks(None)]
        return np.concatenate([one[0] for one in blocks]), np.concatenate([one[1] for one in blocks])

    def _blocks(self, random: np.random.Generator | None) -> Iterator[tuple[Values, Values, Values]]:
        count = -(-self.samples // BLOCK)
        for number in range(count) if random is None else random.permutation(count):
            rows = min(BLOCK, self.samples - BLOCK * int(number))
            order = slice(rows) if random is None else random.permutation(rows)
            ids, labels, chances = self.stream.batch(self.name, int(number), BLOCK)
            yield ids[order], labels[order], chances[order]


@dataclass(frozen=True)
class GeneratedClicks:
    """Three parts of a stream; has what `Clicks` has, but holds no rows."""

    rows: int
    """Ids of all fields."""
    samples: int
    """Rows of the training part."""
    validation_samples: int
    test_samples: int
    seed: int
    skew: float = SKEW
    """Of ids within a field."""
    numbers: tuple[str, ...] = ()

    @property
    def stream(self) -> Generated:
        """What rows are drawn from."""
        return Generated(self.rows, self.seed, self.skew)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Ids of each field."""
        return self.stream.sizes

    @property
    def train(self) -> GeneratedPart:
        """The training part."""
        return GeneratedPart(self.stream, "train", self.samples)

    @property
    def validation(self) -> GeneratedPart:
        """The validation part."""
        return GeneratedPart(self.stream, "validation", self.validation_samples)

    @property
    def test(self) -> GeneratedPart:
        """The test part."""
        return GeneratedPart(self.stream, "test", self.test_samples)

    @property
    def counts(self) -> Values:
        """How often each id is used in training, as expected, (rows,) f64."""
        return self.stream.counts(self.samples)

    def uses(self, ids: Values) -> Values:
        """Return how often ids, (any, 26), are used in training, as expected."""
        return self.stream.uses(ids, self.samples)


def generated(
    rows: int,
    samples: int,
    validation_samples: int = 100_000,
    test_samples: int = 200_000,
    skew: float = SKEW,
    by: str = "random",
    seed: int = 0,
) -> GeneratedClicks:
    """Return generated clicks: rows are independent of each other, with 26 fields in proportion to Criteo's.

    Args:
        rows: Ids of all fields.
        samples: Rows that train.
        validation_samples: Rows that validate.
        test_samples: Rows of the test.
        skew: How the use of ids falls with their rank within a field, a power law: 0 is none, and 4 the most.
        by: "random".
        seed: Of the stream.

    Raises:
        ValueError: numbers that can't be, or a split in time, which generated clicks do not have.
    """
    given: dict[str, Any] = {
        "rows": rows, "samples": samples, "validation_samples": validation_samples, "test_samples": test_samples,
    }  # fmt: skip
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number from 1, not {value!r}")
    if not isinstance(skew, int | float) or isinstance(skew, bool) or not 0 <= skew <= MOST_SKEW:
        raise ValueError(f"skew must be a number from 0 to {MOST_SKEW}, not {skew!r}")
    if by != "random":
        raise ValueError(f"generated clicks have no time: split must be random, not {by!r}")
    found = GeneratedClicks(**given, seed=seed, skew=float(skew))
    _ = found.sizes
    return found


def _batch(ids: Values, labels: Values) -> tuple[Values, Values, Values]:
    return ids, np.empty((len(labels), 0), np.float32), labels
