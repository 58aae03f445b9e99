"""Readers of Criteo's and Avazu's raw files: ids, numbers, splits, malformed lines."""

import gzip
import math

import numpy as np
import pytest
from raw_clicks import AVAZU_HEADER, avazu_line, criteo_line, numbered, places, same, write

from embedcompress.bench import _streaming
from embedcompress.bench._avazu import FIELDS as AVAZU_FIELDS
from embedcompress.bench._avazu import avazu
from embedcompress.bench._columns import csv_rows
from embedcompress.bench._criteo import criteo


def test_criteo_kaggle(tmp_path):
    seen = ["aaaaaaaa", "bbbbbbbb", "", "bbbbbbbb", "", "bbbbbbbb"] * 2 + ["cccccccc", "aaaaaaaa"]
    lines = [criteo_line(i % 3 == 0, {1: str(i)}, {1: one}) for i, one in enumerate(seen)]
    lines = [line.replace("True", "1", 1).replace("False", "0", 1) for line in lines]
    data = criteo(write(tmp_path / "train.txt", lines))
    assert data.fields == tuple(f"C{i}" for i in range(1, 27))
    assert data.numbers == tuple(f"I{i}" for i in range(1, 14))
    # b is used six times, missing four times, a twice, c only in the last seventh.
    assert data.sizes == (4, *[1] * 25)
    assert data.train.ids[:, 0].tolist() == [2, 0, 1, 0, 1, 0] * 2
    assert data.train.ids[0].tolist() == [2, *range(4, 29)]
    # Of the last seventh, the first half is the test.
    assert (data.test.ids[0, 0], data.validation.ids[0, 0]) == (3, 2)
    assert [len(data.train), len(data.validation), len(data.test)] == [12, 1, 1]
    assert data.train.labels.tolist() == [1, 0, 0] * 4
    np.testing.assert_allclose(data.train.numbers[:, 0], [math.log(i + 1) for i in range(12)], rtol=1e-6)
    # -3, and missing numbers.
    assert not data.train.numbers[:, 1:].any()
    assert (data.skipped, data.problems) == (0, ())


@pytest.mark.parametrize(("count", "validation", "test"), [(700, 50, 50), (701, 50, 50), (706, 50, 50), (21, 1, 2)])
def test_criteo_halves_the_last_seventh_as_the_study_does(count, validation, test, tmp_path):
    data = criteo(write(tmp_path / "train.txt", numbered(count)))
    trained = count - validation - test
    assert places(data.train) == list(range(trained))
    assert places(data.test) == list(range(trained, trained + test))
    assert places(data.validation) == list(range(trained + test, count))


def test_criteo_at_random(tmp_path):
    path = write(tmp_path / "train.txt", numbered(100))
    data = criteo(path, by="random", seed=3)
    parts = [places(part) for part in (data.train, data.validation, data.test)]
    assert [len(part) for part in parts] == [80, 10, 10]
    assert sorted(place for part in parts for place in part) == list(range(100))
    assert parts[0] != sorted(parts[0])
    same(data, criteo(path, by="random", seed=3))
    assert places(criteo(path, by="random", seed=4).train) != parts[0]


def test_criteo_terabyte(tmp_path):
    lines = numbered(30)
    # day_10 comes after day_2.
    write(tmp_path / "day_1", lines[:10])
    (tmp_path / "day_2.gz").write_bytes(gzip.compress("".join(line + "\n" for line in lines[10:25]).encode()))
    write(tmp_path / "day_10", lines[25:])
    write(tmp_path / "README", ["nothing"])
    data = criteo(str(tmp_path), layout="terabyte")
    assert places(data.train) == list(range(25))
    assert (places(data.test), places(data.validation)) == ([25, 26, 27], [28, 29])
    same(data, criteo([str(tmp_path / name) for name in ("day_1", "day_2.gz", "day_10")], layout="terabyte"))
    # The last day is that of the file, however few of it a sample has.
    some = criteo(str(tmp_path), layout="terabyte", sample=20, seed=1)
    assert max(places(some.train)) < 25 <= min(places(some.test) + places(some.validation))
    write(tmp_path / "day_1.gz", lines)
    with pytest.raises(ValueError, match=r"two files of one day: day_1 and day_1.gz"):
        criteo(str(tmp_path), layout="terabyte")


