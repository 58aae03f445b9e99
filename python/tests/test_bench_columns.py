"""CSV and Parquet files by a description of their columns, and readers chosen by name."""

import gzip
import random
import sys

import numpy as np
import pytest
from raw_clicks import numbered, same, write

from embedcompress.bench import _clicks, _data
from embedcompress.bench._columns import csv_rows, parquet_rows

ROWS = [
    # day, user, item, price, bought
    ("2013-01-03", "ann", "book", "3.5", "1"),
    ("2013-01-01", "bob", "book", "1.5", "0"),
    ("2013-01-02", "ann", "", "", "1"),
    ("2013-01-01", "ann", "pen", "2.5", "0"),
    ("2013-01-05", "eve", "pen", "9", "1"),
    ("2013-01-04", "bob", "pen", "nan", "0"),
]
NAMES = ("day", "user", "item", "price", "bought")
LINES = [",".join(NAMES), *map(",".join, ROWS)]
SPEC = {"label": "bought", "fields": ["user", "item", "user x item"], "numbers": ["price"], "shares": (4 / 6, 1 / 6)}


def test_csv_in_order_of_the_file(tmp_path):
    data = csv_rows(write(tmp_path / "sales.csv", LINES), **SPEC)
    assert (data.name, data.fields, data.numbers) == ("sales.csv", ("user", "item", "user x item"), ("price",))
    # ann, bob, eve; book, missing, pen; six combinations.
    assert data.sizes == (3, 3, 6)
    assert data.train.ids[:, :2].tolist() == [[0, 3], [1, 3], [0, 4], [0, 5]]
    assert data.test.ids[0, :2].tolist() == [1, 5]
    assert data.validation.ids[0, :2].tolist() == [2, 5]
    pairs = np.concatenate([part.ids[:, 2] for part in (data.train, data.validation, data.test)])
    assert sorted(pairs) == list(range(6, 12))
    assert data.train.labels.tolist() == [1, 0, 1, 0]
    # 3.5, 1.5, 2.5 in training: mean 2.5, variance 2/3. What is missing is the mean.
    spread = (2 / 3) ** 0.5
    np.testing.assert_allclose(data.train.numbers[:, 0], np.array([1, -1, 0, 0]) / spread, atol=1e-6)
    np.testing.assert_allclose(data.validation.numbers, [[6.5 / spread]], rtol=1e-6)
    assert data.test.numbers.tolist() == [[0]]


