"""What readers of large files share: samples, gzip, and memory that does not grow with the file."""

import gzip
import math
import sys

import numpy as np
import pytest
from raw_clicks import numbered, places, same, write

from embedcompress.bench import _streaming
from embedcompress.bench._criteo import criteo


def test_sample_is_uniform():
    count, kept, tries = 40, 10, 3000
    used, first = np.zeros(count), np.zeros(count)
    for seed in range(tries):
        rows = list(_streaming.sampled(iter(range(count)), kept, seed))
        assert len(rows) == kept
        assert rows == sorted(set(rows))
        used[rows] += 1
        first[rows[0]] += 1
    share = kept / count
    # Five standard deviations.
    assert np.abs(used / tries - share).max() < 5 * math.sqrt(share * (1 - share) / tries)
    # Together too, not only each alone: the smallest of a uniform set.
    expected = [math.comb(count - 1 - place, kept - 1) / math.comb(count, kept) for place in range(count)]
    assert np.abs(first / tries - expected).max() < 5 * math.sqrt(max(expected) / tries)


@pytest.mark.parametrize(
    ("count", "sample", "kept"), [(0, 3, 0), (2, 3, 2), (3, 3, 3), (4, 3, 3), (5, None, 5), (9, 1, 1)]
)
def test_sample_sizes(count, sample, kept):
    rows = list(_streaming.sampled(iter(range(count)), sample, 0))
    assert len(rows) == kept
    assert rows == sorted(set(rows))


def test_sample_is_that_of_the_seed(tmp_path):
    path = write(tmp_path / "train.txt", numbered(200))
    one, again, other = (criteo(path, sample=50, seed=seed) for seed in (1, 1, 2))
    same(one, again)
    rows = places(one.train) + places(one.test) + places(one.validation)
    assert len(rows) == 50
    assert rows == sorted(rows)
    assert rows != places(other.train) + places(other.test) + places(other.validation)


def test_gzip(tmp_path):
    plain = write(tmp_path / "train.txt", numbered(50))
    zipped = tmp_path / "zipped"
    packed = gzip.compress((tmp_path / "train.txt").read_bytes())
    zipped.write_bytes(packed)
    same(criteo(plain), criteo(str(zipped)))
    same(criteo(plain, sample=30), criteo(str(zipped), sample=30))
    zipped.write_bytes(packed[:-12])
    with pytest.raises(ValueError, match="zipped': the gzip stream is broken after line"):
        criteo(str(zipped))


def test_windows_line_ends(tmp_path):
    same(criteo(write(tmp_path / "a", numbered(20))), criteo(write(tmp_path / "b", numbered(20), "\r\n")))


def test_a_file_without_lines_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_streaming, "LONGEST_LINE", 1000)
    with pytest.raises(ValueError, match="line 3 has more than 1,000 bytes"):
        criteo(write(tmp_path / "train.txt", [*numbered(2), "x" * 1001]))


MEASURE = """
import sys, warnings
from embedcompress.bench._criteo import criteo
from raw_clicks import places
warnings.simplefilter("ignore")

def peak():
    # Of this process alone: ru_maxrss begins with that of the process which started it.
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024

peaks = [peak()]
for path in sys.argv[1:]:
    data = criteo(path, sample=20_000)
    peaks.append(peak())
rows = places(data.train) + places(data.test) + places(data.validation)
assert data.skipped == 4
cut = (8, 250_008, 500_008, 750_008)
assert data.problems == tuple(f"large line {line} has 3 columns instead of 40" for line in cut)
assert len(rows) == 20_000
assert rows == sorted(set(rows))
assert abs(sum(rows) / len(rows) - 500_000) < 5 * 1_000_000 / (12 * len(rows)) ** 0.5
labels = [*data.train.labels, *data.test.labels, *data.validation.labels]
assert labels == [row % 2 for row in rows]
print(*peaks)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read where Linux tells it")
def test_memory_does_not_grow_with_the_file(tmp_path, run_python):
    endings = ["\t".join(line.split("\t")[2:-1]) for line in numbered(100)]

    def write_lines(name, count):
        # The number of a line, and a category that no other line has.
        with (tmp_path / name).open("w") as file:
            for i in range(count):
                ending = f"{endings[i % 100]}\t{i * 2654435761 % 2**32:08x}"
                file.write(f"{i % 2}\t{i}\t{'cut off' if i % 250_000 == 7 else ending}\n")
        return tmp_path / name

    paths = write_lines("small", 50_000), write_lines("large", 1_000_000)
    try:
        before, small, large = map(int, run_python(MEASURE, *paths).split())
    finally:
        # Not left behind, as other files of tests are: it is large.
        for path in paths:
            path.unlink()
    assert small - before < 64e6
    # A million lines with their categories would take 600 MB.
    assert large - small < 8e6
