"""Files of every kind that tables are read from, through `load`, `compress` and the command line; and broken ones."""

import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec

ROWS = np.random.default_rng(5).standard_normal((20, 8)).astype(np.float32)
WORDS = tuple(f"word{row}" for row in range(20))
DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "int8": "I8", "uint8": "U8", "int64": "I64"}
DTYPES |= {"uint32": "U32", "uint16": "U16"}


def safetensors(path, tensors, codes=()):
    """Write a checkpoint; arrays of uint8 whose names are among `codes` are FP8 of that type."""
    header, data = {}, b""
    for name, values in tensors.items():
        end = len(data) + values.nbytes
        dtype = dict(codes).get(name) or DTYPES[values.dtype.name]
        header[name] = {"dtype": dtype, "shape": values.shape, "data_offsets": [len(data), end]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def text(path, header=True, rows=ROWS, words=WORDS, end="\n"):
    lines = [f"{word} " + " ".join(map(str, row)) for word, row in zip(words, rows, strict=True)]
    lines = [f"{rows.shape[0]} {rows.shape[1]}", *lines] if header else lines
    path.write_text(end.join([*lines, ""]), encoding="utf-8", newline="")
    return path


def binary(path, newline=b"\n", rows=ROWS, words=WORDS):
    vectors = [word.encode() + b" " + row.tobytes() + newline for word, row in zip(words, rows, strict=True)]
    path.write_bytes(b"%d %d\n" % rows.shape + b"".join(vectors))
    return path


def npz(path):
    # NumPy adds an ending to a path that has none.
    with path.open("wb") as file:
        np.savez(file, emb=ROWS)
    return path


def npy(path):
    with path.open("wb") as file:
        np.save(file, ROWS.astype(np.float64))
    return path


def sharded(path):
    safetensors(path.parent / "part-1.safetensors", {"emb.weight": ROWS})
    safetensors(path.parent / "part-2.safetensors", {"bias": ROWS[0]})
    places = {"emb.weight": "part-1.safetensors", "bias": "part-2.safetensors"}
    path.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return path


def folder(path):
    path.mkdir()
    safetensors(path / "model.safetensors", {"emb.weight": ROWS})
    return path


def arrow(path, kind):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, ipc, parquet

    fixed = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.reshape(-1)), 8)
    table = pa.table({"id": list(range(20)), "vector": fixed if kind != "lists" else pa.array(ROWS.tolist())})
    if kind == "feather":
        feather.write_feather(table, path)
    elif kind == "stream":
        with ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    else:
        parquet.write_table(table, path, row_group_size=6)
    return path


def checkpoint(path, legacy):
    torch = pytest.importorskip("torch")
    state = {"state": {"emb.weight": torch.from_numpy(ROWS), "bias": torch.zeros(3)}, "epoch": 3}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return path


def gguf(path):
    package = pytest.importorskip("gguf")
    writer = package.GGUFWriter(path, "test")
    writer.add_tensor("token_embd.weight", ROWS)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


