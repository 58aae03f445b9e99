"""The report of benchmarks: a self-contained page of HTML and its twin in Markdown, from JSON lines.

A section is a function from lines to pieces: Markdown, or a plot with its name. Plots are files beside the Markdown and
stand inside the HTML, which opens without anything else.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from .._atomic import write_text
from .._report import markdown_table
from . import (
    _lines,
    _report_advice,
    _report_claims,
    _report_retrieval,
    _report_scale,
    _report_tables,
    _report_train,
    _report_train_plots,
    _report_trials,
    _spectrum,
)
from ._lines import Line
from ._report_findings import Finding
from ._report_post import NOISE, Contest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKDOWN, HTML = "report.md", "report.html"


@dataclass(frozen=True)
class Plot:
    """A picture in the report."""

    name: str
    """Of its file, without the ending."""
    title: str
    caption: str
    figure: Figure


Piece = str | Plot


def make(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Write the report.

    Args:
        paths: Files of JSON lines, of benchmarks that there is a section of.
        folder: Where the report goes; it is made if it does not exist.

    Returns:
        The files that were written.

    Raises:
        ValueError: a file has something else, or lines of another benchmark; there is no line; matplotlib or Markdown
            is not installed.
    """
    lines = []
    for path in paths:
        found = _lines.read(path)
        lines += found
        other = next((line["bench"] for line in found if line["bench"] not in SECTIONS), None)
        if other is not None:
            raise ValueError(
                f"'{path}' has lines of bench {other}: the report has sections of {', '.join(SECTIONS)} only"
            )
    if not lines:
        raise ValueError("there is nothing to report: the files are empty")
    try:
        import markdown
        import matplotlib
    except ModuleNotFoundError as error:
        raise ValueError(f"the report needs {error.name}: pip install matplotlib markdown") from error
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "embedcompress", "font.size": 9}):
        pieces = report(lines, [path.name for path in paths])
        drawn = {piece.name: _svg(piece.figure) for piece in pieces if isinstance(piece, Plot)}
    markdown_text = text(pieces)
    for name, svg in drawn.items():
        written.append(_write(folder / f"{name}.svg", svg))
    written.append(_write(folder / MARKDOWN, markdown_text))
    body = markdown.markdown(markdown_text, extensions=["tables", "toc"])
    written.append(_write(folder / HTML, _page(body, drawn)))
    return written


def report(lines: Sequence[Line], sources: Sequence[str]) -> list[Piece]:
    """Return the whole report in pieces."""
    pieces: list[Piece] = ["# What compressing embedding tables costs, and what it keeps", _origin(lines, sources)]
    for name, section in SECTIONS.items():
        ours = [line for line in lines if line["bench"] == name]
        if ours:
            pieces += section(ours)
    return pieces