def test_criteo_refuses(tmp_path):
    path = write(tmp_path / "train.txt", numbered(30))
    for options, message in [
        ({"layout": "other"}, "layout must be one of kaggle, terabyte"),
        ({"by": "other"}, "split must be one of random, temporal"),
        ({"layout": "terabyte"}, "two days"),
        ({"sample": 0}, "sample must be a whole number"),
        ({"threshold": -1}, "threshold must be"),
        ({"sample": 3}, "of 3 rows none is left for validation"),
    ]:
        with pytest.raises(ValueError, match=message):
            criteo(path, **options)
    with pytest.raises(ValueError, match="one file"):
        criteo([path, path])
    with pytest.raises(ValueError, match="no file day_0"):
        (tmp_path / "empty").mkdir()
        criteo(str(tmp_path / "empty"), layout="terabyte")
    with pytest.raises(FileNotFoundError):
        criteo(str(tmp_path / "absent.txt"))


BAD = [
    (criteo_line()[:-30].encode(), "has 37 columns instead of 40"),
    (criteo_line(2).encode(), "has '2' as label, not 0 or 1"),
    (criteo_line("").encode(), "has '' as label, not 0 or 1"),
    (criteo_line(fields={3: "68fd1e6g"}).encode(), "has '68fd1e6g' as C3, not 8 hexadecimal digits"),
    (criteo_line(fields={3: "68fd1e645"}).encode(), "has '68fd1e645' as C3, not 8 hexadecimal digits"),
    (criteo_line(numbers={4: "1.5"}).encode(), "has '1.5' as I4, not a whole number"),
    (criteo_line(numbers={4: "-"}).encode(), "has '-' as I4, not a whole number"),
    (criteo_line().encode().replace(b"05db", b"\xff\xfedb"), "is not UTF-8"),
    (b"", "is empty"),
    (b"\t" * 40, "is empty"),
    (criteo_line().encode() + b"\r\r", "has stray carriage returns at its end"),
]


@pytest.mark.parametrize(("line", "problem"), BAD)
@pytest.mark.parametrize("sample", [None, 21, 1_000])
def test_malformed_lines_are_named(line, problem, sample, tmp_path):
    good = [one.encode() for one in numbered(50)]
    (tmp_path / "train.txt").write_bytes(b"\n".join([*good[:30], line, *good[30:], line, b""]))
    sentence = f"skipped 2 of 52 lines: train.txt line 31 {problem}; train.txt line 52 {problem}"
    with pytest.warns(UserWarning) as caught:
        data = criteo(str(tmp_path / "train.txt"), sample=sample)
    assert [str(one.message) for one in caught] == [sentence]
    assert data.skipped == 2
    assert data.problems == (f"train.txt line 31 {problem}", f"train.txt line 52 {problem}")
    rows = places(data.train) + places(data.test) + places(data.validation)
    assert len(rows) == (21 if sample == 21 else 50)
    assert rows == sorted(rows)


def test_a_last_line_that_is_cut_off(tmp_path):
    text = "\n".join(numbered(30))
    for cut, problem in [(3, "has '68fd1' as C26"), (40, "has 36 columns")]:
        (tmp_path / "train.txt").write_text(text[:-cut])
        with pytest.warns(UserWarning, match=f"1 of 30 lines: train.txt line 30 {problem}"):
            data = criteo(str(tmp_path / "train.txt"))
        assert len(data.train) + len(data.validation) + len(data.test) == 29
    # A missing end of the last line is no fault.
    (tmp_path / "train.txt").write_text(text)
    assert criteo(str(tmp_path / "train.txt")).skipped == 0


def test_only_the_first_problems_are_told(tmp_path):
    path = write(tmp_path / "train.txt", numbered(30) + [""] * 9)
    with pytest.warns(UserWarning, match="skipped 9 of 39 lines: .*line 35 is empty; and more$"):
        data = criteo(path)
    assert data.skipped == 9
    assert len(data.problems) == _streaming.SHOWN


def test_another_format_is_refused(tmp_path):
    path = write(tmp_path / "train.txt", numbered(20) + ["a,b"] * 20)
    with pytest.warns(UserWarning, match="skipped 20 of 40"):
        criteo(path)
    path = write(tmp_path / "train.txt", numbered(20) + ["a,b"] * 21)
    with pytest.raises(
        ValueError, match=r"train.txt' has another format: 21 of 41 lines are malformed, such as: .*line 21"
    ):
        criteo(path)
    # Each file on its own: a wrong one doesn't hide behind long right ones.
    days = [write(tmp_path / f"day_{day}", lines) for day, lines in enumerate([numbered(50), ["a,b"]])]
    with pytest.raises(ValueError, match="day_1' has another format: 1 of 1"):
        criteo(days, layout="terabyte")


