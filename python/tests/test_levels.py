"""Every instruction-set level that was built and that this CPU runs, side by side."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference

from embedcompress import _loader

LEVELS = [level for level in _loader.cpu_levels() if level in _loader.built_levels()]

PROGRAM = """
import re
import sys
import numpy as np
import embedcompress as ec
import random_tables
import reference
assert ec.isa().endswith(sys.argv[1]), ec.isa()
results = {}
LEARNED = ("pq", "rq", "opq", "magpq", "svd", "magsvd", "tt", "hot_cold", "tiers", "trellis")

def keep(name, values, magnitude=None):
    results[name] = values
    if magnitude is not None:
        results[name + "/magnitude"] = magnitude.astype(np.float32)

def look(name, table, rng):
    rows = reference.rows(table)
    ids = rng.integers(0, table.rows, 700)
    offsets = np.array([0, 0, 1, 5, 40, 90, 400])
    weights = rng.standard_normal(700).astype(np.float32)
    keep(name + "/lookup", table.lookup(ids), rows.magnitude[ids])
    for mode, given in (("sum", None), ("sum", weights), ("mean", None), ("max", None)):
        magnitude = reference.bag(rows, ids, offsets, mode, given).magnitude
        label = mode if given is None else mode + " weighted"
        keep(f"{name}/bag {label}", table.bag(ids, offsets, mode, given), magnitude)

rng = np.random.default_rng(1911)
for dimension in reference.DIMENSIONS:
    for element in ("f32", "f16", "bf16"):
        look(f"{element} {dimension}", random_tables.random_dense(rng, 20, dimension, element), rng)
    for bits in reference.BITS:
        for group in (None, 8):
            scale = rng.choice(["f16", "f32"])
            table = random_tables.random_uniform(rng, 20, dimension, bits, group, scale)
            look(f"uniform {bits} {group} {scale} {dimension}", table, rng)
        shared = random_tables.random_uniform(rng, 20, dimension, bits, scope="table")
        look(f"uniform {bits} table {dimension}", shared, rng)
    for bits in range(1, 9):
        for entries in ("f16", "f32"):
            for scope in ("row", "cluster", "table", "scaled"):
                table = random_tables.random_codebook(rng, 20, dimension, bits, entries, scope)
                look(f"codebook {bits} {entries} {scope} {dimension}", table, rng)
    for states in (8, 12, 16):
        look(f"trellis {states} {dimension}", random_tables.random_trellis(rng, 20, dimension, states), rng)
    inner = random_tables.random_codebook(rng, 20, dimension, 2, "f16", "scaled")
    look(f"rotate {dimension}", ec.rotate(inner, 3, offset=rng.standard_normal(dimension)), rng)
    look(f"normalize {dimension}", ec.normalize(inner), rng)
    inner = random_tables.random_uniform(rng, 20, dimension)
    look(f"remap {dimension}", random_tables.random_remap(rng, inner, "map"), rng)
    for kind, factor in (("normal", 1), ("tiny", 1e-7), ("large", 3e3), ("outliers", None)):
        weight = rng.standard_normal((40, dimension)).astype(np.float32)
        if factor is None:
            factor = np.exp(rng.standard_normal((40, dimension)))
        weight = (weight * factor).astype(np.float32)
        for source, values in (("f32", weight), ("f16", weight.astype(np.float16))):
            for method in ec.methods():
                if method.name in LEARNED:
                    continue
                names = {option.name for option in method.options}
                for bits in reference.widths(method.name) if "bits" in names and source == "f32" else [4]:
                    options = {"bits": bits} if "bits" in names else {}
                    if method.name == "hist_brute":
                        options["b"] = 12
                    table = ec.compress(values, method.name, **options)
                    for name, array in table.parts()[1].items():
                        keep(f"codes {method.name} {bits} {source} {kind} {dimension} {name}", array.values)
for dimension in (7, 64, 300):
    weight = rng.standard_normal((600, dimension)).astype(np.float32)
    for method in LEARNED:
        table = ec.compress(weight, method, budget=0.3)
        for name, array in table.parts()[1].items():
            keep(f"learned {method} {dimension} {name}", array.values)
        keep(f"loss {method} {dimension}", np.array(ec.evaluate(table, weight, queries=0).normalized_l2))
np.savez(sys.argv[2], **results)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("levels")
    root = Path(_loader.__file__).resolve().parents[1]
    found = {}
    for level in LEVELS:
        path = os.pathsep.join([str(root), str(Path(__file__).parent)])
        answer = subprocess.run(
            [sys.executable, "-c", PROGRAM, level, folder / f"{level}.npz"],
            env={**os.environ, "PYTHONPATH": path, "EMBEDCOMPRESS_ISA": level},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        with np.load(folder / f"{level}.npz") as file:
            found[level] = dict(file)
    return found


@pytest.mark.skipif(len(LEVELS) < 2, reason="only one level was built")
def test_every_level_chooses_the_same_codes(results):
    first, *others = LEVELS
    names = [name for name in results[first] if name.startswith("codes")]
    assert len(names) > 500
    for level in others:
        different = [name for name in names if results[level][name].tobytes() != results[first][name].tobytes()]
        assert not different, f"{level} and {first}"


@pytest.mark.skipif(len(LEVELS) < 2, reason="only one level was built")
def test_levels_with_fused_multiply_add_learn_the_same(results):
    """Products of matrices, distances and a trellis' costs are fused where that can be done: the baseline may learn
    something else."""
    fused = [level for level in LEVELS if level != "v2"]
    names = [name for name in results[LEVELS[0]] if name.startswith("learned")]
    assert len(names) > 40
    for level in fused[1:]:
        different = [name for name in names if results[level][name].tobytes() != results[fused[0]][name].tobytes()]
        assert not different, f"{level} and {fused[0]}"
    for name in (name for name in results[LEVELS[0]] if name.startswith("loss")):
        losses = [float(results[level][name]) for level in LEVELS]
        assert max(losses) <= 1.02 * min(losses), name


@pytest.mark.skipif(len(LEVELS) < 2, reason="only one level was built")
def test_every_level_reads_codebooks_and_trellis_codes_alike(results):
    """Bit for bit: an entry is what it is, and sums are made in one order."""
    first, *others = LEVELS
    kinds = ("codebook", "trellis")
    names = [n for n in results[first] if n.startswith(kinds) and not n.endswith("/magnitude")]
    assert len(names) > 4000
    for level in others:
        different = [name for name in names if results[level][name].tobytes() != results[first][name].tobytes()]
        assert not different, f"{level} and {first}"


@pytest.mark.skipif(len(LEVELS) < 2, reason="only one level was built")
def test_results_agree_within_2_ulp(results, record_property):
    """Of the magnitude that a result was summed from."""
    worst = {"lookup": 0.0, "bag": 0.0}
    for name, magnitude in results[LEVELS[0]].items():
        if not name.endswith("/magnitude"):
            continue
        name = name.removesuffix("/magnitude")
        values = [results[level][name].astype(np.float64) for level in LEVELS]
        low, high = np.minimum.reduce(values), np.maximum.reduce(values)
        kind = "lookup" if name.endswith("/lookup") else "bag"
        worst[kind] = max(worst[kind], reference.ulps(low, high, magnitude))
    for kind, value in worst.items():
        record_property(f"largest difference of a {kind} between levels, ulp", value)
        print(f"largest difference of a {kind} between {', '.join(LEVELS)}: {value:.3f} ulp")
    assert max(worst.values()) <= 2
