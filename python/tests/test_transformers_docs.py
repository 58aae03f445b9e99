"""The examples of docs/transformers.md run."""

import json
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "transformers.md"


def test_the_examples_run(run_python, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4 and len(PAGE.read_text(encoding="utf-8").splitlines()) <= 210
    monkeypatch.chdir(tmp_path)
    run_python("\n".join(blocks), timeout=200)


def test_figures_of_loading_are_those_that_were_measured():
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    measured = json.loads((PAGE.parent / "results" / "loading_memory.json").read_text(encoding="utf-8"))
    dense, embeddings, linear, cast = (
        {key: round(value / 1e6) for key, value in cell.items() if isinstance(value, int)} for cell in measured["cells"]
    )
    for wanted in (
        f"A Llama of {dense['model_bytes']} MB in bf16, in nine files, took {linear['peak_anonymous']} MB for "
        f"{linear['model_bytes']} MB of tables with `linear=True`, and "
        f"{embeddings['peak_anonymous']} MB for 33 MB without it",
        f"Up to {linear['peak_mapped']} MB of its files",
        f"With `dtype=torch.float32` it took {cast['peak_anonymous']:,} MB",
    ):
        assert wanted in text
    # Codes of 4 bits and two f16 a row.
    assert round(64_000 * (1024 / 2 + 4) / 1e6) == 33
