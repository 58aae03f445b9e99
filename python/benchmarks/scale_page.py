"""The table of docs/benchmark.md on what training takes at Criteo's number of ids, from docs/results/scale.jsonl."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from _pages import DOCS, RESULTS, fill

from embedcompress._methods import FULL
from embedcompress._report import figure, markdown_table, size
from embedcompress.bench import _lines
from embedcompress.bench._generated import CRITEO_SIZES
from embedcompress.bench._lines import Line
from embedcompress.bench._report_scale import auc, held, peak, step

HEADER = ("method", "budget", "CPU ms/step", "of full's", "training bytes", "stored", "peak", "AUC")


def table(lines: Sequence[Line], rows: int = sum(CRITEO_SIZES)) -> str:
    """Return the cells of a number of ids as Markdown: larger budgets first."""
    made = [line for line in lines if line["request"]["rows"] == rows and "figures" in line]
    full = next(step(line["figures"]) for line in made if line["request"]["method"] == FULL)
    found = []
    for line in sorted(made, key=lambda line: (-line["request"]["budget"], line["request"]["method"])):
        figures = line["figures"]
        found.append(
            [
                line["request"]["method"],
                f"{100 * line['request']['budget']:g} %",
                figure(step(figures), 3),
                f"{step(figures) / full:.2f}",
                size(round(held(figures))),
                size(figures["stored_bytes"]),
                size(round(peak(figures))),
                f"{auc(figures):.4f}",
            ]
        )
    return markdown_table(HEADER, found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=Path, default=RESULTS / "scale.jsonl", help="the results")
    parser.add_argument("--page", type=Path, default=DOCS / "benchmark.md", help="the page with the table")
    options = parser.parse_args(arguments)
    fill(options.page, {"scale": table(_lines.read(options.lines))})


if __name__ == "__main__":
    main()
