"""Routes by hand. That lookups agree with the references, test_lookup and test_bag try on random expressions."""

import pickle

import numpy as np
import pytest
import random_tables
import reference
from safetensors.numpy import load_file

import embedcompress as ec
from embedcompress import _core, nn


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def table(rng):
    return ec.dense(rng.standard_normal((20, 6), dtype=np.float32))


def test_hashes_are_those_of_the_formula(rng):
    inner = ec.dense(np.arange(1000, dtype=np.float32)[:, None])
    ids = np.concatenate([np.arange(500), rng.integers(0, 2**48, 500)])
    for seed in (0, 1, 2**62):
        found = ec.remap(inner, rows=2**48, hash=seed).lookup(ids)[:, 0]
        np.testing.assert_array_equal(found, reference.hashed(ids, seed, 1000))
    counts = np.bincount(reference.hashed(np.arange(100_000), 3, 1000), minlength=1000)
    # A chi-squared of 999 degrees of freedom.
    assert 800 < ((counts - 100) ** 2 / 100).sum() < 1200


@pytest.mark.parametrize("rows", [1, 2, 3, 255, 256, 257])
def test_maps_take_the_bits_that_they_need(rng, rows):
    inner = ec.dense(rng.standard_normal((rows, 2), dtype=np.float32))
    for lowest, largest in ((0, rows - 1), (-1, rows)):
        table = ec.remap(inner, map=rng.permutation(np.arange(400) % (rows - lowest) + lowest))
        bits = max(largest.bit_length(), 1)
        assert table.stored_bytes - inner.stored_bytes == -(-400 * bits // 8)


@pytest.mark.parametrize(("ids", "block"), [(0, 1), (50, 1), (50, 3), (3000, 7)])
def test_the_inner_rows_of_ids(table, rng, ids, block):
    blocks = 20 // block
    entries = rng.integers(-1, blocks, -(-ids // block))
    routed = ec.remap(table, map=entries, block=block, rows=ids)
    asked = rng.permutation(np.arange(ids))
    found = np.full(ids, 99)
    _core.inner_rows(routed, asked, found)
    wanted = entries[asked // block] * block + asked % block
    np.testing.assert_array_equal(found, np.where(entries[asked // block] < 0, -1, wanted))


def test_inner_rows_need_a_remap(table):
    out = np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="the table must be a remap, not dense"):
        _core.inner_rows(table, np.zeros(1, np.int64), out)
    routed = ec.remap(table, rows=40, modulo=20)
    with pytest.raises(IndexError, match="40"):
        _core.inner_rows(routed, np.array([40]), out)
    for wrong in (out.astype(np.int32), np.zeros(2, np.int64)):
        with pytest.raises(ValueError, match="out must be int64"):
            _core.inner_rows(routed, np.zeros(1, np.int64), wrong)
    with pytest.raises(TypeError, match="table"):
        _core.inner_rows(None, np.zeros(1, np.int64), out)


def test_bytes_of_an_assignment(rng):
    for count in (2, 3, 4, 5, 33):
        assignment = rng.integers(0, count, 10_000)
        tables = [ec.dense(np.zeros((int(n), 1), np.float32)) for n in np.bincount(assignment, minlength=count)]
        own = ec.partition(tables, assignment).stored_bytes - 40_000
        assert own == 20 * (64 * (count - 1).bit_length() + 4 * count)


@pytest.mark.parametrize("is_coded", [False, True])
def test_pieces_of_a_table_share_its_array(rng, tmp_path, is_coded):
    """An array that several pieces are on counts once, and is once in files, parts, pickles and modules."""
    array = rng.standard_normal((50, 8)).astype(np.float32)
    inner = ec.compress(array, "sym", bits=4) if is_coded else array.ravel()
    shared = ec.shared_array(inner, rows=1000, dimension=8, block=4, seed=3, signs=True)
    own = ec.dense(rng.standard_normal((300, 8), dtype=np.float32))
    tables = [shared.slice(0, 100), own.slice(0, 120), shared.slice(220, 500), own.slice(120, 300)]
    table = ec.partition([*tables, shared.slice(680, 1000)])
    wanted = shared.decode()
    wanted[100:220], wanted[500:680] = own.decode()[:120], own.decode()[120:]
    assert table.stored_bytes == shared.stored_bytes + 2 * 16 + own.stored_bytes
    arrays = table.parts()[1]
    assert len(arrays) == 2 + len(shared.parts()[1])
    assert sum(one.values.nbytes for one in arrays.values()) == table.stored_bytes - 3 * 16
    path = tmp_path / "table"
    table.save(path, digests=True)
    assert sum(one.nbytes for one in load_file(path).values()) == table.stored_bytes - 3 * 16
    ec.verify(path)
    copies = [ec.load(path, verify=True), ec.load(path, mmap=False), pickle.loads(pickle.dumps(table))]
    module = nn.CompressedEmbedding(table)
    other = nn.CompressedEmbedding(ec.dense(np.zeros((1000, 8), np.float32)))
    other.load_state_dict(module.state_dict())
    copies += [module.parts.table(), other.parts.table()]
    for copy in copies:
        np.testing.assert_array_equal(copy.decode(), wanted)
        assert copy.stored_bytes == table.stored_bytes
        copy.save(tmp_path / "again", digests=True)
        assert (tmp_path / "again").read_bytes() == path.read_bytes()
    # Ranges of rows that overlap are arrays of their own.
    apart = ec.partition([own.slice(0, 100), own.slice(50, 150)])
    assert apart.stored_bytes == 200 * 32
    twice = ec.combine([own, own])
    assert twice.stored_bytes == own.stored_bytes and len(twice.parts()[1]) == 1
    np.testing.assert_array_equal(twice.decode(), 2 * own.decode())


def test_invalid_ids_get_no_bias(table, rng):
    matrix, bias = rng.standard_normal((6, 9)), np.arange(1, 10)
    projected = ec.project(table, matrix, bias)
    rows = table.decode() @ matrix.astype(np.float32) + bias
    found = projected.lookup([3, -1, 20, 4], on_invalid="zero")
    np.testing.assert_allclose(found, [rows[3], bias * 0, bias * 0, rows[4]], rtol=1e-5, atol=1e-5)
    bags = projected.bag([3, -1, 4, 20, -1, -1], [0, 2, 3, 5], on_invalid="zero")
    np.testing.assert_allclose(bags, [rows[3], rows[4], bias * 0, bias * 0], rtol=1e-5, atol=1e-5)
    weights = np.float32([2, 5, -1, 7])
    found = projected.bag([3, -1, 4, 20], [0], on_invalid="zero", per_sample_weights=weights)
    np.testing.assert_allclose(found, [2 * rows[3] - rows[4]], rtol=1e-4, atol=1e-4)


def test_a_matrix_in_f16(table):
    matrix = np.linspace(-3, 3, 24).reshape(6, 4)
    half = ec.project(table, matrix, element="f16")
    assert half.stored_bytes == table.stored_bytes + 48
    np.testing.assert_array_equal(
        half.decode(), ec.project(table, matrix.astype(np.float16).astype(np.float32)).decode()
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: ec.combine([t]), "two tables or more"),
        (lambda t: ec.combine([]), "one table or more"),
        (lambda t: ec.combine([t, t], "mean"), "one of 'sum', 'product'"),
        (lambda t: ec.combine([t, t.slice(0, 5)]), "table 1 is 5 x 6, but the first one is 20 x 6"),
        (lambda t: ec.columns([t, t.slice(0, 5)]), "table 1 has 5 rows"),
        (lambda t: ec.columns([]), "one table or more"),
        (lambda t: ec.partition([t, ec.columns([t, t])]), "table 1 has 12 columns, but the first one has 6"),
        (lambda t: ec.partition([t] * 4097), "1 to 4096 tables"),
        (lambda t: ec.partition([t] * 4097, np.zeros(3, int)), "1 to 4096 tables"),
        (lambda t: ec.partition([t], np.zeros(19, int)), "19 ids are assigned to table 0, which has 20 rows"),
        (lambda t: ec.partition([t], np.arange(20) // 19), "id 19 is assigned to table 1, but there are 1 tables"),
        (lambda t: ec.partition([t], -np.arange(20)), "id 1 is assigned to table -1"),
        (lambda t: ec.partition([t], np.zeros((20, 1), int)), "integers and have one axis"),
        (lambda t: ec.partition([t], np.zeros(20)), "integers and have one axis"),
        (lambda t: ec.project(t, np.zeros((5, 3))), "the matrix has 5 rows, not the table's 6 columns"),
        (lambda t: ec.project(t, np.zeros(6)), "matrix must be numbers and have 2 axes"),
        (lambda t: ec.project(t, np.full((6, 1), np.nan)), "matrix must be finite"),
        (lambda t: ec.project(t, np.zeros((6, 3)), np.zeros(2)), "tensor 'bias' must be"),
        (lambda t: ec.project(t, np.zeros((6, 3)), element="bf16"), "'f32' or 'f16'"),
        (lambda t: ec.project(t, np.full((6, 3), 1e6), element="f16"), "too large for f16"),
        (lambda t: ec.remap(t, rows=5, hash=-1), "seed must not be negative"),
        (lambda t: ec.remap(t, hash=1), "rows is needed"),
        (lambda t: ec.remap(t, rows=3, block=2), "exactly one of modulo, divisor, hash and map"),
        (lambda t: ec.remap(t, rows=3, modulo=2, block=2), "block goes with map only"),
        (lambda t: ec.remap(t, map=[0], block=2), "rows is needed with block"),
        (lambda t: ec.remap(t, rows=5, map=[0, 1], block=2), "5 ids in blocks of 2"),
        (lambda t: ec.remap(t, rows=2, map=[0], block=0), "blocks need at least one row"),
        (lambda t: ec.remap(t, rows=2, map=[10], block=2), "map entry 10 at position 0"),
    ],
)
def test_what_can_not_be_made(table, make, message):
    with pytest.raises(ValueError, match=message):
        make(table)


def test_only_tables_go_in(table):
    for make in (ec.combine, ec.columns, ec.partition):
        with pytest.raises(TypeError, match="table 1 of tables must be a Table, not ndarray"):
            make([table, np.zeros((20, 6), np.float32)])


def test_routes_are_pickled_saved_and_sliced(rng, tmp_path):
    parts = [random_tables.random_uniform(rng, rows, 17, 4) for rows in (700, 400)]
    table = ec.partition(parts, rng.permutation(np.repeat([0, 1], [700, 400])))
    matrix = rng.standard_normal((17, 30), np.float32)
    table = ec.columns([ec.project(table, matrix, np.ones(30)), ec.combine([table, table], "product")])
    table.save(tmp_path / "t")
    for start, stop in ((0, 1100), (511, 513), (600, 1024), (1024, 1100), (1100, 1100)):
        part = table.slice(start, stop)
        part.save(tmp_path / "part")
        for found in (part, ec.load(tmp_path / "part"), ec.load(tmp_path / "t").slice(start, stop)):
            np.testing.assert_array_equal(found.decode(), table.decode()[start:stop])


def test_slices_of_a_partition_with_wrong_counts_are_no_table():
    parts = [ec.dense(np.zeros((300, 4), np.float32)) for _ in range(2)]
    tree, arrays = ec.partition(parts, np.arange(600) % 2).parts()
    name = tree["tensors"]["ranks"]
    dtype, ranks = arrays[name]
    wrong = ranks.copy()
    # Of table 0 there are 256 ids before the second block of 512.
    wrong[1, :4] = np.frombuffer(np.uint32(255).tobytes(), np.uint8)
    table = ec.Table.from_parts(tree, {**arrays, name: (dtype, wrong)})
    with pytest.raises(ec.FormatError, match="600 ids are assigned to 599 rows") as caught:
        table.slice(0, 600)
    assert caught.value.rule == "invalid_parts"
    assert table.slice(0, 400).shape == (400, 4)
