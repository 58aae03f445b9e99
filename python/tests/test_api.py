"""The public surface: names, documentation, the registry, printing, pickling, and the README's examples."""

import copy
import inspect
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import random_tables

import embedcompress as ec

README = Path(__file__).resolve().parents[2] / "README.md"
METHODS = ec.methods()
by_name = pytest.mark.parametrize("method", METHODS, ids=[method.name for method in METHODS])


@pytest.fixture
def weight(rng):
    return rng.standard_normal((60, 16)).astype(np.float32)


def nested(weight):
    inner = ec.remap(ec.compress(weight, bits=2, group=8), map=np.arange(60) - 1)
    return ec.remap(ec.remap(inner, rows=180, divisor=3), rows=1_234_567, modulo=180)


# Names


def test_the_public_names():
    """Those of design section 8 that exist so far, and nothing by accident."""
    names = {"compress", "load", "save", "methods", "evaluate", "isa", "set_num_threads", "get_num_threads", "Table"}
    assert names | {"BudgetError", "FormatError", "dense", "remap", "contents"} <= set(ec.__all__)
    assert ec.__all__ == sorted(ec.__all__)
    for name in ec.__all__:
        assert hasattr(ec, name)
    attributes = {
        "rows",
        "dimension",
        "stored_bytes",
        "ratio",
        "shape",
        "invalid_count",
        "dtype",
        "ndim",
        "size",
        "choices",
    }
    calls = {"lookup", "bag", "decode", "slice", "save", "parts", "from_parts", "aligned", "row_layouts", "warm_up"}
    assert attributes | calls == {name for name in dir(ec.Table) if not name.startswith("_")}


def documented_things():
    for name in ec.__all__:
        thing = getattr(ec, name)
        yield name, thing
        if inspect.isclass(thing):
            for member in dir(thing):
                if not member.startswith("_") and thing.__module__.startswith("embedcompress"):
                    yield f"{name}.{member}", inspect.getattr_static(thing, member)


def test_everything_public_is_documented():
    dataclass_fields = (bool, int, float, str, tuple, type(None))
    bare = []
    for name, thing in documented_things():
        thing = thing.__func__ if isinstance(thing, (classmethod, staticmethod)) else thing
        inherited = name.endswith((".add_note", ".args", ".with_traceback"))
        if not inherited and not isinstance(thing, dataclass_fields) and not inspect.getdoc(thing):
            bare.append(name)
    assert not bare


@pytest.mark.parametrize("name", ["lookup", "bag", "decode", "slice"])
def test_calls_of_the_core_have_signatures(name):
    signature = inspect.signature(getattr(ec.Table, name))
    stub = (Path(ec.__file__).parent / "_core.pyi").read_text()
    body = re.search(rf"    def {name}\((.*?)\) ->", stub, re.DOTALL).group(1)
    assert list(signature.parameters) == re.findall(r"(\w+)(?=[:,\s]|$)", re.sub(r":[^,]*", "", body))


def test_signatures_are_those_of_the_design():
    bag = inspect.signature(ec.Table.bag).parameters
    wanted = ["self", "ids", "offsets", "mode", "per_sample_weights", "include_last_offset", "padding_idx", "out"]
    assert list(bag)[:8] == wanted
    assert bag["mode"].default == "sum"
    assert list(inspect.signature(ec.Table.lookup).parameters) == ["self", "ids", "out", "on_invalid"]
    assert inspect.signature(ec.load).parameters["mmap"].default is True


def test_the_docstring_s_example():
    weight = np.random.default_rng(0).standard_normal((1000, 64), dtype=np.float32)
    table = ec.compress(weight, "greedy", bits=4)
    assert table.stored_bytes == 36000
    assert table.lookup([3, 1, 4]).shape == (3, 64)


# The registry


def test_method_names_are_unique_and_asym_and_greedy_are_there():
    names = [method.name for method in METHODS]
    assert len(set(names)) == len(names)
    assert {"asym", "greedy"} <= set(names)
    ec.methods().clear()
    assert ec.methods() == METHODS


@by_name
def test_an_entry_is_complete(method):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", method.name)
    for text in (method.title, method.paper, method.family, method.summary, method.bytes_per_row, method.cost):
        assert text.strip() == text != ""
    assert method.stage == "after training"
    assert len({option.name for option in method.options}) == len(method.options)
    for option in method.options:
        assert option.name.isidentifier()
        assert option.summary
        assert isinstance(option.default, (bool, int, float, str, type(None)))
    hash(method)


