"""The examples of docs/transformers.md run."""

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
