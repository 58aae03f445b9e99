"""The benchmark of trellis codes, on little data, and that its page has the committed figures."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from test_benchmarks import DOCS, ROOT, committed, empty_page

import embedcompress as ec

sys.path.insert(0, str(ROOT / "python" / "benchmarks"))
import trellis_codes


@pytest.fixture
def threads():
    count = ec.get_num_threads()
    yield
    ec.set_num_threads(count)


def test_trellis_codes(tmp_path, monkeypatch, threads):
    weight = np.random.default_rng(0).standard_normal((400, 64)).astype(np.float32)

    class Sample:
        class weight:
            decode = staticmethod(lambda: weight)

    monkeypatch.setattr(trellis_codes._samples, "SAMPLES", {"glove": Sample})
    monkeypatch.setattr(trellis_codes, "TABLES", ("glove",))
    monkeypatch.setattr(trellis_codes, "BITS", (2,))
    monkeypatch.setattr(trellis_codes, "SHAPES", ((300, 16),))
    path, page = tmp_path / "figures.json", empty_page(tmp_path / "page.md", DOCS / "trellis-codes.md")
    trellis_codes.main(["--json", str(path), "--page", str(page)])
    cells = json.loads(path.read_text())["cells"]
    errors = {cell["method"]: cell for cell in cells if cell["part"] == "errors"}
    assert errors["trellis"]["l2"] < errors["eden"]["l2"] and errors["trellis"]["gap"] > 0
    assert {cell["method"] for cell in cells if cell["part"] == "lookups"} == set(trellis_codes.LOOKED_UP)
    monkeypatch.setattr(trellis_codes, "errors", lambda *given: pytest.fail("a cell that is there ran again"))
    trellis_codes.main(["--json", str(path), "--page", str(page)])


def test_bound_of_equal_components_is_that_of_normal_values():
    assert trellis_codes.spectrum_bound(np.ones(8), 2) == pytest.approx(1 / 16)
    assert trellis_codes.spectrum_bound(np.array([4.0, 1e-9]), 1) == pytest.approx(1 / 16, rel=1e-3)


def test_the_page_has_the_committed_figures():
    cells, text = committed("trellis_codes")["cells"], (DOCS / "trellis-codes.md").read_text()
    assert trellis_codes.error_table(cells) in text and trellis_codes.lookup_table(cells) in text
