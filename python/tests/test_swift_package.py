"""Another Swift package depends on this one by version: it builds without a warning, and writes what Python writes.

The package is a copy of Examples/swift, whose dependency is a clone of this repository with a tag. It has more
programs: one for the tests here, and the code of the README and of the library's tutorial.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import embedcompress as ec

ROOT = Path(__file__).resolve().parents[2]
# Builds stay here, in a folder for each state of the sources, so that only the first run of a state builds the library.
BUILDS = ROOT / ".build-consumer"
URL = "https://example.com/embedcompress.git"
README = ROOT / "README.md"
TUTORIAL = ROOT / "Sources/EmbedCompress/EmbedCompress.docc/FirstTable.md"

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


def run(*command, cwd, **variables):
    answer = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "SWIFT_BACKTRACE": "enable=no", **variables},
    )
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    return answer.stdout


def clone(folder):
    """Clone the repository, with what is not committed yet as one more commit, and tag it with the version."""
    run("git", "clone", "--quiet", ROOT, folder, cwd=ROOT)
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")[:-1]
    for name in names:
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        else:
            target.unlink(missing_ok=True)
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com")
    # The same sources are the same commit whenever they are committed.
    dates = {"GIT_AUTHOR_DATE": "2000-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2000-01-01T00:00:00Z"}
    run("git", "add", "--all", cwd=folder)
    run(*git, "commit", "--quiet", "--allow-empty", "--message", "State", cwd=folder, **dates)
    run(*git, "tag", ec.__version__, cwd=folder)
    return run("git", "rev-parse", "HEAD", cwd=folder).strip()


def swift_blocks(path):
    """Return the Swift code of a page, block after block."""
    return "\n".join(re.findall(r"^```swift\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE))


def write_package(folder, url):
    """Write the example with the programs of these tests beside its own."""
    shutil.copytree(ROOT / "Examples/swift", folder, ignore=shutil.ignore_patterns(".build"))
    manifest = folder / "Package.swift"
    text = manifest.read_text()
    assert text.count(URL) == 1
    text = text.replace(URL, url)
    for name, code in (("Consumer", PROGRAM), ("Readme", swift_blocks(README)), ("Tutorial", swift_blocks(TUTORIAL))):
        target = (
            f'        .executableTarget(name: "{name}", '
            'dependencies: [.product(name: "EmbedCompress", package: "embedcompress")]),\n'
        )
        text = text.replace("    targets: [\n", "    targets: [\n" + target)
        (folder / "Sources" / name).mkdir()
        (folder / "Sources" / name / "main.swift").write_text(code)
    manifest.write_text(text)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The folder of the package's programs, and what the compiler said when it built everything."""
    swift = shutil.which("swift")
    if swift is None or not (ROOT / ".git").exists():
        pytest.skip("this needs swift on PATH, and the repository")
    BUILDS.mkdir(exist_ok=True)
    fresh = BUILDS / "clone"
    shutil.rmtree(fresh, ignore_errors=True)
    state = BUILDS / clone(fresh)
    log = state / "log.txt"
    if not log.exists():
        for old in BUILDS.iterdir():
            if old != fresh and old.is_dir():
                shutil.rmtree(old)
        state.mkdir()
        fresh.rename(state / "embedcompress")
        write_package(state / "package", (state / "embedcompress").as_uri())
    # Everything that SwiftPM keeps is kept here: it remembers which commit a version was.
    options = ["--scratch-path", state / "scratch", "--cache-path", state / "cache", "-c", "debug"]
    options += ["--security-path", state / "security", "--config-path", state / "config"]
    if not log.exists():
        output = run(swift, "build", *options, cwd=state / "package")
        log.write_text(output)
    return Path(run(swift, "build", *options, "--show-bin-path", cwd=state / "package").strip()), log.read_text()


@pytest.fixture(scope="module")
def consumer(build):
    """The path of the program of these tests."""
    return build[0] / "Consumer"


def test_a_consumer_builds_without_a_warning(build):
    assert "Compiling EmbedCompress " in build[1]
    assert [line for line in build[1].splitlines() if re.search(r"\b(warning|error):", line)] == []


def test_the_library_needs_no_foundation(consumer):
    if sys.platform != "linux":
        pytest.skip("readelf is for Linux")
    needed = run("readelf", "--dynamic", "--wide", consumer, cwd=ROOT)
    assert "libswiftCore" in needed
    assert "Foundation" not in needed


def test_the_example_writes_what_python_writes(build, tmp_path):
    path = tmp_path / "swift.safetensors"
    lines = run(build[0] / "Embeddings", path, cwd=tmp_path).splitlines()
    assert "same rows: true" in lines
    assert lines[-1] == "id 1000 at position 0 is out of range: ids must be from 0 to 999"
    weight = ((np.arange(64_000) * 37 % 101 - 50) / 8).astype(np.float32).reshape(1000, 64)
    table = ec.compress(weight, "greedy", bits=4, b=100)
    table.save(tmp_path / "python.safetensors")
    assert path.read_bytes() == (tmp_path / "python.safetensors").read_bytes()


@pytest.mark.parametrize("program", ["Readme", "Tutorial"])
def test_the_code_of_the_pages_runs(build, tmp_path, program):
    lines = run(build[0] / program, cwd=tmp_path).splitlines()
    assert not [line for line in lines if line == "false" or line.startswith("false ") or line.endswith(" false")]
    assert (tmp_path / "table.safetensors").exists()
    if program == "Tutorial":
        assert lines[-1] == "[-2.0, -1.0, 0.0, 1.0]"
        assert "there is no row 1000 among 1000" in lines


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