@by_name
def test_a_method_runs(method, weight, tmp_path):
    for values in (weight, weight.astype(np.float16), weight[:1], weight[:, :1].copy(), weight[:0], weight * 0):
        table = ec.compress(values, method.name)
        assert table.shape == values.shape
        decoded = table.decode()
        assert np.isfinite(decoded).all()
        np.testing.assert_array_equal(table.lookup(np.arange(len(values))), decoded)
        table.save(tmp_path / "table")
        np.testing.assert_array_equal(ec.load(tmp_path / "table").decode(), decoded)
    # Codebooks of vectors have many numbers beside so few rows, unless codes are short.
    short = {"bits": 2} if method.name in ("pq", "rq", "magpq", "opq") else {}
    table = ec.compress(weight, method.name, **short)
    assert table.stored_bytes < weight.nbytes
    assert ec.evaluate(table, weight).normalized_l2 < 1
    # Its defaults are values that it takes, and it is reproducible.
    defaults = {option.name: option.default for option in method.options if option.default is not None}
    np.testing.assert_array_equal(ec.compress(weight, method.name, **defaults | short).decode(), table.decode())


@by_name
def test_a_method_takes_a_budget(method, weight):
    if "budget" not in {option.name for option in method.options}:
        pytest.skip("it has no knob")
    # INT8 and INT16 have one size, which a budget allows or not; trellis codes have 1024 bytes of scales, and
    # what is exact has one size, too.
    sizes = {
        "int8": (0.5, 1500),
        "int16": (0.8, 2500),
        "trellis": (0.5, 1300),
        "tiers": (0.5, 1300),
        "exact": (0.9, 0.95),
    }
    for budget in sizes.get(method.name, (0.5, 1200)):
        table = ec.compress(weight, method.name, budget=budget)
        assert table.stored_bytes <= (budget if isinstance(budget, int) else budget * weight.nbytes)
    with pytest.raises(ec.BudgetError):
        ec.compress(weight, method.name, budget=1)


# Printing


def test_the_tree_s_bytes_add_up(weight):
    for table in (ec.dense(weight), ec.compress(weight), nested(weight), nested(weight).slice(5, 60_000)):
        *pieces, total = str(table).splitlines()
        own = [int(re.search(r"([\d,]+) bytes", line).group(1).replace(",", "")) for line in pieces]
        assert sum(own) == table.stored_bytes
        assert int(re.search(r"= ([\d,]+) bytes", total).group(1).replace(",", "")) == table.stored_bytes

        def stored(tree):
            return tree["bytes"] + sum(map(stored, tree.get("children", {}).values()))

        tree, arrays = table.parts()
        assert stored(tree) == table.stored_bytes
        assert sum(a.values.nbytes for a in arrays.values()) == table.stored_bytes
        assert table.ratio == table.stored_bytes / (table.rows * table.dimension * 4)


def test_printing(weight):
    table = nested(weight)
    assert repr(table) == f"<Table 1234567 x 16, {table.stored_bytes:,} bytes, {table.ratio:.2%} of f32>"
    lines = str(table).splitlines()
    assert [len(line) - len(line.lstrip()) for line in lines] == [0, 2, 4, 6, 0]
    assert "Uniform 2-bit, f16 scale and bias per 8 columns" in lines[3]
    assert "[60 x 16]" in lines[3]
    assert len(table) == 1_234_567


# Copies


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickling(weight, rng, protocol):
    tables = [nested(weight).slice(3, 1000), ec.compress(weight), ec.dense(weight), ec.dense(weight[:0])]
    for table in [*tables, random_tables.random_dense(rng, 4, 3, "bf16")]:
        again = pickle.loads(pickle.dumps(table, protocol))
        assert type(again) is ec.Table
        assert str(again) == str(table)
        np.testing.assert_array_equal(again.decode(), table.decode())


def test_a_pickle_of_a_slice_has_the_slice_only(weight):
    table = ec.dense(np.zeros((10_000, 16), np.float32))
    assert len(pickle.dumps(table.slice(0, 10))) < 2000


def test_copying(weight):
    table = nested(weight).slice(0, 300)
    for again in (copy.copy(table), copy.deepcopy(table), ec.Table.from_parts(*table.parts())):
        np.testing.assert_array_equal(again.decode(), table.decode())
    for _, array in table.parts()[1].items():
        assert not array.values.flags.writeable


# Beside the library


def test_the_readme_s_examples(tmp_path, monkeypatch):
    if not README.exists():
        pytest.skip("there is no README.md")
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    if not blocks:
        pytest.skip("README.md has no Python")
    if any("torch" in block or "nn." in block for block in blocks):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"README.md, block {number + 1}", "exec"), namespace)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="CPython's allocator")
def test_a_smoke_run_with_python_s_debugging_allocator(run_python):
    """Writes past an object, uses after release and calls without the GIL end the process."""
    folder = Path(__file__).parent
    program = """
import sys, pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:randomly", *sys.argv[1:]]))
"""
    chosen = [folder / "test_errors.py", folder / "test_files.py", "-k", "not torch and not tensors and not f16"]
    answer = run_python(program, *chosen, check=False, timeout=120, options=["-X", "dev"], PYTHONMALLOC="debug")
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