KINDS = {
    "safetensors": (lambda path: safetensors(path, {"emb": ROWS, "bias": ROWS[0]}), "emb"),
    "index": (sharded, "emb.weight"),
    "folder": (folder, "emb.weight"),
    "npy": (npy, "weight"),
    "npz": (npz, "emb"),
    "word2vec text": (text, "weight"),
    "word2vec text of Windows": (lambda path: text(path, end="\r\n"), "weight"),
    "GloVe text": (lambda path: text(path, header=False), "weight"),
    "word2vec binary": (binary, "weight"),
    "word2vec binary without ends": (lambda path: binary(path, newline=b""), "weight"),
    "Parquet": (lambda path: arrow(path, "fixed"), "vector"),
    "Parquet of lists": (lambda path: arrow(path, "lists"), "vector"),
    "Feather": (lambda path: arrow(path, "feather"), "vector"),
    "Arrow stream": (lambda path: arrow(path, "stream"), "vector"),
    "torch": (lambda path: checkpoint(path, False), "state.emb.weight"),
    "torch before 1.6": (lambda path: checkpoint(path, True), "state.emb.weight"),
    "GGUF": (gguf, "token_embd.weight"),
}
HAVE_WORDS = [kind for kind in KINDS if "word2vec" in kind or "GloVe" in kind]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(run, tmp_path, kind):
    write, name = KINDS[kind]
    # The name says nothing of what the file is.
    path = write(tmp_path / "file")
    table = ec.load(path)
    np.testing.assert_allclose(table.decode(), ROWS, rtol=1e-6)
    np.testing.assert_array_equal(ec.load(path, name, mmap=False).decode(), table.decode())
    assert ec.contents(path).tables == (name,)
    words = WORDS if kind in HAVE_WORDS else None
    assert ec.vocabulary(path) == words
    same = ec.compress(ROWS, bits=8).decode()
    np.testing.assert_allclose(ec.compress(path, bits=8).decode(), same, atol=1e-5)
    assert ec.evaluate(table, path, queries=0).normalized_l2 == 0
    out = tmp_path / "out.safetensors"
    ec.compress_to_file(out, {"w": str(path)}, bits=8)
    assert ec.vocabulary(out) == words
    code, _, err = run("compress", path, out, "--bits", 8)
    assert (code, err) == (0, "")
    np.testing.assert_allclose(ec.load(out, name).decode(), same, atol=1e-5)
    assert ec.vocabulary(out, name) == words
    assert not any(key.startswith("vocabulary") for key in ec.contents(out).metadata)
    for command in (["evaluate", out, path, "--queries", 0], ["inspect", path], ["inspect", out]):
        assert run(*command)[0] == 0
    code, printed, _ = run("inspect", out, "--json")
    assert json.loads(printed)["tables"][0]["words"] == (20 if words else None)


@pytest.mark.parametrize("ending", [".npy", ".safetensors", ".txt", ".vec", ".bin"])
def test_decompress(run, tmp_path, ending):
    source, out = binary(tmp_path / "vectors"), tmp_path / f"out{ending}"
    assert run("compress", source, tmp_path / "small", "--bits", 8)[0] == 0
    assert run("decompress", tmp_path / "small", out)[0] == 0
    np.testing.assert_array_equal(ec.load(out).decode(), ec.load(tmp_path / "small").decode())
    assert ec.vocabulary(out) == (None if ending in (".npy", ".safetensors") else WORDS)
    if ending == ".npy":
        assert np.load(out).dtype == np.float32


def test_decompress_of_several_tables(run, tmp_path):
    ec.save(tmp_path / "two", {"a": ec.compress(ROWS), "b": ec.compress(ROWS[:5])})
    assert run("decompress", tmp_path / "two", tmp_path / "all.safetensors")[0] == 0
    assert set(ec.contents(tmp_path / "all.safetensors").tables) == {"a", "b"}
    assert run("decompress", tmp_path / "two", tmp_path / "b.npy", "--tensor", "b")[0] == 0
    assert np.load(tmp_path / "b.npy").shape == (5, 8)
    for arguments, what in (
        (["two", "x.npy"], "name one"),
        (["two", "x.npy", "--tensor", "*"], "has one table"),
        (["two", "x.txt", "--tensor", "a"], "no vocabulary"),
        (["two", "x.csv"], "must end with one of"),
        (["two", "two"], "must end with one of"),
    ):
        code, _, err = run("decompress", *(tmp_path / one if "." in one or one == "two" else one for one in arguments))
        assert code == 1 and what in err
        assert not list(tmp_path.glob("x*"))


def test_patterns_choose_tables(run, tmp_path):
    path = safetensors(tmp_path / "m", {"emb.a": ROWS, "emb.b": ROWS[:9], "head": ROWS[:3]})
    assert run("compress", path, tmp_path / "out", "--tensor", "emb.*")[0] == 0
    assert set(ec.contents(tmp_path / "out").tables) == {"emb.a", "emb.b"}
    code, _, err = run("recommend", path, "--budget", "0.5", "--tensor", "emb.*")
    assert code == 1 and "names 2: emb.a, emb.b" in err
    code, _, err = run("compress", path, tmp_path / "no", "--tensor", "x*")
    assert code == 1 and "no table 'x*'" in err and "emb.a (20 x 8, F32)" in err
    with pytest.raises(ec.FormatError, match=r"several tables, name one.*emb.a \(20 x 8, F32\)") as caught:
        ec.compress(path)
    assert caught.value.rule == "ambiguous_table"
    assert str(path) in str(caught.value)


