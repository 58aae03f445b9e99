"""The catalogue of methods: one for all doors, with types and ranges as data, and the papers' spelling."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import embedcompress as ec
from embedcompress import _core
from embedcompress._registry import checked_options, method_name

ROOT = Path(__file__).parents[2]
LISTED = json.loads(_core.methods())
METHODS = ec.methods(None)
STAGES = ("after training", "while training")
ids = [f"{entry['name']} {entry['stage']}" for entry in LISTED]
by_entry = pytest.mark.parametrize("entry", LISTED, ids=ids)


def test_python_lists_what_the_core_lists():
    for stage in STAGES:
        names = [entry["name"] for entry in LISTED if entry["stage"] == stage]
        assert [one.name for one in ec.methods(stage)][: len(names)] == names
    assert ec.methods() == ec.methods("after training")
    assert ec.methods(None) != ec.methods()
    assert {(one.name, one.stage) for one in ec.methods(None)} >= {(one["name"], one["stage"]) for one in LISTED}
    with pytest.raises(ValueError, match="stage must be one of 'after training', 'while training' or None, not 'now'"):
        ec.methods("now")


def test_name_and_stage_say_which_method_it_is():
    assert len({(entry["name"], entry["stage"]) for entry in LISTED}) == len(LISTED)
    both = {entry["name"] for entry in LISTED if entry["stage"] == STAGES[0]} & {
        entry["name"] for entry in LISTED if entry["stage"] == STAGES[1]
    }
    assert {"dedup", "int8", "int16"} <= both


@by_entry
def test_an_entry_is_complete(entry):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", entry["name"])
    for field in ("title", "family", "paper", "summary", "bytesPerRow", "cost"):
        assert entry[field].strip() == entry[field] != ""
    assert len({option["name"] for option in entry["options"]}) == len(entry["options"])
    for option in entry["options"]:
        assert option["summary"]
        assert option["values"]
        assert option["type"] in ("integer", "number", "choice", "flag", "array", "method", "budget")
        if option["type"] == "choice":
            assert len(option["choices"]) > 1
        for edge in ("minimum", "maximum"):
            assert option[edge] is None or option["type"] in ("integer", "number")


WRONG = {"integer": 1.5, "number": "much", "choice": "nothing", "flag": 1}


@by_entry
def test_options_take_what_the_catalogue_says(entry):
    """The values in words, in data and in what is checked are one."""
    name, stage = entry["name"], entry["stage"]
    defaults = {option["name"]: option["default"] for option in entry["options"]}
    assert checked_options(name, stage, {}) == defaults
    for option in entry["options"]:
        key = option["name"]
        for value in (option["minimum"], option["maximum"], *(option["choices"] or ())):
            if value is not None:
                assert checked_options(name, stage, {key: value})[key] == value
        outside = [WRONG[option["type"]]] if option["type"] in WRONG else []
        if option["minimum"] is not None:
            outside.append(option["minimum"] - 1)
        if option["maximum"] is not None and option["maximum"] < 2**62:
            outside.append(option["maximum"] * 2 + 1)
        for value in outside:
            with pytest.raises(ValueError, match=re.escape(f"{key} must be {option['values']}, not ")):
                checked_options(name, stage, {key: value})
    if all(option["type"] != "method" for option in entry["options"]):
        with pytest.raises(ValueError, match=f"{name} has no option 'colour'"):
            checked_options(name, stage, {"colour": 1})


def test_options_that_are_no_values():
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="option l1 must be finite"):
            checked_options("autosrh", "while training", {"l1": value})
    with pytest.raises(TypeError, match="option l1 must be a number, a text or a flag, not list"):
        checked_options("autosrh", "while training", {"l1": [1]})
    values = checked_options("autosrh", "while training", {"l1": np.float32(1), "groups": np.int64(3)})
    assert values["l1"] == 1.0 and isinstance(values["l1"], float) and values["groups"] == 3


@by_entry
def test_the_papers_spelling_is_taken(entry):
    for text in (entry["name"], entry["title"], entry["title"].lower(), entry["name"].upper().replace("_", "-")):
        assert method_name(text, entry["stage"]) == entry["name"]


@pytest.mark.parametrize(
    ("name", "stage", "message"),
    [
        ("robe", "after training", r'ROBE works while training.*embedcompress\.training\.embedding\("robe", \.\.\.\)'),
        ("CompoEmb", "after training", r'CompoEmb works while training.*training\.embedding\("compo"'),
        ("pq", "while training", r'PQ works after training.*embedcompress\.compress\(weight, "pq"\)'),
        ("KMEANS-CLS", "while training", r'KMEANS-CLS works after training.*compress\(weight, "kmeans_cls"\)'),
        ("gredy", "after training", "there is no method 'gredy' .is it greedy"),
        ("alpd", "while training", "there is no method 'alpd' to train .is it alpt"),
        ("nothing at all", "after training", "there is no method 'nothing at all'; the methods are table, sym"),
        ("", "after training", "there is no method ''"),
        ("_-", "after training", "there is no method '_-'"),
        ("pq" * 100_000, "after training", "there is no method"),
        ("pq", "now", "stage must be one of 'after training', 'while training', not 'now'"),
    ],
)
def test_names_that_there_are_not(name, stage, message):
    with pytest.raises(ValueError, match=message):
        method_name(name, stage)


def test_compress_takes_the_papers_spelling(tmp_path):
    weight = np.random.default_rng(0).standard_normal((40, 16), np.float32)
    table = ec.compress(weight, "KMEANS-CLS", bits=2)
    np.testing.assert_array_equal(table.decode(), ec.compress(weight, "kmeans_cls", bits=2).decode())
    ec.compress_to_file(tmp_path / "table", {"w": weight}, "KMEANS-CLS", bits=2)
    np.testing.assert_array_equal(table.decode(), ec.load(tmp_path / "table", "w").decode())
    for call in (
        lambda: ec.compress(weight, "ROBE"),
        lambda: ec.compress_to_file(tmp_path / "t", {"w": weight}, "ROBE"),
    ):
        with pytest.raises(ValueError, match="ROBE works while training"):
            call()


REGISTER = {
    "name": "twin", "title": "Twin", "family": "hashing", "stage": "while training", "paper": "-", "summary": "s",
    "bytesPerRow": "4", "cost": "c", "options": [],
}  # fmt: skip
OPTION = {"name": "a", "type": "integer", "default": 1, "summary": "s"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Twin"}, "a name is lower-case letters, digits and _"),
        ({"name": "1st"}, "begins with a letter"),
        ({"name": ""}, "begins with a letter"),
        ({"name": "robe"}, r"taken by 'robe' \(ROBE\)"),
        ({"title": "TT Rec"}, r"taken by 'tt' \(TT-Rec\)"),
        ({"title": ""}, "title is empty"),
        ({"cost": ""}, "cost is empty"),
        ({"family": "magic"}, "family must be one of 'uncompressed'"),
        ({"stage": "after training"}, "what is trained has the stage 'while training'"),
        ({"options": [OPTION, OPTION]}, "two options have one name"),
        ({"options": [OPTION | {"type": "list"}]}, "option 'a': the type must be one of 'integer'"),
        ({"options": [OPTION | {"minimum": 2}]}, "the default of a must be an integer, at least 2"),
        ({"options": [OPTION | {"minimum": 2, "maximum": 1}]}, "the minimum is above the maximum"),
        ({"options": [OPTION | {"type": "choice"}]}, "an option: choices must be an array, not null"),
        ({"options": [OPTION | {"default": [1]}]}, "the default must be a number"),
        ({"options": 1}, "a method: options must be an array, not 1"),
    ],
)
def test_entries_that_can_not_be_registered(change, message):
    before = _core.methods()
    with pytest.raises(ValueError, match=message):
        _core.method_register(json.dumps(REGISTER | change))
    assert _core.methods() == before


def test_the_documents_name_methods_that_there_are():
    """Every method of both stages is in the lists of docs/methods.md, and none that is not."""
    text = (ROOT / "docs" / "methods.md").read_text()
    start = text.index("## All methods")
    listed = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|", text[start:], re.MULTILINE)
    assert sorted(listed) == sorted((one.name, one.title, one.family) for one in METHODS)
