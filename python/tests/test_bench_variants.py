"""Variants of methods in results: what they are called, which family they are of, and what the report makes of them."""

import json
import re

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("markdown")
pytest.importorskip("torch")

from report_results import Page, line, refused

from embedcompress import training
from embedcompress._labels import label
from embedcompress.bench import _calls, _report_claims, _report_train, _report_train_plots, report
from embedcompress.bench._variants import ALL_FAMILIES, FAMILIES, family, variant

HYBRID = {"bits": 4, "block": 4}


@pytest.mark.parametrize(
    ("method", "options", "name"),
    [
        ("robe", {}, "robe"),
        ("robe", {"block": 4, "bits": 4}, "robe(bits=4, block=4)"),
        ("gmp", {"begin": 0.0, "end": 0.1}, "gmp(begin=0, end=0.1)"),
        ("autosrh", {"schedule": "gradual"}, "autosrh(schedule=gradual)"),
        ("cafe", {"hot": 0.5}, "cafe(hot=0.5)"),
        ("svd", {"inner": "eden"}, "svd(eden)"),
        ("hot_cold", {"hot": "eden", "cold": "eden"}, "hot_cold(eden)"),
    ],
)
def test_labels(method, options, name):
    assert label(method, options) == name


def test_a_table_in_hand_is_called_by_all_but_its_size():
    options = {"inner": "eden", "group": 32, "bits": 4}
    assert _calls.label({"method": "svd", "options": options, "budget": 0.1}) == "svd(eden, group=32)"


def test_options_are_of_what_was_trained():
    assert variant({"method": "full + eden"}) == "full + eden"
    assert variant({"method": "full + eden", "options": {"bits": 8}}) == "full(bits=8) + eden"


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("robe", {}, "sharing"),
        ("robe", {"block": 4}, "sharing"),
        ("robe", {"bits": None}, "sharing"),
        *((name, {"bits": 4}, "hybrids") for name in ("robe", "hash", "adapt", "compo", "mde", "tt")),
        ("full", {"bits": 4}, "quantization"),
        ("alpt", {"bits": 4}, "quantization"),
        ("dpq", {"bits": 4}, "codes"),
        ("autosrh", {"schedule": "gradual"}, "pruning"),
        ("full + eden", {}, "after training"),
        ("a stranger's", {}, "other"),
    ],
)
def test_families(method, options, expected):
    assert family(method, options) == expected


def test_every_method_has_a_family_with_a_mark_of_its_own():
    found = {family(method.name, {}) for method in training.methods() if method.name != "full"}
    assert found <= set(FAMILIES)
    marks = list(zip(_report_train_plots.COLORS, _report_train_plots.MARKERS, strict=True))
    assert len(ALL_FAMILIES) <= len(set(marks))


# The report

PRUNED = {"pep": 0.785, "deeplight": 0.788, "autosrh": 0.700}


def tuned(seeds=3):
    """Results in which hybrids win at 1 %, and are within the noise of others at 10 %."""
    found = []
    for seed in range(seeds):
        apart = 0.001 * (seed - 1)
        found += [
            line("full", 1.0, 0.8 + apart, seed),
            line("robe", 0.1, 0.79 + apart, seed),
            line("robe", 0.1, 0.7996 + apart, seed, options=HYBRID),
            line("int8", 0.1, 0.7992 + apart, seed),
            line("full + eden", 0.1, 0.795 + apart, seed),
            *(line(name, 0.1, auc + apart, seed) for name, auc in PRUNED.items()),
            line("autosrh", 0.1, 0.782 + apart, seed, options={"schedule": "gradual"}),
            line("deeplight", 0.5, 0.7995 + apart / 10, seed),
            line("robe", 0.01, 0.78 + apart, seed),
            line("robe", 0.01, 0.79 + apart, seed, options=HYBRID, train_seconds=30.0),
            line("robe", 0.01, 0.77 + apart, seed, options={"bits": 4, "block": 8}),
            line("pep", 0.01, 0.6 + apart, seed),
            refused("full + eden", 0.01, 250_000),
        ]
    return found


def claims(lines):
    found = _report_claims.findings(_report_train.groups(lines), "flights", "dlrm")
    assert len({finding.claim for finding in found}) == len(found)
    return {finding.claim: finding for finding in found}


