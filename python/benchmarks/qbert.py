"""Q-BERT's experiment on all-MiniLM-L6-v2, with the embedding below 8 bits: accuracy and bytes of whole models.

Parts, each of which adds lines to docs/results/qbert.jsonl and goes on where it was stopped:

- finetune: MiniLM for sentiment, three epochs; the checkpoint stays in the folder --work. Runs whenever it is needed.
- similarity: vectors of the model before fine-tuning, quantized without training, beside the exact ones.
- ptq: accuracy of the fine-tuned model, quantized without training; the studies of groups and of embeddings.
- hessian: the curvature of each block, which bits are chosen by.
- surface: the loss around the first and the last layer, for a plot.
- qat: accuracy after an epoch of training with rounded weights and activations.

docs/qbert.md is made from the lines; `--page-only` makes it anew. The figures of a seed are the same at the same number
of threads on the same kind of processor. On another kind, models are fine-tuned anew, and go on from the lines there
are if they are the same but for rounding. All models are measured in their packed form.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import _qbert_data as data
import _qbert_page as page
import _qbert_run as runs
import torch
from _pages import DOCS, RESULTS, described_machine
from _qbert_settings import ALL
from transformers.utils import logging

import embedcompress as ec
from embedcompress.bench._lines import Line, Lines, read


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    if options.list:
        print("\n".join(dict.fromkeys(setting.name for setting in ALL)))
        return
    if not options.page_only:
        try:
            _run(options)
        except (ValueError, FileNotFoundError) as error:
            sys.exit(str(error))
        except KeyboardInterrupt:
            sys.exit("stopped; the same command goes on")
    if options.jsonl.exists():
        page.write(options.page, read(options.jsonl))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=Path, help="movieReviewSnippets_GroundTruth.txt of vaderSentiment 0.5")
    parser.add_argument("--lee", type=Path, help="folder of lee.cor and similarities0-1.txt; gensim's, if installed")
    parser.add_argument("--work", type=Path, help="folder for checkpoints, outside of git")
    parser.add_argument("--parts", nargs="+", choices=runs.PARTS, default=list(runs.PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--settings", nargs="+", default=["*"], help="names or patterns, such as 'qbert-*'")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jsonl", type=Path, default=RESULTS / "qbert.jsonl", help="where lines are added")
    parser.add_argument("--page", type=Path, default=DOCS / "qbert.md", help="the page that quotes them")
    parser.add_argument("--page-only", action="store_true", help="measure nothing")
    parser.add_argument("--plan", action="store_true", help="print the estimate of the time, and measure nothing")
    parser.add_argument("--list", action="store_true", help="print the names of the settings")
    parser.add_argument("--quick", action="store_true", help="a tiny random BERT and made-up sentences: some seconds")
    options = parser.parse_args(arguments)
    if options.quick and (options.jsonl == RESULTS / "qbert.jsonl" or options.page == DOCS / "qbert.md"):
        parser.error("--quick needs a --jsonl and a --page of its own")
    if not options.page_only and not options.list:
        if options.work is None:
            parser.error("--work is needed")
        if options.sentences is None and not options.quick:
            parser.error("--sentences is needed")
    if options.threads < 1:
        parser.error(f"--threads must be at least 1, not {options.threads}")
    return options


def _run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    ec.set_num_threads(options.threads)
    # What it says of the pooler, which is not used, would come with every cell.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    chosen = [setting for setting in ALL if any(fnmatchcase(setting.name, pattern) for pattern in options.settings)]
    if not chosen:
        raise ValueError(f"no setting is called {' or '.join(options.settings)}: --list prints all")
    source = data.made_up() if options.quick else data.read(options.sentences, options.lee)
    model = "tiny" if options.quick else "all-MiniLM-L6-v2"
    cells = runs.plan(model, source, options.parts, options.seeds, chosen)
    everything = runs.plan(model, source, runs.PARTS, options.seeds, ALL)
    if options.plan:
        found = read(options.jsonl) if options.jsonl.exists() else []
        _announce(cells, {runs.key(line["request"]): line for line in found})
        return
    options.jsonl.parent.mkdir(parents=True, exist_ok=True)
    with Lines(options.jsonl, runs.BENCH) as lines:
        left = _announce(cells, lines.found)
        machine = {**described_machine("torch", "transformers"), "threads": options.threads}
        runner = runs.Runner(model, source, options.work, lines)
        for number, cell in enumerate(left, 1):
            if not runner.ready(cell):
                print(f"{number}/{len(left)} {cell.title}: left out, its bits need the part hessian", flush=True)
                continue
            for request, outcome in runner.measure(cell):
                if runs.key(request) not in lines.found:
                    lines.add({"bench": runs.BENCH, "request": request, "machine": machine, **outcome})
            print(f"{number}/{len(left)} {cell.title}: {page.brief(outcome)}", flush=True)
        lines.sort(request for cell in everything for request in cell.requests)


def _announce(cells: Sequence[runs.Cell], found: Mapping[str, Line]) -> list[runs.Cell]:
    """Print how long it will take; return the cells that are left."""
    left = runs.wanted(cells, found)
    counts = ", ".join(f"{sum(cell.part == part for cell in left)} {part}" for part in runs.PARTS)
    hours = runs.estimate(left, found) / 3600
    print(f"{len(left)} of {len(cells)} cells are left ({counts}): about {hours:.2f} hours of a processor", flush=True)
    return left


if __name__ == "__main__":
    main()
