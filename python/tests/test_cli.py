"""The command line: what it prints, what it writes, and how it fails."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from supervised import processor_seconds

import embedcompress as ec
from embedcompress import cli
from embedcompress.cli import _inputs, _progress
from embedcompress.cli.compress import budget, option

ROOT = Path(__file__).resolve().parents[1]
WEIGHT = np.random.default_rng(0).standard_normal((200, 16), dtype=np.float32)
OTHER = np.random.default_rng(1).standard_normal((50, 8), dtype=np.float32)


@pytest.fixture
def checkpoint(tmp_path):
    """A plain checkpoint: two embeddings, one that is not called so, and tensors that can't be tables."""
    tensors = {
        "emb.weight": WEIGHT,
        "pos_emb.weight": OTHER.astype(np.float16),
        "linear.weight": OTHER,
        "bias": np.zeros(8, np.float32),
        "ids": np.zeros((1, 4), np.int64),
    }
    return write_safetensors(tmp_path / "model.safetensors", tensors)


@pytest.fixture
def array(tmp_path):
    path = tmp_path / "weight.npy"
    np.save(path, WEIGHT)
    return path


def write_safetensors(path, tensors):
    names = {"float32": "F32", "float16": "F16", "int64": "I64"}
    header, data = {}, b""
    for name, values in tensors.items():
        end = len(data) + values.nbytes
        header[name] = {"dtype": names[values.dtype.name], "shape": values.shape, "data_offsets": [len(data), end]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def run(capsys, *arguments):
    """Run in this process; return the exit code, stdout and stderr."""
    code = cli.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def answer(capsys, *arguments):
    """Run with --json and return the document."""
    code, out, err = run(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def failure(capsys, *arguments):
    """Run what must fail and return the one line that it says."""
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("embedcompress: error: ")
    assert err.count("\n") == 1
    return err


# compress


def test_compress_takes_the_only_table(capsys, array, tmp_path):
    code, out, err = run(capsys, "compress", array, tmp_path / "out.safetensors", "--bits", 4)
    assert (code, err) == (0, "")
    assert "200 x 16" in out
    assert "Not in it" not in out
    table = ec.load(tmp_path / "out.safetensors", "weight")
    assert np.array_equal(table.decode(), ec.compress(WEIGHT, bits=4).decode())


def test_compress_says_what_small_scales_cost(capsys, tmp_path):
    np.save(tmp_path / "small.npy", WEIGHT * np.float32(1e-6))
    command = ("compress", tmp_path / "small.npy", tmp_path / "out.safetensors", "--method", "int8")
    code, out, err = run(capsys, *command)
    assert (code, err) == (0, "")
    assert "f32 was chosen where f16 is the rule, as the normalised l2 loss of a sample is" in out
    code, out, _ = run(capsys, *command, "--option", "scale_dtype=f16")
    assert code == 0
    assert re.search(r"weight: 100\.?0* % of the f16 scales are too small for their codes", out)
    code, out, _ = run(capsys, "compress", tmp_path / "small.npy", tmp_path / "out.safetensors", "--json")
    assert code == 0
    assert "f32_reason" in json.loads(out)["tables"][0]


def test_compress_of_a_checkpoint_says_what_it_leaves_out(capsys, checkpoint, tmp_path):
    output = tmp_path / "out.safetensors"
    report = answer(capsys, "compress", checkpoint, output, "--method", "asym", "--bits", 8, "--tensor", "emb.weight")
    assert report["left_out"] == ["pos_emb.weight", "linear.weight", "bias", "ids"]
    assert report["output_bytes"] == output.stat().st_size
    assert report["options"] == {"bits": 8}
    (table,) = report["tables"]
    quality = ec.evaluate(ec.compress(WEIGHT, "asym", bits=8), WEIGHT, queries=0)
    assert table["normalized_l2"] == quality.normalized_l2
    assert table["stored_bytes"] == quality.stored_bytes == 200 * 20
    assert table["source_bytes"] == WEIGHT.nbytes
    _, out, _ = run(capsys, "compress", checkpoint, output, "--tensor", "emb.weight")
    assert "Not in it: 4 tensors of the input (pos_emb.weight, linear.weight, bias, ids)." in out


def test_compress_of_several_tensors(capsys, checkpoint, tmp_path):
    output = tmp_path / "out.safetensors"
    names = ["pos_emb.weight", "emb.weight"]
    report = answer(capsys, "compress", checkpoint, output, *(f"--tensor={name}" for name in names))
    assert [table["name"] for table in report["tables"]] == names
    assert report["tables"][0]["source_bytes"] == OTHER.size * 2
    assert set(ec.contents(output).tables) == set(names)
    assert json.loads(ec.contents(output).metadata["options"]) == {}


def test_compress_of_a_compressed_table(capsys, array, tmp_path):
    answer(capsys, "compress", array, tmp_path / "8.safetensors", "--bits", 8)
    report = answer(capsys, "compress", tmp_path / "8.safetensors", tmp_path / "4.safetensors", "--bits", 4)
    assert report["left_out"] == []
    assert ec.load(tmp_path / "4.safetensors").stored_bytes == 200 * 12


def test_options_reach_the_method(capsys, array, tmp_path):
    output = tmp_path / "out.safetensors"
    options = ("--option", "bits=3", "--option", "group=8", "--option", "scale_dtype=f32", "--option", "r=0.5")
    report = answer(capsys, "compress", array, output, "--method", "greedy", *options)
    assert report["options"] == {"bits": 3, "group": 8, "scale_dtype": "f32", "r": 0.5}
    tree, _ = ec.load(output).parts()
    assert (tree["bits"], tree["group"], tree["scale"]) == (3, 8, "f32")


def test_a_budget_is_kept(capsys, checkpoint, array, tmp_path):
    output = tmp_path / "out.safetensors"
    report = answer(capsys, "compress", array, output, "--budget", "0.2")
    assert report["tables"][0]["stored_bytes"] <= 0.2 * WEIGHT.nbytes
    # Bytes are shared among tables.
    both = ("--tensor", "emb.weight", "--tensor", "linear.weight")
    report = answer(capsys, "compress", checkpoint, output, *both, "--budget", "5kB")
    assert sum(table["stored_bytes"] for table in report["tables"]) <= 5000


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.125", 0.125), ("12.5%", 0.125), ("1e-1", 0.1), ("6000000", 6_000_000), ("6 MB", 6_000_000), ("1.5KiB", 1536)],
)
def test_budgets(text, value):
    assert budget(text) == value
    assert type(budget(text)) is type(value)


@pytest.mark.parametrize("text", ["", "0.0", "1.5", "120%", "-3", "many", "3 apples", "nan", "inf", "9e99MB", "1" * 30])
def test_budgets_that_make_no_sense(capsys, text):
    with pytest.raises(SystemExit) as exit:
        cli.main(["compress", "a", "b", f"--budget={text}"])
    assert exit.value.code == 2
    assert "budget" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=1", 1), ("a=1.5", 1.5), ("a=true", True), ("a=null", None), ("a=f16", "f16"), ("a=[1]", "[1]")],
)
def test_option_values(text, value):
    assert option(text) == ("a", value)


