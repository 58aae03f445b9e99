"""Numbers at the ends of f32, and tables of one row, one column or none: right values, or an error with the row."""

import re

import numpy as np
import pytest

import embedcompress as ec

METHODS = [method.name for method in ec.methods()]
LARGEST = float(np.finfo(np.float32).max)
TABLES = {
    "all the largest": lambda rng, shape: np.full(shape, LARGEST),
    "from minus the largest to 0": lambda rng, shape: -LARGEST * np.linspace(0, 1, num=np.prod(shape)).reshape(shape),
    "minus the largest or the largest": lambda rng, shape: rng.choice([-LARGEST, LARGEST], shape),
    "one value of 3e38": lambda rng, shape: with_one(rng.standard_normal(shape), 3e38),
    "subnormal": lambda rng, shape: rng.standard_normal(shape) * 1e-41,
    "1e-38 to 1e38": lambda rng, shape: rng.choice([-1, 1], shape) * 10.0 ** rng.uniform(-38, 38, shape),
    "half of the rows times 1e30": lambda rng, shape: rng.standard_normal(shape) * rng.choice([1, 1e30], (shape[0], 1)),
    "zeros": lambda rng, shape: np.zeros(shape),
    "constant": lambda rng, shape: np.full(shape, 0.1),
}
SHAPES = [(64, 16), (17, 33), (9, 1), (1, 7), (1, 1), (0, 3)]


def with_one(values, outlier):
    if values.size:
        values[-1, -1] = outlier
    return values


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_finite_rows_stay_finite_or_are_refused(method, rng):
    for name, make in TABLES.items():
        for shape in SHAPES:
            weight = make(rng, shape).astype(np.float32)
            try:
                table = ec.compress(weight, method)
            except ValueError as error:
                assert re.search(r"\brow \d+|an entry of a codebook", str(error)), (name, shape, str(error))
                continue
            assert table.shape == shape
            assert np.isfinite(table.decode()).all(), (name, shape)
            if shape[0] > 0:
                assert np.isfinite(ec.evaluate(table, weight, queries=0).mean_squared_error), (name, shape)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(9, 1), (1, 7), (1, 1)])
def test_one_row_and_one_column(method, shape, rng):
    options = {
        "prune": {"density": 1.0},
        "dedup": {"tolerance": 0.0},
        "tt": {"rank": 64},
        "table": {"bits": 8},
        "hot_cold": {"cold_bits": 8},
    }
    weight = rng.standard_normal(shape).astype(np.float32)
    table = ec.compress(weight, method, **options.get(method, {}))
    bound = 0.1 if shape[1] > 1 or method in {"table", "hot_cold", "trellis", "tiers"} else 2e-3
    assert np.linalg.norm(table.decode() - weight) <= bound * np.linalg.norm(weight)


@pytest.mark.parametrize("method", ["pq", "rq", "opq", "magpq"])
def test_product_codes_do_not_depend_on_the_unit(method, rng):
    weight = rng.standard_normal((400, 16)).astype(np.float32)
    for exponent in (70, 110, -70, -100):
        scaled = weight * np.float32(2.0**exponent)
        options = {"entry_dtype": "f32", "parts": 4, "bits": 4} | ({"matrix_dtype": "f32"} if method == "opq" else {})
        expected = ec.compress(weight, method, **options).decode()
        found = ec.compress(scaled, method, **options).decode() / np.float32(2.0**exponent)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_eden_blames_the_row_of_the_outlier(rng):
    weight = with_one(rng.standard_normal((64, 16)), 3e38).astype(np.float32)
    for options in ({}, {"scale_dtype": "f32"}, {"center": False}):
        with pytest.raises(ValueError, match="row 63"):
            ec.compress(weight, "eden", **options)


def test_the_row_of_a_value_beyond_the_tables_scale(rng):
    weight = rng.standard_normal((64, 16)).astype(np.float32)
    weight[5, 3], weight[40, 2] = LARGEST, -LARGEST
    with pytest.raises(ValueError, match=r"in row 40, to .* in row 5, beyond the range of an f32 scale"):
        ec.compress(weight, "table")
    for method in ("int8", "int16"):
        with pytest.raises(ValueError, match=r"in row 40, to .* in row 5, beyond the range of an f32 step"):
            ec.compress(weight, method, scale="table")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_not_compared(value, rng):
    weight = rng.standard_normal((1000, 16)).astype(np.float32)
    strange = weight.copy()
    strange[7, 3] = value
    with pytest.raises(ValueError, match=r"row 7 of the table has -?(nan|inf) in column 3; only finite rows"):
        ec.evaluate(ec.dense(strange), weight)
    with pytest.raises(ValueError, match=r"row 7 of the source has -?(nan|inf) in column 3"):
        ec.evaluate(ec.compress(weight), strange)


def test_f64_numbers_beyond_f32_are_refused_by_name():
    huge = np.full((4, 4), 1e300)
    codes = np.zeros((4, 4), np.uint8)
    for make, name in (
        (lambda: ec.uniform(codes, huge[:, 0], huge[:, 0], bits=2), "scales"),
        (lambda: ec.codebook(codes, huge[0], bits=2), "codebooks"),
        (lambda: ec.sparse(huge), "matrix"),
        (lambda: ec.shared_array(huge[0], rows=4, dimension=4, block=1), "array"),
        (lambda: ec.product(codes, [huge[:, :1]] * 4, bits=2), "codebook"),
        (lambda: ec.tensor_train([huge.reshape(4, 1, 4), huge.reshape(1, 4, 1, 4), huge.reshape(1, 4, 4)]), "core0"),
    ):
        with pytest.raises(ValueError, match=rf"{name}\w* has 1e\+300 at position 0, which is beyond the range of f32"):
            make()