def test_csv_in_order_of_time(tmp_path):
    data = csv_rows(write(tmp_path / "sales.csv", LINES), time="day", **SPEC)
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.validation.labels.tolist() == [0]
    assert data.test.labels.tolist() == [1]
    # Days 1, 1, 2, 3: prices 1.5, 2.5, none, 3.5.
    np.testing.assert_allclose(data.train.numbers[:, 0] * (2 / 3) ** 0.5, [-1, 0, 0, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("times", "order"),
    [
        (["10", "9", "8", "100"], [2, 1, 0, 3]),
        (["1.5", "-2", "1e1", "0"], [1, 3, 0, 2]),
        (["b10", "b9", "a", "b10"], [2, 0, 3, 1]),
        (["1700000000000000003", "1700000000000000002", "1700000000000000001", "0"], [3, 2, 1, 0]),
    ],
)
def test_time_by_number_or_by_text(times, order, tmp_path):
    lines = ["t,y,a", *(f"{time},{int(place == order[0])},{place}" for place, time in enumerate(times))]
    data = csv_rows(write(tmp_path / "f.csv", lines), "y", ["a"], time="t", shares=(0.5, 0.25))
    assert data.train.labels.tolist() == [1, 0]
    # Ids of one use each in training are in order of the file.
    first = sorted(order[:2]) + sorted(order[2:])
    assert data.train.ids[:, 0].tolist() == [first.index(place) for place in order[:2]]
    assert data.test.ids[:, 0].tolist() == [first.index(order[3])]


def test_forms_of_csv(tmp_path):
    plain = csv_rows(write(tmp_path / "sales.csv", LINES), **SPEC)
    (tmp_path / "a").write_bytes(gzip.compress(b"\xef\xbb\xbf" + "\r\n".join(LINES).encode()))
    same(csv_rows(str(tmp_path / "sales.csv"), time="day", **SPEC), csv_rows(str(tmp_path / "a"), time="day", **SPEC))
    tabs = write(tmp_path / "b", [line.replace(",", "\t") for line in LINES[1:]])
    same(plain, csv_rows(tabs, separator="\t", names=list(NAMES), **SPEC))
    same(plain, csv_rows([write(tmp_path / "c", LINES[:3]), write(tmp_path / "d", [LINES[0], *LINES[3:]])], **SPEC))
    quoted = ['"' + line.replace(",", '","').replace("ann", 'a ""n\n,n') + '"' for line in LINES]
    same(plain, csv_rows(write(tmp_path / "e", quoted), **SPEC))


@pytest.mark.parametrize(
    ("positive", "given", "labels"),
    [
        (None, ["0", "1", "1.0", "TRUE", "false"], [0, 1, 1, 1, 0]),
        (4, ["3", "4", "5.5", "-1", "4.0"], [0, 1, 1, 0, 1]),
        (0.5, ["0", "1", "0.5", "0.4", "2"], [0, 1, 1, 0, 1]),
        ("yes", ["yes", "no", "", "Yes", "yes"], [1, 0, 0, 0, 1]),
    ],
)
def test_what_is_positive(positive, given, labels, tmp_path):
    path = write(tmp_path / "f.csv", ["y,a", *(f"{one},x" for one in given)])
    data = csv_rows(path, "y", ["a"], positive=positive, shares=(0.6, 0.2))
    assert [*data.train.labels, *data.validation.labels, *data.test.labels] == labels


def test_malformed_rows_are_named(tmp_path):
    bad = {
        b"2013,ann,book,1": "has 4 columns instead of 5",
        b"2013,ann,book,1,2": "has '2' as label bought, not 0 or 1",
        b"2013,ann,book,cheap,1": "has 'cheap' as price, not a number",
        b"2013,ann,book,inf,1": "has 'inf' as price, not a number",
        b",ann,book,1,1": "has no day",
        b"2013,\xffann,book,1,1": "is not UTF-8",
        b"": "is empty",
        b'2013,"ann"x,book,1,1': "is no CSV as far as line 8: ',' expected after '\"'",
    }
    good = [line.encode() for line in LINES[1:]]
    for line, problem in bad.items():
        (tmp_path / "f.csv").write_bytes(b"\n".join([LINES[0].encode(), *good, line, *good, b""]))
        with pytest.warns(UserWarning) as caught:
            data = csv_rows(str(tmp_path / "f.csv"), time="day", **SPEC)
        assert [str(one.message) for one in caught] == [f"skipped 1 of 13 lines: f.csv line 8 {problem}"]
        assert len(data.train) == 8
    # A quote that never ends takes the lines after it along.
    (tmp_path / "f.csv").write_bytes(b"\n".join([LINES[0].encode(), *good, b'2013,"ann', *good[:3]]))
    with pytest.warns(UserWarning, match="skipped 4 of 10 lines: f.csv line 8 is no CSV as far as line 11"):
        csv_rows(str(tmp_path / "f.csv"), **SPEC)
    with pytest.raises(ValueError, match=r"f.csv' has another format: 6 of 6 lines .* has 'ann' as label user, not a"):
        csv_rows(write(tmp_path / "f.csv", LINES), "user", ["item"], positive=1)


def test_refuses(tmp_path):
    path = write(tmp_path / "sales.csv", LINES)
    for changed, message in [
        ({"label": "sold"}, "sales.csv' has no column 'sold'; it has day, user, item, price, bought"),
        ({"fields": ["user x shop"]}, "no column 'shop'"),
        ({"numbers": ["cost"]}, "no column 'cost'"),
        ({"time": "hour"}, "no column 'hour'"),
        ({"fields": ["bought"]}, "'bought' is the label"),
        ({"fields": []}, "fields must name a column"),
        ({"fields": "user"}, "fields must be a list of columns, not 'user'"),
        ({"fields": ["user", "user"]}, "fields name a column twice: user, user"),
        ({"shares": (0.9, 0.1)}, "leave some for the test"),
        ({"shares": (0.5,)}, "shares must be"),
        ({"separator": "ab"}, "separator must be one character"),
        ({"by": "other"}, "split must be one of"),
        ({"path": []}, "path must be"),
        ({"path": 5}, "path must be a file or a list of files, not 5"),
        ({"names": "user"}, "names must be a list of columns, not 'user'"),
        ({"positive": [1]}, "positive must be a number or a text"),
        ({"names": ["user", "user", "item", "price", "bought"]}, "more than one column 'user'"),
    ]:
        with pytest.raises(ValueError, match=message):
            csv_rows(**({"path": path} | SPEC | changed))
    with pytest.raises(FileNotFoundError):
        csv_rows(str(tmp_path / "absent"), **SPEC)


def test_sample_and_threshold(tmp_path):
    rng = random.Random(0)
    lines = ["t,y,a", *(f"{i},{i % 2},{min(rng.randrange(40), rng.randrange(40))}" for i in range(500))]
    path = write(tmp_path / "f.csv", lines)
    data = csv_rows(path, "y", ["a"], ["t"], sample=100, seed=2)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [80, 10, 10]
    times = np.concatenate([part.numbers[:, 0] for part in (data.train, data.validation, data.test)])
    assert (np.diff(times) > 0).all()
    assert data.train.numbers.mean() == pytest.approx(0, abs=1e-6)
    assert data.train.numbers.std() == pytest.approx(1, abs=1e-6)
    same(data, csv_rows(path, "y", ["a"], ["t"], sample=100, seed=2))
    rare = csv_rows(path, "y", ["a"], threshold=5)
    assert rare.rows < csv_rows(path, "y", ["a"]).rows
    assert rare.counts[np.argsort(rare.counts)[1:]].min() >= 5


def write_parquet(path, types=None):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = dict(zip(NAMES, zip(*ROWS, strict=True), strict=True))
    table = pyarrow.table(
        {
            "day": pyarrow.array(columns["day"]).cast(pyarrow.date32()),
            "user": pyarrow.array(columns["user"]).dictionary_encode(),
            "item": pyarrow.array([item or None for item in columns["item"]]),
            "price": pyarrow.array([float(price) if price else None for price in columns["price"]]),
            "bought": pyarrow.array([bought == "1" for bought in columns["bought"]]),
            "tags": pyarrow.array([[1, 2]] * len(ROWS)),
        }
    )
    parquet.write_table(table, path, row_group_size=2)
    return str(path)


@pytest.mark.parametrize(
    "options", [{}, {"time": "day"}, {"by": "random", "seed": 5}, {"sample": 6}, {"threshold": 2}, {"positive": "true"}]
)
def test_parquet_is_csv(options, tmp_path):
    path = write_parquet(tmp_path / "sales.parquet")
    lines = [line.removesuffix(",1") + ",true" if line.endswith(",1") else line for line in LINES[1:]]
    expected = csv_rows(write(tmp_path / "sales.csv", [LINES[0], *lines]), **SPEC, **options)
    same(parquet_rows(path, **SPEC, **options), expected)


def test_parquet_refuses(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "sales.parquet")
    for changed, message in [
        ({"label": "sold"}, "sales.parquet' has no column 'sold'; it has day, user"),
        ({"fields": ["tags"]}, "the column 'tags' can't be made text"),
        ({"numbers": ["user"]}, "6 of 6 rows are malformed, such as: sales.parquet row 1 has 'ann' as user"),
        ({"path": write(tmp_path / "sales.csv", LINES)}, "sales.csv' can't be read as Parquet"),
    ]:
        with pytest.raises(ValueError, match=message):
            parquet_rows(**({"path": path} | SPEC | changed))
    with pytest.raises(FileNotFoundError):
        parquet_rows(str(tmp_path / "absent"), **SPEC)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'embedcompress\[parquet\]'"):
        parquet_rows(path, **SPEC)


def test_malformed_rows_of_parquet_are_named(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"y": [0, 1, 5, 0, None, 1], "a": [1, 2, 3, 4, 5, 6]}), tmp_path / "f")
    with pytest.warns(UserWarning, match="skipped 2 of 6 rows: f row 3 has '5' as label y, not 0 or 1; f row 5 has ''"):
        parquet_rows(str(tmp_path / "f"), "y", ["a"], shares=(0.5, 0.25))


