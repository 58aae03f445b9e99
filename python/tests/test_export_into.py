"""Tables put into the GGUF file of a model: all else of it stays as it is, byte for byte."""

import json
import os
import struct

import numpy as np
import pytest
from test_taken_over import NAME, blocks, gguf, reference

import embedcompress as ec
from embedcompress._sources import _gguf

ROWS, COLUMNS = 40, 64
WEIGHT = np.random.default_rng(3).standard_normal((ROWS, COLUMNS)).astype(np.float16)
SCALARS = {
    "uint8": 255,
    "int8": -128,
    "uint16": 65535,
    "int16": -32768,
    "uint32": 2**32 - 1,
    "int32": -(2**31),
    "float32": 0.1,
    "uint64": 2**64 - 1,
    "int64": -(2**63),
    "float64": 0.1,
    "bool": True,
    "string": "ein Wort, 一個詞",
}


def key(name):
    return struct.pack("<Q", len(name)) + name.encode()


ODD = [
    key("odd.empty") + struct.pack("<IIQ", 9, 8, 0),
    key("odd.arrays") + struct.pack("<IIQ", 9, 9, 2) + 2 * struct.pack("<IQ3h", 3, 3, 1, -2, 3),
    key("odd.empty_string") + struct.pack("<IQ", 8, 0),
]
"""Metadata that GGUF allows and the package does not write: an empty array, arrays in an array, an empty string."""


