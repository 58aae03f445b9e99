"""Everything that can be wrong with an argument: its named error, and never a crash."""

import numpy as np
import pytest
import reference

import embedcompress as ec

METHODS = [method.name for method in ec.methods()]


@pytest.fixture
def weight(rng):
    return rng.standard_normal((20, 12)).astype(np.float32)


@pytest.fixture
def table(weight):
    return ec.compress(weight, "asym", bits=8)


def raises(match, error=ValueError):
    return pytest.raises(error, match=match)


# Weights


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_names_its_row(weight, method, bad):
    weight[7, 3] = bad
    weight[11, 0] = np.nan
    with raises(r"row 7 .*column 3"):
        ec.compress(weight, method)
    with raises(r"row 7 "):
        ec.compress(weight.astype(np.float16), method)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_first_bad_row_is_named_whatever_the_threads(rng, threads):
    ec.set_num_threads(threads)
    weight = rng.standard_normal((200_000, 8)).astype(np.float32)
    weight[[150_003, 77_777, 199_999], 2] = np.nan
    with raises(r"row 77777 "):
        ec.compress(weight, "asym")


@pytest.mark.parametrize("method", [m.name for m in ec.methods() if "group" in {o.name for o in m.options}])
def test_values_beyond_f16(weight, method):
    """Scale and bias are what is stored in f16; a value may be larger than 65504 where they fit."""
    for values in ([1e5, -2], [65_504, -65_504]):
        fits = weight.copy()
        fits[7, :2] = values
        found = ec.compress(fits, method, bits=8).decode()
        np.testing.assert_allclose(found[7], fits[7], atol=np.ptp(fits[7]) / 200)
    for values in ([2e6, -2], [-70_000, 0], [3e38, 3e38]):
        bad = weight.copy()
        bad[7, :2] = values
        with raises(r"row 7 .*beyond the range of f16.*scale_dtype 'f32'"):
            ec.compress(bad, method, scale_dtype="f16")
        for options in ({"scale_dtype": "f32"}, {}):
            found = ec.compress(bad, method, bits=8, **options).decode()
            assert np.isfinite(found).all()
            np.testing.assert_allclose(found[7], bad[7], atol=np.ptp(bad[7].astype(np.float64)) / 255)
    bad = weight.copy()
    bad[7, :2] = [3e38, -3e38]
    with raises(r"row 7 "):
        ec.compress(bad, method, scale_dtype="f32")


def matrices(weight):
    return [
        (weight.astype(np.complex64), "real numbers, not complex64"),
        (weight > 0, "real numbers, not bool"),
        (weight.ravel(), "two axes"),
        (weight[None], "two axes"),
        (np.float32(3), "two axes"),
        (np.zeros((3, 2), [("a", "f4")]), "real numbers, not void32"),
        (np.array([["a", "b"]]), "real numbers, not str"),
        (np.empty((5, 0), np.float32), "column"),
        (b"some bytes", "two axes"),
        (["weight"], "two axes|real numbers, not str"),
    ]


@pytest.mark.parametrize("index", range(10))
def test_weights_of_the_wrong_kind(weight, index):
    bad, message = matrices(weight)[index]
    for call in (ec.dense, ec.compress):
        with raises(message):
            call(bad)


@pytest.mark.parametrize("bad", [None, object(), {"a": 1}])
def test_weights_that_are_no_arrays(bad):
    for call in (ec.dense, ec.compress):
        with pytest.raises((TypeError, ValueError), match="weight must be"):
            call(bad)


def test_tensors_of_the_wrong_kind(weight, table):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(weight)
    with raises("CPU"):
        ec.compress(tensor.to("meta"))
    with raises("dense tensor"):
        ec.compress(tensor.to_sparse())
    ids = torch.arange(10)
    with raises("ids must be integers, not float32"):
        table.lookup(ids.float())
    with raises("per_sample_weights must be real numbers, not bool"):
        table.bag(ids, ids, per_sample_weights=ids > 3)


# Ids


def wrong_ids():
    ids = np.array([1, 2, 3, 4])
    return [
        (ids.astype(np.float32), "integers, not float32"),
        (ids.astype(np.float64), "integers, not float64"),
        (ids.astype(bool), "integers, not bool"),
        (ids.astype(complex), "integers, not complex128"),
        (ids.astype("m8[s]"), "integers, not timedelta64"),
        (ids.astype("M8[s]"), "integers, not datetime64"),
        (np.zeros(2, [("a", "i8")]), "integers, not void64"),
        (np.array(["1"]), "integers, not str"),
        ([1.0, 2.0], "integers, not float64"),
        ([True, False], "integers, not bool"),
        (1.5, "integers, not float64"),
        (b"abcdefgh", "integers, not bytes"),
    ]