def test_crossed():
    columns = [np.array([0, 1, 0, 2]), np.array([3, 0, 3, 0]), np.array([1, 1, 1, 1])]
    numbers = _clicks.crossed(columns).tolist()
    assert numbers[0] == numbers[2]
    assert len(set(numbers)) == 3
    # Products of their sizes have no place in 64 bits.
    wide = [np.array([0, 2**31 - 2, 2**31 - 2]), *[np.array([2**31 - 2, 0, 2**31 - 2])] * 3]
    assert sorted(_clicks.crossed(wide).tolist()) == [0, 1, 2]


def test_readers_by_name(tmp_path):
    tabs = {"reader": "csv", "path": write(tmp_path / "a", LINES), **SPEC, "shares": [4 / 6, 1 / 6]}
    _data.check("mine", tabs)
    same(_data.read(tabs, "temporal"), csv_rows(tabs["path"], **SPEC))
    kaggle = {"reader": "criteo", "path": write(tmp_path / "b", [*numbered(30), ""]), "sample": 25}
    _data.check("kaggle", kaggle)
    with pytest.warns(UserWarning, match="skipped 1 of 31"):
        data = _data.read(kaggle, "random")
    (tmp_path / "kept").mkdir()
    _data.save(data, tmp_path / "kept")
    loaded = _data.load(tmp_path / "kept")
    same(loaded, data)
    assert (loaded.skipped, loaded.problems) == (1, ("b line 31 is empty",))
    with pytest.raises(ValueError, match="the reader avazu needs 'path'"):
        _data.check("mine", {"reader": "avazu"})
    with pytest.raises(ValueError, match="'separator' is no setting of the reader parquet"):
        _data.check("mine", {"reader": "parquet", "path": "a", "separator": ","})