def test_threads_are_for_one_call(capsys, array, tmp_path):
    before = ec.get_num_threads()
    assert answer(capsys, "compress", array, tmp_path / "out.safetensors", "--threads", 1)["threads"] == 1
    assert ec.get_num_threads() == before


def test_layouts_of_npy_files(capsys, tmp_path):
    output = tmp_path / "out.safetensors"
    expected = ec.compress(WEIGHT, bits=4).decode()
    for name, values in {"fortran": np.asfortranarray(WEIGHT), "swapped": WEIGHT.astype(">f4")}.items():
        np.save(tmp_path / f"{name}.npy", values)
        answer(capsys, "compress", tmp_path / f"{name}.npy", output)
        assert np.array_equal(ec.load(output).decode(), expected)


# compress: errors


def test_several_candidates_are_listed_embeddings_only(capsys, checkpoint, tmp_path):
    line = failure(capsys, "compress", checkpoint, tmp_path / "out.safetensors")
    assert "emb.weight (200 x 16, F32), pos_emb.weight (50 x 8, F16), and 1 more" in line


def test_a_file_without_tables(capsys, tmp_path):
    path = write_safetensors(tmp_path / "m.safetensors", {"bias": np.zeros(8, np.float32)})
    assert "without a tensor of two axes of floats: it has bias (8, F32)" in failure(
        capsys, "compress", path, tmp_path / "out.safetensors"
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--tensor", "nothing"], "no table 'nothing': it has weight (200 x 16, F32)"),
        (["--tensor", "weight", "--tensor", "weight"], "given twice"),
        (["--method", "zip"], "the methods are table, sym,"),
        (["--bits", "9"], "bits must be one of"),
        (["--bits", "4", "--option", "bits=4"], "bits is given twice"),
        (["--bits", "4", "--budget", "0.5"], "either bits or a budget"),
        (["--option", "speed=9"], "no option 'speed'"),
        (["--budget", "10"], "the least it can reach is 1200 bytes"),
        (["--threads", "0"], "from 1 to 256"),
    ],
)
def test_arguments_that_no_method_takes(capsys, array, tmp_path, arguments, text):
    assert text in failure(capsys, "compress", array, tmp_path / "out.safetensors", *arguments)
    assert sorted(os.listdir(tmp_path)) == ["weight.npy"]


