"""The benchmark of tiers and first stages, on little data, and that its page has the committed figures."""

from __future__ import annotations

import json
import sys

import numpy as np
from test_benchmarks import DOCS, ROOT, committed, empty_page

sys.path.insert(0, str(ROOT / "python" / "benchmarks"))
import tiers


def test_tiers(tmp_path, monkeypatch):
    weight = np.random.default_rng(0).standard_normal((400, 48)).astype(np.float32)

    class Sample:
        class weight:
            decode = staticmethod(lambda: weight)

    monkeypatch.setattr(tiers._samples, "SAMPLES", {"glove": Sample})
    monkeypatch.setattr(tiers, "STAGED", {"glove": 90})
    monkeypatch.setattr(tiers, "WORSE", {"glove": 2})
    monkeypatch.setattr(tiers, "ROWS", 4096)
    budget = {"tiers": 4, "budget": 4096 * 16}
    monkeypatch.setattr(
        tiers, "BY_USE", tiers.BY_USE | {"trellis, in four tiers, 2 bits with all bytes": ("tiers", budget)}
    )
    path, page = tmp_path / "figures.json", empty_page(tmp_path / "page.md", DOCS / "trellis-codes.md")
    tiers.main(["--json", str(path), "--page", str(page)])
    found = json.loads(path.read_text())
    errors = {(one["method"], one["order"]): one["error"] for one in found["by_use"]}
    for order in ("by count", "none"):
        assert errors["trellis, in four tiers", order] < 0.6 * errors["trellis", order] < 0.6 * errors["eden", order]
    assert [one["of_least_squares"] for one in found["worse_rows"]] == [0]
    assert {one["first_stage"] for one in found["first_stage"]} == set(tiers.STAGES)
    assert tiers.use_table(found["by_use"]) in page.read_text()


def test_the_page_has_the_committed_figures():
    found, text = committed("tiers"), (DOCS / "trellis-codes.md").read_text()
    assert tiers.use_table(found["by_use"]) in text
    assert tiers.stage_table(found["first_stage"]) in text
    assert tiers.worse_table(found["worse_rows"]) in text


def test_the_acceptance_of_bits_by_use():
    """At 2 bits on average, a scale of a byte a row beside them, four tiers leave at most .03."""
    for one in committed("tiers")["by_use"]:
        if one["method"].startswith("trellis, in four tiers"):
            assert one["error"] <= 0.03 and one["tiers"] == 4
        scales = 0 if one["method"].endswith("all bytes") else 2 if one["method"].startswith("eden") else 1
        assert one["bits"] <= 2 + 8 * scales / 64 + (0.01 if scales else 0)
