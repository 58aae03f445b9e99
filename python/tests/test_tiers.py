"""Tiers: rows in classes with bits of their own, by counts and norms."""

import numpy as np
import pytest

import embedcompress as ec

ROWS, DIMENSION = 1500, 40


def weighted_error(table, weight, counts):
    """Return the squared error of uses over their squared norm."""
    lost = ((table.decode().astype(np.float64) - weight) ** 2).sum(axis=1)
    return float((counts * lost).sum() / (counts * (weight.astype(np.float64) ** 2).sum(axis=1)).sum())


def parts_of(table):
    tree, _ = table.parts()
    return list(tree["children"].values()) if tree["kind"] == "partition" else [tree]


@pytest.fixture
def weight(rng):
    return rng.standard_normal((ROWS, DIMENSION)).astype(np.float32)


@pytest.fixture
def counts():
    return 1 / np.arange(1.0, ROWS + 1)


def test_zipf_counts_at_two_bits():
    """The figure that the method is for: 32k rows of normal values, bytes of the map and of every scale included."""
    rows, dimension = 32768, 64
    weight = np.random.default_rng(0).standard_normal((rows, dimension)).astype(np.float32)
    counts = 1 / np.arange(1.0, rows + 1)
    plain = ec.compress(weight, "trellis", bits=2)
    table = ec.compress(weight, "tiers", counts=counts, bits=2)
    assert table.stored_bytes <= plain.stored_bytes
    assert len(parts_of(table)) == 4
    assert weighted_error(table, weight, counts) < 0.022 < 0.07 < weighted_error(plain, weight, counts)
    # Where ids are in no order, a map of 2.25 bits a row takes its bytes from the rows.
    order = np.random.default_rng(1).permutation(rows)
    mixed = ec.compress(weight, "tiers", counts=counts[order], bits=2)
    assert mixed.stored_bytes <= plain.stored_bytes
    assert mixed.parts()[0]["bytes"] == rows / 512 * (4 * 4 + 2 * 64)
    assert weighted_error(mixed, weight, counts[order]) < 0.024


@pytest.mark.parametrize("inner", ["trellis", "eden", "least_squares", "kmeans", "table"])
@pytest.mark.parametrize("tiers", [1, 2, 3, 16])
def test_the_result_is_no_larger_and_no_worse_than_the_inner_method(weight, counts, inner, tiers):
    options = {"effort": "fast"} if inner == "trellis" else {}
    plain = ec.compress(weight, inner, bits=2, **options)
    table = ec.compress(weight, "tiers", counts=counts, inner=inner, tiers=tiers, bits=2, **options)
    assert 0.9 * plain.stored_bytes < table.stored_bytes <= plain.stored_bytes
    assert len(parts_of(table)) <= tiers
    errors = [weighted_error(one, weight, counts) for one in (table, plain)]
    # With one range for all rows of a tier, fewer bits than 2 lose more than rows have: two tiers have nothing to give.
    gains = tiers > 1 and (inner, tiers) != ("table", 2)
    assert errors[0] <= errors[1] * (0.8 if gains else 1)