def test_files_that_are_not_tables(capsys, tmp_path):
    output = tmp_path / "out.safetensors"
    assert "No such file" in failure(capsys, "compress", tmp_path / "nothing.npy", output)
    assert "Is a directory" in failure(capsys, "compress", tmp_path, output)
    (tmp_path / "text.npy").write_text("hello")
    assert "it looks like text" in failure(capsys, "compress", tmp_path / "text.npy", output)
    (tmp_path / "text.safetensors").write_text("hello")
    assert "fewer than the 8" in failure(capsys, "compress", tmp_path / "text.safetensors", output)
    np.save(tmp_path / "wide.npy", WEIGHT.astype(np.complex128))
    assert "complex128" in failure(capsys, "compress", tmp_path / "wide.npy", output)
    np.save(tmp_path / "line.npy", WEIGHT[0])
    assert "two axes" in failure(capsys, "compress", tmp_path / "line.npy", output)
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    failure(capsys, "compress", tmp_path / "objects.npy", output)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "wide.npy").read_bytes()[:1000])
    failure(capsys, "compress", tmp_path / "cut.npy", output)
    bad = WEIGHT.copy()
    bad[7, 3] = np.nan
    np.save(tmp_path / "nan.npy", bad)
    assert "row 7" in failure(capsys, "compress", tmp_path / "nan.npy", output)
    assert not output.exists()


def test_outputs_that_can_not_be(capsys, array, tmp_path):
    assert "does not exist" in failure(capsys, "compress", array, tmp_path / "no" / "out.safetensors")
    assert "is a folder" in failure(capsys, "compress", array, tmp_path)
    assert "the output is the input" in failure(capsys, "compress", array, array)
    assert np.array_equal(np.load(array), WEIGHT)


def test_an_error_leaves_the_old_output(capsys, array, tmp_path):
    output = tmp_path / "out.safetensors"
    answer(capsys, "compress", array, output)
    before = output.read_bytes()
    failure(capsys, "compress", array, output, "--budget", "10")
    assert output.read_bytes() == before


def test_names_from_files_can_not_disturb_a_terminal(capsys, tmp_path):
    path = write_safetensors(tmp_path / "m.safetensors", {"emb\x1b[31m\n.weight": WEIGHT, "emb2": OTHER})
    for arguments in (["inspect", path], ["compress", path, tmp_path / "o", "--tensor", "emb\x1b[31m\n.weight"]):
        code, out, _ = run(capsys, *arguments)
        assert code == 0
        assert "\x1b" not in out
    assert "\x1b" not in failure(capsys, "compress", path, tmp_path / "o")


def test_compress_aligns_rows(capsys, array, tmp_path):
    output = tmp_path / "out.safetensors"
    report = answer(capsys, "compress", array, output, "--row-alignment", 64)
    assert report["row_alignment"] == 64
    assert report["tables"][0]["stored_bytes"] == ec.load(output).stored_bytes == 200 * 64
    np.testing.assert_array_equal(ec.load(output).decode(), ec.compress(WEIGHT).decode())
    assert "budget" in failure(capsys, "compress", array, output, "--row-alignment", 64, "--budget", 0.5)
    with pytest.raises(SystemExit) as exit:
        cli.main(["compress", str(array), str(output), "--row-alignment", "3"])
    assert exit.value.code == 2


# inspect


