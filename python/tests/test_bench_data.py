"""Data sets of clicks: ids by use, splits, and those that packages carry."""

import numpy as np
import pytest

from embedcompress.bench import _clicks, _flights, _movielens


def test_ids_are_numbered_by_use_within_fields():
    columns = {"a": np.array([5, 5, 7, 5, 9, 7]), "b": np.array(["x", "y", "y", "y", "x", "x"])}
    data = _clicks.split("small", columns, np.array([1, 0, 1, 0, 1, 0]), np.arange(6), (4 / 6, 1 / 6))
    assert data.sizes == (3, 2)
    assert data.rows == 5
    assert data.train.ids.tolist() == [[0, 4], [0, 3], [1, 3], [0, 3]]
    assert data.validation.ids.tolist() == [[2, 4]]
    assert data.test.ids.tolist() == [[1, 4]]
    assert data.train.labels.tolist() == [1, 0, 1, 0]
    assert data.counts.tolist() == [3, 1, 0, 3, 1]


def test_order():
    assert _clicks.order_of("temporal", 4, 0).tolist() == [0, 1, 2, 3]
    assert sorted(_clicks.order_of("random", 4, 0).tolist()) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="split must be one of random, temporal"):
        _clicks.order_of("other", 4, 0)


def test_flights():
    data = _flights.flights("temporal")
    parts = (data.train, data.validation, data.test)
    assert sum(len(part) for part in parts) == 327_346
    assert data.rows == 129_593
    assert np.concatenate([part.labels for part in parts]).mean() == pytest.approx(0.237, abs=0.001)
    month = data.fields.index("month")
    assert len(np.unique(data.test.ids[:, month])) <= 2
    starts = np.cumsum([0, *data.sizes])
    for part in parts:
        assert (part.ids >= starts[:-1]).all()
        assert (part.ids < starts[1:]).all()
    shuffled = _flights.flights()
    assert len(np.unique(shuffled.test.ids[:, month])) == 12
    assert shuffled.sizes == data.sizes


def test_movielens():
    data = _movielens.movielens()
    assert data.sizes == (943, 1682)
    assert len(data.train) == 80_000
    assert data.train.labels.mean() == pytest.approx(0.554, abs=0.005)


@pytest.mark.parametrize("module", [_flights, _movielens])
def test_says_which_package_is_missing(module, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        module.flights() if module is _flights else module.movielens()