# Types and axes


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "uint8"])
def test_types_of_tensors(tmp_path, dtype):
    values = (ROWS * 40).astype(dtype) if dtype != "uint8" else (ROWS * 20 + 90).astype(dtype)
    expected = values.astype(np.float32)
    np.testing.assert_array_equal(ec.load(safetensors(tmp_path / "m", {"w": values})).decode(), expected)
    np.save(tmp_path / "w.npy", values)
    np.testing.assert_array_equal(ec.load(tmp_path / "w.npy").decode(), expected)


@pytest.mark.parametrize(("dtype", "name"), [("F8_E4M3", "float8_e4m3fn"), ("F8_E5M2", "float8_e5m2")])
def test_every_code_of_fp8_is_what_torch_says(tmp_path, dtype, name):
    torch = pytest.importorskip("torch")
    codes = np.arange(256, dtype=np.uint8).reshape(64, 4)
    path = safetensors(tmp_path / "m", {"w": codes}, {"w": dtype})
    expected = torch.from_numpy(codes).view(getattr(torch, name)).to(torch.float32).numpy()
    np.testing.assert_array_equal(ec.load(path).decode(), expected)


def test_types_that_no_table_has(tmp_path):
    path = safetensors(tmp_path / "m", {"ids": np.zeros((3, 4), np.int64)})
    with pytest.raises(ec.FormatError, match=r"ids \(3 x 4, I64\)"):
        ec.load(path)
    with pytest.raises(ec.FormatError, match="of a type that no table has"):
        ec.load(path, "ids")


def test_axes(run, tmp_path):
    cube = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    path = safetensors(tmp_path / "m", {"cube": cube})
    np.testing.assert_array_equal(ec.load(path, "cube", axis=0).decode(), cube.reshape(2, 12))
    np.testing.assert_array_equal(ec.load(path, "cube", axis=1).decode(), cube.reshape(6, 4))
    with pytest.raises(ec.FormatError, match=r"cube \(2 x 3 x 4, F32\) has 3 axes.*--axis.*from 0 to 1"):
        ec.load(path, "cube")
    with pytest.raises(ec.FormatError, match="axis must be from 0 to 1"):
        ec.load(path, "cube", axis=2)
    assert run("compress", path, tmp_path / "out", "--tensor", "cube", "--axis", 1)[0] == 0
    assert ec.load(tmp_path / "out").shape == (6, 4)
    safetensors(tmp_path / "flat", {"w": ROWS})
    code, _, err = run("compress", tmp_path / "flat", tmp_path / "no", "--axis", 0)
    assert code == 1 and "more than two axes" in err


# Word vectors


def test_words_of_several_parts_and_numbers(tmp_path):
    words = [". . .", "at name@domain.com", "42", "1.5", "héllo", "-"]
    path = text(tmp_path / "glove", header=False, rows=ROWS[:6], words=["the", *words[1:]])
    np.testing.assert_array_equal(ec.load(path).decode(), ROWS[:6])
    assert ec.vocabulary(path) == ("the", *words[1:])
    path = text(tmp_path / "word2vec", rows=ROWS[:6], words=words)
    assert ec.vocabulary(path) == tuple(words)


@given(
    rows=st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
        min_size=1,
        max_size=12,
    ),
    form=st.sampled_from(["%r", "%.3e", "%.17g", "%+.25f", "%.60g"]),
    blank=st.sampled_from([" ", "\t", "  "]),
    end=st.sampled_from(["\n", " \n", "\r\n"]),
    header=st.booleans(),
)
def test_numbers_are_those_of_python(tmp_path_factory, rows, form, blank, end, header):
    path = tmp_path_factory.mktemp("text") / "vectors"
    texts = [[form % number for number in row] for row in rows]
    lines = [f"w{at}{blank}{blank.join(row)}" for at, row in enumerate(texts)]
    lines = [f"{len(rows)} 3", *lines] if header else lines
    path.write_text(end.join([*lines, ""]), newline="")
    with np.errstate(over="ignore"):
        expected = np.array([[np.float32(float(number)) for number in row] for row in texts], np.float32)
    if np.isfinite(expected).all():
        found = ec.load(path).decode()
        np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))
    else:
        with pytest.raises(ec.FormatError, match="finite number"):
            ec.load(path)


