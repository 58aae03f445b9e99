"""`embedcompress convert`: tables from and to other programs' files, with the codes that they have."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from typing import Any

import embedcompress as ec

from .._export import KINDS
from .._report import size, text_table, to_json
from .._sources import TensorInfo
from .._text import printable
from .._vocabulary import vocabulary_entry
from ._inputs import ORIGIN, READS, Input, add_tensor
from ._progress import bar
from .compress import check_output

OWN = "embedcompress"
"""The kind of this library's files, beside those that `export` writes."""


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    parser = subparsers.add_parser(
        "convert",
        help="take tables over from other programs' files as they are, and write them back",
        description="Write tables of a file to another file without choosing anything anew: codes, scales and biases "
        "of GGUF (Q4_0, Q4_1, Q5_0, Q5_1, Q8_0) and of MLX stay what they are, to the bit, and so do f32, f16 and "
        "bf16. What was taken over goes back as it came. Types that no store has, such as Q4_K, are decoded to f32, "
        "which the output says.",
    )
    parser.add_argument("input", metavar="INPUT", help=READS)
    parser.add_argument("output", metavar="OUTPUT", help="the file to write; replaced if it exists")
    add_tensor(parser, "INPUT", several=True)
    parser.add_argument(
        "--to",
        choices=(OWN, *KINDS),
        help="the kind of OUTPUT: a safetensors file of this library, GGUF, a safetensors file of MLX, or an ONNX "
        "model that looks rows up (default: by its ending gguf or onnx, or else embedcompress)",
    )
    parser.add_argument(
        "--type",
        metavar="TYPE",
        help="what tables are written as: of GGUF the type of the tensor, such as Q4_1; of MLX that of scales, F16, "
        "BF16 or F32; of ONNX GatherBlockQuantized or Gather (default: what the table was taken over from, or else "
        "what holds it in the fewest bytes)",
    )
    parser.add_argument(
        "--into",
        metavar="MODEL",
        help="of GGUF: the file of a model; OUTPUT is a copy of it with each table in the place of the tensor of its "
        "name, and its metadata and its other tensors as they are",
    )
    parser.add_argument(
        "--id-axes",
        type=int,
        metavar="N",
        help="of ONNX: how many axes ids have (default: 2, for batches of sequences)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Convert, and say what became of each table."""
    source = Input(arguments.input, arguments.axis)
    ending = os.path.splitext(arguments.output.lower())[1].removeprefix(".")
    kind: Any = arguments.to or (ending if ending in ("gguf", "onnx") else OWN)
    if kind == OWN and (arguments.type, arguments.id_axes) != (None, None):
        raise ValueError(
            f"--type and --id-axes go with --to {', '.join(KINDS)}: files of this library have tables as they are"
        )
    if kind != "gguf" and arguments.into is not None:
        raise ValueError(f"--into goes with --to gguf: a file of the kind {kind} is written anew")
    takes_all = not arguments.tensor and source.is_table_file and source.names
    if takes_all and arguments.axis is not None:
        raise ValueError("--axis is for tensors, and a file of this library has tables: name a tensor with --tensor")
    names = list(source.names) if takes_all else source.choose(arguments.tensor)
    check_output(arguments.output, arguments.input)
    start = time.perf_counter()
    infos = {name: source.info(name) for name in names}
    tables = {name: source.table(name) for name in names}
    origins = _origins(source, infos)
    with bar("convert", "B", arguments.json) as progress:
        if kind == OWN:
            metadata = {"writer": f"embedcompress {ec.__version__}"}
            metadata |= {ORIGIN + name: origin for name, origin in origins.items()}
            for name in names:
                words = source.words(name)
                metadata |= {} if words is None else vocabulary_entry(name, words)
            ec.save(arguments.output, tables, metadata=metadata, progress=progress)
        else:
            back = {name: origin.split()[1] for name, origin in origins.items() if origin.startswith(f"{kind} ")}
            ec.export(
                arguments.output,
                tables,
                kind,
                type=arguments.type or back,
                into=arguments.into,
                id_axes=arguments.id_axes,
                progress=progress,
            )
    report = {
        "input": arguments.input,
        "output": arguments.output,
        "kind": kind,
        "into": arguments.into,
        "output_bytes": os.path.getsize(arguments.output),
        "seconds": time.perf_counter() - start,
        "words_left_out": [name for name in names if kind != OWN and source.words(name) is not None],
        "tables": [_described(source, name, infos[name], table) for name, table in tables.items()],
    }
    print(to_json(report) if arguments.json else _text(report))


def _origins(source: Input, infos: Mapping[str, TensorInfo | None]) -> dict[str, str]:
    """Return what tables were taken over from, now or when a file of this library was made."""
    origins = {}
    for name, info in infos.items():
        said = source.origin(name) if info is None else source.source.origin(info)
        if said is not None:
            origins[name] = said
    return origins


def _described(source: Input, name: str, info: TensorInfo | None, table: ec.Table) -> dict[str, Any]:
    return {
        "name": name,
        "type": "table" if info is None else info.dtype,
        "decoded": info is not None and source.source.is_decoded(info),
        "rows": table.rows,
        "dimension": table.dimension,
        "stored_bytes": table.stored_bytes,
        "expression": str(table).partition("  ")[0],
    }


def _text(report: dict[str, Any]) -> str:
    rows = [
        (
            printable(table["name"]),
            f"{table['rows']:,} x {table['dimension']:,}",
            table["type"],
            table["expression"],
            size(table["stored_bytes"]),
        )
        for table in report["tables"]
    ]
    lines = [text_table(("table", "rows x dim", "from", "to", "bytes"), rows), ""]
    for table in report["tables"]:
        if table["decoded"]:
            lines.append(f"{printable(table['name'])}: no store has {table['type']}: it is decoded to f32.")
    for name in report["words_left_out"]:
        lines.append(f"{printable(name)}: its words are left out: such a file has no place for them.")
    if report["into"] is not None:
        lines.append(f"All else is what {printable(report['into'])} has.")
    output = printable(report["output"])
    lines.append(f"Wrote {output}, {report['output_bytes']:,} bytes, in {report['seconds']:.2f} s.")
    return "\n".join(lines)
