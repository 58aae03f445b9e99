"""`embedcompress compress`: tables out of a checkpoint or an array into one compressed file."""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

import embedcompress as ec

from .._budget import checked_budget
from .._reading import json_value
from .._registry import entry
from .._report import figure, percent, size, text_table, to_json
from .._sources import read_npy
from .._text import printable
from .._vocabulary import vocabulary_entry
from ._inputs import READS, Input, add_tensor
from ._progress import bar


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    parser = subparsers.add_parser(
        "compress",
        help="compress embedding tables",
        description="Compress embedding tables of a checkpoint, an array or word vectors into one safetensors file, "
        "which keeps the words of word vectors.",
        epilog=_method_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="INPUT", help=READS)
    parser.add_argument("output", metavar="OUTPUT", help="the .safetensors file to write; replaced if it exists")
    parser.add_argument(
        "--method", default="least_squares", help="a name that `embedcompress methods` lists (default: least_squares)"
    )
    parser.add_argument("--bits", type=int, help="bits of a code, short for --option bits=N")
    parser.add_argument(
        "--budget",
        type=budget,
        metavar="SIZE",
        help="most bytes of the result: a share of the f32 size (0.125, 12.5%%) or bytes (6000000, 6MB, 6MiB); "
        "bytes are shared among several tables by their sizes",
    )
    add_tensor(parser, "INPUT", several=True)
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        type=option,
        metavar="KEY=VALUE",
        help="an option of the method, any number of times",
    )
    parser.add_argument(
        "--counts",
        metavar="FILE",
        help="a .npy file: how often each row is used, for methods that take counts or weights of rows",
    )
    parser.add_argument(
        "--row-alignment",
        type=int,
        default=1,
        choices=(1, 2, 4, 8, 16, 32, 64),
        metavar="N",
        help="start rows at multiples of N bytes, up to 64, a cache line: faster to look up, for the bytes of the "
        "padding that `embedcompress inspect` says (default: 1); not with --budget",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="most threads to use")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def _method_help() -> str:
    lines = ["options of the methods:"]
    for method in ec.methods():
        lines.append(f"  {method.name}: " + ", ".join(f"{o.name}={json.dumps(o.default)}" for o in method.options))
    lines.append("`embedcompress methods` says what they mean.")
    return "\n".join(lines)


