"""The notebooks are committed as they ran, the README names them, and they run."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_as_it_ran(path):
    cells = code(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    # Warnings name folders of the machine.
    assert not [one for one in outputs if one["output_type"] == "error" or one.get("name") == "stderr"]
    assert any("image/png" in one.get("data", {}) for one in outputs)


def test_the_readme_names_each_notebook():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert NOTEBOOKS
    assert [path.name for path in NOTEBOOKS if f"(notebooks/{path.name})" not in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, run_python, tmp_path):
    program = "\n".join("".join(cell["source"]) for cell in code(path))
    for module in ("matplotlib", "torch", *(("IPython",) if "from IPython" in program else ())):
        pytest.importorskip(module)
    place = f"import os; os.chdir({str(path.parent)!r})\n"
    run_python(place + program, timeout=1200, MPLBACKEND="Agg", MPLCONFIGDIR=str(tmp_path))
