"""opq and magpq: product codes inside expressions."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import embedcompress as ec

Values = np.ndarray[Any, Any]


def correlated(rows: int, dimension: int, seed: int = 0) -> Values:
    """Return rows whose variances differ much between directions that are no columns."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0]
    scales = np.geomspace(4, 0.2, dimension)
    return (1 + rng.standard_normal((rows, dimension)) * scales @ mixing).astype(np.float32)


def of_many_norms(rows: int, dimension: int, seed: int = 0) -> Values:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((rows, dimension)) * rng.lognormal(0, 1.2, (rows, 1))).astype(np.float32)


def error(table: ec.Table, weight: Values) -> float:
    return float(np.linalg.norm(table.decode() - weight) / np.linalg.norm(weight))


@pytest.mark.parametrize(("rows", "dimension", "parts"), [(4000, 16, 4), (3000, 23, 5)])
def test_a_learned_rotation_lowers_the_error(rows: int, dimension: int, parts: int) -> None:
    weight = correlated(rows, dimension)
    plain = ec.compress(weight, "pq", parts=parts, bits=6)
    rotated = ec.compress(weight, "opq", parts=parts, bits=6, turns=6)
    assert error(rotated, weight) < 0.93 * error(plain, weight)
    assert rotated.stored_bytes == plain.stored_bytes + 2 * dimension * dimension
    tree = rotated.parts()[0]
    assert (tree["kind"], tree["children"]["inner"]["kind"]) == ("project", "product")
    wide = ec.compress(weight, "opq", parts=parts, bits=6, turns=6, matrix_dtype="f32", entry_dtype="f32")
    assert wide.stored_bytes == plain.stored_bytes + 4 * dimension * dimension + 2 * dimension * 64
    assert abs(error(wide, weight) - error(rotated, weight)) < 0.01


def test_a_product_that_needs_no_rotation_loses_nothing() -> None:
    rng = np.random.default_rng(0)
    books = rng.standard_normal((4, 16, 4))
    codes = rng.integers(0, 16, (4000, 4))
    weight = np.concatenate([books[part][codes[:, part]] for part in range(4)], axis=1).astype(np.float32)
    assert error(ec.compress(weight, "opq", parts=4, bits=4, turns=3), weight) < 2e-3


def test_norms_share_out_bits() -> None:
    weight = of_many_norms(6000, 12)
    table = ec.compress(weight, "magpq", groups=3, parts=4, bits=7)
    tree = table.parts()[0]
    groups = [tree["children"][str(index)] for index in range(3)]
    assert [group["bits"] for group in groups] == [7, 6, 5]
    assert all(group["parts"] == 4 for group in groups)
    norms = np.linalg.norm(weight, axis=1)
    order = np.argsort(-norms, kind="stable")
    sizes = [group["rows"] for group in groups]
    ends = np.cumsum([0, *sizes])
    sums = [norms[order[a:b]].sum() for a, b in pairwise(ends)]
    assert max(sums) - min(sums) < 3 * norms.max()
    # Each row is coded with those of its own norm.
    first = ec.compress(weight[np.sort(order[: sizes[0]])], "pq", parts=4, bits=7)
    assert np.array_equal(table.decode()[np.sort(order[: sizes[0]])], first.decode())


def test_a_budget_is_spent_where_norms_are_large() -> None:
    weight = of_many_norms(12_000, 12)
    for ratio in (0.05, 0.15):
        budget = int(ratio * weight.nbytes)
        table = ec.compress(weight, "magpq", budget=budget, rounds=8)
        assert table.stored_bytes <= budget
        assert error(table, weight) < 0.95 * error(ec.compress(weight, "pq", budget=budget, rounds=8), weight)
        tree = table.parts()[0]
        assert tree["kind"] == "partition"
        row_bits = [child["parts"] * child["bits"] for child in tree["children"].values()]
        assert row_bits == sorted(row_bits, reverse=True)
    same = np.ones((500, 6), np.float32)
    assert ec.compress(same, "magpq", budget=0.5).parts()[0]["kind"] == "product"


