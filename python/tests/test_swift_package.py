"""A Swift package outside this one uses the library, and it and Python read each other's files."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import embedcompress as ec

ROOT = Path(__file__).resolve().parents[2]
# One place for every run, so that only the first one builds the library.
SCRATCH = ROOT / ".build-consumer"

PACKAGE = """\
// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "Consumer",
    dependencies: [.package(name: "EmbedCompress", path: "@ROOT@")],
    targets: [
        .executableTarget(name: "consumer", dependencies: [.product(name: "EmbedCompress", package: "EmbedCompress")])
    ],
    swiftLanguageModes: [.v6]
)
"""

PROGRAM = """\
import EmbedCompress

// save PATH: quantizes (i * 37 % 101 - 50) / 8, 20 x 12, saves it and a route over it, and prints their numbers' bits.
// sums PATH: prints each table's size and the bits of the sum of its rows.
let arguments = CommandLine.arguments
switch arguments[1] {
case "save":
    let values = (0..<240).map { Float($0 * 37 % 101 - 50) / 8 }
    let source = Table(try Dense(values, rows: 20, dimension: 12))
    let table = try source.compressed("greedy", ["bits": 4, "b": 100])
    let route = try table.remapped(through: [19, -1, 0, 7])
    try TableFile.write([("table", table), ("route", route)], to: arguments[2], metadata: [("from", "Swift")])
    for number in try table.decode() + route.decode() { print(number.bitPattern) }
case "sums":
    let file = try TableFile(path: arguments[2])
    for name in file.names {
        let table = try file.table(name)
        let pooled = try table.bag(Array(0..<table.rows), offsets: [0])
        let bits = pooled.map { String($0.bitPattern) }.joined(separator: " ")
        print(name, table.rows, table.dimension, table.storedBytes, bits)
    }
default: print("save or sums")
}
"""


def run(*command, cwd):
    answer = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "SWIFT_BACKTRACE": "enable=no"},
    )
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    return answer.stdout


@pytest.fixture(scope="module")
def consumer(tmp_path_factory):
    """The path of an executable of another package."""
    swift = shutil.which("swift")
    if swift is None:
        pytest.skip("swift is not on PATH")
    folder = tmp_path_factory.mktemp("consumer")
    (folder / "Sources" / "consumer").mkdir(parents=True)
    (folder / "Package.swift").write_text(PACKAGE.replace("@ROOT@", str(ROOT)))
    (folder / "Sources" / "consumer" / "main.swift").write_text(PROGRAM)
    options = ("--scratch-path", SCRATCH, "-c", "debug")
    run(swift, "build", *options, cwd=folder)
    return Path(run(swift, "build", *options, "--show-bin-path", cwd=folder).strip()) / "consumer"


def floats(bits):
    return np.array([int(number) for number in bits], dtype=np.uint32).view(np.float32)


@pytest.mark.parametrize("mmap", [True, False])
def test_python_opens_what_swift_saved(consumer, tmp_path, mmap):
    path = tmp_path / "swift.safetensors"
    decoded = floats(run(consumer, "save", path, cwd=tmp_path).split()).reshape(24, 12)
    table, route = (ec.load(path, name, mmap=mmap) for name in ("table", "route"))
    assert ec.contents(path).metadata == {"from": "Swift"}
    # Levels of instruction sets may differ in the last place.
    np.testing.assert_allclose(table.decode(), decoded[:20], rtol=0, atol=1e-5)
    np.testing.assert_allclose(route.decode(), decoded[20:], rtol=0, atol=1e-5)
    assert not route.lookup([1]).any()
    source = ((np.arange(240) * 37 % 101 - 50) / 8).astype(np.float32).reshape(20, 12)
    same = ec.compress(source, "greedy", bits=4, b=100)
    np.testing.assert_array_equal(same.decode(), table.decode())


def test_swift_opens_what_python_saved(consumer, tmp_path):
    path = tmp_path / "python.safetensors"
    weight = np.random.default_rng(0).standard_normal((30, 17), dtype=np.float32)
    table = ec.compress(weight, "asym", bits=3, group=8)
    tables = {
        "a": table,
        "b": ec.dense(weight.astype(np.float16)),
        "c": ec.remap(table, rows=50, modulo=30),
        "d": table.slice(10, 20),
        "e": table.aligned(64),
        "f": ec.dense(weight).aligned(16),
    }
    ec.save(path, tables)
    lines = run(consumer, "sums", path, cwd=tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == list(tables)
    for line, table in zip(lines, tables.values(), strict=True):
        _, rows, dimension, stored_bytes, *bits = line.split()
        assert (int(rows), int(dimension), int(stored_bytes)) == (table.rows, table.dimension, table.stored_bytes)
        expected = table.bag(np.arange(table.rows), [0])[0]
        np.testing.assert_allclose(floats(bits), expected, rtol=0, atol=1e-4)