def test_groups_are_of_variants():
    found = {(group.label, group.budget): group for group in _report_train.groups(tuned())}
    assert len(found[("robe", 0.01)].lines) == len(found[("robe(bits=4, block=4)", 0.01)].lines) == 3
    assert found[("robe", 0.01)].mean("auc") == pytest.approx(0.78)
    assert found[("robe(bits=4, block=4)", 0.01)].mean("auc") == pytest.approx(0.79)
    anchors = [group.anchor for group in found.values()]
    assert "flights-dlrm-robe-bits=4-block=4-0_01" in anchors and "flights-dlrm-robe-0_01" in anchors
    assert len(set(anchors)) == len(anchors)
    assert all(re.fullmatch(r"[\w+=-]+", anchor) for anchor in anchors)


def test_hybrids_are_held_against_plain_methods_and_against_tables_compressed_afterwards():
    found = claims(tuned())
    at_tenth = found["Low-bit hybrids are better than every method that is no hybrid at 10 %."]
    # int8 is within the noise, although what was compressed afterwards is not.
    assert at_tenth.verdict == "open"
    assert "within the noise of the best other method that learns its table, [int8 0.7992" in at_tenth.evidence
    assert "above the best table that was compressed after training, [full + eden 0.7950" in at_tenth.evidence
    at_hundredth = found["Low-bit hybrids are better than every method that is no hybrid at 1 %."]
    assert at_hundredth.verdict == "confirmed"
    assert "[robe(bits=4, block=4) 0.7900 ± 0.0010](#flights-dlrm-robe-bits=4-block=4-0_01)" in at_hundredth.evidence
    assert "Low-bit hybrids are better than every method that is no hybrid at 50 %." not in found
    beside = found["The best hybrid at 1 % is better than the uncompressed table."]
    assert beside.verdict == "contradicted"
    assert "is 0.0100 (standard error 0.0008) below the uncompressed [full 0.8000" in beside.evidence
    assert found["The best hybrid at 10 % is better than the uncompressed table."].verdict == "open"


@pytest.mark.parametrize("rival", ["int8", "full + eden"])
def test_one_rival_that_is_better_contradicts(rival):
    lines = [*tuned(), *(line(rival, 0.01, 0.8 + 0.001 * seed, seed) for seed in range(3))]
    assert claims(lines)["Low-bit hybrids are better than every method that is no hybrid at 1 %."].verdict == (
        "contradicted"
    )


def test_pruning_is_held_against_the_uncompressed_table():
    found, claim = claims(tuned()), "Pruned tables at 10 % keep AUC to within 0.02, whichever method prunes."
    at_half = found["Pruning at 50 % loses no more than 0.003 of AUC."]
    assert at_half.verdict == "confirmed"
    assert "[deeplight 0.7995 ± 0.0001](#flights-dlrm-deeplight-0_5), 0.0005" in at_half.evidence
    each = found[claim]
    assert each.verdict == "confirmed"
    assert re.findall(r"\[(\S+) \d", each.evidence) == ["full", "deeplight", "pep", "autosrh(schedule=gradual)"]
    assert not any("Pruned" in claim and "1 %." in claim for claim in found)
    bad = [*tuned(), *(line("gmp", 0.1, 0.77 + 0.001 * seed, seed) for seed in range(3))]
    assert claims(bad)[claim].verdict == "contradicted"
    noisy = [*tuned(), *(line("gmp", 0.1, 0.78 + 0.01 * (seed - 1), seed) for seed in range(3))]
    assert claims(noisy)[claim].verdict == "open"


def test_learning_is_held_against_compressing_afterwards():
    found = claims(tuned())
    at_tenth = found["Learning a small table beats compressing the trained one afterwards at 10 %."]
    assert at_tenth.verdict == "confirmed"
    assert "is 0.0046 (standard error 0.0008) above [full + eden 0.7950" in at_tenth.evidence
    at_hundredth = found["Learning a small table beats compressing the trained one afterwards at 1 %."]
    assert at_hundredth.verdict == "confirmed"
    assert "afterwards no table gets as small, with the least bytes of each: full + eden 250 kB." in (
        at_hundredth.evidence
    )
    assert "Learning a small table beats compressing the trained one afterwards at 50 %." not in found
    worse = [*tuned(), *(line("full + pq", 0.1, 0.81 + 0.001 * seed, seed) for seed in range(3))]
    found = claims(worse)["Learning a small table beats compressing the trained one afterwards at 10 %."]
    assert found.verdict == "contradicted" and "full + pq" in found.evidence