@pytest.mark.parametrize("index", range(12))
def test_ids_of_the_wrong_kind(table, index):
    ids, message = wrong_ids()[index]
    with raises(message):
        table.lookup(ids)
    with raises(message):
        table.bag(ids, [0])
    if np.ndim(ids) == 1:
        with raises(message.replace("ids", "offsets")):
            table.bag([1, 2], ids)


@pytest.mark.parametrize("bad", [None, "ids", object(), [object()], [2**70], {1}])
def test_ids_that_are_no_arrays(table, bad):
    with pytest.raises((TypeError, ValueError), match="ids must be"):
        table.lookup(bad)


@pytest.mark.parametrize("bad", [-1, -(2**31), 20, 2**31 - 1, 2**31, 2**32, 2**62, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_ids_out_of_range(table, bad, dtype):
    if not np.iinfo(dtype).min <= bad <= np.iinfo(dtype).max:
        pytest.skip("not a number of this type")
    ids = np.array([0, 19, bad, -7], dtype)
    with raises(rf"id {bad} at position 2 is out of range: ids must be from 0 to 19", IndexError):
        table.lookup(ids)
    with raises(rf"id {bad} at position 2 ", IndexError):
        table.bag(ids, [0])
    with raises(rf"id {bad} at position 2 ", IndexError):
        ec.remap(table, map=np.arange(20)).lookup(ids.reshape(2, 2))


def test_nothing_is_written_when_an_id_is_bad(table):
    for count in (10, 100_000):
        ids = np.zeros(count, np.int64)
        ids[-1] = 20
        out = np.full((count, 12), 7, np.float32)
        with raises("out of range", IndexError):
            table.lookup(ids, out=out)
        assert (out == 7).all()
        bags = np.full((count // 10, 12), 7, np.float32)
        for offsets in (np.arange(0, count, 10), np.array([0] * (count // 10))):
            with raises("out of range", IndexError):
                table.bag(ids, offsets, out=bags)
            assert (bags == 7).all()


def test_ids_are_read_only_once_or_checked_again(table):
    """Ids that another thread changes after the check lead to zeros at worst."""
    import threading

    ids = np.zeros(200_000, np.int64)
    stop = threading.Event()

    def disturb():
        while not stop.is_set():
            ids[1000:] = 2**40
            ids[1000:] = 3

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(30):
            try:
                found = table.lookup(ids)
                assert np.isfinite(found).all()
            except IndexError:
                pass
    finally:
        stop.set()
        thread.join()


def test_on_invalid_and_mode_are_checked(table):
    with raises("on_invalid must be one of 'raise', 'zero', not 'ignore'"):
        table.lookup([1], on_invalid="ignore")
    with raises("on_invalid must be one of"):
        table.lookup([1], on_invalid=None)
    with raises("mode must be one of 'sum', 'mean', 'max', not 'median'"):
        table.bag([1], [0], "median")


# Bags


@pytest.mark.parametrize(
    ("offsets", "options", "message"),
    [
        ([0, 3, 2], {}, "must not decrease.*position 2 is 2 after 3"),
        ([1, 2], {}, "must start at 0, not 1"),
        ([-1, 2], {}, "must start at 0, not -1"),
        ([0, -2], {}, "must not decrease"),
        ([0, 5], {}, "position 1 is 5, past the end of 4 ids"),
        ([0, 2**62], {}, "past the end"),
        ([0, 2], {"include_last_offset": True}, "last offset must be the number of ids, 4, not 2"),
        ([0, 5], {"include_last_offset": True}, "past the end"),
        ([], {}, "4 ids but no offsets"),
        ([], {"include_last_offset": True}, "must not be empty"),
        ([[0, 2]], {}, "offsets must have one axis, not 2"),
        (0, {}, "offsets must have one axis, not 0"),
        (None, {}, "offsets are needed"),
        ([0.0, 2.0], {}, "offsets must be integers, not float64"),
        ([0], {"mode": "mean", "per_sample_weights": np.ones(4, np.float32)}, "sum only"),
        ([0], {"mode": "max", "per_sample_weights": np.ones(4, np.float32)}, "sum only"),
        ([0], {"per_sample_weights": np.ones(3, np.float32)}, "shape of ids"),
        ([0], {"per_sample_weights": np.ones((2, 2), np.float32)}, "shape of ids"),
        ([0], {"per_sample_weights": np.ones(4, bool)}, "per_sample_weights must be real numbers, not bool"),
        ([0], {"per_sample_weights": np.full(4, 1e39)}, "per_sample_weights has 1e[+]39 at 0"),
        ([0], {"padding_idx": 20}, "padding_idx must be from 0 to 19, not 20"),
        ([0], {"padding_idx": -1}, "padding_idx must be from 0 to 19, not -1"),
        ([0], {"padding_idx": 2**70}, "padding_idx is too large"),
    ],
)
def test_bags_of_the_wrong_kind(table, offsets, options, message):
    out = np.full((max(np.size(offsets), 1), 12), 7, np.float32)
    with raises(message):
        table.bag([1, 2, 3, 4], offsets, **options)
    with pytest.raises(ValueError):
        table.bag([1, 2, 3, 4], offsets, **options, out=out)
    assert (out == 7).all()


def test_ids_of_the_wrong_rank_for_bags(table):
    with raises("ids must have one axis"):
        table.bag(3, [0])
    with raises("ids must have one axis"):
        table.bag(np.zeros((2, 2, 2), np.int64))
    with raises("offsets must be None"):
        table.bag([[1, 2]], [0])
    with pytest.raises(TypeError, match="padding_idx must be an integer"):
        table.bag([1], [0], padding_idx=1.5)
    with pytest.raises(TypeError, match="include_last_offset must be True or False"):
        table.bag([1], [0], include_last_offset=np.zeros(2))


def test_weights_of_the_list_kind(table):
    """A list of integers is a list of weights too."""
    wanted = table.bag([1, 2], [0], per_sample_weights=np.float32([2, 3]))
    np.testing.assert_array_equal(table.bag([1, 2], [0], per_sample_weights=[2, 3]), wanted)


# Outputs


def wrong_outputs():
    read_only = np.empty((2, 12), np.float32)
    read_only.flags.writeable = False
    return [
        (read_only, ValueError, "out must be writable"),
        (np.empty((2, 11), np.float32), ValueError, r"out must have the shape \(2, 12\)"),
        (np.empty((3, 12), np.float32), ValueError, "out must have the shape"),
        (np.empty((2, 12, 1), np.float32), ValueError, "out must have the shape"),
        (np.empty(24, np.float32), ValueError, "out must have the shape"),
        (np.empty((2, 12)), ValueError, "out must be float32 in native byte order, not float64"),
        (np.empty((2, 12), np.float16), ValueError, "out must be float32 in native byte order, not float16"),
        (np.empty((2, 12), np.int32), ValueError, "out must be float32"),
        (np.empty((2, 12), ">f4"), ValueError, "out must be float32"),
        (np.empty((2, 24), np.float32)[:, ::2], ValueError, "C-contiguous"),
        (np.empty((4, 12), np.float32)[::2], ValueError, "C-contiguous"),
        (np.empty((12, 2), np.float32).T, ValueError, "C-contiguous"),
        (b"x" * 96, ValueError, "out must be writable"),
        ([[0.0] * 12] * 2, TypeError, "out must be a writable float32 array"),
        ("out", TypeError, "out must be a writable float32 array"),
    ]


@pytest.mark.parametrize("index", range(15))
def test_outputs_of_the_wrong_kind(table, index):
    out, error, message = wrong_outputs()[index]
    with raises(message, error):
        table.lookup([1, 2], out=out)
    with raises(message, error):
        table.bag([1, 2], [0, 1], out=out)
    with raises(message, error):
        table.decode(0, 2, out=out)


def test_outputs_on_top_of_inputs(table):
    memory = np.zeros(400, np.float32)
    out = memory[:24].reshape(2, 12)
    for start in (0, 23):
        ids = memory[start:].view(np.int32)[:2]
        with raises("out must not share memory with ids"):
            table.lookup(ids, out=out)
        with raises("out must not share memory with ids"):
            table.bag(ids, [0, 1], out=out)
    offsets = memory.view(np.int64)[:2]
    offsets[1] = 1
    with raises("out must not share memory with offsets"):
        table.bag([1, 2], offsets, out=out)
    with raises("out must not share memory with per_sample_weights"):
        table.bag([1, 2], [0, 1], per_sample_weights=memory[10:12], out=out)
    beside = memory[24:28].view(np.int32)[:2]
    assert table.lookup(beside, out=out) is out


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 2), (0, 21), (21, 21), (2**62, 2**62 + 1), (-(2**63), 0)])
def test_ranges_of_rows(table, start, stop):
    for table_ in (table, ec.remap(table, rows=20, modulo=20), ec.remap(table, map=np.arange(20))):
        with pytest.raises(ValueError):
            table_.decode(start, stop)
        with pytest.raises(ValueError):
            table_.slice(start, stop)
    with pytest.raises(TypeError):
        table.slice(1.5, 2)
    with raises("too large"):
        table.slice(0, 2**64)


# Calls


def test_calls_of_the_wrong_kind(table):
    for call in (
        lambda: table.lookup(),
        lambda: table.lookup([1], None, "raise", 4),
        lambda: table.lookup([1], ids=[1]),
        lambda: table.lookup([1], where=1),
        lambda: table.bag(),
        lambda: table.slice(1),
        lambda: ec.Table(),
        lambda: object.__new__(ec.Table),
        lambda: ec.evaluate(np.zeros((20, 12), np.float32), table),
        lambda: ec.remap(3, rows=3, modulo=1),
        lambda: ec.save("x", {"a": 3}),
        lambda: ec.set_num_threads(1.5),
        lambda: ec.set_num_threads("2"),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(AttributeError):
        table.rows = 3
    for threads in (0, -1, 257, 2**40, 2**70):
        with pytest.raises(ValueError):
            ec.set_num_threads(threads)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("nothing", {}, "no method 'nothing'; the methods are .*greedy"),
        ("", {}, "no method ''"),
        ("gredy", {}, "no method 'gredy' .is it greedy"),
        ("robe", {}, r"ROBE works while training.*training\.embedding\(\"robe\""),
        ("greedy", {"colour": 1}, "greedy has no option 'colour'; its options are bits"),
        ("asym", {"b": 200}, "asym has no option 'b'"),
        ("greedy", {"bits": 9}, "bits must be one of 1, 2"),
        ("greedy", {"bits": 0}, "bits must be"),
        ("greedy", {"bits": -4}, "bits must be"),
        ("greedy", {"bits": 4.5}, "bits must be"),
        ("greedy", {"bits": "4"}, "bits must be"),
        ("greedy", {"bits": True}, "bits must be"),
        ("greedy", {"bits": None}, "bits must be"),
        ("greedy", {"group": 12}, "group must be a multiple of 8"),
        ("greedy", {"group": 4}, "group must be a multiple of 8"),
        ("greedy", {"group": 0}, "group must be"),
        ("greedy", {"scale_dtype": "f64"}, "scale_dtype must be one of 'auto', 'f16', 'f32', not 'f64'"),
        ("greedy", {"b": 0}, "b must be an integer from 1"),
        ("greedy", {"r": 1.5}, "r must be a number from 0"),
        ("greedy", {"r": float("nan")}, "r"),
        ("greedy", {"r": float("inf")}, "r"),
        ("greedy", {"b": 2**70}, "b"),
        ("greedy", {"bits": 4, "budget": 100_000}, "either bits or a budget"),
        ("greedy", {"budget": 0.0}, "ratio of the f32 size"),
        ("greedy", {"budget": 1.5}, "ratio of the f32 size"),
        ("greedy", {"budget": -0.1}, "ratio of the f32 size"),
        ("greedy", {"budget": float("nan")}, "ratio of the f32 size"),
        ("greedy", {"budget": -1}, "negative"),
        ("greedy\0", {}, "method must not contain a null character"),
        ("gre\udcffedy", {}, "surrogates not allowed"),
    ],
)
def test_methods_and_options(rng, method, options, message):
    weight = rng.standard_normal((20, 20)).astype(np.float32)
    with raises(message):
        ec.compress(weight, method, **options)


def test_options_of_the_wrong_type(weight):
    for options in ({"bits": [4]}, {"bits": np.array([4])}, {"budget": b"1"}, {"budget": True}, {"b": object()}):
        with pytest.raises(TypeError):
            ec.compress(weight, "greedy", **options)
    for method in (None, 3, b"greedy"):
        with pytest.raises(TypeError):
            ec.compress(weight, method)
    with pytest.raises(TypeError, match="progress must be callable"):
        ec.compress(weight, progress=3)
    assert ec.compress(weight, "greedy", bits=np.int32(4), r=np.float32(0.25), group=None).rows == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of"),
        ({"modulo": 3, "divisor": 2, "rows": 3}, "exactly one of"),
        ({"modulo": 3}, "rows is needed"),
        ({"modulo": 0, "rows": 9}, "modulus must be"),
        ({"modulo": 21, "rows": 9}, "modulus must be"),
        ({"modulo": -1, "rows": 9}, "must not be negative|modulus must be"),
        ({"modulo": 3, "rows": -1}, r"from 0 to 2\^48 rows, not -1"),
        ({"divisor": 0, "rows": 9}, "divisor must be"),
        ({"divisor": 2, "rows": 41}, "goes to inner row 20"),
        ({"divisor": 2**63, "rows": 3}, "too large"),
        ({"map": [0, 20]}, "map entry 20 at position 1"),
        ({"map": [-2]}, "map entry -2 at position 0"),
        ({"map": [0.5]}, "map must be integers"),
        ({"map": [[1]]}, "map must be integers and have one axis"),
        ({"map": [1, 2], "rows": 3}, "map has 2 entries, not 3"),
        ({"map": np.array([2**63], np.uint64)}, "map"),
    ],
)
def test_routes_of_the_wrong_kind(table, arguments, message):
    with raises(message):
        ec.remap(table, **arguments)


def test_routes_can_only_nest_so_deep(table):
    with raises("nested deeper than 32"):
        for _ in range(40):
            table = ec.remap(table, rows=20, modulo=20)


def test_shapes_that_differ_can_not_be_compared(table, weight):
    for other in (weight[:5], np.ones((20, 3), np.float32)):
        with raises("can't be compared"):
            ec.evaluate(table, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "magic"}, "unknown kind 'magic'"),
        ({"kind": 3}, "must be a string"),
        ({"rows": -1}, "an integer from 0"),
        ({"rows": 21}, "tensor 'rows' must be"),
        ({"rows": 2**62}, "an integer from 0 to 281474976710656"),
        ({"dimension": 0}, "an integer from 1"),
        ({"dimension": 13}, "group|tensor 'rows' must be"),
        ({"dimension": 2**62}, "an integer from 1"),
        ({"bits": 9}, "bits must be 1 to 8"),
        ({"bits": 8.0}, "an integer from 1"),
        ({"group": 5}, "multiple of 8"),
        ({"group": 13}, "an integer from 1 to 12"),
        ({"scale": "f64"}, "one of 'f16', 'f32'"),
        ({"tensors": {"rows": "other"}}, "no tensor 'other'"),
        ({"tensors": {}}, "lacks the field 'tensors.rows'"),
        ({"tensors": 3}, "a JSON object"),
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"children": {"inner": {}}}, "unknown field 'children.inner'"),
    ],
)
def test_parts_that_are_no_table(table, change, message):
    tree, arrays = table.parts()
    with raises(message, ec.FormatError):
        ec.Table.from_parts({**tree, **change}, arrays)