@pytest.mark.parametrize("content", [b"", gzip.compress(b"")])
def test_empty_files(content, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    for read in (criteo, avazu):
        with pytest.raises(ValueError, match="file' has no rows"):
            read(str(path))
    with pytest.raises(ValueError, match="file' has no header"):
        csv_rows(str(path), "y", ["a"])
    path.write_text("y,a\n")
    with pytest.raises(ValueError, match="file' has no rows"):
        csv_rows(str(path), "y", ["a"])


def test_threshold(tmp_path):
    seen = [*"aaabbc", *"aabbde"]
    lines = [criteo_line(0, {1: str(i)}, {1: one * 8}) for i, one in enumerate(seen)]
    lines += [criteo_line(0, None, {1: one * 8}) for one in "fa"]
    path = write(tmp_path / "train.txt", lines)
    # a is used 5 times in training, b 4 times, c, d and e once, f never.
    assert criteo(path).sizes[0] == 6
    one = criteo(path, threshold=1)
    assert one.sizes[0] == 6
    two = criteo(path, threshold=2)
    assert two.sizes == (3, *[1] * 25)
    assert two.train.ids[:, 0].tolist() == [0, 0, 0, 1, 1, 2, 0, 0, 1, 1, 2, 2]
    assert (two.test.ids[0, 0], two.validation.ids[0, 0]) == (2, 0)
    # What is shared by many comes before what is used less often.
    assert criteo(path, threshold=5).train.ids[:, 0].tolist() == [1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0]


def test_avazu(tmp_path):
    hours = ["14102100"] * 5 + ["14102123"] * 3 + ["14102200"] * 2 + ["14102205"] * 3
    sites = ["1fbe01fe", "85f751fd"] * 6 + [""]
    lines = [avazu_line(i, hour, i % 2, site) for i, (hour, site) in enumerate(zip(hours, sites, strict=True))]
    data = avazu(write(tmp_path / "train.csv", [AVAZU_HEADER, *lines]))
    assert data.fields == AVAZU_FIELDS == tuple(AVAZU_HEADER.split(",")[2:])
    assert len(data.fields) == 22
    assert data.numbers == ()
    assert data.train.numbers.shape == (8, 0)
    assert data.sizes == (4, 1, 1, 3, *[1] * 18)
    assert data.train.ids[:, 0].tolist() == [0] * 5 + [1] * 3
    assert data.test.ids[:, 0].tolist() == [2, 2, 3]
    assert data.validation.ids[:, 0].tolist() == [3, 3]
    assert data.validation.ids[:, 3].tolist() == [4 + 2 + 1, 4 + 2 + 2]
    assert data.validation.labels.tolist() == [1, 0]
    one = avazu(str(tmp_path / "train.csv"), threshold=1)
    assert one.sizes == (3, 1, 1, 3, *[1] * 18)
    # The file need not be in order of the hours.
    (tmp_path / "train.gz").write_bytes(gzip.compress("\n".join([AVAZU_HEADER, *lines[8:], *lines[:8]]).encode()))
    turned = avazu(str(tmp_path / "train.gz"))
    np.testing.assert_array_equal(turned.train.labels, data.train.labels)
    np.testing.assert_array_equal(turned.test.labels, data.test.labels)
    assert len(avazu(str(tmp_path / "train.csv"), by="random", sample=10).train) == 8


def test_avazu_refuses(tmp_path):
    lines = [avazu_line(i, 14102100) for i in range(20)]
    with pytest.raises(ValueError, match=r"train.csv': line 1 is not the header id,click,hour"):
        avazu(write(tmp_path / "train.csv", lines))
    with pytest.raises(ValueError, match="two days at least"):
        avazu(write(tmp_path / "train.csv", [AVAZU_HEADER, *lines]))
    bad = [lines[0].replace("14102100", "14102124"), lines[0].replace(",-1,", ",x,"), lines[0] + ",1"]
    with pytest.warns(UserWarning) as caught:
        avazu(write(tmp_path / "train.csv", [AVAZU_HEADER, *lines, *bad]), by="random")
    assert str(caught[0].message) == (
        "skipped 3 of 23 lines: train.csv line 22 has '14102124' as hour, not an hour as YYMMDDHH; "
        "train.csv line 23 has 'x' as C20, not a whole number; train.csv line 24 has 25 columns instead of 24"
    )
