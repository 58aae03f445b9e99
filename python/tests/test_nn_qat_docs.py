"""The examples of docs/qat.md run."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "qat.md"


def test_the_examples_run(run_python, tmp_path, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    run_python("\n".join(blocks), timeout=200)
