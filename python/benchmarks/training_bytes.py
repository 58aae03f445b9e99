"""What training holds: every byte of a table of 10,000,000 rows of 16 columns, and the most that its process took.

26 fields in the proportions of Criteo's Kaggle data, 256 ids of each in a batch, drawn by a power law; sparse gradients
and torch.optim.Adagrad, or an optimizer of the table's own. Budgets are 1 %, or the least of some larger ones that the
method can meet. Each method has a process of its own, which makes the table and takes five steps. Bytes are those of
parameters, buffers, gradients and the state of the optimizer after the last one. The peak is the most memory that the
process then had, over what it had after doing the same with 10,000 rows, and with the counts of ids, 80 MB, that some
methods are given. Methods of several stages are in their first. Figures go to docs/results/training_bytes.json, and
from there to docs/training-costs.md. Linux; some minutes, and 6 GB of memory.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from _pages import DOCS, RESULTS, fill, machines_text, measured_cells, read_cells, write_cells
from step_costs import BATCH, BUDGETS, DIMENSION, FUSED, counts_of, own_options, scattered

import embedcompress as ec
from embedcompress import training
from embedcompress._report import figure, markdown_table, percent
from embedcompress.bench._generated import Generated
from embedcompress.bench._scale_cell import training_bytes

ROWS, BASE_ROWS = 10_000_000, 10_000
STEPS = 5
COUNTED = ("adapt", "autosrh", "mgqe")
"""Methods that are given how often ids are used: those that need it."""


def cells() -> list[tuple[str, bool]]:
    """Return methods, and whether the table has an optimizer of its own."""
    return [(method.name, False) for method in training.methods()] + [(name, True) for name in FUSED]


def made(name: str, data: Generated, own: Mapping[str, Any]) -> tuple[training.LearnedEmbedding, float]:
    """Return a module at the smallest budget that the method can meet, and that budget."""
    for budget in BUDGETS:
        try:
            return training.embedding(name, data.rows, DIMENSION, budget=budget, fields=data.sizes, **own), budget
        except ec.BudgetError:
            continue
    raise AssertionError(name)


def resident(field: str) -> int:
    """Return bytes of this process: "VmRSS" of now, "VmHWM" the most since `forget_peak`."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.split(f"{field}:")[1].split()[0])


def forget_peak() -> None:
    """Let the most memory that this process had be what it has now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def trained(name: str, data: Generated, own: Mapping[str, Any]) -> dict[str, Any]:
    """Make a table, take steps, and return what it holds."""
    module, budget = made(name, data, own)
    parameters = module.train().weight_parameters()
    optimizers = [torch.optim.Adagrad(parameters, lr=0.01)] if parameters else []
    for turn in range(STEPS):
        for optimizer in optimizers:
            optimizer.zero_grad()
        ids = torch.from_numpy(scattered(data, data.batch("train", turn, BATCH)[0]))

        def loss(ids: torch.Tensor = ids) -> torch.Tensor:
            return module(ids).square().mean() + module.regularization()

        loss().backward()  # type: ignore[no-untyped-call]
        module.before_step()
        for optimizer in optimizers:
            optimizer.step()
        module.after_step()
        training.second_pass(module, loss)
    held = training_bytes(module.parameters(), module.buffers(), optimizers)
    return {"budget": budget, "full_bytes": module.spec.full_bytes, **held}


def measured(name: str, fused: bool, rows: int) -> dict[str, Any]:
    """Return what a table holds, and the most memory that it took beyond that of a small one."""
    torch.set_num_threads(1)
    ec.set_num_threads(1)
    torch.sparse.check_sparse_tensor_invariants.disable()
    own: dict[str, Any] = own_options(name) if fused else {"sparse": True}
    for count in (BASE_ROWS, rows):
        data = Generated(count)
        if name in COUNTED:
            own["counts"] = counts_of(data)
        gc.collect()
        forget_peak()
        before = resident("VmRSS")
        found = trained(name, data, own)
    return {"method": name, "fused": fused, "rows": rows, **found, "peak": resident("VmHWM") - before}


def in_order(found: Mapping[tuple[str, bool], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the figures that there are, in the order of the table."""
    return [found[cell] for cell in cells() if cell in found]


def in_a_process(name: str, fused: bool, rows: int) -> dict[str, Any]:
    """Return what `measured` does in a process of its own, which has had no other memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result: dict[str, Any] = pool.apply(measured, (name, fused, rows))
    return result


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures as Markdown."""
    lines = []
    for one in found:
        parts = [one[name] for name in ("parameters", "buffers", "gradients", "optimizer")]
        total = sum(parts)
        lines.append(
            [
                one["method"] + (", own optimizer" if one["fused"] else ""),
                percent(one["budget"]),
                *(figure(part / 1e6, 3) for part in parts),
                f"{total / one['full_bytes']:.3f}",
                figure(one["peak"] / 1e6, 3),
                f"{one['peak'] / total:.2f}×",
            ]
        )
    header = ["method", "budget", "parameters, MB", "buffers, MB", "gradients, MB", "optimizer, MB"]
    return markdown_table([*header, "all, share of f32", "peak, MB", "times all"], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    names = [method.name for method in training.methods()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", choices=names, default=names)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--json", type=Path, default=RESULTS / "training_bytes.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "training-costs.md", help="the page with the table")
    options = parser.parse_args(arguments)
    found = {(one["method"], one["fused"]): one for one in read_cells(options.json)}
    wanted = [cell for cell in cells() if cell[0] in options.methods]
    for cell, figures in measured_cells(wanted, lambda cell: in_a_process(*cell, options.rows)):
        found[cell] = figures
        # What is there is kept if a later cell is stopped.
        write_cells(options.json, in_order(found))
    kept = in_order(found)
    fill(options.page, {"training bytes": f"{machines_text(kept, 'method')}\n\n{table(kept)}"})


if __name__ == "__main__":
    main()