def test_arrays_that_are_no_parts(table):
    tree, arrays = table.parts()
    for bad, message in (
        ({"rows": ("i8", arrays["rows"].values.view(np.int8))}, "tensor 'rows' must be"),
        ({"rows": ("u8", arrays["rows"].values[:5])}, "tensor 'rows' must be"),
        ({"rows": ("u8", arrays["rows"].values.ravel())}, "tensor 'rows' must be"),
        ({"rows": ("f32", arrays["rows"].values)}, "must be f32 in native byte order, not uint8"),
        ({"rows": ("q4", arrays["rows"].values)}, "dtype must be one of"),
        ({"rows": ("u8", arrays["rows"].values[:, ::2])}, "C-contiguous"),
        ({**arrays, "more": ("u8", np.zeros(3, np.uint8))}, "tensor 'more' belongs to no table"),
        ({}, "no tensor 'rows'"),
    ):
        with raises(message):
            ec.Table.from_parts(tree, bad)


def test_error_types():
    assert issubclass(ec.BudgetError, ValueError)
    assert issubclass(ec.FormatError, ValueError)
    assert ec.BudgetError.__module__ == ec.FormatError.__module__ == "embedcompress"


def test_errors_leave_a_table_usable(table):
    reference_rows = table.decode()
    for _ in range(100):
        with pytest.raises(IndexError):
            table.lookup([99])
        with pytest.raises(ValueError):
            table.lookup([1], out=np.empty(3))
    np.testing.assert_array_equal(table.decode(), reference_rows)
    reference.assert_rows(table.decode(), reference.rows(table))