def training(lines: Sequence[Line]) -> list[Piece]:
    """Return the section on methods that learn their table."""
    found = _report_train.groups(lines)
    places = _report_train.places(found)
    pieces: list[Piece] = ["## Training a table: which method"]
    if not places:
        pieces.append("No data set was run at several budgets, so that there is no advice.")
    for data, head in places:
        pieces += [
            f"### {_report_train.title(data, head)}: the advice",
            "\n".join(f"- {sentence}" for sentence in _report_advice.advice(found, data, head)),
        ]
        pieces += _claims(
            _report_claims.findings(found, data, head),
            "A difference counts if it is more than twice its standard error over the seeds. Claims on families are of "
            "tables that were trained small, without hybrids.",
        )
        budgets = sorted({group.budget for group in found if (group.data, group.head) == (data, head)} - {1.0})
        pieces += [
            Plot(
                _slug(f"quality-{data}-{head}"),
                f"{_report_train.title(data, head)}: quality against bytes",
                "Quality against stored bytes, a panel for each family of methods; bars are standard deviations over "
                "seeds, the dotted line is the uncompressed table, grey lines are the other families. The last panel "
                "has what no other method beats in bytes and AUC.",
                _report_train_plots.quality_plot(found, data, head),
            ),
            Plot(
                _slug(f"cost-{data}-{head}"),
                f"{_report_train.title(data, head)}: quality against time",
                "Quality against the time of training and of lookups; dotted lines are the uncompressed table. Methods "
                f"more than {_report_train_plots.NEAR} below the best are left out.",
                _report_train_plots.cost_plot(
                    found, data, head, [one for one in (0.1, 0.01) if one in budgets] or budgets[:1]
                ),
            ),
        ]
    pieces += [
        "## Training a table: every cell",
        "AUC and log loss are of the test part, with the frozen table that the core looks up: means over seeds, the "
        "standard deviation behind ±. *Cold rows* is the AUC of the quarter of test rows whose ids were seen the "
        "least. Times are CPU time on one thread, medians over seeds; *table in training* is its parameters and "
        "buffers in the stage that holds the most, without the optimizer's moments; *peak* is the memory of the whole "
        "process, some 300 MB of it Python and PyTorch. Bold is what no other method beats in bytes and AUC.",
    ]
    for data, head in _report_train.all_places(found):
        pieces += _report_train.tables(found, data, head)
    pieces += _report_train.heads_table(found)
    if trials := _report_trials.choices(lines):
        pieces += [
            "## Training a table: which optimizer",
            "Every method, and the uncompressed table, has as many trials, at one budget or each, with one seed: of an "
            "optimizer of the table and its learning rate, beside Adam for the head. What has the best AUC on "
            "validation data, in bold, is what all seeds were run with; test data has no part in it. Where a method "
            "can't have an optimizer of its own, it tries another rate of one that it can have. A dash is a trial "
            "that another kind of methods has, that the budget has no room for, or that diverged. Tables that were "
            "compressed after training are those of the uncompressed method's choice.",
            *trials,
        ]
    return pieces


def large_tables(lines: Sequence[Line]) -> list[Piece]:
    """Return the section on training of large tables."""
    pieces: list[Piece] = [
        "## Training large tables",
        "Models are trained on a stream of *generated* clicks: their fields are in proportion to Criteo's, ids and "
        "labels are drawn, and the AUC of the probabilities that they are drawn with is known, the best there can be. "
        "They are no data set: see how costs grow with the ids of the table, and how cells of a number of ids differ. "
        "Each cell is a process of its own. A step is forward, backward and optimizer; milliseconds are medians over "
        "steps, those of a processor change less on a busy machine than those of the clock. *Bytes of the table in "
        "training* are parameters, buffers, gradients and the optimizer's state after a step, *most memory* is that of "
        "the whole process, some 0.45 GB of it Python, PyTorch and the head.",
    ]
    groups = _report_scale.groups(lines)
    for number, (group, title) in enumerate(zip(groups, _report_scale.titles(groups), strict=True), 1):
        pieces += [f"### After {title}", _report_scale.described(group)]
        pieces.append("\n".join(f"- {sentence}" for sentence in _report_scale.summary(group)))
        for budget, drawing in _report_scale.plots(group).items():
            share = f"{100 * budget:g} %"
            pieces.append(
                Plot(
                    _slug(f"scale-{share}" if number == 1 else f"scale-{number}-{share}"),
                    f"Large tables at {share}: time, bytes and quality against ids",
                    "Time of a step, bytes and quality against the ids of the table, a line for each method; dashed is "
                    "the uncompressed table.",
                    drawing,
                )
            )
        pieces += _report_scale.tables(group)
    return pieces


def tables(lines: Sequence[Line]) -> list[Piece]:
    """Return the sections on tables that were compressed after training."""
    pieces: list[Piece] = []
    for name, found in _report_tables.by_table(lines).items():
        contest = Contest(found, "normalized_l2", False)
        bound = "" if _spectrum.of_lines(found) is None else ", and the bound of the table's spectrum,"
        drawn = f"table-{name}", "error against bytes", f"Error{bound} against stored bytes"
        pieces += _subject(_report_tables, name, found, contest, "The least error (normalised l2)", drawn)
    return pieces


def retrieval(lines: Sequence[Line]) -> list[Piece]:
    """Return the sections on vectors that are searched."""
    pieces: list[Piece] = []
    for name, found in _report_retrieval.by_corpus(lines).items():
        contest = Contest(found, "recall_at_10", True)
        drawn = f"retrieval-{name}", "what searches keep", "What searches keep, against stored bytes"
        pieces += _subject(_report_retrieval, name, found, contest, "The best recall@10", drawn)
    return pieces


