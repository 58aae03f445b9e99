"""What importing costs, and what it says about itself."""

import re
import statistics
import sys
import tomllib
from pathlib import Path

import pytest

import embedcompress as ec

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def test_importing_is_quick_and_needs_numpy_only(run_python, tmp_path):
    """Half of what NumPy takes at most, on the same machine; everything is compiled by the first run."""
    program = """
import sys, time
times = [time.process_time()]
import numpy
times.append(time.process_time())
import embedcompress
times.append(time.process_time())
print((times[2] - times[1]) / (times[1] - times[0]))
heavy = {"torch", "matplotlib", "tqdm", "scipy", "pandas", "safetensors", "embedcompress.nn"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    compiled = {"PYTHONDONTWRITEBYTECODE": None, "PYTHONPYCACHEPREFIX": tmp_path}
    shares = [float(run_python(program, **compiled)) for _ in range(6)][1:]
    assert statistics.median(shares) < 0.5, f"of NumPy's time: {shares}"


def test_names_that_are_imported_when_asked_for(run_python):
    program = """
import sys
import embedcompress as ec
names = {"recommend", "calibrate_ranges", "RangeCalibration", "group_quantize", "export", "nn", "training", "hessian"}
assert names <= set(dir(ec)), names - set(dir(ec))
assert set(ec.__all__) <= set(dir(ec))
assert "torch" not in sys.modules
assert ec.recommend.__module__ == "embedcompress._recommend"
assert "torch" not in sys.modules
print(ec.nn.CompressedEmbedding.__name__, ec.training.embedding.__name__, ec.hessian.sensitivity.__name__)
try:
    ec.nothing
except AttributeError as error:
    print(error)
"""
    lines = run_python(program).splitlines()
    assert lines[0] == "CompressedEmbedding embedding sensitivity"
    assert lines[1] == "module 'embedcompress' has no attribute 'nothing'"


def test_only_numpy_and_the_standard_library_are_imported(run_python):
    program = """
import sys
import numpy
before = set(sys.modules)
import embedcompress
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""
    names = set(run_python(program).split())
    assert names - set(sys.stdlib_module_names) <= {"embedcompress", "numpy"}


def test_torch_is_not_needed(run_python):
    """Not even to find out whether something is a tensor."""
    program = """
import sys
sys.modules["torch"] = None
import numpy as np, embedcompress as ec
table = ec.compress(np.ones((3, 4), np.float32))
table.lookup([1]); table.bag([[1]]); ec.evaluate(table, np.ones((3, 4), np.float32))
try:
    import embedcompress.nn
except ImportError as error:
    print("torch" in str(error))
"""
    assert run_python(program) in ("True\n", "")


def test_the_version_is_that_of_the_project():
    if not PYPROJECT.exists():
        pytest.skip("not in a checkout")
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    assert ec.__version__ == project["version"]


def test_the_level_is_named():
    assert re.fullmatch(r"x86-64-v[234]|arm64", ec.isa())
