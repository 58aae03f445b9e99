"""Tables in files of other programs: as they came, to the byte, and what does not fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from test_taken_over import NAME, blocks, gguf, gguf_file, layer, mlx_file, reference

import embedcompress as ec
from embedcompress._gguf_blocks import TYPES

WEIGHT = np.random.default_rng(1).standard_normal((7, 128)).astype(np.float32)


def held(path):
    """Return the type and the bytes of each tensor of a GGUF file, as its package reads them."""
    return {t.name: (t.tensor_type.name, np.asarray(t.data).tobytes()) for t in gguf.GGUFReader(path).tensors}


@given(
    kind=st.sampled_from(sorted(TYPES)),
    rows=st.integers(1, 9),
    groups=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_blocks_go_back_as_they_came(tmp_path_factory, kind, rows, groups, seed):
    folder = tmp_path_factory.mktemp("gguf")
    data, _ = blocks(kind, rows, groups, seed)
    path = gguf_file(folder / "a.gguf", {NAME: (kind, data)})
    for type in (kind, {NAME: kind}):
        ec.export(folder / "b.gguf", {NAME: ec.load(path)}, "gguf", type=type)
        assert held(folder / "b.gguf") == {NAME: (kind, data.tobytes())}


def test_plain_numbers_and_several_tensors(tmp_path):
    import torch

    tables = {"a": ec.load(gguf_file(tmp_path / "a.gguf", {NAME: ("Q5_0", blocks("Q5_0", 3, 1, 0)[0])}))}
    np.save(tmp_path / "w.npy", WEIGHT[:, :5])
    np.save(tmp_path / "h.npy", WEIGHT[:3, :7].astype(np.float16))
    torch.save({"b": torch.from_numpy(WEIGHT[:2, :3].copy()).bfloat16()}, tmp_path / "b.pt")
    tables |= {
        "f32": ec.load(tmp_path / "w.npy"),
        "f16": ec.load(tmp_path / "h.npy"),
        "bf16": ec.load(tmp_path / "b.pt"),
    }
    ec.export(tmp_path / "out.gguf", tables, "gguf")
    assert {name: type for name, (type, _) in held(tmp_path / "out.gguf").items()} == {
        "a": "Q5_0",
        "f32": "F32",
        "f16": "F16",
        "bf16": "BF16",
    }
    for name, table in tables.items():
        np.testing.assert_array_equal(ec.load(tmp_path / "out.gguf", name).decode(), table.decode())
    ec.export(tmp_path / "out.safetensors", {name: tables[name] for name in ("f32", "f16", "bf16")}, "mlx")
    for name in ("f32", "f16", "bf16"):
        np.testing.assert_array_equal(ec.load(tmp_path / "out.safetensors", name).decode(), tables[name].decode())


@pytest.mark.parametrize(
    ("bits", "options", "type"),
    [(4, {"group": 32}, "Q4_1"), (5, {"group": 32}, "Q5_1"), (4, {"group": 96}, "Q4_1"), (5, {}, "Q5_1")],
)
@pytest.mark.parametrize("row_alignment", [1, 64])
def test_what_compress_makes_goes_to_gguf(tmp_path, bits, options, type, row_alignment):
    """Wider groups too: their scales are repeated."""
    table = ec.compress(WEIGHT, bits=bits, **options).aligned(row_alignment)
    ec.export(tmp_path / "out.gguf", table, "gguf")
    ((name, (found, data)),) = held(tmp_path / "out.gguf").items()
    assert (name, found) == ("weight", type)
    rows = reference(type, np.frombuffer(data, np.uint8).reshape(len(WEIGHT), -1))
    np.testing.assert_array_equal(rows, table.decode())
    np.testing.assert_array_equal(ec.load(tmp_path / "out.gguf").decode(), table.decode())


def test_one_scale_of_the_table(tmp_path):
    codes = np.random.default_rng(0).integers(0, 16, (5, 64))
    table = ec.uniform(codes, 0.5, -4.0, bits=4)
    ec.export(tmp_path / "out.gguf", table, "gguf")
    assert held(tmp_path / "out.gguf")["weight"][0] == "Q4_0"
    np.testing.assert_array_equal(ec.load(tmp_path / "out.gguf").decode(), table.decode())
    ec.export(tmp_path / "out.safetensors", table, "mlx")
    np.testing.assert_array_equal(ec.load(tmp_path / "out.safetensors").decode(), table.decode())


@given(
    bits=st.sampled_from([2, 3, 4, 5, 6, 8]),
    group=st.sampled_from([32, 64, 128]),
    rows=st.integers(1, 6),
    groups=st.integers(1, 5),
    dtype=st.sampled_from(["float16", "float32"]),
    name=st.sampled_from(["embed", "embed.weight"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_layers_of_mlx_go_back_as_they_came(tmp_path_factory, bits, group, rows, groups, dtype, name, seed):
    folder = tmp_path_factory.mktemp("mlx")
    tensors, expected = layer(bits, group, rows, groups, seed, dtype)
    (folder / "config.json").write_text(f'{{"quantization": {{"bits": {bits}, "group_size": {group}}}}}')
    table = ec.load(mlx_file(folder / "m.safetensors", "embed", tensors))
    # The file says its bits and groups itself.
    other = tmp_path_factory.mktemp("other") / "out.safetensors"
    ec.export(other, {name: table}, "mlx")
    found = load_file(other)
    assert set(found) == {"embed.weight", "embed.scales", "embed.biases"}
    for key, values in tensors.items():
        assert found[f"embed.{key}"].dtype == values.dtype
        np.testing.assert_array_equal(found[f"embed.{key}"], values)
    np.testing.assert_array_equal(ec.load(other).decode(), expected)


def test_bf16_scales_of_mlx_go_back(run, tmp_path):
    tensors, _ = layer(4, 64, 3, 2, 0)
    halves = {key: (tensors[key].astype("f4").view("u4") >> 16).astype("u2") for key in ("scales", "biases")}
    codes = [("scales", "BF16"), ("biases", "BF16")]
    path = mlx_file(tmp_path / "a", "embed", {"weight": tensors["weight"], **halves}, codes)
    assert run("convert", path, tmp_path / "b")[0] == 0
    assert run("convert", tmp_path / "b", tmp_path / "c", "--to", "mlx")[0] == 0
    assert run("convert", path, tmp_path / "d", "--to", "mlx")[0] == 0
    for name in ("c", "d"):
        assert data_of(tmp_path / name) == data_of(path)
        assert ec.contents(tmp_path / name).metadata["format"] == "mlx"
    code, _, err = run("convert", tmp_path / "b", tmp_path / "e", "--to", "mlx", "--type", "I8")
    assert code == 1 and "there are no scales of I8; types are F16, BF16, F32" in err


def data_of(path):
    raw = path.read_bytes()
    return raw[8 + int.from_bytes(raw[:8], "little") :]


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_the_command_there_and_back(run, tmp_path, kind):
    """Also where the bytes would fit a smaller type: all is zero."""
    for seed in range(2):
        data, _ = blocks(kind, 4, 2, seed)
        data *= seed
        path = gguf_file(tmp_path / "a.gguf", {NAME: (kind, data), "half": WEIGHT.astype(np.float16)})
        assert run("convert", path, tmp_path / "b", "--tensor", "*")[0] == 0
        assert run("convert", tmp_path / "b", tmp_path / "again")[0] == 0
        for source in (tmp_path / "b", tmp_path / "again"):
            code, out, err = run("convert", source, tmp_path / "c.gguf")
            assert (code, err) == (0, "") and "Wrote" in out
            assert held(tmp_path / "c.gguf") == held(path)


def test_refusals_say_what_fits(run, tmp_path):
    fits = r"compress\(weight, 'least_squares', bits=4, group=32\)"
    for table, type, what in (
        (ec.compress(WEIGHT, bits=3, group=32), None, "it has codes of 3 bits"),
        (ec.compress(WEIGHT, bits=4, group=32), "Q5_1", "it has codes of 4 bits, and not Q5_1"),
        (ec.compress(WEIGHT, bits=4, group=32), "Q4_0", "biases of -8 times the scale, as Q4_0 needs"),
        (ec.compress(WEIGHT, bits=8, group=32), None, "biases of -128 times the scale, as Q8_0 needs"),
        (ec.compress(WEIGHT, bits=4, group=40), None, "Uniform 4-bit, f16 scale and bias per 40 columns"),
        (ec.compress(WEIGHT[:, :24], bits=4), None, "of 24 columns"),
        (ec.compress(WEIGHT, bits=4, scale_dtype="f32"), None, "nor scales and biases that f16 holds, as Q4_1 needs"),
        (ec.compress(WEIGHT, "pq", parts=8, bits=2), None, "it is Product"),
    ):
        with pytest.raises(
            ValueError, match=rf"table 'weight' can't be written to GGUF: .*{what}.*; what fits.*{fits}"
        ):
            ec.export(tmp_path / "no.gguf", table, "gguf", type=type)
    for table, type, what in (
        (ec.compress(WEIGHT, bits=7, group=32), None, "it is Uniform 7-bit.*what fits are 2, 3, 4, 5, 6 or 8 bits"),
        (ec.compress(WEIGHT, bits=4, group=40), None, "per 40 columns.*bits=4, group=64"),
        (ec.compress(WEIGHT, "kmeans", bits=4), None, "it is Codebook"),
        (ec.compress(WEIGHT, bits=4, group=32), "BF16", "its scales or biases are not all of BF16; F32 holds them"),
    ):
        with pytest.raises(ValueError, match=what):
            ec.export(tmp_path / "no.safetensors", table, "mlx", type=type)
    ec.save(tmp_path / "seven", {"emb": ec.compress(WEIGHT, bits=7)})
    code, _, err = run("convert", tmp_path / "seven", tmp_path / "no.gguf")
    assert code == 1 and err.count("\n") == 1 and "table 'emb' can't be written to GGUF" in err
    code, _, err = run("convert", tmp_path / "seven", tmp_path / "no", "--type", "Q4_0")
    assert code == 1 and "--type and --id-axes go with --to gguf, mlx, onnx" in err
    assert not list(tmp_path.glob("no*"))


def test_arguments_that_are_wrong(tmp_path):
    table = ec.compress(WEIGHT, bits=4, group=32)
    for arguments, options, error, what in (
        (({"a": WEIGHT}, "gguf"), {}, TypeError, "must be an embedcompress.Table"),
        (([table], "gguf"), {}, TypeError, "a mapping of names to tables"),
        (({}, "gguf"), {}, ValueError, "at least one table"),
        ((table, "tflite"), {}, ValueError, "kind must be one of gguf, mlx, onnx, not 'tflite'"),
        ((table, "gguf"), {"id_axes": 1}, ValueError, "id_axes is for ONNX"),
        ((table, "onnx"), {"id_axes": -1}, ValueError, "id_axes must be at least 0, not -1"),
        ((table, "onnx"), {"id_axes": "two"}, TypeError, "id_axes must be an integer"),
        ((table, "gguf"), {"type": 4}, TypeError, "type must be a string"),
        ((table, "gguf"), {"type": "Q9"}, ValueError, "there is no type Q9"),
        ((table, "gguf"), {"type": {"b": "Q4_1"}}, ValueError, "type names 'b'"),
    ):
        with pytest.raises(error, match=what):
            ec.export(tmp_path / "no", *arguments, **options)
    with pytest.raises(KeyboardInterrupt):
        ec.export(tmp_path / "no", table, "gguf", progress=lambda done, total: False)
    assert not list(tmp_path.iterdir())


def test_blocks_of_rows(tmp_path, monkeypatch):
    from embedcompress import _uniform_rows

    expected = tmp_path / "a.gguf", tmp_path / "a.safetensors"
    found = tmp_path / "b.gguf", tmp_path / "b.safetensors"
    table = ec.compress(WEIGHT, bits=4, group=64)
    steps = []
    for paths, size in ((expected, 1 << 20), (found, 300)):
        monkeypatch.setattr(_uniform_rows, "_AT_ONCE", size)
        for path, kind in zip(paths, ("gguf", "mlx"), strict=True):
            ec.export(path, table, kind, progress=lambda done, total: steps.append((done, total)))
    for one, other in zip(expected, found, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert steps[0] == (7 * 4 * 20,) * 2 and len(steps) == 1 + 3 + 4 + 12


def test_a_missing_package_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(ec.FormatError, match=r"needs gguf.*pip install 'embedcompress\[gguf\]'"):
        ec.export(tmp_path / "no.gguf", ec.compress(WEIGHT, bits=4), "gguf")
    assert not list(tmp_path.iterdir())


def test_mlx_tensors_of_one_name(tmp_path):
    coded, dense = ec.compress(WEIGHT, bits=4, group=32), ec.dense(WEIGHT)
    for tables in ({"a": coded, "a.weight": coded}, {"a": coded, "a.scales": dense}, {"a.biases": dense, "a": coded}):
        with pytest.raises(ValueError, match=r"can't be written to .*MLX: another table has a tensor 'a\.\w+' already"):
            ec.export(tmp_path / "m.safetensors", tables, "mlx")
    assert not list(tmp_path.iterdir())