def test_inspect_of_tables(capsys, checkpoint, tmp_path):
    table = ec.remap(ec.compress(WEIGHT, "asym", bits=2), map=np.arange(10))
    path = tmp_path / "tables.safetensors"
    ec.save(path, {"a": table, "b": ec.compress(OTHER)}, metadata={"made by": "hand"})
    report = answer(capsys, "inspect", path)
    assert report["is_table_file"]
    assert report["metadata"] == {"made by": "hand"}
    assert report["tensors"] == []
    assert [(t["name"], t["rows"], t["stored_bytes"]) for t in report["tables"]] == [
        ("a", 10, table.stored_bytes),
        ("b", 50, 50 * 8),
    ]
    assert report["tables"][0]["tree"]["children"]["inner"]["bits"] == 2
    _, out, _ = run(capsys, "inspect", path)
    assert "    inner: Uniform 2-bit" in out
    assert "made by: hand" in out


def test_inspect_says_what_aligned_rows_would_give(capsys, tmp_path):
    weight = np.random.default_rng(2).standard_normal((160, 64), dtype=np.float32)
    table = ec.compress(weight, "asym", bits=4)
    path = tmp_path / "tables.safetensors"
    ec.save(path, {"a": table, "b": ec.remap(table.aligned(64), map=np.arange(160))})
    plain, aligned = answer(capsys, "inspect", path)["tables"]
    (layout,) = plain["row_layouts"]
    # Behind the other table's rows, which have 64 bytes, and its map, which has 640.
    assert layout == table.row_layouts()[0].as_dict() | {"choices": layout["choices"]}
    assert {c["row_alignment"]: (c["lines_per_row"], c["stored_bytes"]) for c in layout["choices"]} == {
        1: (1.5, 160 * 36),
        16: (1.5, 160 * 48),
        32: (1, 160 * 64),
        64: (1, 160 * 64),
    }
    (layout,) = aligned["row_layouts"]
    assert (layout["path"], layout["current"]["lines_per_row"]) == ("inner", 1)
    _, out, _ = run(capsys, "inspect", path)
    gain = "with row_alignment=64: 1 cache line, +78 % bytes"
    assert f"  rows of 36 bytes lie in 1.5 cache lines on average; {gain}\n" in out
    assert "  inner: rows of 36 bytes and 28 of padding lie in 1 cache line on average\n" in out + "\n"


def test_inspect_of_a_plain_checkpoint(capsys, checkpoint):
    report = answer(capsys, "inspect", checkpoint)
    assert not report["is_table_file"]
    assert report["tables"] == []
    assert {t["name"]: (t["bytes"], t["is_table"]) for t in report["tensors"]} == {
        "emb.weight": (12800, True),
        "pos_emb.weight": (800, True),
        "linear.weight": (1600, True),
        "bias": (32, False),
        "ids": (32, False),
    }
    _, out, _ = run(capsys, "inspect", checkpoint)
    assert "200 x 16" in out


def test_inspect_of_an_array(capsys, array):
    report = answer(capsys, "inspect", array)
    assert report["kind"] == "a .npy file"
    assert report["tensors"] == [
        {"name": "weight", "dtype": "F32", "shape": [200, 16], "bytes": 12_800, "is_table": True}
    ]


# evaluate


def test_evaluate_pairs_tables_with_their_tensors(capsys, checkpoint, tmp_path):
    output = tmp_path / "out.safetensors"
    answer(capsys, "compress", checkpoint, output, "--tensor", "emb.weight", "--tensor", "linear.weight")
    report = answer(capsys, "evaluate", output, checkpoint, "--queries", 20)
    assert [(t["table"], t["tensor"]) for t in report["tables"]] == [("emb.weight",) * 2, ("linear.weight",) * 2]
    expected = ec.evaluate(ec.load(output, "emb.weight"), WEIGHT, queries=20).as_dict()
    assert {key: report["tables"][0][key] for key in expected} == expected
    one = answer(capsys, "evaluate", output, checkpoint, "--table", "linear.weight", "--queries", 0)
    assert one["tables"][0]["recall_at_10"] is None
    assert "linear.weight" in run(capsys, "evaluate", output, checkpoint)[1]


