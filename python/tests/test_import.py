"""What importing costs, and what it says about itself."""

import re
import statistics
import sys
import tomllib
from pathlib import Path

import pytest

import embedcompress as ec

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def import_times(text):
    """Cumulative microseconds by module, of what -X importtime wrote."""
    found = re.findall(r"import time:\s*\d+ \|\s*(\d+) \|\s*(\S+)", text)
    return {name: int(cumulative) for cumulative, name in found}


def test_importing_is_quick_and_needs_numpy_only(run_python):
    """Numpy is imported by the same process beforehand, so that what is counted is ours alone."""
    costs = []
    for _ in range(5):
        answer = run_python("import numpy, embedcompress", check=False, options=["-X", "importtime"])
        assert answer.returncode == 0, answer.stderr
        times = import_times(answer.stderr)
        for heavy in ("torch", "matplotlib", "tqdm", "scipy", "pandas", "safetensors"):
            assert heavy not in times
        assert "embedcompress.nn" not in times
        costs.append(times["embedcompress"] / 1000)
    assert statistics.median(costs) < 60, f"milliseconds: {costs}"


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