def option(text: str) -> tuple[str, bool | int | float | str | None]:
    """Return KEY=VALUE as a pair; values are numbers, true, false, null, or else strings."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"'{text}' is not KEY=VALUE")
    try:
        parsed = json_value(value)
    except ValueError:
        return key, value
    return key, parsed if parsed is None or isinstance(parsed, (bool, int, float, str)) else value


def budget(text: str) -> int | float:
    """Return a share as a float and bytes as an int, by the library's own rule."""
    try:
        return checked_budget(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def method_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the method that the arguments give.

    Raises:
        ValueError: one is given twice.
    """
    pairs: list[tuple[str, Any]] = list(arguments.option)
    if arguments.bits is not None:
        pairs.append(("bits", arguments.bits))
    if arguments.budget is not None:
        pairs.append(("budget", arguments.budget))
    options: dict[str, Any] = {}
    for key, value in pairs:
        if key in options:
            raise ValueError(f"option {key} is given twice")
        options[key] = value
    return options


def run(arguments: argparse.Namespace) -> None:
    """Compress, save and say what it cost."""
    options = method_options(arguments)
    threads_before = ec.get_num_threads()
    if arguments.threads is not None:
        ec.set_num_threads(arguments.threads)
    try:
        _run(arguments, options)
    finally:
        ec.set_num_threads(threads_before)


def _run(arguments: argparse.Namespace, options: dict[str, Any]) -> None:
    source = Input(arguments.input, arguments.axis)
    names = source.choose(arguments.tensor)
    use = _use(arguments, names)
    check_output(arguments.output, arguments.input)
    # Every name is looked up before the first table is compressed.
    weights = {name: source.table(name) for name in names}
    words = {name: source.words(name) for name in names}
    written = {"writer": f"embedcompress {ec.__version__}", "method": arguments.method, "options": json.dumps(options)}
    for name, said in words.items():
        written |= {} if said is None else vocabulary_entry(name, said)
    start = time.perf_counter()
    with bar("compress", "rows", arguments.json) as progress:
        reports = ec.compress_to_file(
            arguments.output,
            weights,
            arguments.method,
            row_alignment=arguments.row_alignment,
            metadata=written,
            progress=progress,
            **options,
            **use,
        )
    seconds = time.perf_counter() - start
    present = source.names if source.is_table_file else [tensor.name for tensor in source.tensors]
    report = {
        "input": arguments.input,
        "output": arguments.output,
        "output_bytes": os.path.getsize(arguments.output),
        "method": arguments.method,
        "options": options,
        "row_alignment": arguments.row_alignment,
        "threads": ec.get_num_threads(),
        "seconds": seconds,
        "tables": [{"name": name, **report.as_dict()} for name, report in reports.items()],
        "left_out": [name for name in present if name not in reports],
    }
    print(to_json(report) if arguments.json else _text(report))


def _use(arguments: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    """Return how often rows are used, as the method takes it: counts, or weights of rows."""
    if arguments.counts is None:
        return {}
    if len(names) != 1:
        raise ValueError("--counts goes with one table")
    counts = read_npy(arguments.counts)
    takes_counts = any(option.name == "counts" for option in entry(arguments.method).options)
    return {"counts": counts} if takes_counts else {"weights": {names[0]: counts}}


def check_output(output: str, source: str) -> None:
    """Refuse before the work what could not be written after it."""
    folder = os.path.dirname(output) or "."
    if not os.path.isdir(folder):
        raise ValueError(f"the output's folder '{folder}' does not exist")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"the output's folder '{folder}' can't be written to")
    if os.path.isdir(output):
        raise ValueError(f"the output '{output}' is a folder")
    if os.path.exists(output) and os.path.samefile(output, source):
        raise ValueError("the output is the input: what of it is not compressed would be lost")


def _notes(table: dict[str, Any]) -> list[str]:
    """Return what is to be said of the scales of a table."""
    notes = []
    if table["f32_reason"]:
        notes.append(f"f32 was chosen where f16 is the rule, as {table['f32_reason']}.")
    if table["coarse_scale_share"]:
        share = percent(table["coarse_scale_share"])
        notes.append(f"{share} of the f16 scales are too small for their codes; f32 ones (scale_dtype=f32) are not.")
    return notes


def _choice(choice: dict[str, Any]) -> str:
    """Return what a method chose by itself, and what it went by, in a line."""
    candidates = (
        f"{one['value']}: "
        + ", ".join(f"{name} {figure(value)}" for name, value in one.items() if name != "value" and value is not None)
        for one in choice["candidates"]
    )
    return f"{choice['option']} {choice['value']} ({'; '.join(candidates)})"


def _text(report: dict[str, Any]) -> str:
    header = ("table", "rows x dim", "before", "after", "after/before", "norm. l2", "cosine", "worst row", "fallback")
    rows = [
        (
            printable(table["name"]),
            f"{table['rows']:,} x {table['dimension']:,}",
            size(table["source_bytes"]),
            size(table["stored_bytes"]),
            percent(table["stored_bytes"] / table["source_bytes"]) if table["source_bytes"] else "-",
            figure(table["normalized_l2"]),
            f"{table['mean_cosine']:.5f}",
            figure(table["worst_row_l2"]),
            "-" if table["fallback_share"] is None else percent(table["fallback_share"]),
        )
        for table in report["tables"]
    ]
    output = printable(report["output"])
    lines = [
        text_table(header, rows),
        "",
        *(f"{printable(table['name'])}: {table['expression']}" for table in report["tables"]),
        *(f"{printable(table['name'])}: {note}" for table in report["tables"] for note in _notes(table)),
        *(f"{printable(table['name'])}: {_choice(one)}" for table in report["tables"] for one in table["choices"]),
        f"Wrote {output}, {report['output_bytes']:,} bytes, in {report['seconds']:.2f} s.",
    ]
    if any(table["fallback_share"] is not None for table in report["tables"]):
        lines.append(
            "fallback: the share of ranges for which nothing better was found than the smallest to the largest; of "
            "trellis codes, that of rows that least squares serves better."
        )
    if report["left_out"]:
        count = len(report["left_out"])
        shown = ", ".join(report["left_out"][:6]) + (", ..." if count > 6 else "")
        what = "1 tensor" if count == 1 else f"{count} tensors"
        lines.append(f"Not in it: {what} of the input ({printable(shown)}).")
    return "\n".join(lines)
