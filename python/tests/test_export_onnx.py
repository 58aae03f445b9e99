"""Tables as ONNX models, which onnxruntime runs to the same rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_tables import (
    ROUTE_NAMES,
    random_codebook,
    random_dense,
    random_product,
    random_sparse,
    random_tensor_train,
    random_uniform,
    tables,
)

import embedcompress as ec

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
WEIGHT = np.random.default_rng(1).standard_normal((7, 128)).astype(np.float32)
UNSAID = ("rotate", "normalize", "ranges", "assignment")


def rows_of(path, **ids):
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    results = session.run(None, {name: np.asarray(values, np.int64) for name, values in ids.items()})
    return dict(zip([one.name for one in session.get_outputs()], results, strict=True))


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def check(path, table, type=None, exact=True):
    """A model of the table gives its rows, for ids of any number of axes."""
    rng = np.random.default_rng(0)
    for shape in ((), (5,), (2, 3), (2, 1, 3), (0, 2)):
        if len(shape) != 2:
            ec.export(path, table, "onnx", type=type, id_axes=len(shape))
        else:
            ec.export(path, table, "onnx", type=type)
        onnx.checker.check_model(onnx.load(path), full_check="GatherBlockQuantized" not in operators(path))
        ids = rng.integers(0, table.rows, shape)
        expected = table.lookup(ids)
        found = rows_of(path, ids=ids)["rows"]
        assert (found.shape, found.dtype) == (expected.shape, np.float32)
        if exact:
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@given(
    bits=st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 16]),
    dimension=st.sampled_from([1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100]),
    group=st.sampled_from([None, 8, 16, 24, 32]),
    rows=st.integers(1, 20),
    type=st.sampled_from([None, "Gather"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_codes_of_every_width(tmp_path_factory, bits, dimension, group, rows, type, seed):
    table = random_uniform(np.random.default_rng(seed), rows, dimension, bits, group)
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    # A code of 16 bits times a scale of 11 has more than f32's 24.
    check(path, table, type, exact=bits <= 8)
    fits = bits in (4, 8) and dimension * bits % 8 == 0 and (group in (None, 16, 32) or group >= dimension)
    assert ("GatherBlockQuantized" in operators(path)) == (fits and type is None)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [16, 64, None])
def test_a_zero_in_the_middle_needs_no_more(tmp_path, bits, group):
    rng = np.random.default_rng(bits)
    groups = 1 if group is None else 128 // group
    scales = rng.standard_normal((9, groups)).astype(np.float16)
    codes = rng.integers(0, 1 << bits, (9, 128))
    table = ec.uniform(codes, scales, scales * np.float16(-(1 << (bits - 1))), bits=bits, group=group)
    check(tmp_path / "m.onnx", table, "GatherBlockQuantized")
    assert operators(tmp_path / "m.onnx") == ["GatherBlockQuantized", "Identity"]
    biased = ec.uniform(codes, scales, scales, bits=bits, group=group)
    check(tmp_path / "m.onnx", biased, "GatherBlockQuantized")
    assert operators(tmp_path / "m.onnx")[0] == "GatherBlockQuantized" and "Add" in operators(tmp_path / "m.onnx")


def test_scales_of_f32(tmp_path):
    for bits in (3, 4, 8):
        check(tmp_path / "m.onnx", ec.compress(WEIGHT, bits=bits, group=32, scale_dtype="f32"), exact=False)


@pytest.mark.parametrize("entry_type", ["f16", "f32"])
@pytest.mark.parametrize(
    ("scope", "clusters"), [("row", 1), ("table", 1), ("scaled", 1), ("cluster", 5), ("cluster", 300)]
)
def test_codebooks(tmp_path, scope, entry_type, clusters):
    rng = np.random.default_rng(0)
    for bits, dimension in ((1, 5), (3, 17), (4, 32), (8, 9)):
        table = random_codebook(rng, 13, dimension, bits, entry_type, scope, clusters)
        check(tmp_path / "m.onnx", table, exact=scope != "scaled")


@given(rows=st.integers(1, 20), dimension=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_products(tmp_path_factory, rows, dimension, seed):
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    check(path, random_product(np.random.default_rng(seed), rows, dimension), exact=False)


@given(
    table=tables(routes=[name for name in ROUTE_NAMES if name not in UNSAID]), type=st.sampled_from([None, "Gather"])
)
def test_any_expression(tmp_path_factory, table, type):
    check(tmp_path_factory.mktemp("onnx") / "m.onnx", table, type, exact=False)


@pytest.mark.parametrize("method", ["dedup", "svd", "pq", "rq", "greedy", "kmeans", "kmeans_cls", "int8", "magpq"])
def test_methods(tmp_path, method):
    weight = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    budget = None if method in ("greedy", "kmeans", "kmeans_cls", "int8", "dedup") else 0.3
    table = ec.compress(weight, method, **({} if budget is None else {"budget": budget}))
    if "partition" in str(table.parts()[0]):
        with pytest.raises(ValueError, match="it has a partition; what fits are"):
            ec.export(tmp_path / "m.onnx", table, "onnx")
        return
    check(tmp_path / "m.onnx", table, exact=False)
    check(tmp_path / "m.onnx", table.slice(5, 200), exact=False)


def test_several_tables_in_a_model(tmp_path):
    both = {"user": ec.compress(WEIGHT, bits=4), "item.weight": ec.compress(WEIGHT[:3], bits=8)}
    ec.export(tmp_path / "m.onnx", both, "onnx", type={"user": "Gather"})
    found = rows_of(tmp_path / "m.onnx", **{"user.ids": [[6, 1]], "item.weight.ids": [[2]]})
    np.testing.assert_array_equal(found["user.rows"], both["user"].lookup([[6, 1]]))
    np.testing.assert_array_equal(found["item.weight.rows"], both["item.weight"].lookup([[2]]))


def test_ids_that_no_row_has(tmp_path):
    ec.export(tmp_path / "m.onnx", ec.compress(WEIGHT, bits=4), "onnx")
    with pytest.raises(Exception, match=r"out of|must be|within"):
        rows_of(tmp_path / "m.onnx", ids=[[7]])


def test_tensors_beside_the_model(tmp_path, monkeypatch):
    from embedcompress._export import _onnx

    monkeypatch.setattr(_onnx, "_MOST_IN_ONE_FILE", 100)
    monkeypatch.setattr(_onnx, "_ALWAYS_IN_THE_MODEL", 40)
    table = ec.remap(ec.compress(WEIGHT, bits=3, group=32), map=[3, -1, 2])
    steps = []
    ec.export(tmp_path / "m.onnx", table, "onnx", progress=lambda done, total: steps.append((done, total)))
    (beside,) = tmp_path.glob("m.onnx.*.data")
    assert beside.stat().st_size >= steps[-1][0] == steps[-1][1]

    def assert_holds(table):
        rows = rows_of(tmp_path / "m.onnx", ids=[[2, 1, 0]])["rows"][0]
        np.testing.assert_array_equal(rows, table.lookup([2, 1, 0]))

    assert_holds(table)
    other = ec.compress(WEIGHT[::-1].copy(), bits=3, group=32)

    def fails(*given):
        raise OSError("no space")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(_onnx, "write_bytes", fails)
        ec.export(tmp_path / "m.onnx", other, "onnx")
    assert_holds(table)
    assert list(tmp_path.glob("m.onnx.*.data")) == [beside]
    ec.export(tmp_path / "m.onnx", other, "onnx")
    assert_holds(other)
    assert not beside.exists() and len(list(tmp_path.glob("m.onnx.*.data"))) == 1
    monkeypatch.setattr(_onnx, "_MOST_IN_ONE_FILE", 1 << 30)
    ec.export(tmp_path / "m.onnx", table, "onnx")
    assert_holds(table)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_maps_of_many_entries(tmp_path):
    rng = np.random.default_rng(0)
    inner = random_dense(rng, 300, 4)
    entries = rng.integers(-1, 300, 200_000)
    table = ec.remap(inner, map=entries).slice(13, 199_990)
    ec.export(tmp_path / "m.onnx", table, "onnx")
    np.testing.assert_array_equal(rows_of(tmp_path / "m.onnx", ids=[np.arange(table.rows)])["rows"][0], table.decode())


def test_refusals_say_what_fits(run, tmp_path):
    rng = np.random.default_rng(0)
    for table, type, what in (
        (random_sparse(rng, 5, 6), None, "it has a sparse; what fits are Dense, Uniform, Codebook and Product"),
        (random_tensor_train(rng, 5, 6), None, "it has a tensor train; what fits"),
        (ec.combine([random_dense(rng, 5, 6), random_sparse(rng, 5, 6)], "sum"), None, "it has a sparse"),
        (ec.compress(WEIGHT, bits=3), "GatherBlockQuantized", "it has not 4 or 8 bits in groups of 2.k columns"),
        (ec.compress(WEIGHT, bits=4), "Q4_0", "there is no type Q4_0; types are GatherBlockQuantized, Gather"),
    ):
        with pytest.raises(ValueError, match=f"table 'weight' can't be written to ONNX: .*{what}"):
            ec.export(tmp_path / "no.onnx", table, "onnx", type=type)
    ec.save(tmp_path / "a", {"emb": random_sparse(rng, 5, 6)})
    code, _, err = run("convert", tmp_path / "a", tmp_path / "no.onnx")
    assert code == 1 and err.count("\n") == 1 and "table 'emb' can't be written to ONNX" in err
    assert not list(tmp_path.glob("no*"))


def test_the_command(run, tmp_path):
    table = ec.compress(WEIGHT, bits=4)
    ec.save(tmp_path / "a", {"emb": table})
    code, out, _ = run("convert", tmp_path / "a", tmp_path / "m.onnx", "--json")
    assert code == 0 and '"kind": "onnx"' in out
    np.testing.assert_array_equal(rows_of(tmp_path / "m.onnx", ids=[[3]])["rows"], table.lookup([[3]]))


def test_a_missing_package_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ec.FormatError, match=r"needs onnx.*pip install 'embedcompress\[onnx\]'"):
        ec.export(tmp_path / "no.onnx", ec.compress(WEIGHT, bits=4), "onnx")
    assert not list(tmp_path.iterdir())