def test_one_seed_says_nothing_of_variants():
    found = claims(tuned(1))
    asked = [claim for claim in found if re.match("Low-bit|The best hybrid|Prun|Learning", claim)]
    assert len(asked) == 8
    # That a budget has no room for a table is no matter of seeds.
    assert {found[claim].verdict for claim in asked if "afterwards at 1 %" not in claim} == {"open"}
    assert not any("standard error" in found[claim].evidence for claim in asked)


def test_claims_on_families_leave_hybrids_and_what_is_compressed_afterwards_out():
    lines = [*tuned(), *(line("full + pq", 0.5, 0.9 + 0.001 * seed, seed) for seed in range(3))]
    lines += [line("alpt", 0.5, 0.81 + 0.001 * seed, seed) for seed in range(3)]
    found = claims(lines)
    assert "[robe 0.7800" in found["At tiny budgets (1 %) methods that share rows win."].evidence
    moderate = found["At moderate budgets (50 %) quantization wins: fewer bits, or codes."]
    assert (moderate.verdict, "full + pq" in moderate.evidence) == ("confirmed", False)


def test_the_same_method_with_other_options_is_no_other_winner():
    lines = [line("full", 1.0, 0.8, seed) for seed in range(3)]
    for seed in range(3):
        lines += [line("robe", 0.1, 0.79, seed, options=HYBRID), line("robe", 0.01, 0.78, seed, options={"bits": 8})]
    assert claims(lines)["No method is the best at every budget."].verdict == "contradicted"


def test_the_page_has_variants_everywhere(tmp_path):
    lines = tuned()
    lines += [line("robe", 0.1, 0.7, seed, head="dcn", options=HYBRID) for seed in range(3)]
    lines += [line("full", 1.0, 0.8, seed, head="dcn") for seed in range(3)]
    for auc, options in ((0.71, HYBRID), (0.72, None)):
        trial = line("robe", 0.1, 0.1, options=options, validation_auc=auc)
        trial["request"] |= {"optimizer": {"name": "Adam", "lr": 0.002}, "trial": True}
        lines.append(trial)
    lines.append(refused("mde", 0.01, 300_000))
    lines[-1]["request"]["options"] = {"bits": 4}
    pieces = report.report(lines, ["train.jsonl"])
    text = re.sub(" +", " ", report.text(pieces))
    assert '| <a id="flights-dlrm-robe-bits=4-block=4-0_01"></a>robe(bits=4, block=4) | hybrids | ' in text
    assert "Not possible: full + eden (250 kB at least); mde(bits=4) (300 kB at least)." in text
    heads = text.split("### Flight delays: all heads at 10 %")[1]
    assert "| robe(bits=4, block=4) | 0.7996 | 0.7000 |" in heads
    trials = text.split("## Training a table: which optimizer")[1]
    assert (
        "| robe(bits=4, block=4) | 10 % | 1 | **0.7100** |" in trials and "| robe | 10 % | 1 | **0.7200** |" in trials
    )
    assert "take [robe(bits=4, block=4) 0.7900" in text
    (plot,) = [piece for piece in pieces if isinstance(piece, report.Plot) and piece.name == "quality-flights-dlrm"]
    titles = [axes.get_title() for axes in plot.figure.axes]
    assert "hybrids" in titles and "after training" in titles
    (axes,) = [axes for axes in plot.figure.axes if axes.get_title() == "hybrids"]
    shown = {text.get_text() for text in axes.get_legend().get_texts()}
    assert shown == {"robe(bits=4, block=4)", "robe(bits=4, block=8)"}


def test_links_to_variants_lead_somewhere(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in tuned()))
    report.make([path], tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert any("bits=4" in link for link in page.links)
    assert {link.removeprefix("#") for link in page.links} <= set(page.names)
    assert len(page.names) == len(set(page.names))


def test_a_table_in_codes_is_not_the_uncompressed_one():
    lines = [*tuned(), *(line("full", 1.0, 0.75, seed, options={"bits": 8}, ratio=0.27) for seed in range(3))]
    text = re.sub(" +", " ", report.text(report.report(lines, ["train.jsonl"])))
    assert "### Flight delays, DLRM: at 100 %" in text and "DLRM: uncompressed" not in text
    assert '<a id="flights-dlrm-full-bits=8-1"></a>full(bits=8) | quantization |' in text
    assert '<a id="flights-dlrm-full-1"></a>full | - |' in text
    beside = claims(lines)["The best hybrid at 1 % is better than the uncompressed table."]
    assert "[full 0.8000" in beside.evidence
