"""The benchmark of exact tables, on little data, and that its page has the committed figures."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from test_benchmarks import DOCS, ROOT, committed, empty_page

sys.path.insert(0, str(ROOT / "python" / "benchmarks"))
import exact_tables


def test_exact_tables(tmp_path, monkeypatch):
    weight = np.random.default_rng(0).standard_normal((400, 64)).astype(np.float32)

    class Sample:
        class weight:
            decode = staticmethod(lambda: weight)

    monkeypatch.setattr(exact_tables._samples, "SAMPLES", {"glove": Sample})
    monkeypatch.setattr(exact_tables, "TABLES", ("glove",))
    monkeypatch.setattr(exact_tables, "SHAPES", ((300, 16),))
    path, page = tmp_path / "figures.json", empty_page(tmp_path / "page.md", DOCS / "exact.md")
    exact_tables.main(["--json", str(path), "--page", str(page)])
    cells = json.loads(path.read_text())["cells"]
    sizes = {cell["element"]: cell for cell in cells if cell["part"] == "bytes"}
    for cell in sizes.values():
        assert cell["least_ratio"] < cell["ratio"] < 1
    assert sizes["bf16"]["ratio"] < 0.8
    assert len([cell for cell in cells if cell["part"] == "lookups"]) == 4
    monkeypatch.setattr(exact_tables, "sizes", lambda *given: pytest.fail("a cell that is there ran again"))
    exact_tables.main(["--json", str(path), "--page", str(page)])


def test_the_page_has_the_committed_figures():
    cells, text = committed("exact_tables")["cells"], (DOCS / "exact.md").read_text()
    assert exact_tables.size_table(cells) in text and exact_tables.lookup_table(cells) in text
