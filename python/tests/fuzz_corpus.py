"""What the fuzzer starts from: a small table of every method and kind, as a file, as an expression, JSON, and text.

python python/tests/fuzz_corpus.py      writes Tests/Fuzz/corpus.tar.xz, the same bytes from the same tables
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from every_table import every_table

import embedcompress as ec

CORPUS = Path(__file__).resolve().parents[2] / "Tests/Fuzz/corpus.tar.xz"
TYPES = ["u8", "i8", "u16", "i16", "f16", "bf16", "u32", "i32", "f32", "u64", "i64", "f64"]
"""By their number in the C ABI."""
FIELDS = {
    1: "{}",
    2: '{"bits":4}',
    3: '{"bits":2}',
    4: '{"bits":3,"mode":"sum"}',
    5: '{"layout":"csr"}',
    6: '{"rows":9,"dimension":5,"block":2,"seed":-3,"signs":true}',
    7: '{"rows":7}',
    8: '{"rows":50,"buckets":40,"encoding":"normal"}',
    9: '{"rows":9}',
    10: '{"operation":"product"}',
    11: "{}",
    12: "{}",
    13: '{"element":"f16"}',
    14: '{"seed":7,"direction":"forward"}',
}
"""The fields of each kind that tree.c puts together, by its number there."""
SHAPES = {
    1: [(8, 5, 4)],
    2: [(0, 6, 8), (8, 6), (8, 6)],
    3: [(0, 6, 8), (8, 4)],
    4: [(0, 6, 2), (8, 8, 5), (8, 8, 5)],
    5: [(8, 5, 6)],
    6: [(8, 11)],
    7: [(8, 2, 2, 3), (8, 3, 3, 2, 2), (8, 4, 2, 2)],
    8: [(10, 4), (10, 4), (10, 4), (8, 4, 6), (8, 6)],
    9: [(10, 9)],
    12: [(10, 8)],
    13: [(8, 8, 3), (8, 3)],
    14: [(8, 8)],
}
"""Their arrays: the type and the axes of each."""


FORMS = {
    "glove": (" ", "%.4f", "\n"),
    "tabs": ("\t", "%.9g", "\r\n"),
    "exponents": ("  ", "%.3e", " \n"),
    "digits": (" ", "%+.22f", "\n"),
}
"""Ways to write lines of word vectors: between numbers, the numbers, and the end of a line."""


def arrays(shapes: list[tuple[int, ...]]) -> bytes:
    """Arrays as tree.c reads them."""
    return b"".join(struct.pack(f"<BB{len(axes)}H", dtype, len(axes), *axes) for dtype, *axes in shapes)


def expression(table: ec.Table) -> bytes:
    """A table as tree.c reads it."""
    tree, held = table.parts()
    text = json.dumps(tree, separators=(",", ":"))
    for number, name in enumerate(held):
        text = text.replace(json.dumps(name), f'"{number}"')
    return b"\0" + text.encode() + b"\0" + arrays([(TYPES.index(a.dtype), *a.values.shape) for a in held.values()])


def cases() -> Iterator[tuple[str, bytes]]:
    """Each case as its path and its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        for name, table in every_table().items():
            table.save(path)
            yield f"file/{name}", path.read_bytes()
            yield f"tree/{name}", expression(table)
            tree = json.dumps(table.parts()[0], separators=(",", ":"))
            yield f"json/plan_{name}", b"\x08" + tree.encode()
    for kind, fields in FIELDS.items():
        yield f"tree/kind_{kind}", bytes([kind]) + fields.encode() + b"\0" + arrays(SHAPES.get(kind, []))
    for number, method in enumerate(["asym", "kmeans_cls", "eden", "pq", "dedup", "svd", "tt", "hot_cold"]):
        known = next(found for found in ec.methods() if found.name == method)
        given = {option.name: option.default for option in known.options if option.default is not None}
        yield f"json/options_{method}", bytes([number]) + json.dumps(given).encode()
    for dimension in range(1, 9):
        for name, (blank, number, end) in FORMS.items():
            lines = [
                f"word{row}" + blank + blank.join(number % (row - 7.5) for _ in range(dimension)) for row in range(9)
            ]
            yield f"text/{name}_{dimension}", bytes([dimension - 1]) + end.join([*lines, ""]).encode()
    yield "text/parts", b"\x01. . 1 2\n 1 2\nnan nan inf\nlong 1e99 2\nlast 123456789012345678901 1e-400"
    yield "json/text", rb'\x00{"a":[1,-2.5e3,"\u00e9\ud83d\ude00\n",null,true,{}]}'


def packed() -> bytes:
    """The corpus as an archive, which depends on nothing but the cases."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as archive:
        for name, data in sorted(cases()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


if __name__ == "__main__":
    CORPUS.write_bytes(packed())
    print(f"{CORPUS.name}: {CORPUS.stat().st_size:,} bytes")