@given(content=st.binary(max_size=200), after=st.sampled_from([b"", b"3 2\n", b"the 0.1 0.2\n", b"2 2\na 1 2\n"]))
def test_any_bytes_are_a_table_or_refused(tmp_path_factory, content, after):
    path = tmp_path_factory.mktemp("bytes") / "file"
    path.write_bytes(after + content)
    try:
        table = ec.load(path)
    except ec.FormatError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:
        assert np.isfinite(table.decode()).all()
        assert len(ec.vocabulary(path)) == table.rows


def test_blocks_of_a_long_text(tmp_path, monkeypatch):
    from embedcompress._sources import _word_binary, _word_text

    monkeypatch.setattr(_word_text, "_BLOCK", 100)
    monkeypatch.setattr(_word_text, "_AT_ONCE", 2)
    monkeypatch.setattr(_word_binary, "_BLOCK", 7)
    for path in (text(tmp_path / "a"), text(tmp_path / "b", header=False), binary(tmp_path / "c")):
        np.testing.assert_array_equal(ec.load(path).decode(), ROWS)
        assert ec.vocabulary(path) == WORDS


GLOVE = b"the 0.1 0.2\nof 0.3 0.4\n"
COUNTED = b"2 2\nthe 0.1 0.2\nof 0.3 0.4\n"


def archive(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, b"hello")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (GLOVE + b"the 1 2\n", "line 3 has the word 'the' again, after line 1"),
        (GLOVE + b"x 1\n", "line 3 has 1 numbers after its word, and not 2"),
        (GLOVE + b"x 1 2 3\n", "line 3 has 3 numbers after its word, and not 2"),
        (GLOVE + b"x 1 nan\n", "line 3 has 'nan' where a finite number"),
        (GLOVE + b"x 1 1e40\n", "line 3 has '1e40' where a finite number"),
        (GLOVE + b"x 1 y\n", "line 3 has 'y' where a finite number"),
        (GLOVE + b"\n\nx 1 2\n", "line 3 is empty"),
        (GLOVE + b"\xff\xfe 1 2\n", "line 3 has a word that is not UTF-8"),
        (COUNTED + b"x 1 2\n", "line 4 follows the 2 words of line 1"),
        (COUNTED[:-12], "ends after 1"),
        (COUNTED.replace(b"2 2", b"3 2"), "line 1 says 3 words, and it ends after 2: it is cut off"),
        (b"99999999 300\nthe 1 2\n", "bytes can't be"),
        (b"2 2\n" + b"a \0\0\0\0\0\0\0\0b \0\0\0\0", "2 vectors of 2 floats, which 20 bytes can't be: it is cut off"),
        (b"2 1\n" + b"a \0\0\0\0a \0\0\0\0", "word 2 has the word 'a' again, after word 1"),
        (b"1 1\n" + b"a \0\0\0\0a \0\0\0\0", "word 2, at byte 10: there is more than the 1 vectors"),
        (b"1 1\n" + b"a \0\0\xc0\x7f", "the vector of word 1 is not finite"),
        (b"", "the file is empty"),
        (b"0.5 0.25 1.5\n0.5 0.5 0.5\n", "numbers without words"),
        (b"a,b,c\n1,2,3\n", "text whose first line, 'a,b,c'"),
        (b"\x1f\x8b\x08\0", "gunzip"),
        (b"\x80\x04\x95", "Python pickle"),
        (b"\0\1\2\3\4\5\6\7\1\0", "begins with bytes 00 01 02"),
        (b"PK\x03\x04\0\0\0\0", "begins as a zip archive"),
        (archive("glove.txt"), "a zip archive, of glove.txt"),
        (archive("a.npy"), "not a .npz file that can be read"),
        (b"\x93NUMPY\1\0v\0{", "not a .npy file that can be read"),
        (b"PAR1 and no more", "Parquet that can't be read"),
        (b"ARROW1\0\0 and no more", "an Arrow file that can't be read"),
        (b"\xff\xff\xff\xff\x10\0\0\0", "an Arrow stream that can't be read"),
        (b"GGUF\3\0\0\0", "cut off in its header"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1), "can't hold"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "of version 9"),
        (b'{"weight_map": {"a": "../secret"}}', "a file of the same folder"),
        (b'{"weight_map": {"a": "gone.safetensors"}}', "names 'gone.safetensors', which is not beside it"),
        (b'{"a": 1}', "no index of a sharded checkpoint"),
        (b'{"a": ', "looks like JSON, and is not"),
    ],
)
def test_malformed_files(run, tmp_path, content, what):
    path = tmp_path / "some file"
    path.write_bytes(content)
    with pytest.raises(ec.FormatError) as caught:
        ec.load(path)
    assert what in str(caught.value)
    assert f"'{path}'" in str(caught.value)
    code, out, err = run("compress", path, tmp_path / "out")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert what in err
    assert os.listdir(tmp_path) == ["some file"]


