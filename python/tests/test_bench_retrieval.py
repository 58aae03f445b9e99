"""`embedcompress bench retrieval` on small vectors, and what was measured on real ones."""

import json
from pathlib import Path

import numpy as np
import pytest

import embedcompress as ec
from embedcompress import cli
from embedcompress.bench import _calls, _lines, _report_cells, _report_retrieval, _sentences, retrieval

DOCS = Path(__file__).resolve().parents[2] / "docs"
SOME = ["--methods", "asym", "pq", "int8", "--budgets", "0.5", "3%"]


def bench(capsys, *arguments):
    """Run `embedcompress bench retrieval`; return the exit code, stdout and stderr."""
    code = cli.main(["bench", "retrieval", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture(scope="module")
def vectors():
    """Vectors around two centres, whose number is the label: corpus, queries, and the labels of each."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((2, 32))
    labels = random.integers(0, 2, 420)
    all_vectors = (centres[labels] + random.standard_normal((420, 32))).astype(np.float32)
    all_vectors /= np.linalg.norm(all_vectors, axis=1, keepdims=True)
    return all_vectors[20:], all_vectors[:20], labels[20:], labels[:20]


@pytest.fixture(scope="module")
def saved(vectors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieval")
    for name, array in zip(("corpus", "queries", "labels", "query_labels"), vectors, strict=True):
        np.save(folder / f"{name}.npy", array)
    return folder


def own(folder):
    """Return the arguments that name the files."""
    labels = ["--labels", folder / "labels.npy", folder / "query_labels.npy"]
    return ["--corpus", folder / "corpus.npy", "--queries", folder / "queries.npy", *labels]


@pytest.fixture(scope="module")
def measured(vectors, saved):
    out = saved / "all.jsonl"
    calls = list(_calls.calls(_calls.contenders(), (0.5, 0.1)))
    return retrieval.run(retrieval.Search("small", *vectors), calls, out), out


def test_every_method_is_measured_or_refuses(measured):
    lines, out = measured
    assert _lines.read(out) == lines
    methods = ec.methods()
    assert {line["request"]["method"] for line in lines} == {method.name for method in methods}
    for line in lines:
        if "refused" in line:
            continue
        figures = line["figures"]
        shares = ("recall_at_1", "recall_at_10", "recall_at_100", "accuracy", "exact_accuracy", "agreement")
        assert all(0 <= figures[name] <= 1 for name in shares)
        assert -1 <= figures["rank_correlation"] <= 1
        assert figures["bytes_per_vector"] == figures["stored_bytes"] / 400
    assert len({line["figures"]["exact_accuracy"] for line in lines if "figures" in line}) == 1


def test_figures_are_those_of_a_plain_search(vectors, measured):
    scipy = pytest.importorskip("scipy.stats")
    corpus, queries, labels, query_labels = vectors
    line = next(one for one in measured[0] if one["request"]["method"] == "pq" and "figures" in one)
    budget = {} if line["request"]["budget"] is None else {"budget": line["request"]["budget"]}
    restored = ec.compress(corpus, "pq", **budget).decode()
    exact, found = queries @ corpus.T, queries @ restored.T
    order, other = (np.argsort(-scores, axis=1, kind="stable") for scores in (exact, found))
    figures = line["figures"]
    for depth in (1, 10, 100):
        kept = [len(set(a[:depth]) & set(b[:depth])) / depth for a, b in zip(order, other, strict=True)]
        assert figures[f"recall_at_{depth}"] == pytest.approx(np.mean(kept), abs=0.01)
    ranks = [scipy.spearmanr(a[top], b[top]).statistic for a, b, top in zip(exact, found, order[:, :100], strict=True)]
    assert figures["rank_correlation"] == pytest.approx(np.mean(ranks), abs=1e-3)
    votes, compressed = (labels[one[:, : retrieval.VOTERS]].mean(axis=1) > 0.5 for one in (order, other))
    assert figures["exact_accuracy"] == np.mean(votes == query_labels)
    assert figures["accuracy"] == pytest.approx(np.mean(compressed == query_labels), abs=0.051)
    assert figures["agreement"] == pytest.approx(np.mean(compressed == votes), abs=0.051)


def test_what_is_hardly_compressed_is_found_as_it_was(vectors):
    search = retrieval.Search("small", *vectors)
    judge = retrieval.Judge(search, ec.dense(search.corpus))
    figures = judge(ec.dense(search.corpus))
    assert [figures[f"recall_at_{depth}"] for depth in (1, 10, 100)] == [1, 1, 1]
    assert figures["rank_correlation"] == pytest.approx(1)
    assert figures["agreement"] == 1
    assert figures["accuracy"] == figures["exact_accuracy"] > 0.8
    nothing = judge(ec.dense(np.zeros_like(search.corpus)))
    assert nothing["recall_at_100"] < 0.5
    assert nothing["rank_correlation"] == 0
    assert nothing["bytes_per_vector"] == 4 * 32


@pytest.mark.parametrize("block", [7, 100, 16_384])
def test_the_nearest_are_those_of_a_full_sort(rng, monkeypatch, block):
    monkeypatch.setattr(retrieval, "_BLOCK", block)
    monkeypatch.setattr(retrieval, "_QUERY_BLOCK", 2)
    corpus = rng.integers(-3, 4, (150, 4)).astype(np.float32)
    queries = rng.standard_normal((37, 4)).astype(np.float32)
    # Whole numbers: the sums do not depend on their order.
    queries = np.round(queries * 8)
    scores = queries @ corpus.T
    found = retrieval.nearest(ec.dense(corpus), queries, 10)
    wanted = np.sort(scores, axis=1)[:, ::-1][:, :10]
    assert np.array_equal(np.take_along_axis(scores, found, axis=1), wanted)
    assert all(len(set(row)) == 10 for row in found)


def test_votes():
    assert retrieval.vote(np.array([[2, 2, 1], [1, 2, 0], [5, 5, 5]])).tolist() == [2, 0, 5]


def test_without_labels_nothing_is_voted(vectors, tmp_path):
    search = retrieval.Search("small", *vectors[:2])
    (line,) = retrieval.run(search, [_calls.Call("asym", {"bits": 4})], tmp_path / "retrieval.jsonl")
    assert "accuracy" not in line["figures"]
    assert "voters" not in line["request"]
    assert "recall@10" in _report_retrieval.summary([line])
    assert "accuracy | agreement" in _report_retrieval.parts([line])[-1]


def test_a_run_gives_the_same_lines_again_and_measures_nothing(saved, tmp_path, capsys, monkeypatch):
    out = tmp_path / "retrieval.jsonl"
    code, text, _ = bench(capsys, *own(saved), *SOME, "--out", out)
    assert code == 0
    assert "best recall@10" in text
    before = out.read_bytes()
    monkeypatch.setattr(ec, "compress", None)
    code, text, _ = bench(capsys, *own(saved), *SOME, "--out", out, "--json")
    assert code == 0
    assert out.read_bytes() == before
    assert json.loads(text) == {"corpus": "corpus.npy", "lines": _lines.read(out)}


def test_an_interrupted_run_goes_on(saved, tmp_path, capsys, monkeypatch):
    out = tmp_path / "retrieval.jsonl"
    compress, done = ec.compress, []

    def interrupted(*arguments, **options):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(options)
        return compress(*arguments, **options)

    monkeypatch.setattr(ec, "compress", interrupted)
    assert bench(capsys, *own(saved), *SOME, "--out", out)[0] == 130
    kept = _lines.read(out)
    assert len(kept) == 5
    monkeypatch.setattr(ec, "compress", compress)
    whole = tmp_path / "whole.jsonl"
    for path in (out, whole):
        assert bench(capsys, *own(saved), *SOME, "--out", path)[0] == 0
    found = _lines.read(out)
    assert found[:5] == kept
    assert [outcome(line) for line in found] == [outcome(line) for line in _lines.read(whole)]


def outcome(line):
    """A line without what depends on the clock."""
    figures = {name: value for name, value in line.get("figures", {}).items() if "seconds" not in name}
    return line["request"], line.get("refused"), figures


# Sentences


def test_sentences_are_read_with_the_sign_of_their_rating(tmp_path):
    path = tmp_path / "rated.txt"
    path.write_bytes("1\t2.5\tfine\n2\t-0.5\tdull \r\n\n3\t0.4\tso so\n4\t-1\tfine\n1\tcafé\n".encode("latin-1"))
    sentences, labels = _sentences.read_sentences(path)
    assert sentences == ["fine", "dull", "café"]
    assert labels.tolist() == [True, False, True]
    for text, message in [
        ("1\tfine\nno rating\n", "line 2: no rating before the sentence"),
        ("good\tfine\n", "line 1: no rating"),
        ("nan\tfine\n", "line 1: no finite rating"),
        ("1\t \n", "line 1: no sentence"),
        ("0\tfine\n", "has no sentence with a rating"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            _sentences.read_sentences(path)


@pytest.fixture
def rated(tmp_path):
    path = tmp_path / "rated.tsv"
    path.write_text("".join(f"{1 if index % 2 else -1}\tsentence {index}\n" for index in range(130)))
    return path


def test_sentences_are_encoded_once(rated, tmp_path, capsys, monkeypatch, rng):
    made = []

    def encode(sentences, progress):
        made.append(sentences)
        return rng.standard_normal((len(sentences), 16)).astype(np.float32)

    monkeypatch.setattr(_sentences, "encode", encode)
    path, out = tmp_path / "vectors.npy", tmp_path / "retrieval.jsonl"
    arguments = ["--sentences", rated, "--vectors", path, "--held-out", "20", *SOME, "--out", out]
    assert bench(capsys, *arguments)[0] == 0
    before = out.read_bytes()
    assert bench(capsys, *arguments)[0] == 0
    assert out.read_bytes() == before
    assert [len(sentences) for sentences in made] == [130]
    request = _lines.read(out)[0]["request"]
    assert (request["corpus"], request["rows"], request["queries"]) == ("rated.tsv", 110, 20)
    np.save(path, np.ones((5, 16), np.float32))
    code, _, err = bench(capsys, *arguments)
    assert code == 1
    assert "has 5 vectors" in err
    assert "130 sentences" in err


def test_held_out_vectors_are_not_in_the_corpus():
    vectors = np.arange(300, dtype=np.float32)[:, None]
    search = retrieval.held_out("numbers", vectors, np.arange(300), 50)
    assert len(search.queries) == 50
    assert sorted([*search.corpus[:, 0], *search.queries[:, 0]]) == list(range(300))
    assert np.array_equal(search.labels, search.corpus[:, 0])
    assert np.array_equal(search.query_labels, search.queries[:, 0])


def test_the_encoder():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    sentences = ["A wonderful film, moving and funny.", "The pipe under the sink leaks.", "A funny and moving movie."]
    vectors = _sentences.encode(sentences)
    assert vectors.shape == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    # Padding takes no part.
    assert np.abs(_sentences.encode(sentences[1:2]) - vectors[1]).max() < 1e-5
    similar = vectors @ vectors.T
    assert similar[0, 2] > 0.7 > 0.3 > similar[0, 1]


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --sentences, or --corpus and --queries"),
        (["--sentences", "a", "--corpus", "b"], "give --sentences, or --corpus and --queries"),
        (["--corpus", "corpus.npy"], "--queries is missing"),
        (["--corpus", "none.npy", "--queries", "queries.npy"], "'none.npy': No such file"),
        (["--corpus", "text.npy", "--queries", "queries.npy"], "'text.npy': it looks like text"),
        (
            ["--corpus", "labels.npy", "--queries", "queries.npy"],
            "'labels.npy': a .npy file without a tensor of two axes",
        ),
        (["--corpus", "queries.npy", "--queries", "corpus.npy"], "not 20 and 400"),
        (["--corpus", "corpus.npy", "--queries", "other.npy"], "the same dimension"),
        (["--corpus", "nan.npy", "--queries", "queries.npy"], "vector 7 of the corpus is not finite"),
        (["--corpus", "corpus.npy", "--queries", "queries.npy", "--vectors", "v"], "--vectors goes with --sentences"),
        ([*own(Path()), "--labels", "labels.npy", "labels.npy"], "labels of the queries must be 20 numbers"),
        ([*own(Path()), "--labels", "corpus.npy", "labels.npy"], "must have whole numbers"),
        ([*own(Path()), "--methods", "nothing"], "there is no method 'nothing'"),
        ([*own(Path()), "--out", "none/out.jsonl"], "the folder 'none' does not exist"),
        (["--sentences", "none.txt"], "'none.txt': No such file"),
        (["--sentences", "rated.txt", "--vectors", "none/v.npy"], "the folder 'none' does not exist"),
        (["--sentences", "rated.txt", "--labels", "a", "b"], "--labels goes with --corpus"),
    ],
)
def test_errors_of_use_in_one_line(saved, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(saved)
    Path("text.npy").write_text("no array")
    Path("rated.txt").write_text("1\tfine\n")
    np.save("other.npy", np.ones((5, 31), np.float32))
    bad = np.load("corpus.npy")
    bad[7, 3] = np.nan
    np.save("nan.npy", bad)
    code, out, err = bench(capsys, "--out", "errors.jsonl", *arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err


def test_budgets_out_of_range(saved, capsys):
    for budget in ("0", "1.01", "7"):
        with pytest.raises(SystemExit, match="2"):
            bench(capsys, *own(saved), "--budgets", budget, "--out", saved / "none.jsonl")
        assert f"'{budget}' is" in capsys.readouterr().err


# The report


def test_the_report_has_every_budget_and_the_best(measured, tmp_path):
    pytest.importorskip("matplotlib")
    lines, _ = measured
    assert list(_report_retrieval.by_corpus(lines)) == ["small"]
    text = "\n\n".join(_report_retrieval.parts(lines))
    assert text.count("| method | 50 % | 10 % |") == 2
    assert "**" in text
    best = [line["figures"] for line in _report_retrieval.best(lines)]
    recalls = [figures["recall_at_10"] for figures in best]
    assert recalls == sorted(recalls)
    assert max(line["figures"]["recall_at_10"] for line in _report_cells.made(lines)) == recalls[-1]
    _report_retrieval.plot(lines).savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_searches_of_the_same_name_are_apart(measured):
    lines, _ = measured
    others = [line | {"request": line["request"] | {"digest": "other"}} for line in lines[:3]]
    groups = _report_retrieval.by_corpus([*lines, *others])
    assert [len(group) for group in groups.values()] == [len(lines), 3]


def test_the_committed_searches_say_what_they_are_of():
    (found,) = _report_retrieval.by_corpus(_lines.read(DOCS / "results" / "retrieval.jsonl")).values()
    request = found[0]["request"]
    assert (request["rows"], request["dimension"], request["queries"]) == (9070, 384, 1000)
    text = "\n\n".join(_report_retrieval.heading(found))
    assert "## Sentences of film reviews, by MiniLM, 9,070 × 384\n\nFrom the source archive" in text
    four_bits = next(
        one for one in found if (one["request"]["method"], one["request"]["options"]) == ("greedy", {"bits": 4})
    )
    assert four_bits["figures"]["recall_at_10"] > 0.9
    assert four_bits["figures"]["agreement"] > 0.95
