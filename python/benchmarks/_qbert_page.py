"""docs/qbert.md from the lines of `qbert.py`."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _pages import fill, machine_text
from _qbert_claims import NOTHING, findings, shown
from _qbert_plot import draw
from _qbert_results import Results, bits_text
from _qbert_settings import ALL, EMBEDDING_STUDY, GROUP_STUDY, MAIN, TOKEN_STUDY, Setting

from embedcompress._report import figure, markdown_table
from embedcompress.bench._lines import Line, key

PLOTS = {
    "accuracy": "Accuracy beside the size of the whole model",
    "curvature": "The largest eigenvalue of each block's Hessian over runs",
    "surface layer 0": "The loss around layer 0, along its top two eigenvectors",
    "surface layer 5": "The loss around layer 5, along its top two eigenvectors",
}
"""What plots show, by name."""
SHOWN = ("accuracy", "mean_cosine", "lee_spearman", "omega", "bytes", "processor_seconds")


def brief(outcome: Mapping[str, Any]) -> str:
    """Return what is printed when a cell ends."""
    figures = outcome.get("figures", {})
    shown = [f"{name} {figures[name]:.4g}" for name in SHOWN if name in figures]
    return ", ".join(shown) or f"refused: {outcome['refused']}"


def write(path: Path, lines: Sequence[Line]) -> None:
    """Draw the plots beside a page, and fill its tables.

    Raises:
        ValueError: the page has no place for one.
    """
    found = Results(lines)
    drawn = draw(path.parent, found)
    pictures = {name: f"![{PLOTS[name]}]({drawn[name].name})" if name in drawn else NOTHING for name in PLOTS}
    fill(
        path,
        {
            "findings": findings_table(found),
            "main": main_table(found),
            **{f"plot {name}": picture for name, picture in pictures.items()},
            "groups": study_table(found, GROUP_STUDY, "range for"),
            "embeddings": study_table(found, EMBEDDING_STUDY, "embeddings' range for"),
            "tokens": study_table(found, TOKEN_STUDY, "word embeddings"),
            "curvature": curvature_table(found),
            "similarity": similarity_table(found),
            "machine": _machine(lines),
        },
    )


def findings_table(found: Results) -> str:
    rows = [(one.claim, one.verdict, one.evidence) for one in findings(found)]
    return markdown_table(["expected", "verdict", "found"], rows, left=3)


def main_table(found: Results) -> str:
    header = ["setting", "layers", "word", "position", "PTQ, %", "QAT, %", "below f32, points", "MB"]
    header += ["MB without embeddings", "smaller"]
    rows = []
    for setting in MAIN:
        if not (found.by_seed("ptq", setting) or found.by_seed("qat", setting)):
            continue
        difference = found.drop("qat", setting, "f32", "ptq")
        ratio = found.smaller(setting)
        rows.append(
            [
                setting.title,
                *bits_text(setting, found),
                found.accuracy("ptq", setting),
                found.accuracy("qat", setting),
                "-" if difference is None else shown(difference),
                found.mebibytes(setting, "bytes"),
                found.mebibytes(setting, "bytes_without_embeddings"),
                "-" if ratio is None else f"{ratio:.1f} x",
            ]
        )
    return markdown_table(header, rows) if rows else NOTHING


def study_table(found: Results, settings: Sequence[Setting], what: str) -> str:
    rows = []
    for setting in settings:
        if found.by_seed("ptq", setting):
            difference = found.drop("ptq", setting, "f32")
            rows.append(
                [
                    setting.title,
                    *bits_text(setting, found),
                    found.accuracy("ptq", setting),
                    "-" if difference is None else shown(difference),
                    figure(found.mean("ptq", setting, "loss")),
                    found.mebibytes(setting, "bytes"),
                ]
            )
    header = [what, "layers", "word", "position", "PTQ, %", "below f32, points", "loss", "MB"]
    return markdown_table(header, rows) if rows else NOTHING


def curvature_table(found: Results) -> str:
    header = ["block", "parameters", "mean λ", "std", "Ω", "Ω of each seed"]
    rows = []
    for block, seeds in found.curvature.items():
        means = [statistics.fmean(one[name] for one in seeds) for name in ("mean", "std", "omega")]
        every = ", ".join(figure(one["omega"], 3) for one in seeds)
        rows.append([block, f"{seeds[0]['parameters']:,}", *(figure(mean, 3) for mean in means), every])
    return markdown_table(header, rows) if rows else NOTHING


def similarity_table(found: Results) -> str:
    header = ["setting", "name", "layers", "word", "position", "mean cosine", "least cosine", "Lee, Spearman", "MB"]
    rows = []
    for setting in ALL:
        for figures in found.by_seed("similarity", setting).values():
            rows.append(
                [
                    setting.title,
                    setting.name,
                    *bits_text(setting, found),
                    f"{figures['mean_cosine']:.4f}",
                    f"{figures['least_cosine']:.3f}",
                    f"{figures['lee_spearman']:.3f}" if figures.get("lee_spearman") is not None else "-",
                    f"{figures['bytes'] / 2**20:.2f}",
                ]
            )
    return markdown_table(header, rows, left=2) if rows else NOTHING


def _machine(lines: Sequence[Line]) -> str:
    if not lines:
        return NOTHING
    # The blocks of a seed are measured together: each of their lines has the seconds of all.
    seconds = {
        key({**line["request"], "block": None}): line["figures"]["processor_seconds"]
        for line in lines
        if "figures" in line
    }
    hours = sum(seconds.values()) / 3600
    machines = {line["machine"]["cpu"]: line["machine"] for line in lines}
    texts = [f"{machine_text(one)} Threads: {one['threads']}." for one in machines.values()]
    if len(texts) > 1:
        of = Counter(line["machine"]["cpu"] for line in lines)
        texts.append(
            f"Of the lines, {', '.join(f'{of[name]} are of {name}' for name in machines)}; each processor trained the "
            "models of a seed anew, which differ by its rounding only: by less than a ten thousandth in their loss."
        )
    return "\n\n".join([*texts, f"{hours:.1f} hours of a processor in all."])