def test_places_without_files(tmp_path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="not a regular file"):
        ec.load(tmp_path / "zero")
    (tmp_path / "empty").mkdir()
    with pytest.raises(IsADirectoryError, match=r"without a \.safetensors file"):
        ec.load(tmp_path / "empty")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError):
        ec.load(tmp_path / "loop")


def test_folders_whose_files_disagree(tmp_path):
    for name in ("a", "b"):
        safetensors(tmp_path / f"{name}.safetensors", {"w": ROWS})
    with pytest.raises(ec.FormatError, match="both have a tensor 'w'"):
        ec.load(tmp_path)
    safetensors(tmp_path / "b.safetensors", {"v": ROWS[:2]})
    assert ec.load(tmp_path, "v").rows == 2
    (tmp_path / "x.index.json").write_text(json.dumps({"weight_map": {"v": "a.safetensors"}}))
    with pytest.raises(ec.FormatError, match="tensor 'v' is not in its file"):
        ec.load(tmp_path)


def test_lists_that_are_no_vectors(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for values, what in (
        ([[1.0, 2.0], [1.0]], "1 numbers in row 1, and 2 in the first"),
        ([[1.0, 2.0], None], "no vector in row 1"),
        ([[1.0, 2.0], [None, 1.0]], "nulls in row 1"),
    ):
        parquet.write_table(pa.table({"v": pa.array(values, pa.list_(pa.float32()))}), tmp_path / "t")
        with pytest.raises(ec.FormatError, match=what):
            ec.load(tmp_path / "t")
    parquet.write_table(pa.table({"v": [1.0, 2.0]}), tmp_path / "t")
    with pytest.raises(ec.FormatError, match=r"without a column of vectors.*v \(double\)"):
        ec.load(tmp_path / "t")


def test_a_checkpoint_of_more_than_weights_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.zeros(2, 2), "path": tmp_path}, tmp_path / "m.pt")
    with pytest.raises(ec.FormatError, match="more than weights"):
        ec.load(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("package", "extra", "content"),
    [
        ("pyarrow", "parquet", b"PAR1"),
        ("gguf", "gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 0)),
        ("torch", "torch", archive("x/data.pkl")),
    ],
)
def test_a_missing_package_is_one_sentence(tmp_path, monkeypatch, package, extra, content):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ec.FormatError, match=rf"needs {package}.*pip install 'embedcompress\[{extra}\]'"):
        ec.load(tmp_path / "file")


def test_files_of_every_kind_cut_anywhere(tmp_path, rng):
    """Each opens as some table, or is refused by its name; nothing else is raised."""
    for kind in ("npz", "npy", "word2vec text", "GloVe text", "word2vec binary", "Parquet", "Feather", "torch"):
        raw = KINDS[kind][0](tmp_path / "whole").read_bytes()
        for size in {1, 7, len(raw) - 1, *rng.integers(0, len(raw), 8).tolist()}:
            (tmp_path / "cut").write_bytes(raw[:size])
            try:
                ec.load(tmp_path / "cut").decode()
            except ec.FormatError as error:
                assert str(tmp_path / "cut") in str(error)