def model_file(path, alignment=32, odd=True, version=3, dense=True):
    """Write a model: metadata of every kind, and tensors of one, two and three axes, the embedding in the middle."""
    writer = gguf.GGUFWriter(path, "llama")
    if alignment != 32:
        writer.add_custom_alignment(alignment)
    for kind, value in SCALARS.items():
        getattr(writer, f"add_{kind}")(f"test.{kind}", value)
    writer.add_array("tokenizer.ggml.tokens", [f"<{n}>" for n in range(ROWS)])
    writer.add_array("tokenizer.ggml.scores", [n / 7 for n in range(ROWS)])
    writer.add_array("test.flags", [True, False, True])
    writer.add_array("test.integers", list(range(-5, 5)))
    random = np.random.default_rng(4)
    writer.add_tensor("output_norm.weight", random.standard_normal(7).astype(np.float32))
    for number, kind in enumerate(("Q4_K", "Q8_0", "Q6_K")):
        data = blocks(kind, 3, 1, number)[0]
        writer.add_tensor(f"blk.{number}.weight", data, raw_dtype=gguf.GGMLQuantizationType[kind])
    if dense:
        writer.add_tensor(NAME, WEIGHT)
    else:
        data = blocks("Q4_0", ROWS, COLUMNS // 32, 5)[0]
        writer.add_tensor(NAME, data, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.add_tensor("experts.weight", random.standard_normal((2, 3, 32)).astype(np.float32))
    writer.add_tensor("ids", np.arange(5, dtype=np.int32))
    half = random.integers(0, 256, (3, 2 * 5), np.uint8)
    writer.add_tensor("half", half, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if odd:
        raw, reader = path.read_bytes(), gguf.GGUFReader(path)
        start, last = reader.tensors[0].field.offset, reader.tensors[-1].field
        end = last.offset + sum(part.nbytes for part in last.parts)
        (fields,) = struct.unpack_from("<Q", raw, 16)
        head = raw[:16] + struct.pack("<Q", fields + len(ODD)) + raw[24:start] + b"".join(ODD) + raw[start:end]
        path.write_bytes(head + bytes(-len(head) % alignment) + raw[reader.data_offset :])
    if version != 3:
        raw = path.read_bytes()
        path.write_bytes(raw[:4] + struct.pack("<I", version) + raw[8:])
    return path


def parts(path):
    """Return the bytes of the header and the metadata, and each tensor's type, shape and bytes, in their order."""
    reader = gguf.GGUFReader(path)
    raw = path.read_bytes()
    tensors = {
        t.name: (t.tensor_type.name, tuple(map(int, reversed(t.shape))), raw[t.data_offset : t.data_offset + t.n_bytes])
        for t in reader.tensors
    }
    assert all(t.data_offset % reader.alignment == 0 for t in reader.tensors)
    assert len(raw) % reader.alignment == 0
    return raw[: min(t.field.offset for t in reader.tensors)], tensors


@pytest.mark.parametrize(("alignment", "version"), [(32, 3), (128, 3), (8, 2)])
def test_only_the_tensor_changes(tmp_path, alignment, version):
    path = model_file(tmp_path / "model.gguf", alignment, version=version)
    before = path.read_bytes()
    table = ec.compress(ec.load(path, NAME).decode(), bits=4, group=32)
    ec.export(tmp_path / "out.gguf", {NAME: table}, "gguf", into=path)
    assert path.read_bytes() == before
    (head, tensors), (new_head, new_tensors) = parts(path), parts(tmp_path / "out.gguf")
    assert new_head == head and all(entry in head for entry in ODD)
    assert list(new_tensors) == list(tensors)
    kind, shape, data = new_tensors.pop(NAME)
    assert (kind, shape) == ("Q4_1", (ROWS, COLUMNS)) and tensors.pop(NAME)[0] == "F16"
    assert new_tensors == tensors
    rows = reference(kind, np.frombuffer(data, np.uint8).reshape(ROWS, -1))
    np.testing.assert_array_equal(rows, table.decode())
    np.testing.assert_array_equal(ec.load(tmp_path / "out.gguf", NAME).decode(), table.decode())
    for name, (kind, _, _) in tensors.items():
        assert gguf.GGUFReader(tmp_path / "out.gguf").fields.keys() == gguf.GGUFReader(path).fields.keys()
        if name.startswith("blk"):
            np.testing.assert_array_equal(
                ec.load(tmp_path / "out.gguf", name).decode(), ec.load(path, name).decode(), err_msg=kind
            )


def test_what_was_there_put_back_is_the_same_file(tmp_path):
    for dense in (True, False):
        path = model_file(tmp_path / "model.gguf", dense=dense)
        tables = {name: ec.load(path, name) for name in (NAME, "blk.1.weight", "half")}
        ec.export(tmp_path / "out.gguf", tables, "gguf", into=path)
        assert (tmp_path / "out.gguf").read_bytes() == path.read_bytes()


def test_axes_stay_what_they_are(tmp_path):
    path = model_file(tmp_path / "model.gguf")
    table = ec.load(path, "experts.weight", axis=1)
    assert table.shape == (6, 32)
    coded = ec.compress(table.decode(), bits=5, group=32)
    ec.export(tmp_path / "out.gguf", {"experts": coded}, "gguf", into=path)
    kind, shape, _ = parts(tmp_path / "out.gguf")[1]["experts.weight"]
    assert (kind, shape) == ("Q5_1", (2, 3, 32))
    np.testing.assert_array_equal(ec.load(tmp_path / "out.gguf", "experts.weight", axis=1).decode(), coded.decode())


def test_a_model_is_copied_piece_by_piece_and_can_take_its_own_place(tmp_path, monkeypatch):
    path = model_file(tmp_path / "model.gguf")
    table = ec.compress(WEIGHT, bits=4, group=32)
    ec.export(tmp_path / "out.gguf", {NAME: table}, "gguf", into=path)
    expected, before = (tmp_path / "out.gguf").read_bytes(), path.read_bytes()
    monkeypatch.setattr(_gguf, "_AT_ONCE", 50)
    steps = []

    def stop(done, total):
        steps.append((done, total))
        return done < total // 2

    with pytest.raises(KeyboardInterrupt):
        ec.export(path, {NAME: table}, "gguf", into=path, progress=stop)
    assert path.read_bytes() == before and {file.name for file in tmp_path.iterdir()} == {"model.gguf", "out.gguf"}
    total = sum(len(data) for _, _, data in parts(tmp_path / "out.gguf")[1].values())
    assert {one for _, one in steps} == {total} and steps[0][0] == 7 * 4
    assert steps[1][0] - steps[0][0] == 50
    ec.export(path, {NAME: table}, "gguf", into=path)
    assert path.read_bytes() == expected


def test_a_model_that_shrinks_meanwhile(tmp_path, monkeypatch):
    path = model_file(tmp_path / "model.gguf")
    monkeypatch.setattr(_gguf, "_AT_ONCE", 50)

    def cut(done, total):
        os.truncate(path, 5000)

    with pytest.raises(ec.FormatError, match=r"model\.gguf': a GGUF file that is cut off at byte 5,000"):
        ec.export(tmp_path / "out.gguf", {NAME: ec.dense(WEIGHT)}, "gguf", into=path, progress=cut)
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]


def test_what_does_not_fit_is_refused(tmp_path):
    path = model_file(tmp_path / "model.gguf")
    table = ec.compress(WEIGHT, bits=4, group=32)
    np.save(tmp_path / "w.npy", WEIGHT)
    (tmp_path / "cut.gguf").write_bytes(path.read_bytes()[:700])
    before = {file.name for file in tmp_path.iterdir()}
    for tables, options, error, what in (
        (
            table,
            {},
            ec.FormatError,
            r"model\.gguf': the file has no table 'weight': it has token_embd\.weight \(40 x 64",
        ),
        (
            {NAME: ec.compress(WEIGHT[1:], bits=4, group=32)},
            {},
            ValueError,
            r"'token_embd.weight' of 39 x 64 can't take the place of the tensor token_embd\.weight \(40 x 64, F16\) of "
            r"'.*model\.gguf': shapes must be the same",
        ),
        ({"half": ec.dense(WEIGHT[:5, :3])}, {}, ValueError, r"of 5 x 3 .* tensor half \(3 x 5, BF16\)"),
        ({NAME: table, "token_embd": table}, {}, ValueError, r"'token_embd.weight' and 'token_embd' are both for"),
        ({NAME: ec.compress(WEIGHT, bits=3, group=32)}, {}, ValueError, "it has codes of 3 bits; what fits are 4 or 5"),
        ({NAME: table}, {"type": "Q4_0"}, ValueError, "biases of -8 times the scale, as Q4_0 needs"),
        ({NAME: table}, {"type": "Q9_9"}, ValueError, "there is no type Q9_9 to write codes as; types are Q4_0, Q4_1"),
        ({NAME: table}, {"into": tmp_path / "w.npy"}, ValueError, r"into must be a GGUF file, and '.*w\.npy' is "),
        ({NAME: table}, {"into": tmp_path / "no.gguf"}, FileNotFoundError, r"no\.gguf"),
        ({NAME: table}, {"into": tmp_path / "cut.gguf"}, ec.FormatError, r"cut\.gguf': a GGUF file that can't be read"),
        ({NAME: table}, {"into": 3}, TypeError, "into must be a path, not int"),
        ({NAME: table}, {"kind": "mlx"}, ValueError, "into is for GGUF: a file of kind 'mlx' is written anew"),
    ):
        with pytest.raises(error, match=what):
            ec.export(tmp_path / "out.gguf", tables, **{"kind": "gguf", "into": path, **options})
    assert {file.name for file in tmp_path.iterdir()} == before


def test_the_command(run, tmp_path):
    path, other = model_file(tmp_path / "model.gguf"), model_file(tmp_path / "other.gguf", dense=False)
    table, out = tmp_path / "table.safetensors", tmp_path / "out.gguf"
    assert run("compress", path, table, "--tensor", NAME, "--bits", "4", "--option", "group=32")[0] == 0
    code, text, err = run("convert", table, out, "--into", path)
    assert (code, err) == (0, "") and f"All else is what {path} has." in text
    head, tensors = parts(out)
    assert head == parts(path)[0] and tensors[NAME][0] == "Q4_1"
    np.testing.assert_array_equal(ec.load(out, NAME).decode(), ec.load(table).decode())
    # Codes of another model, through a file of this library and without one.
    assert run("convert", other, table, "--tensor", NAME)[0] == 0
    for source in (("--tensor", NAME, other), (table,)):
        code, text, err = run("convert", *source, out, "--into", path, "--type", "Q4_0", "--json")
        assert (code, err) == (0, "") and json.loads(text)["into"] == str(path)
        head, tensors = parts(out)
        assert tensors == parts(path)[1] | {NAME: parts(other)[1][NAME]} and head == parts(path)[0]
    for target in ("out.safetensors", "out.onnx"):
        code, _, err = run("convert", table, tmp_path / target, "--into", path)
        assert code == 1 and "--into goes with --to gguf: a file of the kind" in err
