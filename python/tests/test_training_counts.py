"""Which ids are used the most, beside a sort of all."""

import numpy as np
import pytest

from embedcompress import training
from embedcompress.training import _counts


@pytest.mark.parametrize("block", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize("kind", [np.float64, np.int64, np.float32])
def test_the_most_used_ids_are_those_of_a_stable_sort(rng, monkeypatch, block, kind):
    monkeypatch.setattr(_counts, "BLOCK", block)
    for counts in (rng.integers(0, 5, 90), np.arange(90), np.arange(90)[::-1], np.zeros(90), rng.random(90)):
        counts = counts.astype(kind)
        order = np.argsort(-counts, kind="stable")
        for most in (0, 1, 6, 7, 50, 90):
            np.testing.assert_array_equal(_counts.most_used(counts, most), order[:most])
    assert len(_counts.most_used(np.zeros(0), 0)) == 0


@pytest.mark.parametrize("method", ["adapt", "autosrh", "cafe", "mgqe"])
def test_a_module_lets_go_of_counts(method):
    """They take 8 bytes for each id, more than all that some of these methods hold."""
    module = training.embedding(method, 1000, 8, budget=0.3, counts=np.arange(1000))
    assert module.spec.counts is None
