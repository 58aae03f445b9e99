"""The report: what it says of results that are known, and that its page stands alone."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("markdown")
pytest.importorskip("torch")

from report_results import MACHINE, Page, line, refused

from embedcompress import cli
from embedcompress.bench import _lines, _report_advice, _report_claims, _report_train, report
from embedcompress.bench._report_post import Contest


def results():
    """Three seeds: sharing wins at 1 %, codes and quantization at 50 %, within the noise of each other."""
    found = []
    for seed in range(3):
        apart = 0.001 * (seed - 1)
        found += [
            line("full", 1.0, 0.80 + apart, seed),
            line("robe", 0.5, 0.797 + apart, seed, train_seconds=4.0),
            line("hash", 0.5, 0.780 + apart, seed),
            line("alpt", 0.5, 0.8002 + apart, seed, train_seconds=20.0, lookup_ns_per_row=3.0),
            line("dpq", 0.5, 0.8000 + apart, seed, stored_bytes=300_000, ratio=0.3, training_bytes=900),
            line("pep", 0.5, 0.700 + apart, seed),
            line("robe", 0.01, 0.780 + apart, seed),
            line("hash", 0.01, 0.600 + apart, seed, cold_auc=0.9),
            line("pep", 0.01, 0.650 + apart, seed),
            refused("alpt", 0.01, 123_456),
        ]
    return [*found, line("robe", 0.5, 0.79, head="dcn"), line("full", 1.0, 0.80, head="dcn")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in results()))
    report.make([path], folder / "out")
    return folder / "out"


def verdicts():
    found = _report_train.groups(results())
    return {finding.claim: finding for finding in _report_claims.findings(found, "flights", "dlrm")}


def test_claims_are_held_against_the_numbers():
    found = verdicts()
    assert found["At tiny budgets (1 %) methods that share rows win."].verdict == "confirmed"
    quantization = found["At moderate budgets (50 %) quantization wins: fewer bits, or codes."]
    assert quantization.verdict == "confirmed"
    assert (
        "[alpt 0.8002 ± 0.0010](#flights-dlrm-alpt-0_5), above the best of the others, [robe" in quantization.evidence
    )
    assert found["Hashing ids to fewer rows is visibly worse than the best method at 1 %."].verdict == "confirmed"
    lossless = found["A table can shrink at no cost in quality."]
    assert lossless.verdict == "confirmed"
    assert "dpq" in lossless.evidence and "30.0 %" in lossless.evidence
    assert "alpt 123 kB" in found["Some methods have floors, whatever the data is."].evidence
    pruning = found["Pruning at 50 % loses no more than 0.003 of AUC."]
    assert pruning.verdict == "contradicted"
    assert "[pep 0.7000 ± 0.0010](#flights-dlrm-pep-0_5), 0.1000 (standard error 0.0008) below it." in pruning.evidence


def test_one_seed_confirms_nothing():
    found = _report_train.groups([one for one in results() if one["request"]["seed"] == 0])
    contests = _report_claims.findings(found, "flights", "dlrm")[:3]
    assert [finding.verdict for finding in contests] == ["open"] * 3


def test_one_seed_says_nothing_of_noise():
    found = _report_train.groups([one for one in results() if one["request"]["seed"] == 0])
    for finding in _report_claims.findings(found, "flights", "dlrm"):
        assert "noise" not in finding.evidence
        assert "Pruning" not in finding.claim or finding.verdict == "open"


def post(method, ratio, value, budget=None, options=None, bench="table", **figures):
    request = {"method": method, "options": options or {}, "budget": budget}
    return {
        "bench": bench, "machine": MACHINE,
        "request": {"table": "small", "corpus": "small", "rows": 100, "dimension": 4, "queries": 10} | request,
        "figures": {"ratio": ratio, "stored_bytes": int(1600 * ratio), "normalized_l2": value} | figures,
    }  # fmt: skip


def test_advice_and_claims_on_tables():
    lines = [
        post("greedy", 0.25, 0.10, 0.25), post("pq", 0.2, 0.12, 0.25), post("svd", 0.25, 0.5, 0.25),
        post("prune", 0.25, 0.1005, 0.25), post("eden", 0.03, 0.60, 0.03), post("pq", 0.03, 0.40, 0.03),
        post("svd", 0.03, 0.39, 0.03, {"inner": "eden"}), post("greedy", 0.5, 0.01),
    ]  # fmt: skip
    contest = Contest(lines, "normalized_l2", most=False)
    assert contest.advice() == [
        "**Up to 25 %**: greedy 0.1.",
        "**Up to 3 %**: svd(eden) 0.39; of those that are one method alone, pq 0.4.",
    ]
    verdicts = [(finding.claim.split(" (")[0], finding.verdict) for finding in contest.findings()]
    assert verdicts == [
        ("At moderate budgets", "open"), ("At small budgets", "confirmed"),
        ("Low rank is a good compressor at 25.0 %.", "contradicted"),
        ("Pruning is a good compressor at 25.0 %.", "open"),
        ("Deduplication is a good compressor at 25.0 %.", "contradicted"),
        ("Nesting methods in each other beats each alone at 3.0 %.", "confirmed"),
    ]  # fmt: skip


def test_more_is_better_where_it_is():
    lines = [post("greedy", 0.2, 0.9, 0.25), post("pq", 0.2, 0.5, 0.25)]
    assert Contest(lines, "normalized_l2", most=True).best(0.25) is lines[0]
    assert Contest(lines, "normalized_l2", most=False).best(0.25) is lines[1]


def test_the_committed_report_is_made_of_the_committed_results():
    """`make report` makes all of it."""
    root = Path(__file__).resolve().parents[2]
    (names,) = re.findall(r"^REPORTED := (.*)$", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    results = [root / "docs" / "results" / f"{name}.jsonl" for name in names.split()]
    lines = [line for path in results for line in _lines.read(path)]
    pieces = report.report(lines, [path.name for path in results])
    folder = root / "docs" / "report"
    assert (folder / "report.md").read_text(encoding="utf-8") == report.text(pieces)
    drawn = {f"{piece.name}.svg" for piece in pieces if isinstance(piece, report.Plot)}
    assert drawn == {path.name for path in folder.glob("*.svg")}


def test_every_cell_has_a_row_also_of_heads_with_one_budget():
    text = report.text(report.report(results(), ["train.jsonl"]))
    assert '<a id="flights-dcn-robe-0_5"></a>robe' in text
    assert "### Flight delays, DCN: the advice" not in text


def test_lines_that_have_no_section_are_refused(tmp_path):
    path = tmp_path / "other.jsonl"
    path.write_text('{"bench": "other", "request": {}, "machine": {}, "figures": {}}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.jsonl' has lines of bench other: .* train, scale, table, retrieval"):
        report.make([path], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_contradiction_is_said():
    lines = [one for one in results() if one["request"]["method"] != "robe"]
    found = _report_claims.findings(_report_train.groups(lines), "flights", "dlrm")
    assert (found[0].claim[:15], found[0].verdict) == ("At tiny budgets", "contradicted")


def test_advice_names_what_is_as_good_and_what_it_costs():
    at_half, at_hundredth = _report_advice.advice(_report_train.groups(results()), "flights", "dlrm")
    assert at_half.startswith(
        "**Up to 50 % of the bytes** take [alpt 0.8002 ± 0.0010](#flights-dlrm-alpt-0_5), 0.0002 above"
    )
    assert "within the noise of it: [dpq" in at_half and "robe" not in at_half
    assert "Of these dpq trains fastest (10 s), the table of dpq needs the least memory" in at_half
    assert "alpt is looked up fastest (3 ns a row)" in at_half
    assert "0.0200 below the uncompressed table" in at_hundredth
    assert "For rows whose ids are rare, hash is best (0.9000)" in at_hundredth


def test_the_front_has_what_nothing_beats():
    found = [group for group in _report_train.groups(results()) if group.head == "dlrm" and group.lines]
    assert [group.method for group in _report_train.front(found)] == ["robe", "dpq", "alpt"]


def test_the_page_stands_alone(made):
    text = (made / "report.html").read_text()
    page = Page(text)
    assert page.loads == ["data:,"]
    assert len(page.links) > 10
    assert {link.removeprefix("#") for link in page.links} <= set(page.names)
    assert len(page.names) == len(set(page.names))
    assert "url(http" not in text and "@import" not in text
    assert "a &lt;cpu&gt;" in text
    assert text.count("<svg") == 2 and "<h3" in text and "<table>" in text


def test_the_twin_has_the_same_tables_and_its_pictures(made):
    text = (made / "report.md").read_text()
    for name in re.findall(r"\]\((\S+\.svg)\)", text):
        assert (made / name).read_text().startswith("<svg")
    assert "### Flight delays: all heads at 50 %" in text
    assert "Not possible: alpt (123 kB at least)." in text
    assert '<a id="flights-dlrm-robe-0_01"></a>robe | sharing | **0.7800 ± 0.0010**' in text


def test_the_report_is_the_same_again(made, tmp_path):
    report.make([made.parent / "train.jsonl"], tmp_path)
    for path in made.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_browser_opens_the_page_without_errors(made):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("there is no Chromium here")
    found = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND",
         "--enable-logging=stderr", "--v=0", "--dump-dom", (made / "report.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in found.stderr
    assert found.stdout.count("<figure") == 2


def test_errors_of_the_command(tmp_path, capsys):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{}\n")
    for path, message in ((empty, "nothing to report"), (broken, "line 1: not a result"), (tmp_path / "no", "No such")):
        assert cli.main(["bench", "report", str(path), "--out", str(tmp_path / "out")]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_trials_are_shown_and_count_in_no_mean():
    lines = results()
    before = report.text(report.report(lines, ["train.jsonl"]))
    assert "which optimizer" not in before
    adam, own = {"name": "Adam", "lr": 0.002}, {"name": "RowwiseAdagrad", "lr": 0.1}
    for optimizer, auc in ((adam, 0.7123), (own, 0.7345)):
        trial = line("full", 1.0, 0.1, validation_auc=auc)
        trial["request"] |= {"optimizer": optimizer, "trial": True}
        lines.append(trial)
    trial = refused("pep", 0.01, 1000)
    trial["request"] |= {"optimizer": adam, "trial": True}
    found = report.text(report.report([*lines, trial], ["train.jsonl"]))
    head, table = found.split("## Training a table: which optimizer")
    assert "| method | budget | trials | Adam 0.002 | RowwiseAdagrad 0.1 |" in re.sub(" +", " ", table)
    assert "| full | 100 % | 2 | 0.7123 | **0.7345** |" in re.sub(" +", " ", table)
    assert "pep" not in table
    # All else is as without the trials, but for the count and time of results.
    assert without_origin(head) == without_origin(before)


def without_origin(text):
    return [one for one in text.strip().splitlines() if not one.startswith("- `bench train`: ")]


def test_tables_that_were_compressed_after_training_are_a_family():
    lines = [*results(), *(line("full + eden", 0.01, 0.79 + 0.001 * seed, seed) for seed in range(3))]
    found = report.text(report.report(lines, ["train.jsonl"]))
    assert "| full + eden | after training |" in re.sub(" +", " ", re.sub("<a[^>]*></a>", "", found))
    assert 'id="flights-dlrm-full+eden-0_01"' in found and "(#flights-dlrm-full+eden-0_01)" in found
