"""The benchmark of trellis codes, on little data, and that its page has the committed figures."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from test_benchmarks import DOCS, ROOT, committed, empty_page

import embedcompress as ec

sys.path.insert(0, str(ROOT / "python" / "benchmarks"))
import trellis_choices
import trellis_codes


def test_trellis_codes(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).standard_normal((400, 64)).astype(np.float32)

    class Sample:
        weight = ec.dense(rows)

    monkeypatch.setattr(trellis_codes._samples, "SAMPLES", {"glove": Sample})
    monkeypatch.setattr(trellis_codes, "TABLES", ("glove",))
    monkeypatch.setattr(trellis_codes, "BITS", (2,))
    monkeypatch.setattr(trellis_codes, "SHAPES", ((300, 16),))
    found = [("pq", 9000, 0.5), ("worse", 9000, 0.6), ("opq", 10_000, 0.3), ("svd", 100, 0.9), ("svd", 90_000, 0.0)]
    found += [("trellis", 9000, 0.4), ("trellis", 10_001, 0.35), ("trellis", 20_000, 0.2), ("trellis", 21_000, 0.25)]
    monkeypatch.setattr(trellis_codes, "coded", lambda name: (trellis_codes.Coded(*one) for one in found))
    path, page = tmp_path / "figures.json", empty_page(tmp_path / "page.md", DOCS / "trellis-codes.md")
    trellis_codes.main(["--json", str(path), "--page", str(page)])
    cells = json.loads(path.read_text())["cells"]
    errors = {cell["method"]: cell for cell in cells if cell["part"] == "errors"}
    assert errors["trellis"]["l2"] < errors["eden"]["l2"] and errors["trellis"]["gap"] > 0
    assert {cell["method"] for cell in cells if cell["part"] == "lookups"} == set(trellis_codes.LOOKED_UP)
    text = page.read_text()
    # The last one is beaten by other trellis codes.
    assert "in 2 of 3 on glove. Those where something else has less:" in text
    assert "| glove | 9.8 % | trellis | 10,001 | 0.3500 | opq | 10,000 | 0.3000 |" in text
    monkeypatch.setattr(trellis_codes, "errors", lambda *given: pytest.fail("a cell that is there ran again"))
    trellis_codes.main(["--json", str(path), "--page", str(page)])


def test_the_page_has_the_committed_figures():
    cells, text = committed("trellis_codes")["cells"], (DOCS / "trellis-codes.md").read_text()
    assert trellis_codes.error_table(cells) in text and trellis_codes.lookup_table(cells) in text
    assert trellis_codes.rival_text() in text


def test_trellis_choices(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((600, 5)) @ rng.standard_normal((5, 32)) + rng.standard_normal((600, 32))).astype(
        "f4"
    )

    class Sample:
        class weight:
            decode = staticmethod(lambda: weight)

    monkeypatch.setattr(trellis_choices._samples, "SAMPLES", {"glove": Sample})
    monkeypatch.setattr(trellis_choices, "TABLES", ("glove",))
    monkeypatch.setitem(trellis_choices.SETTINGS, "offset_rows", 100)
    path, page = tmp_path / "figures.json", empty_page(tmp_path / "page.md", DOCS / "trellis-codes.md")
    trellis_choices.main(["--json", str(path), "--page", str(page)])
    cells = json.loads(path.read_text())["cells"]
    for part, keys in trellis_choices.KEYS.items():
        assert all(key in cell for cell in cells if cell["part"] == part for key in keys)
    assert all(cell["auto_error"] < cell["none_error"] for cell in cells if cell["part"] == "offsets")
    units = [cell for cell in cells if cell["part"] == "unit rows"]
    assert all(cell["normalized_norm_error"] < 1e-6 < cell["plain_norm_error"] for cell in units)
    monkeypatch.setattr(ec, "compress", lambda *given: pytest.fail("a cell that is there ran again"))
    trellis_choices.main(["--json", str(path), "--page", str(page)])


def test_the_page_has_the_committed_choices():
    cells, text = committed("trellis_choices")["cells"], (DOCS / "trellis-codes.md").read_text()
    tables = [trellis_choices.rotation_table, trellis_choices.center_table, trellis_choices.offset_table]
    tables += [trellis_choices.unit_table, trellis_choices.group_table]
    for part, table in zip(trellis_choices.KEYS, tables, strict=True):
        assert table([cell for cell in cells if cell["part"] == part]) in text