@pytest.mark.parametrize("method", ["opq", "magpq"])
@pytest.mark.parametrize(("rows", "dimension"), [(5000, 16), (700, 10), (20_000, 5)])
def test_budgets_are_met_or_refused_with_the_floor(method: str, rows: int, dimension: int) -> None:
    weight = of_many_norms(rows, dimension)
    options: dict[str, Any] = {"rounds": 2} | ({"turns": 1} if method == "opq" else {})
    for ratio in (0.01, 0.05, 0.3, 0.6):
        budget = int(ratio * weight.nbytes)
        try:
            table = ec.compress(weight, method, budget=budget, **options)
        except ec.BudgetError as refusal:
            floor = int(str(refusal).rsplit("is ", 1)[1].split(" ")[0])
            assert floor > budget
            assert ec.compress(weight, method, budget=floor, **options).stored_bytes <= floor
            with pytest.raises(ec.BudgetError):
                ec.compress(weight, method, budget=floor - 1, **options)
            continue
        assert table.stored_bytes <= budget


@pytest.mark.parametrize("method", ["opq", "magpq"])
def test_small_tables(method: str) -> None:
    weight = correlated(40, 6)
    for rows in (0, 1, 2, 40):
        table = ec.compress(weight[:rows], method, parts=2, bits=3)
        assert table.shape == (rows, 6)
        assert np.isfinite(table.decode()).all()
    assert np.array_equal(ec.compress(np.zeros((50, 6), np.float32), method, parts=2).decode(), np.zeros((50, 6)))


@pytest.mark.parametrize("method", ["opq", "magpq"])
def test_results_depend_on_the_seed_and_not_on_threads(method: str) -> None:
    weight = correlated(3000, 8)
    before = ec.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            ec.set_num_threads(threads)
            found.append(ec.compress(weight, method, parts=2, bits=5, rounds=3, seed=3).decode())
        assert np.array_equal(found[0], found[1])
    finally:
        ec.set_num_threads(before)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("opq", {"parts": 9}, "opq: parts must be an integer from 1 to 8, not 9"),
        ("opq", {"bits": 0}, "opq: bits must be"),
        ("opq", {"turns": -1}, "opq: turns must be"),
        ("opq", {"matrix_dtype": "f64"}, "opq: matrix_dtype must be one of"),
        ("opq", {"parts": 2, "budget": 0.9}, "either parts or a budget"),
        ("opq", {"groups": 2}, "opq has no option 'groups'"),
        ("magpq", {"groups": 0}, "magpq: groups must be"),
        ("magpq", {"bits": 4, "budget": 0.9}, "either parts and bits or a budget"),
        ("magpq", {"entry_dtype": "f64"}, "magpq: entry_dtype must be one of"),
    ],
)
def test_wrong_options_are_named(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ec.compress(correlated(100, 8), method, **options)


@pytest.mark.parametrize("method", ["opq", "magpq"])
def test_rows_that_are_not_finite_are_named(method: str) -> None:
    weight = correlated(300, 8)
    weight[123, 5] = np.inf
    with pytest.raises(ValueError, match="row 123 has inf in column 5"):
        ec.compress(weight, method, parts=2, bits=4)


@pytest.mark.parametrize("method", ["opq", "magpq"])
def test_progress_can_stop(method: str) -> None:
    calls: list[tuple[int, int]] = []

    def watch(done: int, total: int) -> bool:
        calls.append((done, total))
        return len(calls) < 3

    with pytest.raises(KeyboardInterrupt):
        ec.compress(correlated(100_000, 16), method, parts=4, bits=8, progress=watch)
    assert len(calls) == 3
    seen: list[tuple[int, int]] = []
    ec.compress(
        correlated(3000, 8),
        method,
        parts=2,
        bits=5,
        rounds=2,
        progress=lambda done, total: seen.append((done, total)) or True,
    )
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
