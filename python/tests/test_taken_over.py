"""Codes of other programs' files, which stores take over as they are: GGUF's blocks and MLX's layers."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sources import safetensors

import embedcompress as ec
from embedcompress._gguf_blocks import TYPES

gguf = pytest.importorskip("gguf")
NAME = "token_embd.weight"
DECODED = ("Q4_K", "Q5_K", "Q6_K", "Q2_K", "Q3_K", "MXFP4")


def block_bytes(kind):
    return gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]


def gguf_file(path, tensors):
    """Write tensors, each an array of floats, or a type and its bytes of (rows, bytes of a row)."""
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in tensors.items():
        if isinstance(value, tuple):
            writer.add_tensor(name, value[1], raw_dtype=gguf.GGMLQuantizationType[value[0]])
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def blocks(kind, rows, groups, seed):
    """Return random bytes of blocks whose f16 numbers are finite, subnormal and negative ones among them."""
    columns, size = block_bytes(kind)
    data = np.random.default_rng(seed).integers(0, 256, (rows, groups, size), np.uint8)
    if kind in TYPES:
        head = np.ascontiguousarray(data[:, :, : TYPES[kind].head]).view(np.uint16)
        # The exponent of what is not finite has all five bits.
        head[head & 0x7C00 == 0x7C00] &= 0xBFFF
        data[:, :, : TYPES[kind].head] = head.view(np.uint8)
    return data.reshape(rows, groups * size), groups * columns


def reference(kind, data):
    return gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind])


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(sorted(TYPES)),
    rows=st.integers(1, 9),
    groups=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_blocks_are_the_rows_that_gguf_decodes(tmp_path_factory, kind, rows, groups, seed):
    data, dimension = blocks(kind, rows, groups, seed)
    path = gguf_file(tmp_path_factory.mktemp("gguf") / "m.gguf", {NAME: (kind, data), "output_norm.weight": np.ones(3)})
    table = ec.load(path)
    tree = table.parts()[0]
    assert (table.shape, tree["kind"], tree["bits"], tree["group"]) == (
        (rows, dimension),
        "uniform",
        TYPES[kind].bits,
        32,
    )
    np.testing.assert_array_equal(table.decode(), reference(kind, data))
    np.testing.assert_array_equal(ec.load(path, "token_embd").decode(), table.decode())
    ids = np.arange(rows)[::-1]
    np.testing.assert_array_equal(table.lookup(ids), reference(kind, data)[ids])


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_rows_of_several_blocks_of_rows(tmp_path, monkeypatch, kind):
    from embedcompress import _uniform_rows

    monkeypatch.setattr(_uniform_rows, "_AT_ONCE", 200)
    data, _ = blocks(kind, 11, 2, 3)
    table = ec.load(gguf_file(tmp_path / "m.gguf", {NAME: (kind, data)}))
    np.testing.assert_array_equal(table.decode(), reference(kind, data))


@pytest.mark.parametrize(
    ("kind", "scale", "wanted"), [("Q8_0", 511, "f16"), ("Q8_0", 512, "f32"), ("Q4_0", 8192, "f32")]
)
def test_zeros_that_f16_cannot_say_get_f32(tmp_path, kind, scale, wanted):
    data, _ = blocks(kind, 2, 1, 0)
    data[:, :2] = np.array([[1], [-scale]], np.float16).view(np.uint8)
    table = ec.load(gguf_file(tmp_path / "m.gguf", {NAME: (kind, data)}))
    assert table.parts()[0]["scale"] == wanted
    np.testing.assert_array_equal(table.decode(), reference(kind, data))


def test_a_scale_that_is_not_finite_is_refused_with_its_row(tmp_path):
    data, _ = blocks("Q4_1", 5, 2, 0)
    data[3, 2:4] = np.array([np.inf], np.float16).view(np.uint8)
    path = gguf_file(tmp_path / "m.gguf", {NAME: ("Q4_1", data)})
    with pytest.raises(ec.FormatError, match=r"m\.gguf.*token_embd.weight \(5 x 64, Q4_1\).*row 3 is not finite"):
        ec.load(path)


@pytest.mark.parametrize("kind", DECODED)
def test_other_types_are_decoded(tmp_path, kind):
    data, dimension = blocks(kind, 3, 1, 1)
    # Scales are somewhere among the bytes: small ones are finite in every type.
    data &= 0x3B
    table = ec.load(gguf_file(tmp_path / "m.gguf", {NAME: (kind, data)}))
    assert (table.shape, table.parts()[0]["kind"]) == ((3, dimension), "dense")
    np.testing.assert_array_equal(table.decode(), reference(kind, data))


def test_a_vocabulary_takes_no_memory(tmp_path):
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("tokenizer.ggml.tokens", [f"word{n}" for n in range(20_000)])
    writer.add_array("tokenizer.ggml.scores", [0.5] * 20_000)
    writer.add_tensor(NAME, np.ones((3, 5), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ec.load(path)
    tracemalloc.start()
    try:
        table = ec.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(table.decode(), np.ones((3, 5)))
    assert peak < 200_000


@pytest.mark.parametrize(
    "value",
    [
        struct.pack("<IIQ", 9, 8, 1 << 60),
        struct.pack("<IIQ", 9, 4, 1 << 60),
        struct.pack("<IIQ", 9, 9, 1 << 60),
        struct.pack("<IIQ", 9, 99, 1),
        struct.pack("<IIQQ", 9, 8, 1, 1 << 63),
        struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000,
        struct.pack("<IIQ", 99, 8, 1),
        struct.pack("<I", 9),
    ],
)
def test_damaged_lists_are_refused(tmp_path, value):
    path = gguf_file(tmp_path / "m.gguf", {NAME: np.ones((3, 5), np.float32)})
    raw = path.read_bytes()
    head, rest = raw[:16] + struct.pack("<Q", 2), raw[24:]
    for content in (rest[:45] + struct.pack("<Q", 1) + b"k" + value, struct.pack("<Q", 1) + b"k" + value + rest):
        path.write_bytes(head + content)
        with pytest.raises(ec.FormatError, match=r"m\.gguf': a GGUF file that can't be read"):
            ec.load(path)


def test_axes_of_blocks(tmp_path):
    data, _ = blocks("Q4_0", 6, 2, 1)
    path = gguf_file(tmp_path / "m.gguf", {NAME: ("Q4_0", data.reshape(2, 3, -1))})
    np.testing.assert_array_equal(ec.load(path, axis=1, name=NAME).decode(), reference("Q4_0", data))
    np.testing.assert_array_equal(ec.load(path, axis=0, name=NAME).decode(), reference("Q4_0", data).reshape(2, -1))


# MLX


def layer(bits, group, rows, groups, seed, dtype="float16"):
    """Return codes, scales and biases, packed bit by bit, and the rows that they stand for."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**bits, (rows, groups * group))
    words = np.zeros((rows, groups * group * bits // 32), np.uint32)
    for place in range(codes.shape[1] * bits):
        bit = codes[:, place // bits] >> place % bits & 1
        words[:, place // 32] |= (bit << place % 32).astype(np.uint32)
    scales, biases = (rng.standard_normal((rows, groups)).astype(dtype) for _ in range(2))
    spread = [np.repeat(values.astype(np.float32), group, axis=1) for values in (scales, biases)]
    return {"weight": words, "scales": scales, "biases": biases}, spread[0] * codes.astype(np.float32) + spread[1]


def mlx_file(path, name, tensors, codes=()):
    named = {f"{name}.{key}" if name else key: value for key, value in tensors.items()}
    return safetensors(path, named, {f"{name}.{key}": dtype for key, dtype in codes})


@settings(deadline=None, max_examples=40)
@given(
    bits=st.sampled_from([2, 3, 4, 5, 6, 8]),
    group=st.sampled_from([32, 64, 128]),
    rows=st.integers(1, 6),
    groups=st.integers(1, 5),
    dtype=st.sampled_from(["float16", "float32"]),
    per_layer=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_layers_of_mlx_are_their_rows(tmp_path_factory, bits, group, rows, groups, dtype, per_layer, seed):
    folder = tmp_path_factory.mktemp("mlx")
    tensors, expected = layer(bits, group, rows, groups, seed, dtype)
    path = mlx_file(folder / "model.safetensors", "model.embed", tensors)
    said = {"group_size": group, "bits": bits}
    if per_layer:
        said = {"group_size": 48, "bits": 7, "model.embed": said}
    (folder / "config.json").write_text(json.dumps({"quantization": said}))
    for table in (ec.load(path), ec.load(folder, "model.embed"), ec.load(path, "model.embed.weight")):
        tree = table.parts()[0]
        assert (tree["bits"], tree["group"], tree["scale"]) == (bits, group, dtype.replace("float", "f"))
        np.testing.assert_array_equal(table.decode(), expected)
    assert ec.contents(path).tensors[0].dtype == f"MLX {bits}-bit, groups of {group}"


def test_bf16_scales_are_f16_where_that_holds_them(tmp_path):
    tensors, _ = layer(4, 64, 3, 2, 0)
    for factor, wanted in ((1.0, "f16"), (2.0**20, "f32")):
        wide = {
            key: (tensors[key].astype(np.float32) * factor).view(np.uint32) & 0xFFFF0000 for key in ("scales", "biases")
        }
        halves = {key: (values >> 16).astype(np.uint16) for key, values in wide.items()}
        path = mlx_file(
            tmp_path / "m", "embed", {"weight": tensors["weight"], **halves}, [("scales", "BF16"), ("biases", "BF16")]
        )
        table = ec.load(path)
        assert table.parts()[0]["scale"] == wanted
        scales, biases = (np.repeat(wide[key].view(np.float32), 64, axis=1) for key in ("scales", "biases"))
        codes = np.stack([tensors["weight"].view(np.uint8) & 15, tensors["weight"].view(np.uint8) >> 4], 2).reshape(
            3, -1
        )
        np.testing.assert_array_equal(table.decode(), scales * codes + biases)


def test_shapes_say_bits_and_groups_where_nothing_else_does(tmp_path):
    """Of several that fit, what MLX's functions take that are told neither; else they are refused."""
    for bits, group, found in ((4, 64, (4, 64)), (8, 32, (4, 64)), (3, 32, (3, 32)), (6, 128, (6, 128))):
        tensors, _ = layer(bits, group, 2, 2, 0)
        tree = ec.load(mlx_file(tmp_path / "m", "embed", tensors)).parts()[0]
        assert (tree["bits"], tree["group"]) == found
    tensors, _ = layer(6, 32, 2, 2, 0)
    with pytest.raises(ec.FormatError, match="fit 6 bits in groups of 32 and 3 bits in groups of 64, and there is no"):
        ec.load(mlx_file(tmp_path / "m", "embed", tensors), "embed")


def test_layers_over_several_files(tmp_path):
    tensors, expected = layer(4, 64, 4, 2, 1)
    mlx_file(tmp_path / "a.safetensors", "embed", {"weight": tensors["weight"], "other": np.ones((2, 2), np.float32)})
    mlx_file(tmp_path / "b.safetensors", "embed", {key: tensors[key] for key in ("scales", "biases")})
    np.testing.assert_array_equal(ec.load(tmp_path, "embed").decode(), expected)
    places = {"embed.weight": "a.safetensors", "embed.scales": "b.safetensors", "embed.biases": "b.safetensors"}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    np.testing.assert_array_equal(ec.load(tmp_path).decode(), expected)


def test_checkpoints_of_torch_have_no_layers_of_mlx(tmp_path):
    torch = pytest.importorskip("torch")
    tensors, _ = layer(4, 64, 4, 2, 1)
    torch.save({f"embed.{key}": torch.from_numpy(values) for key, values in tensors.items()}, tmp_path / "a.bin")
    places = {f"embed.{key}": "a.bin" for key in tensors}
    (tmp_path / "m.bin.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(ec.FormatError, match=r"embed.weight \(4 x 16, .*of a type that no table has"):
        ec.load(tmp_path / "m.bin.index.json", "embed")


def test_layers_that_no_table_is(tmp_path):
    tensors, _ = layer(4, 64, 2, 2, 0)
    config = tmp_path / "config.json"
    for change, said, what in (
        ({"biases": None}, {}, "no biases, as MLX's modes other than affine"),
        ({"biases": tensors["biases"][:, :1].copy()}, {}, r"its biases embed.biases \(2 x 1, F16\)"),
        ({"scales": np.ones((2, 3), "f2"), "biases": np.ones((2, 3), "f2")}, {}, "does not go with codes of"),
        ({}, {"bits": 8, "group_size": 64}, "config.json says 8 bits in groups of 64"),
        ({"scales": tensors["scales"] * np.float16(np.inf)}, {}, "row 0 is not finite"),
    ):
        config.write_text(json.dumps({"quantization": said}))
        path = mlx_file(
            tmp_path / "m.safetensors", "embed", {key: v for key, v in {**tensors, **change}.items() if v is not None}
        )
        with pytest.raises(ec.FormatError, match=what) as caught:
            ec.load(path, "embed")
        assert str(path) in str(caught.value) and "embed.weight" in str(caught.value)


def test_a_configuration_that_says_nothing_is_let_be(tmp_path):
    tensors, expected = layer(4, 64, 2, 2, 0)
    path = mlx_file(tmp_path / "m.safetensors", "embed", tensors)
    for text in (
        "",
        "[]",
        '{"quantization": 4}',
        '{"quantization": {"bits": "four"}}',
        "{" * 99,
        '{"quantization": {}}',
    ):
        (tmp_path / "config.json").write_text(text)
        np.testing.assert_array_equal(ec.load(path).decode(), expected)


def test_compressing_what_is_quantized_decodes_it(tmp_path):
    weight = np.random.default_rng(4).standard_normal((20, 64)).astype(np.float32)
    data = gguf.quants.quantize(weight, gguf.GGMLQuantizationType.Q8_0)
    path = gguf_file(tmp_path / "m.gguf", {NAME: ("Q8_0", data)})
    weight = reference("Q8_0", data)
    np.testing.assert_array_equal(ec.compress(path, bits=4).decode(), ec.compress(weight, bits=4).decode())


# The command line


def test_convert(run, tmp_path):
    exact, _ = blocks("Q5_1", 4, 2, 0)
    other = blocks("Q4_K", 2, 1, 1)[0] & 0x3B
    half = np.random.default_rng(2).standard_normal((3, 8)).astype(np.float16)
    path = gguf_file(tmp_path / "m.gguf", {NAME: ("Q5_1", exact), "head.weight": ("Q4_K", other), "half": half})
    out = tmp_path / "out.safetensors"
    code, printed, err = run("convert", path, out, "--tensor", "*")
    assert (code, err) == (0, "")
    assert "head.weight: no store has Q4_K: it is decoded to f32." in printed and printed.count("decoded") == 1
    expected = {NAME: reference("Q5_1", exact), "head.weight": reference("Q4_K", other), "half": half}
    for name, rows in expected.items():
        np.testing.assert_array_equal(ec.load(out, name).decode(), rows)
    assert ec.load(out, "half").parts()[0]["element"] == "f16"
    metadata = ec.contents(out).metadata
    assert metadata[f"origin.{NAME}"] == "gguf Q5_1" and "origin.head.weight" not in metadata
    ec.verify(out)
    code, printed, _ = run("convert", path, out, "--tensor", NAME, "--json")
    assert json.loads(printed)["tables"][0]["type"] == "Q5_1"
    code, _, err = run("convert", path, path, "--tensor", NAME)
    assert code == 1 and "the output is the input" in err
    code, _, err = run("convert", path, out, "--tensor", "gone")
    assert code == 1 and "no table 'gone'" in err and str(path) in err


def test_convert_layers_of_mlx(run, tmp_path):
    tensors, expected = layer(6, 32, 4, 3, 0)
    path = mlx_file(tmp_path / "m.safetensors", "embed", tensors)
    (tmp_path / "config.json").write_text('{"quantization": {"group_size": 32, "bits": 6}}')
    assert run("convert", path, tmp_path / "out.safetensors")[0] == 0
    np.testing.assert_array_equal(ec.load(tmp_path / "out.safetensors").decode(), expected)
    assert ec.contents(tmp_path / "out.safetensors").metadata["origin.embed.weight"] == "mlx F16"
    assert "MLX 6-bit, groups of 32" in run("inspect", path)[1]
