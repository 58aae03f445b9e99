"""Fields of fewer columns with a matrix to the dimension: what they cost, and which ones a budget has room for."""

from __future__ import annotations

from collections.abc import Sequence


def candidates_of(dimension: int) -> list[int]:
    """Return 2, 4, ... and the dimension, which is the last."""
    powers = [1 << power for power in range(1, dimension.bit_length()) if 1 << power < dimension]
    return [*powers, dimension]


def field_bytes(rows: int, width: int, dimension: int) -> int:
    """Return the bytes of a field of so many columns: those of a plain table, if a matrix and a bias would be more."""
    return 4 * min(rows * width + width * dimension + dimension, rows * dimension)


def most_probable(
    log_probabilities: Sequence[Sequence[float]], prices: Sequence[Sequence[int]], budget: int
) -> list[int]:
    """Return a choice for each field, within the budget, whose product of probabilities is as large as was found.

    Begins with the most probable choices, of equals the dearest, and gives up what loses least for each byte. What is
    left over then goes to the better choices that still fit.

    Args:
        log_probabilities: Of each field's choices.
        prices: Their bytes. The least ones of all fields must fit.
        budget: Bytes.
    """
    fields = range(len(prices))
    worth = [list(zip(*field, strict=True)) for field in zip(log_probabilities, prices, strict=True)]
    chosen = [max(range(len(field)), key=field.__getitem__) for field in worth]
    total = sum(prices[field][chosen[field]] for field in fields)

    def others(field: int) -> list[tuple[int, float, int]]:
        """Return the choices that a field could have, with what they would add in probability and bytes."""
        now, price = worth[field][chosen[field]]
        return [(k, value - now, cost - price) for k, (value, cost) in enumerate(worth[field]) if k != chosen[field]]

    while total > budget:
        cuts = [(-gain / -cost, -cost, f, k) for f in fields for k, gain, cost in others(f) if cost < 0]
        _, saved, field, choice = min(cuts)
        chosen[field] = choice
        total -= saved
    while True:
        gains = [
            (gain, cost, f, k)
            for f in fields
            for k, gain, cost in others(f)
            if (gain, cost) > (0, 0) and total + cost <= budget
        ]
        if not gains:
            return chosen
        _, cost, field, choice = max(gains)
        chosen[field] = choice
        total += cost
