"""Routes and stores over a mapped file: the rows stay in the file, so that memory does not grow with them."""

import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse

import embedcompress as ec

DIMENSION = 64
PROGRAM = """
import json, resource, sys
import numpy as np
import embedcompress as ec

source = ec.load(sys.argv[1])
rows, dimension = source.shape
halves = [source.slice(0, rows // 2), source.slice(rows // 2, rows)]
expressions = {
    "source": lambda: source,
    "slice": lambda: source.slice(1, rows),
    "modulo": lambda: ec.remap(source, rows=rows, modulo=rows),
    "divisor": lambda: ec.remap(source, rows=rows, divisor=2),
    "map": lambda: ec.remap(source, map=np.arange(rows, dtype=np.int32)),
    "blocks": lambda: ec.remap(source, map=np.arange(rows // 8)[::-1], rows=rows, block=8),
    "columns": lambda: ec.columns([source, source]),
    "combine": lambda: ec.combine([source, source], "product"),
    "ranges": lambda: ec.partition(halves),
    "assignment": lambda: ec.partition(halves, np.arange(rows, dtype=np.uint8) % 2),
    "project": lambda: ec.project(source, np.eye(dimension, 16, dtype=np.float32)),
    "rotate": lambda: ec.rotate(source, 3, offset=np.ones(dimension)),
    "rotated": lambda: ec.rotated(source, 3),
    "normalize": lambda: ec.normalize(source),
    "nested": lambda: ec.columns([ec.rotated(source), ec.combine([ec.partition(halves), source])]),
}
table = expressions[sys.argv[3]]()
ec.compress_to_file(sys.argv[2], {"w": table}, "asym", bits=4)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"peak": int(peak.split()[1]) << 10, "rows": table.rows, "dimension": table.dimension}))
"""
ROUTES = [
    "source", "slice", "modulo", "divisor", "map", "blocks", "columns", "combine", "ranges", "assignment", "project",
    "rotate", "rotated", "normalize", "nested",
]  # fmt: skip
STORES = ["f16", "uniform", "codebook", "product", "sparse"]


def mebibytes():
    """Of the source: as many as EMBEDCOMPRESS_TEST_SOURCE_MB says."""
    return int(os.environ.get("EMBEDCOMPRESS_TEST_SOURCE_MB", "256"))


def peak_of(source, expression, folder):
    """The most memory in MiB that compressing an expression over a file took, beside what the library itself takes."""
    out = folder / "out"
    try:
        run = [sys.executable, "-c", PROGRAM, source, out, expression]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
    finally:
        out.unlink(missing_ok=True)
    return json.loads(done.stdout)["peak"] / 2**20


def bound(size):
    """150 MB for 1 GiB: what the interpreter, NumPy and two runs of rows take, and a little for maps of ids."""
    return 140 + size / 100


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A file of f32, as many MiB as asked for."""
    folder = tmp_path_factory.mktemp("mapped")
    tile = np.random.default_rng(0).standard_normal((4096, DIMENSION), dtype=np.float32)
    ec.save(folder / "source", {"w": ec.dense(np.tile(tile, (mebibytes(), 1)))})
    yield folder / "source"
    (folder / "source").unlink()


@pytest.mark.parametrize("expression", ROUTES)
def test_memory_of_a_route_does_not_grow_with_its_source(source, tmp_path, expression):
    peak = peak_of(source, expression, tmp_path)
    print(f"{expression}: {peak:.0f} MiB of {mebibytes()}")
    assert peak < bound(mebibytes())


def stored(kind, size):
    """A store of that many MiB."""
    rng = np.random.default_rng(0)
    rows = (size << 20) // {"f16": 128, "uniform": 72, "codebook": 64, "product": 32, "sparse": 64}[kind]
    if kind == "f16":
        return ec.dense(np.tile(rng.standard_normal((1024, 64)).astype(np.float16), (rows // 1024, 1)))
    if kind == "sparse":
        columns = np.tile(np.arange(12), rows // 8 * 8)
        values = np.tile(rng.standard_normal(1200).astype(np.float32), rows // 100 + 1)[: len(columns)]
        pointers = np.arange(0, len(columns) + 1, 12)
        return ec.sparse(data=values, indices=columns, indptr=pointers, dimension=DIMENSION)
    codes = np.tile(rng.integers(0, 256, (1024, 64 if kind != "product" else 32), np.uint8), (rows // 1024, 1))
    if kind == "uniform":
        return ec.uniform(codes, np.full(len(codes), 0.1), np.full(len(codes), -1.0), bits=8)
    if kind == "codebook":
        return ec.codebook(codes, rng.standard_normal(256).astype(np.float32), bits=8)
    return ec.product(codes, [rng.standard_normal((256, 2)).astype(np.float32)] * 32, bits=8)


@pytest.mark.parametrize("kind", STORES)
def test_memory_of_a_store_does_not_grow_with_it(tmp_path, kind):
    size = mebibytes() // 2
    stored(kind, size).save(tmp_path / "source")
    peaks = {name: peak_of(tmp_path / "source", name, tmp_path) for name in ("source", "columns")}
    print(f"{kind}: {peaks} MiB of {size}")
    assert max(peaks.values()) < bound(size)
    (tmp_path / "source").unlink()


def test_inner_tables_are_used_as_they_are(tmp_path):
    """The arrays of a route are those of its inner tables, at the same place; a mapped file stays mapped."""
    weight = np.random.default_rng(1).standard_normal((300, 8), dtype=np.float32)
    ec.save(tmp_path / "source", {"w": ec.compress(weight, bits=4)})
    inner = ec.load(tmp_path / "source")
    (array,) = inner.parts()[1].values()
    for table in (
        ec.columns([inner, inner]),
        ec.combine([inner, inner]),
        ec.remap(inner, rows=500, modulo=300),
        ec.project(inner, np.eye(8)),
        ec.rotate(inner, 1),
        ec.partition([inner, inner], np.arange(600) % 2),
        ec.columns([ec.rotated(ec.remap(inner, rows=300, hash=1)), inner]),
    ):
        rows = [found.values for name, found in table.parts()[1].items() if name.endswith("rows")]
        assert rows
        assert {found.ctypes.data for found in rows} == {array.values.ctypes.data}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert ec.columns([inner] * 50).shape == (300, 400)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 16


def test_scipy_of_a_mapped_table(tmp_path):
    """A sparse matrix of any layout gives the same table, whose parts stay in the file."""
    matrix = scipy.sparse.random(200, 30, 0.1, random_state=0, dtype=np.float32)
    ec.save(tmp_path / "source", {"w": ec.sparse(matrix)})
    table = ec.columns([ec.load(tmp_path / "source")])
    np.testing.assert_array_equal(table.decode(), matrix.toarray())


@pytest.mark.slow
@pytest.mark.parametrize("expression", ["columns", "rotated", "assignment", "nested"])
def test_a_source_of_a_gibibyte(tmp_path, expression):
    tile = np.random.default_rng(0).standard_normal((4096, DIMENSION), dtype=np.float32)
    ec.save(tmp_path / "source", {"w": ec.dense(np.tile(tile, (1024, 1)))})
    peak = peak_of(tmp_path / "source", expression, tmp_path)
    (tmp_path / "source").unlink()
    assert peak * 2**20 < 150e6