def _subject(
    section: ModuleType, name: str, lines: list[Line], contest: Contest, best: str, drawn: tuple[str, str, str]
) -> list[Piece]:
    """Return all on one table or search: what it is, what is best, the claims, a plot and the figures."""
    plot, title, caption = drawn
    return [
        *section.heading(lines),
        *_contested(contest, best),
        Plot(
            _slug(plot), f"{section.title(name)}: {title}", f"{caption}, a line for each method.", section.plot(lines)
        ),
        *section.parts(lines),
    ]


SECTIONS: dict[str, Callable[[Sequence[Line]], list[Piece]]] = {
    "train": training,
    "scale": large_tables,
    "table": tables,
    "retrieval": retrieval,
}
"""By benchmark, in order."""


def _contested(contest: Contest, best: str) -> list[Piece]:
    """Return what to take at each budget, and the claims."""
    advice = "\n".join(f"- {sentence}" for sentence in contest.advice())
    pieces: list[Piece] = [f"{best} for the bytes:", advice] if advice else []
    return pieces + _claims(contest.findings(), f"A difference counts if it is more than {100 * NOISE:g} %.")


def _claims(findings: Sequence[Finding], rule: str) -> list[Piece]:
    if not findings:
        return []
    rows = [(one.claim, one.verdict, one.evidence) for one in findings]
    return [f"Claims, held against the numbers. {rule}", markdown_table(("claim", "here", "numbers"), rows, left=3)]


def _slug(name: str) -> str:
    """Return a name that files can have."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()


def text(pieces: Sequence[Piece]) -> str:
    """Return the report in Markdown, with its plots as files beside it."""
    return "\n\n".join(_markdown(piece) for piece in pieces) + "\n"


def _origin(lines: Sequence[Line], sources: Sequence[str]) -> str:
    """Return where everything comes from: results, time and machine of each benchmark."""
    parts = [f"Made by `embedcompress bench report` from {', '.join(sources)}:", ""]
    for name in SECTIONS:
        ours = [line for line in lines if line["bench"] == name]
        seconds = sum(line.get("seconds", 0.0) for line in ours)
        at_once = max((line["machine"]["processors"] for line in ours), default=1)
        took = f", {seconds / 3600:.1f} hours of a processor, {seconds / at_once / 60:.0f} minutes of {at_once}"
        machines = {
            f"{machine['cpu']}, {machine['processors']} processors, kernels for {machine['isa']}; "
            + ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
            for machine in (line["machine"] for line in ours)
        }
        if ours:
            told = escape(" / ".join(sorted(machines)))
            parts.append(f"- `bench {name}`: {len(ours):,} results{took if seconds else ''}; {told}")
    return "\n".join(parts)


def _svg(figure: Figure) -> str:
    target = io.StringIO()
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    return text[text.index("<svg") :]


def _markdown(piece: Piece) -> str:
    return piece if isinstance(piece, str) else f"![{piece.title}]({piece.name}.svg)\n\n*{piece.caption}*"


def _page(body: str, drawn: Mapping[str, str]) -> str:
    """Return the page: pictures become drawings in it."""

    def inlined(match: re.Match[str]) -> str:
        # Names within a drawing must not meet those of another.
        name = match["name"]
        svg = re.sub(r'(\bid="|url\(#|href="#)', lambda found: f"{found[1]}{name}-", drawn[name])
        return f'<figure role="img" aria-label="{escape(match["alt"], quote=True)}">{svg}</figure>'

    body = re.sub(r'<img alt="(?P<alt>[^"]*)" src="(?P<name>[^"]+)\.svg" />', inlined, body)
    headings = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body)
    links = "".join(f'<a href="#{name}">{text}</a>' for name, text in headings)
    body = re.sub(r"(<table>.*?</table>)", r'<div class="wide">\1</div>', body, flags=re.DOTALL)
    template = (Path(__file__).parent / "report_template.html").read_text(encoding="utf-8")
    return template.replace("{{links}}", links).replace("{{body}}", body)


def _write(path: Path, text: str) -> Path:
    write_text(path, text)
    return path
