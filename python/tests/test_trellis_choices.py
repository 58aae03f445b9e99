"""What trellis takes from rows before it encodes them, which rotation it chooses, and what it says of its choices."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec


def normal(rows, dimension, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)


def correlated(rows, dimension, rank=6, noise=0.3, seed=4):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, dimension))
        + noise * rng.standard_normal((rows, dimension))
    ).astype(np.float32)


def error(table, weight):
    return ((table.decode().astype(np.float64) - weight) ** 2).sum()


def chosen(table, option):
    (found,) = (choice for choice in table.choices if choice["option"] == option)
    return found


@pytest.mark.parametrize("size", [5, 10])
@pytest.mark.parametrize("kind", ["one offset", "offsets of rows", "both"])
def test_the_error_of_rows_with_an_offset_falls_with_bits(size, kind):
    """At the error of rows without it: offsets cost bytes, but no bits of columns."""
    rng = np.random.default_rng(1)
    noise = normal(400, 64)
    offsets = size * np.sign(rng.standard_normal((400, 1))) * rng.uniform(0.5, 1.5, (400, 1))
    row = size * rng.standard_normal(64)
    weight = noise + {"one offset": row, "offsets of rows": offsets, "both": offsets + row}[kind]
    weight = weight.astype(np.float32)
    errors, plain = [], []
    for bits in (1, 2, 3, 4):
        table = ec.compress(weight, "trellis", bits=bits, effort="fast")
        wanted = {"one offset": "table", "offsets of rows": "rows", "both": "both"}[kind]
        assert chosen(table, "center")["value"] == wanted
        extra = {"table": 4 * 64, "rows": 400 * 2 + 4 * 64, "both": 400 * 2 + 8 * 64}[wanted]
        assert table.stored_bytes == 400 * (8 * bits + 1) + 1024 + 5 * 64 + extra
        errors.append(error(table, weight))
        plain.append(error(ec.compress(noise, "trellis", bits=bits, effort="fast"), noise))
    assert all(later < 0.35 * earlier for earlier, later in itertools.pairwise(errors))
    np.testing.assert_allclose(errors, plain, rtol=0.05)
    # Without, the offset takes most of what bits there are.
    assert error(ec.compress(weight, "trellis", bits=2, effort="fast", center="none"), weight) > 2 * errors[1]


def test_rows_without_offsets_keep_none():
    for rows, dimension in [(1, 1), (3, 2), (40, 1), (60, 17), (2000, 64)]:
        table = ec.compress(normal(rows, dimension), "trellis", bits=4)
        assert table.parts()[0]["kind"] == "trellis"
        choice = chosen(table, "center")
        assert choice["value"] == "none" and len(choice["candidates"]) == 4
    assert ec.compress(np.zeros((0, 5), np.float32), "trellis").shape == (0, 5)


def test_small_rows_are_not_spoilt_for_the_mean_of_large_ones():
    weight = np.vstack([5 + normal(50, 32), 1e-3 * normal(950, 32, 1)]).astype(np.float32)
    assert chosen(ec.compress(weight, "trellis", bits=2, effort="fast"), "center")["value"] == "none"


@given(
    st.sampled_from(["table", "rows", "both"]),
    st.sampled_from(["none", "partial", "full", "hadamard"]),
    st.integers(0, 30),
    st.integers(1, 40),
    st.integers(0, 2**32),
)
def test_what_is_taken_is_added_again(center, rotation, rows, dimension, seed):
    rng = np.random.default_rng(seed)
    weight = (rng.standard_normal((rows, dimension)) + 3 * rng.standard_normal((rows, 1)) + 2).astype(np.float32)
    options = {"effort": "fast", "center": center, "rotation": rotation, "fallback": False}
    table = ec.compress(weight, "trellis", bits=8, **options)
    assert table.shape == weight.shape
    np.testing.assert_allclose(table.decode(), weight, atol=0.5)
    if rows:
        ids = rng.integers(0, rows, 30)
        np.testing.assert_allclose(table.bag(ids, [0])[0], table.decode()[ids].sum(axis=0), atol=1e-2)
        budget = table.stored_bytes
        assert ec.compress(weight, "trellis", budget=budget, **options).stored_bytes == budget


def test_a_budget_counts_what_is_kept_apart():
    weight = (normal(300, 16) + 20 * normal(300, 1, 1)).astype(np.float32)
    floors = {
        center: ec.compress(weight, "trellis", bits=0.25, center=center).stored_bytes
        for center in ("none", "table", "rows", "both")
    }
    assert floors["table"] - floors["none"] == 64 and floors["rows"] - floors["none"] == 600 + 64
    for center, floor in floors.items():
        with pytest.raises(ec.BudgetError) as caught:
            ec.compress(weight, "trellis", budget=floor - 1, center=center)
        assert caught.value.floor == floor
    # What a budget has no room for is not tried.
    tight = ec.compress(weight, "trellis", budget=floors["none"] + 70)
    assert [one["value"] for one in chosen(tight, "center")["candidates"]] == ["none", "table"]
    with pytest.raises(ec.BudgetError) as caught:
        ec.compress(weight, "trellis", budget=floors["none"] - 1)
    assert caught.value.floor == floors["none"]


def test_a_rotation_is_chosen_where_it_is_worth_it():
    weight = correlated(2000, 40)
    table = ec.compress(weight, "trellis", bits=2, effort="fast", rotation="auto")
    choice = chosen(table, "rotation")
    assert choice["value"] == "partial"
    found = {one["value"]: one for one in choice["candidates"]}
    assert list(found) == ["none", "hadamard", "partial"]
    assert found["partial"]["normalized_l2"] ** 2 * 10**0.15 <= found["none"]["normalized_l2"] ** 2
    assert all(one["lookup_ns_per_row"] > 0 for one in found.values())
    assert table.parts()[0] == ec.compress(weight, "trellis", bits=2, effort="fast", rotation="partial").parts()[0]
    assert found["none"]["extra_bits"] == 0
    assert found["partial"]["extra_bits"] == pytest.approx(8 * (table.stored_bytes - 2000 * 11 - 1024 - 200) / 80_000)
    # What the sample said of the error holds for the table.
    np.testing.assert_allclose(ec.evaluate(table, weight).normalized_l2, found["partial"]["normalized_l2"], rtol=0.1)
    # With a budget, the bytes of vectors are part of it.
    budgeted = ec.compress(weight, "trellis", budget=table.stored_bytes, effort="fast", rotation="auto")
    assert budgeted.parts()[0] == table.parts()[0]
    assert {one["extra_bits"] for one in chosen(budgeted, "rotation")["candidates"]} == {0}


def test_tables_keep_their_rows_as_they_are_where_a_rotation_saves_little():
    plain = chosen(ec.compress(normal(2000, 40), "trellis", bits=2, effort="fast", rotation="auto"), "rotation")
    assert plain["value"] == "none"
    # The vectors would take more than they save.
    few = ec.compress(correlated(30, 40), "trellis", bits=2, effort="fast", rotation="auto")
    assert chosen(few, "rotation")["value"] == "none"
    # A budget that has no room for vectors leaves them out.
    weight = correlated(60, 40)
    budget = ec.compress(weight, "trellis", bits=0.25).stored_bytes + 8
    tight = ec.compress(weight, "trellis", budget=budget, effort="fast", rotation="auto")
    assert "partial" not in [one["value"] for one in chosen(tight, "rotation")["candidates"]]
    assert tight.stored_bytes <= budget


def test_rows_of_few_large_values_are_turned_at_random():
    rng = np.random.default_rng(3)
    weight = normal(800, 64) * np.exp(2.5 * rng.standard_normal((800, 64)))
    options = {"effort": "fast", "rotation": "auto", "fallback": False}
    table = ec.compress(weight.astype(np.float32), "trellis", bits=2, seed=3, **options)
    assert chosen(table, "rotation")["value"] == "hadamard" and table.parts()[0]["seed"] == 3


def test_choices_are_those_of_every_run_and_thread(tmp_path):
    weight = correlated(700, 24) + 4
    tables = []
    for count in (1, 2):
        ec.set_num_threads(count)
        tables.append(ec.compress(weight, "trellis", bits=2, effort="fast", rotation="auto"))
    np.testing.assert_array_equal(tables[0].decode(), tables[1].decode())
    report = ec.compress_to_file(tmp_path / "t", {"a": weight}, "trellis", bits=2, effort="fast", rotation="auto")["a"]
    np.testing.assert_array_equal(ec.load(tmp_path / "t").decode(), tables[0].decode())
    assert [one["option"] for one in report.choices] == ["center", "rotation"]
    assert [one["value"] for one in report.choices] == [one["value"] for one in tables[0].choices]
    assert report.as_dict()["choices"] == report.choices
    assert ec.load(tmp_path / "t").choices == [] and tables[0].slice(0, 3).choices == []
    assert ec.compress(weight, "eden").choices == []
    assert ec.compress_to_file(tmp_path / "t", {"a": weight}, "eden")["a"].choices == []


def test_weights_of_columns_go_with_no_rotation():
    weight = correlated(300, 24)
    importance = np.random.default_rng(3).random(weight.shape).astype(np.float32)
    table = ec.compress(weight, "trellis", bits=2, effort="fast", rotation="auto", weights=importance)
    assert [one["option"] for one in table.choices] == ["center"]
    with pytest.raises(ValueError, match="weights of columns go with rotation 'none'"):
        ec.compress(weight, "trellis", rotation="partial", weights=importance)


@pytest.mark.parametrize("center", ["table", "rows", "both"])
def test_values_that_no_mean_can_be_taken_from_are_refused(center):
    weight = np.full((4, 8), 3.3e38, np.float32)
    weight[0] = -3.4e38
    with pytest.raises(ValueError, match=r"row \d+|too large"):
        ec.compress(np.vstack([weight, -weight]) * np.sign(normal(8, 8) + 0.1), "trellis", center=center)
    for size in (1e-38, 1e-20, 1e15):
        rows = ((5 + normal(40, 16)) * size).astype(np.float32)
        table = ec.compress(rows, "trellis", bits=4, center=center)
        assert error(table, rows) < 0.01 * (rows.astype(np.float64) ** 2).sum()
