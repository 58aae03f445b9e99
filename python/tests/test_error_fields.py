"""What programs read of errors instead of their sentences."""

import copy
import pickle

import numpy as np
import pytest

import embedcompress as ec
from embedcompress import training


def caught(kind, call):
    with pytest.raises(kind) as found:
        call()
    return found.value


def assert_copies(error):
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.__dict__ == error.__dict__


@pytest.fixture
def table(rng):
    return ec.dense(rng.standard_normal((20, 6), dtype=np.float32))


def test_budget_errors(table):
    error = caught(ec.BudgetError, lambda: ec.compress(table, "asym", budget=7))
    assert (error.method, error.budget) == ("asym", 7)
    assert ec.compress(table, "asym", budget=error.floor).stored_bytes == error.floor
    assert_copies(error)
    error = caught(ec.BudgetError, lambda: training.embedding("int8", 100, 16, budget=5))
    assert (error.method, error.budget) == ("int8", 5)
    assert f"the least it can reach is {error.floor} bytes" in str(error)
    training.embedding("int8", 100, 16, budget=error.floor)
    error = caught(ec.BudgetError, lambda: ec.recommend(np.ones((40, 16), np.float32), budget=2))
    assert error.budget == 2
    assert f"the least that any of them can reach is {error.floor} bytes" in str(error)
    assert_copies(error)


def test_errors_of_ids(table):
    error = caught(IndexError, lambda: table.lookup([[1, 2], [3, 20]]))
    assert isinstance(error, ec.InvalidIdError)
    assert (error.id, error.position, error.feature, error.rows) == (20, 3, None, 20)
    assert str(error) == "id 20 at position 3 is out of range: ids must be from 0 to 19"
    assert_copies(error)
    error = caught(IndexError, lambda: table.bag([0, -7], [0]))
    assert (error.id, error.position) == (-7, 1)
    tables = ec.TableSet([table, table])
    error = caught(ec.InvalidIdError, lambda: tables.bag(np.array([0, 99]), np.array([0, 1, 2])))
    assert (error.id, error.position, error.feature, error.rows) == (99, 1, 1, 20)


def test_errors_of_files(table, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"short")
    error = caught(ec.FormatError, lambda: ec.load(path))
    assert (error.path, error.rule) == (str(path), "unknown_kind")
    assert_copies(error)
    assert caught(ec.FormatError, lambda: ec.contents(path)).path == str(path)
    ec.save(path, {"a": table, "b": table})
    assert caught(ec.FormatError, lambda: ec.load(path)).rule == "ambiguous_table"
    error = caught(ec.FormatError, lambda: ec.load(path, "c"))
    assert (error.path, error.rule) == (str(path), "no_such_table")
    path.write_bytes(path.read_bytes()[:-1])
    assert caught(ec.FormatError, lambda: ec.load(path, "a")).rule == "offsets_beyond_file"
    error = caught(ec.FormatError, lambda: ec.Table.from_parts({"kind": "none"}, {}))
    assert (error.path, error.rule) == (None, "unknown_node")
    error = caught(ec.FormatError, lambda: ec.remap(table, map=[20]))
    assert (error.path, error.rule) == (None, "invalid_parts")
    error = caught(OSError, lambda: ec.load(tmp_path / "none"))
    assert isinstance(error, FileNotFoundError)
    assert error.filename == str(tmp_path / "none")


def test_errors_are_made_in_python():
    for error in (
        ec.BudgetError("no", method="m", budget=1, floor=2),
        ec.FormatError("no", rule="r", path="p"),
        ec.InvalidIdError("no", id=5, position=1, rows=4),
        ec.BudgetError("no"),
        ec.FormatError(),
        ec.InvalidIdError("no"),
    ):
        assert_copies(error)
    assert ec.BudgetError("no").floor is None
    assert issubclass(ec.InvalidIdError, IndexError)
    assert issubclass(ec.BudgetError, ValueError)
    assert issubclass(ec.FormatError, ValueError)
