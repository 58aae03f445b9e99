"""The benchmark of a language model with a tied table, at a small size, and the page with its figures."""

import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "transformers.md"
sys.path.insert(0, str(ROOT / "python" / "benchmarks"))

import tied_language_model as tied  # noqa: E402


@pytest.fixture(scope="module")
def committed():
    return json.loads((ROOT / "docs" / "results" / "tied_language_model.json").read_text(encoding="utf-8"))


def by_name(cells):
    return {(cell["method"], cell["bits"]): cell for cell in cells}


def test_a_quick_run(tmp_path):
    before = torch.get_num_threads()
    page, path = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text("<!-- tied language model -->\n<!-- /tied language model -->\n")
    try:
        tied.main(["--quick", "--json", str(path), "--page", str(page)])
    finally:
        torch.set_num_threads(before)
        transformers.utils.logging.enable_progress_bar()
    found = json.loads(path.read_text())
    assert {"cpu", "isa", "versions"} <= set(found["machine"])
    assert tied.sentence(found) in page.read_text() and tied.table(found["cells"]) in page.read_text()
    cells = by_name(found["cells"])
    asked = {(method, bits) for method in (*tied.METHODS, *tied.BUDGETED) for bits in tied.BITS} - tied.LEFT_OUT
    assert set(cells) == {("f32", 32)} | asked
    assert sum(part["tokens"] for part in found["ranks"]) == 400
    assert sum(part["share"] for part in found["ranks"]) == pytest.approx(1)
    dense = cells["f32", 32]
    assert dense["table"] == 400 * 32 * 4 < found["model_bytes"] < dense["file"]
    assert (dense["kl"], dense["agreement"], dense["error"]) == (0, 1, 0)
    # Training was too short for more than a start, but it was one.
    assert 20 < dense["perplexity"] < 380
    for (method, bits), cell in cells.items():
        if method in tied.BUDGETED:
            assert cell["table"] <= cells["least_squares", bits]["table"]
    for method in tied.METHODS:
        own = [cells[method, bits] for bits in tied.BITS if (method, bits) in cells]
        for key in ("table", "file"):
            assert [cell[key] for cell in own] == sorted((cell[key] for cell in own), reverse=True)
        for key in ("kl", "normalized_l2"):
            assert [cell[key] for cell in own] == sorted(cell[key] for cell in own)


class Fixed:
    """A model of two tokens that gives the same logits everywhere."""

    def __init__(self, *logits):
        self.logits = torch.tensor(logits)

    def __call__(self, ids):
        return transformers.modeling_outputs.CausalLMOutput(logits=self.logits.expand(*ids.shape, 2))


def test_the_figures_of_a_comparison():
    ids = torch.tensor([[0, 0, 1], [1, 1, 1], [0, 1, 1]])
    logits = torch.tensor([[0, 0.5], [0.7, 0.5]])
    one, same, other = tied.compare(Fixed(*logits[0]), [Fixed(*logits[0]), Fixed(*logits[1])], ids, batch=2)
    shares = logits.softmax(1)
    # Of each model, the mean over the tokens of each window but its first.
    losses = -shares.log()[:, ids[:, 1:]].mean(2)
    assert one["perplexity"] == pytest.approx(losses[0].mean().exp().item(), rel=1e-6)
    assert other["perplexity"] == pytest.approx(losses[1].mean().exp().item(), rel=1e-6)
    apart = (losses[1] - losses[0]).std().item() / 3**0.5
    assert other["error"] == pytest.approx(other["perplexity"] * apart, rel=1e-5)
    assert other["kl"] == pytest.approx((shares[0] * (shares[0] / shares[1]).log()).sum().item(), rel=1e-5)
    assert (one["error"], one["kl"], one["agreement"], other["agreement"]) == (0, 0, 1, 0)
    assert same == one


def test_documents_are_text_of_python_s_own():
    import pydoc_data.topics

    found = [text for text, _ in zip(tied.documents(), range(90), strict=False)]
    assert found[: len(pydoc_data.topics.topics)] == list(pydoc_data.topics.topics.values())
    assert len(found) == 90 and all(found)


def test_the_page_has_the_figures(committed):
    text = PAGE.read_text(encoding="utf-8")
    assert tied.sentence(committed) in text
    assert tied.table(committed["cells"]) in text
    assert committed["settings"] == tied.asdict(tied.Settings())


def test_the_committed_figures_are_what_the_page_says_of_them(committed):
    cells = by_name(committed["cells"])
    asked = {(method, bits) for method in (*tied.METHODS, *tied.BUDGETED) for bits in tied.BITS} - tied.LEFT_OUT
    assert set(cells) == {("f32", 32)} | asked
    exact = cells["f32", 32]["perplexity"]
    assert max(cell["perplexity"] for (_, bits), cell in cells.items() if bits == 8) < 1.001 * exact
    assert [round(100 * cells["least_squares", bits]["perplexity"] / exact - 100, 1) for bits in (4, 3)] == [1.5, 6.2]
    for bits in (4, 3, 2):
        eden, squares = cells["eden", bits], cells["least_squares", bits]
        assert eden["normalized_l2"] < squares["normalized_l2"] and eden["kl"] > squares["kl"]
    assert round(cells["pq, weights", 2]["perplexity"], 1) == 129.8
    assert round(cells["least_squares", 2]["perplexity"], 1) == 149.3
    first, *_, last = committed["ranks"]
    assert (first["tokens"], last["tokens"], round(first["share"], 2)) == (64, 4096, 0.44)
    assert 1.8 < first["far"] / last["far"] < 2.2
    assert round(cells["f32", 32]["table"] / committed["model_bytes"], 2) == 0.65
