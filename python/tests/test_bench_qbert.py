"""The experiment after Q-BERT on a tiny random BERT and made-up sentences, and the page that is made from it."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("scipy")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT / "python" / "benchmarks"))

import _qbert_claims as claims  # noqa: E402
import _qbert_data as data  # noqa: E402
import _qbert_model as models  # noqa: E402
import _qbert_page as page  # noqa: E402
import _qbert_run as runs  # noqa: E402
import _qbert_tokens as tokens  # noqa: E402
import qbert  # noqa: E402
from _qbert_results import Results  # noqa: E402
from _qbert_settings import ALL, BY_NAME, MAIN, Tokens  # noqa: E402

from embedcompress.bench import _lines  # noqa: E402

SOME = ["f32", "directq-2", "qbert-4", "qbert-2-3*", "ours-4-word-[48]", "ours-2-3*", "ours-1-10", "groups-rows-12",
        "tokens-2*", "embeddings-tensor-*-4"]  # fmt: skip


def quick(folder, *more, settings=SOME):
    """Run a part of the experiment into a folder; return the lines."""
    empty = folder / "page.md"
    if not empty.exists():
        empty.write_text((DOCS / "qbert.md").read_text(encoding="utf-8"), encoding="utf-8")
    out = ["--jsonl", folder / "qbert.jsonl", "--page", empty, "--work", folder / "work"]
    qbert.main(["--quick", *map(str, out), "--settings", *settings, *map(str, more)])
    return _lines.read(folder / "qbert.jsonl")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qbert")
    return quick(folder, "--seeds", 0, 1), folder


def without_time(lines):
    return [
        (line["request"], {k: v for k, v in line.get("figures", {}).items() if k != "processor_seconds"})
        for line in lines
    ]


def test_every_part_leaves_its_lines(measured):
    lines, _ = measured
    parts = [line["request"]["part"] for line in lines]
    assert set(parts) == set(runs.PARTS)
    assert parts.count("finetune") == 2
    assert parts.count("hessian") == 2 * 4
    assert parts.count("surface") == 2
    refused = {line["request"]["setting"]["bits"]["budget"] for line in lines if "refused" in line}
    assert refused == {"1/10"}
    for line in lines:
        if line["request"]["part"] in ("ptq", "qat") and "figures" in line:
            assert 0 <= line["figures"]["accuracy"] <= 1
            assert line["figures"]["bytes"] > line["figures"]["bytes_without_embeddings"] > 0


def test_a_run_in_pieces_gives_the_same_lines(measured, tmp_path, capsys):
    lines, _ = measured
    pieces = tmp_path
    quick(pieces, "--parts", "ptq", "--seeds", 0)
    assert "left out, its bits need the part hessian" in capsys.readouterr().out
    quick(pieces, "--parts", "hessian", "similarity", "--seeds", 1, 0)
    for path in (pieces / "work").iterdir():
        path.unlink()
    again = quick(pieces, "--seeds", 0, 1)
    assert sorted(map(repr, without_time(again))) == sorted(map(repr, without_time(lines)))
    capsys.readouterr()
    assert quick(pieces, "--seeds", 0, 1) == again
    assert "0 of " in capsys.readouterr().out


def without_checkpoints(folder, to):
    """Copy the lines and the page of a run; return where the checkpoint of its first seed is."""
    for name in ("qbert.jsonl", "page.md"):
        (to / name).write_bytes((folder / name).read_bytes())
    (to / "work").mkdir()
    return next((folder / "work").glob("*-0.pt"))


def test_another_checkpoint_is_refused(measured, tmp_path):
    _, folder = measured
    saved = without_checkpoints(folder, tmp_path)
    other = next((folder / "work").glob("*-1.pt"))
    (tmp_path / "work" / saved.name).write_bytes(other.read_bytes())
    with pytest.raises(SystemExit, match="is not the model that"):
        quick(tmp_path, "--parts", "ptq", settings=["ours-3-word-2"])


def test_a_checkpoint_of_another_processor_goes_on(measured, tmp_path):
    _, folder = measured
    saved = without_checkpoints(folder, tmp_path)
    rounded = {name: tensor * (1 + 1e-6) for name, tensor in torch.load(saved, weights_only=True).items()}
    torch.save(rounded, tmp_path / "work" / saved.name)
    before = len(_lines.read(tmp_path / "qbert.jsonl"))
    lines = quick(tmp_path, "--parts", "ptq", "--seeds", 0, settings=["ours-3-word-2"])
    assert len(lines) == before + 1


def test_what_training_gives_again_is_not_trained(measured):
    found = Results(measured[0])
    alike, counted = (found.by_seed("qat", name) for name in ("ours-2-3", "ours-2-3-counts"))
    for seed, figures in counted.items():
        assert figures["same_bits_as"] == "ours-2-3"
        assert figures["bits"] == found.by_seed("ptq", "ours-2-3-counts")[seed]["bits"]
        assert figures["training_losses"] == alike[seed]["training_losses"]
        assert figures["processor_seconds"] < 1


def test_bits_follow_omega_and_the_budget(measured):
    found = Results(measured[0])
    omegas = {block: seeds[0]["omega"] for block, seeds in found.curvature.items()}
    ranked = found.by_seed("ptq", "qbert-2-3")[0]["bits"]
    low, high = sorted(("layer 0", "layer 1"), key=omegas.__getitem__)
    assert (ranked[low], ranked[high], ranked["word"], ranked["position"]) == (2, 3, 8, 8)
    turned = found.by_seed("ptq", "qbert-2-3-reversed")[0]["bits"]
    assert (turned[low], turned[high]) == (3, 2)
    sizes = [found.mean("ptq", name, "bytes") for name in ("qbert-2-3", "qbert-2-3-reversed", "ours-2-3")]
    assert sizes[0] == sizes[1] >= sizes[2]


def test_a_tiny_model_cannot_be_a_tenth(tmp_path):
    model = models.tiny(0).eval()
    with pytest.raises(ValueError, match="least they can reach"):
        models.choose_bits(model, BY_NAME["ours-1-10"], dict.fromkeys(model.blocks(), 1.0), {})


def test_the_page_has_tables_and_verdicts(measured):
    lines, folder = measured
    text = (folder / "page.md").read_text(encoding="utf-8")
    # The small model has no layer 5.
    open_claims = sum(one.evidence == "Not measured yet." for one in claims.findings(Results(lines)))
    assert text.count("Not measured yet.") == open_claims + 1
    for title in (
        "DirectQ",
        "Q-BERT MP, reversed",
        "12 rows",
        "ours, allocated 2/3, by counts",
        "2 bits, by counts",
        "layer 1",
    ):
        assert f"| {title} |" in text
    for name in ("accuracy", "curvature", "surface-layer-0"):
        assert f"(qbert-{name}.png)" in text
        assert (folder / f"qbert-{name}.png").read_bytes().startswith(b"\x89PNG")
    before = text
    qbert.main(["--page-only", "--jsonl", str(folder / "qbert.jsonl"), "--page", str(folder / "page.md")])
    assert (folder / "page.md").read_text(encoding="utf-8") == before


def line(name, seed, accuracy, part="qat", size=100, **more):
    setting = BY_NAME[name]
    request = {"part": part, "seed": seed, "setting": setting.request()}
    figures = {"accuracy": accuracy, "bytes": size, "bytes_without_embeddings": 1, "chance": 0.5, **more}
    return {"bench": "qbert", "request": request, "machine": {}, "figures": figures}


def verdicts(lines):
    return {one.claim: one for one in claims.findings(Results(lines))}


def test_verdicts_follow_the_numbers():
    claim = "Q-BERT at 4 bits is within 1 point of f32."
    base = [line("f32", seed, 0.88, "ptq", 1000) for seed in range(3)]
    for accuracies, verdict in (
        ((0.878, 0.879, 0.877), "confirmed"),
        ((0.86, 0.85, 0.855), "contradicted"),
        ((0.88, 0.865, 0.87), "confirmed, narrowly"),
        ((0.875, 0.855, 0.87), "contradicted, narrowly"),
        ((0.878,), "open"),
    ):
        lines = base + [line("qbert-4", seed, value) for seed, value in enumerate(accuracies)]
        assert verdicts(lines)[claim].verdict == verdict
    assert verdicts(base)[claim].verdict == "open"
    near = [line("directq-2", seed, 0.5 + seed / 1000) for seed in range(3)]
    assert verdicts(base + near)[next(one for one in verdicts(base) if "near chance" in one)].verdict == "confirmed"


def test_the_smallest_models_are_those_of_a_tenth():
    claim = "The whole model can be at least 10 times smaller than f32 within 2.3 points."
    base = [line("f32", seed, 0.88, "ptq", 1000) for seed in range(3)]
    large = [line("ours-4-word-4", seed, 0.88, size=101) for seed in range(3)]
    small = [
        line("ours-1-10", seed, 0.86, size=100, bits={"layer 0": 2, "word": 2, "position": 2}) for seed in range(3)
    ]
    assert verdicts(base + large)[claim].verdict == "open"
    found = verdicts(base + large + small)[claim]
    assert found.verdict == "confirmed" and "The best of 1" in found.evidence and "10.0 times" in found.evidence


def test_settings_have_names_and_half_of_the_layers():
    assert len({setting.name for setting in ALL}) == len(ALL)
    requests = [_lines.key(setting.request()) for setting in MAIN]
    assert len(set(requests)) == len(requests)
    cells = runs.plan("all-MiniLM-L6-v2", data.made_up(), runs.PARTS, [0, 1, 2], ALL)
    keys = [_lines.key(request) for cell in cells for request in cell.requests]
    assert len(set(keys)) == len(keys)
    order = [cell.part for cell in cells]
    assert order.index("qat") > max(place for place, part in enumerate(order) if part != "qat")


def test_counts_are_of_the_training_sentences():
    source = data.made_up()
    chosen, held_out = source.split(3)
    assert sorted([*chosen, *held_out]) == list(range(64)) and len(held_out) == 16
    counts = source.counts(chosen, 50, 16)
    total = sum(len(source.tokens[index]) for index in chosen)
    assert (counts["word"].sum(), counts["position"].sum()) == (total + 50, total + 16)
    assert counts["position"][0] == 49 == counts["word"][1]


def test_frequent_tokens_get_the_bits_of_rare_ones():
    random = torch.randn(80, 16, generator=torch.Generator().manual_seed(0))
    counts = np.arange(80) ** 4 + 1
    alike, same = tokens.table(random, counts, Tokens(3, False), 16)
    weighted, bits = tokens.table(random, counts, Tokens(3, True), 16)
    assert same == [3] * 8
    assert bits[0] > 3 > bits[-1] and bits == sorted(bits, reverse=True)
    assert weighted.stored_bytes <= alike.stored_bytes
    exact = random.numpy()
    of_alike, of_weighted = (np.square(table.decode() - exact).sum(axis=1) for table in (alike, weighted))
    assert of_weighted[:10].mean() > 10 * of_alike[:10].mean()
    assert of_weighted[-10:].mean() < of_alike[-10:].mean() / 10
    assert of_weighted @ counts < of_alike @ counts


def test_sentences_and_documents_are_checked(tmp_path):
    pytest.importorskip("tokenizers")
    few = tmp_path / "few.txt"
    few.write_text("1\t2.0\tgood\n2\t-2.0\tbad\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"2 sentences, and 1000 are held out"):
        data.read(few, None)


def test_a_pattern_without_settings_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no setting is called nothing"):
        quick(tmp_path, settings=["nothing"])


@pytest.mark.skipif(not (DOCS / "results" / "qbert.jsonl").exists(), reason="the experiment has not been run yet")
def test_the_committed_page_is_that_of_the_committed_lines(tmp_path):
    lines = _lines.read(DOCS / "results" / "qbert.jsonl")
    made = tmp_path / "page.md"
    made.write_text((DOCS / "qbert.md").read_text(encoding="utf-8"), encoding="utf-8")
    page.write(made, lines)
    assert made.read_text(encoding="utf-8") == (DOCS / "qbert.md").read_text(encoding="utf-8")
