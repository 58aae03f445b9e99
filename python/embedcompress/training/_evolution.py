"""Search by evolution for whole numbers, one for each field, that have the best score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Genes = tuple[int, ...]
PARENTS = 10
CHILDREN = 10
"""That mutate, and as many that mix two parents."""
MUTATION = 0.1


def evolve(
    first: Genes,
    most: int,
    score: Callable[[Genes], float],
    fits: Callable[[Genes], bool],
    rounds: int,
    random: np.random.Generator,
) -> Genes:
    """Return the best numbers found.

    Args:
        first: A guess that fits.
        most: Numbers are from 1 to this.
        score: More is better. Called once for the same numbers.
        fits: Whether numbers may be chosen; must be true of ones.
        rounds: Of mutating and mixing.
        random: Where random numbers come from.
    """
    known: dict[Genes, float] = {}

    def fitted(genes: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Genes:
        """Lower numbers at random until they fit."""
        found = genes.copy()
        while not fits(result := tuple(int(gene) for gene in found)):
            able = np.flatnonzero(found > 1)
            if not len(able):
                return first
            found[random.choice(able)] -= 1
        return result

    def drawn() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return random.integers(1, most + 1, len(first))

    def meet(population: list[Genes]) -> list[Genes]:
        for genes in population:
            if genes not in known:
                known[genes] = score(genes)
        return sorted(known, key=lambda genes: -known[genes])[:PARENTS]

    parents = meet([first, *(fitted(drawn()) for _ in range(2 * CHILDREN - 1))])
    for _ in range(rounds):
        children = []
        for _ in range(CHILDREN):
            parent = np.array(parents[random.integers(len(parents))])
            children.append(fitted(np.where(random.random(len(first)) < MUTATION, drawn(), parent)))
        for _ in range(CHILDREN):
            mother, father = (np.array(parents[random.integers(len(parents))]) for _ in range(2))
            children.append(fitted(np.where(random.random(len(first)) < 0.5, mother, father)))
        parents = meet(children)
    return parents[0]