def test_more_tiers_are_not_worse(weight, counts):
    errors = [
        weighted_error(
            ec.compress(weight, "tiers", counts=counts, inner="least_squares", tiers=tiers, bits=3), weight, counts
        )
        for tiers in (1, 2, 3, 4)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < 0.7 * errors[0]


def test_two_tiers_are_the_best_two(weight, counts):
    """Against every pair of widths and every split, with the errors that rows really have."""
    budget = ROWS * (DIMENSION * 3 // 8 + 4)
    table = ec.compress(weight, "tiers", counts=counts, inner="least_squares", tiers=2, budget=budget)
    lost = {}
    for bits in range(1, 9):
        decoded = ec.compress(weight, "least_squares", bits=bits).decode()
        lost[bits] = np.r_[0, np.cumsum(counts * ((decoded - weight) ** 2).sum(axis=1))]
    best = np.inf
    for hot in range(1, 9):
        for cold in range(1, hot + 1):
            split = np.arange(ROWS + 1)
            size = split * (DIMENSION * hot // 8 + 4) + (ROWS - split) * (DIMENSION * cold // 8 + 4)
            error = lost[hot] + lost[cold][-1] - lost[cold]
            best = min(best, error[size <= budget].min(initial=np.inf))
    found = (counts * ((table.decode() - weight) ** 2).sum(axis=1)).sum()
    assert table.stored_bytes <= budget
    assert best <= found * 1.0001 and found <= 1.02 * best


def test_without_counts_norms_decide(rng):
    weight = (rng.standard_normal((ROWS, DIMENSION)) * rng.lognormal(0, 1.5, (ROWS, 1))).astype(np.float32)
    plain = ec.compress(weight, "trellis", bits=2, effort="fast")
    table = ec.compress(weight, "tiers", bits=2, effort="fast")
    assert table.stored_bytes <= plain.stored_bytes
    ones = np.ones(ROWS)
    assert weighted_error(table, weight, ones) < 0.4 * weighted_error(plain, weight, ones)
    # Rows of large norms are in tiers of more bits.
    norms = np.linalg.norm(weight, axis=1)
    relative = np.linalg.norm(table.decode() - weight, axis=1) / norms
    largest = np.argsort(-norms)[:50]
    assert np.median(relative[largest]) < 0.2 * np.median(relative)


@pytest.mark.parametrize("order", ["falling", "mixed"])
def test_lookups_bags_slices_and_files(weight, counts, order, tmp_path, rng):
    counts = counts if order == "falling" else counts[rng.permutation(ROWS)]
    table = ec.compress(weight, "tiers", counts=counts, bits=2, effort="fast")
    tree, _ = table.parts()
    assert (tree["kind"], tree["by"]) == ("partition", "ranges" if order == "falling" else "assignment")
    assert {part["kind"] for part in parts_of(table)} == {"trellis"}
    values = table.decode()
    # Every row is the copy of its own row of the source, not of another.
    assert (((weight - values) ** 2).sum(axis=1) < 0.7 * (weight**2).sum(axis=1)).all()
    for kind in (np.int32, np.int64):
        ids = rng.integers(0, ROWS, 333).astype(kind)
        np.testing.assert_array_equal(table.lookup(ids), values[ids])
    assert (table.lookup([[0, ROWS - 1], [-1, ROWS]], on_invalid="zero")[1] == 0).all()
    with pytest.raises(IndexError):
        table.lookup([ROWS])
    ids, offsets = rng.integers(0, ROWS, 120), np.arange(0, 120, 12)
    uses = rng.random(120).astype(np.float32)
    for given in (None, uses):
        factors = np.ones(120) if given is None else given
        wanted = (values[ids] * factors[:, None]).reshape(10, 12, -1).sum(axis=1)
        np.testing.assert_allclose(table.bag(ids, offsets, per_sample_weights=given), wanted, atol=1e-4)
    np.testing.assert_array_equal(table.slice(77, 1333).decode(), values[77:1333])
    table.save(tmp_path / "saved")
    again = ec.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.decode(), values)
    assert again.stored_bytes == table.stored_bytes and str(again) == str(table)
    report = ec.compress_to_file(tmp_path / "made", {"a": weight}, "tiers", counts=counts, bits=2, effort="fast")["a"]
    assert report.stored_bytes == table.stored_bytes
    np.testing.assert_array_equal(ec.load(tmp_path / "made", "a").decode(), values)


def test_the_tree_shows_the_tiers(weight, counts):
    rows = 9000
    weight, counts = np.tile(weight, (rows // ROWS, 1)), 1 / np.arange(1.0, rows + 1)
    lines = str(ec.compress(weight, "tiers", counts=counts, bits=2, effort="fast")).splitlines()
    assert lines[0].startswith("Partition in 4 by ranges of ids")
    tiers = [line for line in lines if "Trellis" in line]
    bits = [float(line.split("Trellis ")[1].split(" bits")[0]) for line in tiers]
    assert len(bits) == 4 and bits == sorted(bits, reverse=True)


def test_rows_that_nobody_uses_have_the_fewest_bits(weight):
    counts = (np.arange(ROWS) % 3 == 0).astype(float)
    table = ec.compress(weight, "tiers", counts=counts, bits=2, effort="fast")
    relative = ((table.decode() - weight) ** 2).sum(axis=1) / (weight**2).sum(axis=1)
    assert relative[counts > 0].max() < 0.02 < 0.5 < np.median(relative[counts == 0])
    # As many bits for all, where no row counts.
    for none in (np.zeros(ROWS), None):
        source = weight if none is not None else np.zeros_like(weight)
        assert ec.compress(source, "tiers", counts=none, bits=2, effort="fast").shape == weight.shape


def test_counts_of_any_size(weight, counts):
    wanted = ec.compress(weight, "tiers", counts=counts, inner="eden", bits=2).decode()
    for factor in (2.0**900, 2.0**-900):
        found = ec.compress(weight, "tiers", counts=counts * factor, inner="eden", bits=2).decode()
        np.testing.assert_array_equal(found, wanted)


def test_rotated_tiers_have_a_rotation_each(weight, counts):
    table = ec.compress(weight, "tiers", counts=counts, bits=2.5, effort="fast", rotation="partial", tiers=2)
    plain = ec.compress(weight, "trellis", bits=2.5, effort="fast", rotation="partial")
    assert {part["kind"] for part in parts_of(table)} == {"rotate"}
    assert table.stored_bytes <= plain.stored_bytes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counts": np.ones(3)}, f"counts must be {ROWS} numbers"),
        ({"counts": -np.ones(ROWS)}, "counts has -1.0 for row 0"),
        ({"counts": np.full(ROWS, np.inf)}, "counts has inf for row 0"),
        ({"tiers": 0}, "tiers must be an integer from 1 to 16"),
        ({"tiers": 17}, "tiers must be an integer from 1 to 16"),
        ({"bits": 9}, "bits must be a number from 0.25 to 8.0"),
        ({"bits": 2, "budget": 0.5}, "either bits or a budget"),
        ({"inner": "nothing"}, "no inner method 'nothing'"),
        ({"inner": "pq"}, "such as trellis, eden or least_squares, not pq"),
        ({"inner": "multipoint"}, "not multipoint"),
        ({"inner": "int8"}, "not int8"),
        ({"inner": "tiers"}, "not tiers"),
        ({"inner": "hot_cold"}, "not hot_cold"),
        ({"inner": "eden", "bits": 0.5}, "takes 1.0 to 8.0 bits, not 0.5"),
        ({"fallback": True}, "fallback of trellis must be false"),
        ({"first_stage": "vectors"}, "first_stage of trellis must be 'none'"),
        ({"effort": "none"}, "effort must be one of"),
        ({"parts": 3}, "neither tiers nor its inner method trellis has the option 'parts'"),
        ({"weights": np.ones(ROWS)}, "takes no weights"),
    ],
)
def test_what_is_refused(weight, options, message):
    with pytest.raises(ValueError, match=message):
        ec.compress(weight, "tiers", **options)


@pytest.mark.parametrize("offsets", ["of the table", "of rows"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("tiers", {}),
        ("tiers", {"rotation": "auto", "center": "auto"}),
        ("hot_cold", {"hot": "trellis", "cold": "trellis"}),
        ("hot_cold", {"hot": "exact", "cold": "eden"}),
        ("magsvd", {"inner": "trellis"}),
        ("magsvd", {"inner": "exact"}),
        ("tiers", {"inner": "asym", "scale_dtype": "auto"}),
    ],
)
def test_a_budget_holds_whatever_rows_are_like(offsets, method, options):
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((2000, 32)) + (5 if offsets == "of the table" else 9 * rng.standard_normal((2000, 1)))
    for factor in (1, 1e-8):
        table = (weight * factor).astype(np.float32)
        for budget in (60000, 90000):
            assert ec.compress(table, method, budget=budget, **options).stored_bytes <= budget


@pytest.mark.parametrize("factor", [1e6, 1e-10])
def test_tiers_have_wide_scales_where_f16_is_too_narrow(factor):
    weight = (np.random.default_rng(2).standard_normal((1500, 32)) * factor).astype(np.float32)
    for options in ({"bits": 4}, {"budget": 50000}):
        table = ec.compress(weight, "tiers", inner="least_squares", **options)
        assert ec.evaluate(table, weight, queries=0).normalized_l2 < 0.2
