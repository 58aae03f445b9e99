"""Rows of PyTorch, FBGEMM and TBE: taken over and given back byte for byte, and looked up as their owners do."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec

PAGE = Path(__file__).resolve().parents[2] / "docs" / "migration.md"
PREPACK = {
    8: torch.ops.quantized.embedding_bag_byte_prepack,
    4: torch.ops.quantized.embedding_bag_4bit_prepack,
    2: torch.ops.quantized.embedding_bag_2bit_prepack,
}
UNPACK = {
    8: torch.ops.quantized.embedding_bag_byte_unpack,
    4: torch.ops.quantized.embedding_bag_4bit_unpack,
    2: torch.ops.quantized.embedding_bag_2bit_unpack,
}
POOL = {
    8: torch.ops.quantized.embedding_bag_byte_rowwise_offsets,
    4: torch.ops.quantized.embedding_bag_4bit_rowwise_offsets,
    2: torch.ops.quantized.embedding_bag_2bit_rowwise_offsets,
}
LAYOUTS = [
    ("torch", 8, "f32"),
    ("torch", 4, "f16"),
    ("torch", 2, "f16"),
    ("fbgemm", 8, "f32"),
    ("fbgemm", 8, "f16"),
    ("fbgemm", 4, "f16"),
    ("fbgemm", 2, "f16"),
    ("tbe", 8, "f16"),
    ("tbe", 4, "f16"),
    ("tbe", 2, "f16"),
]
NUMBERS = {"f16": "<f2", "f32": "<f4"}

dimensions = st.integers(1, 40)
seeds = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def fbgemm():
    pytest.importorskip("fbgemm_gpu")
    return torch.ops.fbgemm


@pytest.fixture(scope="module")
def make_tbe():
    """Make an int-N-bit TBE of one table per (rows, dimension, bits)."""
    inference = pytest.importorskip("fbgemm_gpu.split_table_batched_embeddings_ops_inference")
    from fbgemm_gpu.split_embedding_configs import SparseType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation, PoolingMode

    types = {8: SparseType.INT8, 4: SparseType.INT4, 2: SparseType.INT2}

    def make(*tables, row_alignment=None):
        specs = [(f"t{i}", rows, d, types[bits], EmbeddingLocation.HOST) for i, (rows, d, bits) in enumerate(tables)]
        module = inference.IntNBitTableBatchedEmbeddingBagsCodegen(
            specs,
            device="cpu",
            pooling_mode=PoolingMode.SUM,
            output_dtype=SparseType.FP32,
            row_alignment=row_alignment,
        )
        module.initialize_weights()
        return module

    logging.disable(logging.INFO)
    yield make
    logging.disable(logging.NOTSET)


def pieces(rng, rows, dimension, bits, scale_dtype):
    """Bytes of codes, and bytes of scale and bias, that no quantizer need ever choose."""
    codes = rng.integers(0, 256, (rows, dimension * bits // 8), np.uint8)
    both = rng.standard_normal((rows, 2)).astype(NUMBERS[scale_dtype])
    return codes, both.view(np.uint8)


def meaning(codes, both, dimension, bits, scale_dtype):
    """Values in float64."""
    scale, bias = both.view(NUMBERS[scale_dtype]).astype(np.float64).T[:, :, None]
    return scale * reference.unpack(codes, dimension, bits) + bias


def whole(dimension, bits):
    """The dimension, rounded up to fill whole bytes."""
    step = 8 // bits
    return -(-dimension // step) * step


def assert_same_rows(ours, theirs, table):
    """Equal, except that with f32 scales theirs are rounded once and ours twice: after the product, and the sum."""
    if "f16" in str(table):
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert (np.abs(ours - theirs) <= 2**-23 * reference.rows(table).magnitude.max()).all()


# The layouts


@given(st.sampled_from(LAYOUTS), st.integers(0, 20), dimensions, st.sampled_from([1, 2, 3, 16, 64]), seeds)
def test_rows_of_every_layout_mean_what_they_say_and_come_back(layout, rows, dimension, alignment, seed):
    name, bits, scale_dtype = layout
    rng = np.random.default_rng(seed)
    dimension = whole(dimension, bits)
    codes, both = pieces(rng, rows, dimension, bits, scale_dtype)
    if name == "tbe":
        padding = -(codes.shape[1] + 4) % alignment
        junk = rng.integers(0, 256, (rows, padding), np.uint8)
        given_rows = np.concatenate([both, codes, junk], axis=1)
        expected = np.concatenate([both, codes, np.zeros_like(junk)], axis=1)
    else:
        alignment = 1
        given_rows = expected = np.concatenate([codes, both], axis=1)
    options = {"layout": name, "row_alignment": alignment}
    table = ec.from_fused_rows(given_rows, dimension, bits=bits, scale_dtype=scale_dtype, **options)
    assert table.shape == (rows, dimension)
    assert table.stored_bytes == codes.size + both.size
    np.testing.assert_allclose(
        table.decode(), meaning(codes, both, dimension, bits, scale_dtype), rtol=1e-5, atol=1e-5 * 2**bits
    )
    back = ec.to_fused_rows(table, **options)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize(("layout", "bits", "scale_dtype"), LAYOUTS)
def test_layouts_turn_into_each_other(rng, layout, bits, scale_dtype):
    codes, both = pieces(rng, 9, 16, bits, scale_dtype)
    table = ec.from_fused_rows(np.hstack([codes, both]), 16, bits=bits, layout="fbgemm", scale_dtype=scale_dtype)
    rows = ec.to_fused_rows(table, layout=layout)
    again = ec.from_fused_rows(rows, 16, bits=bits, layout=layout, scale_dtype=scale_dtype)
    np.testing.assert_array_equal(again.decode(), table.decode())


@pytest.mark.parametrize(
    ("layout", "bits", "item"), [("torch", 8, 4), ("torch", 4, 2), ("fbgemm", 8, 4), ("tbe", 8, 2), ("tbe", 2, 2)]
)
def test_the_layout_has_a_scale_type_of_its_own(layout, bits, item):
    rows = np.zeros((3, 16 * bits // 8 + 2 * item), np.uint8)
    assert ec.from_fused_rows(rows, 16, bits=bits, layout=layout).stored_bytes == rows.size


def test_rows_with_the_scale_last_are_not_copied(rng):
    rows = np.hstack(pieces(rng, 50, 16, 4, "f16"))
    table = ec.from_fused_rows(rows, 16, bits=4)
    (array,) = table.parts()[1].values()
    assert np.shares_memory(array.values, rows)
    back = ec.to_fused_rows(table)
    assert np.shares_memory(back, rows) and not back.flags.writeable and rows.flags.writeable
    assert np.shares_memory(ec.to_fused_rows(table.slice(10, 20)), rows[10:20])
    aligned = ec.to_fused_rows(table, layout="tbe")
    assert not np.shares_memory(aligned, rows) and aligned.flags.writeable


@pytest.mark.parametrize(("layout", "bits", "scale_dtype"), LAYOUTS)
def test_the_padding_of_aligned_rows_stays_behind(rng, layout, bits, scale_dtype):
    rows = np.hstack(pieces(rng, 9, 16, bits, scale_dtype))
    table = ec.from_fused_rows(rows, 16, bits=bits, layout="fbgemm", scale_dtype=scale_dtype)
    found = ec.to_fused_rows(table.aligned(64), layout=layout)
    np.testing.assert_array_equal(found, ec.to_fused_rows(table, layout=layout))
    assert found.flags.c_contiguous


def test_rows_that_share_a_scale_are_not_fused_rows(rng):
    table = ec.compress(rng.standard_normal((9, 16)).astype(np.float32), "table", bits=8)
    with pytest.raises(ValueError, match="a fused row has a scale and a bias of its own"):
        ec.to_fused_rows(table)


def test_a_table_keeps_the_memory_of_its_rows(rng):
    codes, both = pieces(rng, 1000, 64, 4, "f16")
    rows = torch.from_numpy(np.hstack([codes, both])).clone()
    table = ec.from_fused_rows(rows, 64, bits=4)
    assert ec.to_fused_rows(table).ctypes.data == rows.data_ptr()
    del rows
    junk = [torch.full((1000, 36), 255, dtype=torch.uint8) for _ in range(5)]
    np.testing.assert_allclose(table.decode(), meaning(codes, both, 64, 4, "f16"), rtol=1e-5, atol=1e-4)
    assert len(junk) == 5


def test_what_rows_may_be(rng, tmp_path):
    rows = np.hstack(pieces(rng, 6, 8, 4, "f16"))
    expected = ec.from_fused_rows(rows, 8, bits=4).decode()
    read_only = rows.copy()
    read_only.flags.writeable = False
    wide = np.zeros((6, 20), np.uint8)
    wide[:, 3:11] = rows
    rows.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.uint8, "r", shape=rows.shape)
    several = [read_only, wide[:, 3:11], np.asfortranarray(rows), memoryview(rows), mapped, torch.from_numpy(rows).t()]
    several[-1] = several[-1].contiguous().t()
    for some in several:
        table = ec.from_fused_rows(some, np.int64(8), bits=np.int32(4))
        np.testing.assert_array_equal(table.decode(), expected)
    # A strided view of a larger buffer is not shared with.
    wide[:] = 0
    np.testing.assert_array_equal(table.decode(), expected)


def test_a_table_of_fused_rows_is_like_any_other(rng, tmp_path):
    codes, both = pieces(rng, 30, 24, 2, "f16")
    table = ec.from_fused_rows(np.hstack([both, codes]), 24, bits=2, layout="tbe")
    table.save(tmp_path / "table")
    again = ec.load(tmp_path / "table")
    np.testing.assert_array_equal(again.decode(), table.decode())
    np.testing.assert_array_equal(ec.to_fused_rows(again, layout="tbe"), np.hstack([both, codes]))
    assert "Uniform 2-bit, f16 scale and bias per row" in str(again)


@pytest.mark.parametrize("method", ["asym", "greedy"])
@pytest.mark.parametrize(("layout", "bits", "scale_dtype"), LAYOUTS)
def test_compressed_tables_are_exported(rng, method, layout, bits, scale_dtype):
    weight = rng.standard_normal((20, 32)).astype(np.float32)
    table = ec.compress(weight, method, bits=bits, scale_dtype=scale_dtype)
    rows = ec.to_fused_rows(table, layout=layout)
    again = ec.from_fused_rows(rows, 32, bits=bits, layout=layout, scale_dtype=scale_dtype)
    np.testing.assert_array_equal(again.decode(), table.decode())


# What is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": np.zeros((3, 11), np.uint8)}, "have 12 bytes in the layout 'torch', but these have 11"),
        ({"rows": np.zeros((3, 13), np.uint8)}, "have 12 bytes"),
        ({"rows": np.zeros((3, 12), np.int8)}, "uint8, not int8"),
        ({"rows": np.zeros((3, 12))}, "uint8, not float64"),
        ({"rows": np.zeros(36, np.uint8)}, "two axes"),
        ({"rows": np.zeros((3, 12, 1), np.uint8)}, "two axes"),
        ({"rows": b"123456789012"}, "uint8"),
        ({"rows": torch.zeros(3, 12, dtype=torch.uint8, device="meta")}, "on the CPU, not on meta"),
        ({"dimension": 18}, "have 13 bytes"),
        ({"dimension": 15}, "a multiple of 2, not 15"),
        ({"dimension": 18, "bits": 2}, "a multiple of 4, not 18"),
        ({"dimension": 0}, "dimension must be at least 1"),
        ({"dimension": -16}, "dimension must be at least 1"),
        ({"bits": 3}, "codes of 8, 4 and 2 bits, not 3"),
        ({"bits": 16}, "codes of 8, 4 and 2 bits, not 16"),
        ({"bits": 8}, "at 8 bits with f32 scales have 24 bytes"),
        ({"layout": "onnx"}, "layout must be one of 'torch', 'fbgemm', 'tbe', not 'onnx'"),
        ({"scale_dtype": "bf16"}, "scale_dtype must be 'f16' or 'f32'"),
        ({"scale_dtype": "f32"}, "'torch' has f16 scales at 4 bits, not f32"),
        ({"bits": 8, "scale_dtype": "f16"}, "'torch' has f32 scales at 8 bits, not f16"),
        ({"bits": 8, "scale_dtype": "f32", "layout": "tbe"}, "'tbe' has f16 scales at 8 bits"),
        ({"row_alignment": 16}, "not aligned"),
        ({"row_alignment": 16, "layout": "fbgemm"}, "not aligned"),
        ({"row_alignment": 16, "layout": "tbe"}, "have 16 bytes in the layout 'tbe' aligned to 16"),
        ({"row_alignment": 0, "layout": "tbe"}, "row_alignment must be at least 1"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change, words):
    arguments = {"rows": np.zeros((3, 12), np.uint8), "dimension": 16, "bits": 4, **change}
    with pytest.raises(ValueError, match=re.escape(words)):
        ec.from_fused_rows(**arguments)


@pytest.mark.parametrize("change", [{"dimension": 16.0}, {"bits": "4"}, {"bits": True}, {"row_alignment": None}])
def test_numbers_are_integers(change):
    arguments = {"rows": np.zeros((3, 12), np.uint8), "dimension": 16, "bits": 4, **change}
    with pytest.raises(TypeError, match="must be an integer"):
        ec.from_fused_rows(**arguments)


@pytest.mark.parametrize(("layout", "bits", "scale_dtype"), LAYOUTS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("which", "name"), [(0, "scale"), (1, "bias")])
def test_scales_and_biases_that_are_not_finite_are_refused(rng, layout, bits, scale_dtype, bad, which, name):
    codes, both = pieces(rng, 9, 8, bits, scale_dtype)
    both.view(NUMBERS[scale_dtype])[7, which] = bad
    rows = np.hstack([both, codes] if layout == "tbe" else [codes, both])
    with pytest.raises(ValueError, match=f"row 7 has the {name} {bad}"):
        ec.from_fused_rows(rows, 8, bits=bits, layout=layout, scale_dtype=scale_dtype)


def test_a_bad_scale_is_named_far_down():
    rows = np.zeros((150_000, 5), np.uint8)
    rows[140_123, 1:] = np.array([np.inf, 0], np.float16).view(np.uint8)
    with pytest.raises(ValueError, match="row 140123 has the scale inf"):
        ec.from_fused_rows(rows, 2, bits=4)


def test_codes_of_any_bytes_are_not_mistaken_for_scales():
    rows = np.full((4, 12), 255, np.uint8)
    rows[:, -4:] = 0
    assert not ec.from_fused_rows(rows, 16, bits=4).decode().any()


def test_tables_that_the_layout_cannot_say_are_refused(rng):
    weight = rng.standard_normal((10, 32)).astype(np.float32)
    halves = ec.compress(weight, bits=8)
    floats = ec.compress(weight, bits=4, scale_dtype="f32")
    cases = [
        (ec.dense(weight), {}, "this one is 'dense'"),
        (ec.remap(ec.compress(weight), rows=20, modulo=10), {}, "this one is 'remap'"),
        (ec.compress(weight, bits=4, group=8), {}, "for every 8 of their 32 columns"),
        (ec.compress(weight, bits=3), {}, "codes of 8, 4 and 2 bits, not 3"),
        (ec.compress(weight, bits=16), {"layout": "fbgemm"}, "not 16"),
        (halves, {}, "'torch' has f32 scales at 8 bits, not f16"),
        (floats, {}, "'torch' has f16 scales at 4 bits, not f32"),
        (floats, {"layout": "tbe"}, "'tbe' has f16 scales at 4 bits, not f32"),
        (floats, {"layout": "fbgemm"}, "'fbgemm' has f16 scales at 4 bits, not f32"),
        (ec.compress(weight[:, :31].copy(), bits=4), {}, "a multiple of 2, not 31"),
        (ec.compress(weight[:, :30].copy(), bits=2), {"layout": "tbe"}, "a multiple of 4, not 30"),
        (ec.compress(weight), {"row_alignment": 16}, "not aligned"),
        (ec.compress(weight), {"layout": "TBE"}, "layout must be one of"),
    ]
    for table, options, words in cases:
        with pytest.raises(ValueError, match=re.escape(words)):
            ec.to_fused_rows(table, **options)
    with pytest.raises(TypeError, match="ndarray"):
        ec.to_fused_rows(weight)


# PyTorch


@given(st.sampled_from([8, 4, 2]), st.integers(1, 30), dimensions, st.booleans(), seeds)
def test_pytorch_s_rows_are_ours(bits, rows, dimension, optimized, seed):
    rng = np.random.default_rng(seed)
    dimension = whole(dimension, bits)
    weight = torch.from_numpy(rng.standard_normal((rows, dimension)).astype(np.float32))
    packed = PREPACK[bits](weight) if bits == 8 else PREPACK[bits](weight, optimized)
    table = ec.from_fused_rows(packed, dimension, bits=bits)
    assert table.stored_bytes == packed.numel()
    np.testing.assert_array_equal(ec.to_fused_rows(table), packed.numpy())
    np.testing.assert_allclose(table.decode(), UNPACK[bits](packed).numpy(), rtol=1e-6, atol=1e-5)
    ids = torch.from_numpy(rng.integers(0, rows, 50))
    single = POOL[bits](packed, ids, torch.arange(50))
    assert_same_rows(table.lookup(ids), single.numpy(), table)
    offsets = torch.from_numpy(np.sort(np.concatenate([[0], rng.integers(0, 51, 9)])))
    weights = torch.from_numpy(rng.standard_normal(50).astype(np.float32))
    for per_sample_weights in (None, weights):
        theirs = POOL[bits](packed, ids, offsets, per_sample_weights=per_sample_weights)
        ours = table.bag(ids, offsets, per_sample_weights=per_sample_weights)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("method", ["asym", "greedy"])
def test_pytorch_takes_our_rows(rng, bits, method):
    weight = rng.standard_normal((40, 64)).astype(np.float32)
    scale_dtype = "f32" if bits == 8 else "f16"
    table = ec.compress(weight, method, bits=bits, scale_dtype=scale_dtype)
    packed = torch.tensor(ec.to_fused_rows(table))
    ids = torch.arange(40)
    assert_same_rows(table.decode(), POOL[bits](packed, ids, ids).numpy(), table)


# FBGEMM


@given(st.sampled_from([(8, "f32"), (8, "f16"), (4, "f16"), (2, "f16")]), st.integers(1, 30), dimensions, seeds)
def test_fbgemm_s_rows_are_ours(fbgemm, form, rows, dimension, seed):
    bits, scale_dtype = form
    rng = np.random.default_rng(seed)
    # FBGEMM's N-bit operator wants codes of whole 16-bit words.
    dimension = dimension if scale_dtype == "f32" else -(-dimension * bits // 16) * 16 // bits
    weight = torch.from_numpy(rng.standard_normal((rows, dimension)).astype(np.float32))
    if scale_dtype == "f32":
        packed = fbgemm.FloatToFused8BitRowwiseQuantized(weight)
        values = fbgemm.Fused8BitRowwiseQuantizedToFloat(packed)
    else:
        packed = fbgemm.FloatToFusedNBitRowwiseQuantizedSBHalf(weight, bits)
        values = fbgemm.FusedNBitRowwiseQuantizedSBHalfToFloat(packed, bits)
    table = ec.from_fused_rows(packed, dimension, bits=bits, layout="fbgemm", scale_dtype=scale_dtype)
    np.testing.assert_array_equal(ec.to_fused_rows(table, layout="fbgemm"), packed.numpy())
    np.testing.assert_allclose(table.decode(), values.numpy(), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("bits", "scale_dtype"), [(8, "f32"), (8, "f16"), (4, "f16"), (2, "f16")])
def test_fbgemm_takes_our_rows(fbgemm, rng, bits, scale_dtype):
    table = ec.compress(rng.standard_normal((40, 64)).astype(np.float32), bits=bits, scale_dtype=scale_dtype)
    packed = torch.tensor(ec.to_fused_rows(table, layout="fbgemm"))
    if scale_dtype == "f32":
        values = fbgemm.Fused8BitRowwiseQuantizedToFloat(packed)
    else:
        values = fbgemm.FusedNBitRowwiseQuantizedSBHalfToFloat(packed, bits)
    np.testing.assert_allclose(table.decode(), values.numpy(), rtol=1e-6, atol=1e-5)


@given(st.sampled_from([8, 4, 2]), st.integers(1, 20), dimensions, st.sampled_from([None, 1, 16]), seeds)
def test_tbe_s_rows_are_ours(make_tbe, bits, rows, dimension, alignment, seed):
    rng = np.random.default_rng(seed)
    dimension = whole(dimension, bits)
    codes, both = pieces(rng, rows, dimension, bits, "f16")
    tbe = make_tbe((rows, dimension, bits), row_alignment=alignment)
    tbe.assign_embedding_weights([(torch.from_numpy(codes), torch.from_numpy(both))])
    ((held, _),) = tbe.split_embedding_weights(split_scale_shifts=False)
    options = {"layout": "tbe", "row_alignment": alignment or 1}
    table = ec.from_fused_rows(held, dimension, bits=bits, **options)
    ids = np.arange(rows, dtype=np.int32)
    theirs = tbe(torch.from_numpy(ids), torch.arange(rows + 1, dtype=torch.int32)).numpy()
    np.testing.assert_array_equal(table.lookup(ids), theirs)
    held_now = ec.to_fused_rows(table, **options)
    assert held_now.shape == tuple(held.shape)
    np.testing.assert_array_equal(held_now[:, : 4 + codes.shape[1]], held.numpy()[:, : 4 + codes.shape[1]])


@pytest.mark.parametrize("alignment", [1, 16])
def test_tbe_takes_our_rows(make_tbe, rng, alignment):
    sizes = [(40, 64, 4), (30, 20, 8), (20, 16, 2)]
    tables = [
        ec.compress(rng.standard_normal((rows, dimension)).astype(np.float32), "greedy", bits=bits)
        for rows, dimension, bits in sizes
    ]
    tbe = make_tbe(*sizes, row_alignment=alignment)
    for table, (held, _) in zip(tables, tbe.split_embedding_weights(split_scale_shifts=False), strict=True):
        held.copy_(torch.from_numpy(ec.to_fused_rows(table, layout="tbe", row_alignment=alignment)))
    ids = [rng.integers(0, table.rows, 60) for table in tables]
    offsets = torch.arange(0, 181, 6, dtype=torch.int32)
    theirs = tbe(torch.from_numpy(np.concatenate(ids)).int(), offsets).numpy()
    ours = [table.bag(some, np.arange(0, 60, 6)) for table, some in zip(tables, ids, strict=True)]
    np.testing.assert_allclose(np.hstack(ours), theirs, rtol=1e-5, atol=1e-4)


def test_a_pruned_tbe_is_a_remapped_table(make_tbe, rng):
    """TBE's array of remapped rows is a map, with -1 for a row that is pruned."""
    table = ec.compress(rng.standard_normal((10, 16)).astype(np.float32), bits=4)
    remapping = np.full(25, -1, np.int32)
    remapping[rng.permutation(25)[:10]] = np.arange(10)
    tbe = make_tbe((10, 16, 4))
    ((held, _),) = tbe.split_embedding_weights(split_scale_shifts=False)
    held.copy_(torch.from_numpy(ec.to_fused_rows(table, layout="tbe")))
    tbe.set_index_remappings_array([torch.from_numpy(remapping)])
    theirs = tbe(torch.arange(25, dtype=torch.int32), torch.arange(26, dtype=torch.int32)).numpy()
    imported = ec.from_fused_rows(held, 16, bits=4, layout="tbe")
    np.testing.assert_array_equal(ec.remap(imported, map=remapping).decode(), theirs)


# The page


def run_page(kind):
    blocks = re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    namespace = {"__name__": "migration"}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"{PAGE.name}, block {number} of {kind}", "exec"), namespace)
    return namespace


@pytest.mark.filterwarnings("ignore:torch.quant", "ignore:torch.ao", "ignore::DeprecationWarning")
def test_the_page_s_examples_run():
    report = run_page("python")["report"]
    assert [layer.status for layer in report] == ["imported"]


def test_the_page_s_example_of_tbe_runs(make_tbe):
    names = run_page("python fbgemm")
    np.testing.assert_array_equal(
        ec.to_fused_rows(names["better"], layout="tbe", row_alignment=16), names["rows"].numpy()
    )
    assert names["table"].shape == (1000, 64)
