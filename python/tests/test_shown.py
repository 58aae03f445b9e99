"""What tables and lists of results look like in a prompt and in a notebook."""

import pickle
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import embedcompress as ec

WEIGHT = np.random.default_rng(3).standard_normal((300, 16)).astype(np.float32)
VOID = {"br", "hr", "img"}


class Balanced(HTMLParser):
    """Fails on tags that don't go together; keeps the text."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def text_of(html):
    parser = Balanced()
    parser.feed(html)
    assert not parser.open
    return "".join(parser.text)


@pytest.mark.parametrize("method", ["least_squares", "svd", "pq", "eden"])
def test_a_table_shows_its_bytes(method):
    table = ec.compress(WEIGHT, method, budget=0.4)
    assert "\n" not in repr(table)
    html = table._repr_html_()
    text = text_of(html)
    assert repr(table) in text and str(table) in text
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", html)]
    assert sum(widths) == pytest.approx(100, abs=0.01)
    sizes = [int(size.replace(",", "")) for size in re.findall(r'title="[^"]*: ([\d,]+) bytes"', html)]
    assert sum(sizes) == table.stored_bytes


def test_a_table_without_rows_shows():
    assert "0 x 16" in text_of(ec.dense(WEIGHT[:0])._repr_html_())


def check(found, names):
    """Every item has a line, and a row of the HTML."""
    lines = repr(found).splitlines()
    assert len(lines) == len(found) + 1
    text = text_of(found._repr_html_())
    for line, name in zip(lines[1:], names, strict=True):
        assert name in line and name in text
    assert found._repr_html_().count("<tr>") == len(found) + 1
    again = pickle.loads(pickle.dumps(found))
    assert again == found and repr(again) == repr(found)


@pytest.mark.parametrize("stage", ["after training", "while training", None])
def test_methods_print_as_a_table(stage):
    found = ec.methods(stage)
    check(found, [method.name for method in found])
    assert isinstance(found, list)


def test_recommendations_print_as_a_table():
    found = ec.recommend(WEIGHT, "20%")
    check(found, [one.expression for one in found])


def test_advice_prints_as_a_table():
    training = pytest.importorskip("embedcompress.training")
    found = training.recommend([1000, 50], 16, budget="20%")
    check(found, [one.label for one in found])
    assert [method.name for method in training.methods()] == re.findall(
        r"^(\w+)", repr(training.methods()).partition("\n")[2], re.M
    )