def test_evaluate_against_an_array(capsys, checkpoint, array, tmp_path):
    output = tmp_path / "out.safetensors"
    answer(capsys, "compress", checkpoint, output, "--tensor", "emb.weight")
    (result,) = answer(capsys, "evaluate", output, array)["tables"]
    assert (result["table"], result["tensor"]) == ("emb.weight", "weight")
    assert 0 < result["normalized_l2"] < 0.2


def test_evaluate_refuses_what_does_not_match(capsys, checkpoint, tmp_path):
    output = tmp_path / "out.safetensors"
    answer(capsys, "compress", checkpoint, output, "--tensor", "emb.weight", "--tensor", "linear.weight")
    refused = ["evaluate", output, checkpoint]
    assert "can't be compared" in failure(capsys, *refused, "--table", "emb.weight", "--tensor", "linear.weight")
    assert "--table" in failure(capsys, *refused, "--tensor", "linear.weight")
    assert "no table" in failure(capsys, *refused, "--table", "nothing")
    assert "--queries" in failure(capsys, *refused, "--queries", -1)


# methods, and the frame


def test_methods(capsys):
    report = answer(capsys, "methods")
    assert [method["name"] for method in report] == [method.name for method in ec.methods()]
    assert report[0]["options"][0]["default"] == 4
    _, out, _ = run(capsys, "methods")
    for method in ec.methods():
        assert method.title in out
        assert method.paper in out
        for each in method.options:
            assert each.summary in out


@pytest.mark.parametrize(
    "arguments", [[], ["shrink"], ["compress"], ["inspect", "a", "b"], ["compress", "a", "b", "--bits", "x"]]
)
def test_arguments_that_argparse_refuses(capsys, arguments):
    with pytest.raises(SystemExit) as exit:
        cli.main(arguments)
    assert exit.value.code == 2


@pytest.mark.parametrize("command", ["compress", "inspect", "evaluate", "methods"])
def test_every_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as exit:
        cli.main([command, "--help"])
    assert exit.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["--version"])
    assert exit.value.code == 0
    assert ec.__version__ in capsys.readouterr().out


def test_infinite_figures_are_json(capsys, tmp_path):
    # A row of zeros whose copy is not zero has an infinite relative error.
    zero = np.zeros((20, 4), np.float32)
    table = ec.dense(np.ones((20, 4), np.float32))
    np.save(tmp_path / "zero.npy", zero)
    table.save(tmp_path / "ones.safetensors")
    (result,) = answer(capsys, "evaluate", tmp_path / "ones.safetensors", tmp_path / "zero.npy")["tables"]
    assert result["normalized_l2"] is None


def test_progress_is_for_terminals(monkeypatch):
    with _progress.bar("x", "rows", quiet=False) as progress:
        assert progress is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with _progress.bar("x", "rows", quiet=True) as progress:
        assert progress is None
    with _progress.bar("x", "rows", quiet=False) as progress:
        assert progress(1, 2) and progress(2, 2)


def test_a_failed_open_names_the_file(tmp_path):
    with pytest.raises(OSError, match="nothing"):
        _inputs.Input(str(tmp_path / "nothing"))


# The process


def command(*arguments, **keywords):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "embedcompress.cli", *map(str, arguments)]
    return subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **keywords
    )


def test_as_a_process(checkpoint, tmp_path):
    process = command("compress", checkpoint, tmp_path / "out.safetensors", "--tensor", "emb.weight", "--json")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["tables"][0]["rows"] == 200
    process = command("inspect", tmp_path / "nothing")
    _, err = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in err


def test_a_reader_that_stops_reading_is_no_error(checkpoint):
    process = command("inspect", checkpoint)
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr.read() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_ctrl_c_stops_at_once_and_leaves_nothing(tmp_path):
    path = tmp_path / "big.npy"
    np.save(path, np.random.default_rng(0).standard_normal((20_000, 256), dtype=np.float32))
    slow = ("--method", "greedy", "--option", "b=100000", "--option", "r=1")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    before = children.ru_utime + children.ru_stime
    process = command("compress", path, tmp_path / "out.safetensors", *slow)
    # Of its own time, so that it has begun on a busy machine, too.
    while (used := processor_seconds(process.pid)) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Half a second on each of two threads; a core that is not optimised takes some 2.
    assert children.ru_utime + children.ru_stime - before - used < 3
    assert process.returncode == 130
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == ["big.npy"]
