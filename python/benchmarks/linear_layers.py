"""`CompressedLinear` beside `torch.nn.Linear` in f32, and beside torch's own products with 4-bit and 8-bit weights.

One thread; the peers of codes are the CPU kernels that weight-only quantization of torchao calls, in bf16. All take
turns; a ratio is the median of the ratios of neighbouring turns, the peer's time by ours: above 1, ours is quicker.
Figures go to docs/results/linear_layers.json and docs/qat.md. Some three minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from _pages import DOCS, RESULTS, described_machine, fill, interleaved, machine_text, median_ratio, write_json

import embedcompress as ec
from embedcompress import nn
from embedcompress._report import markdown_table

SHAPES = ((2048, 2048), (32_000, 384), (32_000, 1024), (32_000, 4096), (256_000, 1024))
"""Output features, or a vocabulary, and input features."""
BATCHES, BITS, GROUP, TURNS = (1, 4, 16), (4, 8), 128, 15


def peers(weight: torch.Tensor) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Return what multiplies with a weight in torch, by name."""
    rows, columns = weight.shape
    operators = torch.ops.aten
    bytes_of = weight.abs().amax(1, keepdim=True) / 127
    codes8 = torch.round(weight / bytes_of).to(torch.int8)
    scales8 = bytes_of.flatten().to(torch.bfloat16)
    grouped = weight.reshape(rows, columns // GROUP, GROUP)
    low, high = grouped.amin(2), grouped.amax(2)
    scale = ((high - low) / 15).clamp(min=1e-8)
    codes4 = ((grouped - low[:, :, None]) / scale[:, :, None]).round().clamp(0, 15).to(torch.int32)
    packed = operators._convert_weight_to_int4pack_for_cpu(codes4.reshape(rows, columns), 1)
    # Its rule is (code - 8) * scale + zero.
    parameters = torch.stack([scale, low + 8 * scale], 2).transpose(0, 1).contiguous().to(torch.bfloat16)
    return {
        "f32": lambda x: torch.nn.functional.linear(x, weight),
        "int8": lambda x: operators._weight_int8pack_mm(x.to(torch.bfloat16), codes8, scales8),
        "int4": lambda x: operators._weight_int4pack_mm_for_cpu(x.to(torch.bfloat16), packed, GROUP, parameters),
    }


def measure(shapes: Sequence[tuple[int, int]], batches: Sequence[int], turns: int) -> list[dict[str, Any]]:
    """Return a cell for each shape, batch and number of bits."""
    cells = []
    for rows, columns in shapes:
        torch.manual_seed(0)
        weight = torch.randn(rows, columns) / columns**0.5
        theirs = peers(weight)
        ours = {
            f"{bits} bits": nn.CompressedLinear(ec.compress(weight, "asym", bits=bits, group=GROUP)) for bits in BITS
        }
        for batch in batches:
            x = torch.randn(batch, columns)
            with torch.no_grad():
                calls: dict[str, Callable[[], object]] = {
                    name: lambda call=call, x=x: call(x) for name, call in (theirs | ours).items()
                }
                for name, bits in (("int8", 8), ("int4", 4)):
                    close = torch.nn.functional.cosine_similarity(calls[name]().float(), calls[f"{bits} bits"]()).min()
                    assert close > 0.98, f"{name}: {close}"
                seconds = interleaved(calls, turns)
            for bits in BITS:
                mine = seconds[f"{bits} bits"]
                cells.append(
                    {
                        "rows": rows,
                        "columns": columns,
                        "batch": batch,
                        "bits": bits,
                        "milliseconds": 1e3 * sorted(mine)[len(mine) // 2],
                        "by_f32": median_ratio(seconds["f32"], mine),
                        "by_torch": median_ratio(seconds[f"int{bits}"], mine),
                    }
                )
                print(cells[-1], flush=True)
    return cells


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the page."""
    rows = [
        (
            f"{cell['rows']:,} x {cell['columns']:,}",
            str(cell["bits"]),
            str(cell["batch"]),
            f"{cell['milliseconds']:.3g}",
            f"{cell['by_f32']:.2f}",
            f"{cell['by_torch']:.2f}",
        )
        for cell in cells
    ]
    header = ("weight", "bits", "batch", "ms", "`torch.nn.Linear`, f32", "torch's int4 or int8, bf16")
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all cells, and write the figures and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS / "linear_layers.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "qat.md", help="the page with the table")
    options = parser.parse_args(arguments)
    ec.set_num_threads(1)
    torch.set_num_threads(1)
    machine = described_machine("torch")
    cells = measure(SHAPES, BATCHES, TURNS)
    write_json(options.json, {"machine": machine, "cells": cells})
    fill(options.page, {"linear layers": f"{machine_text(machine)}\n\n{table(cells)}"})


if __name__ == "__main__":
    main()
