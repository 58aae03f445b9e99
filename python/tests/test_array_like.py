"""A table in the place of an array: indices, iteration, NumPy's protocol, and libraries that hold vectors."""

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress import _indexing

ROWS, DIMENSION = 37, 12
WEIGHT = np.random.default_rng(14).standard_normal((ROWS, DIMENSION)).astype(np.float32)
TABLES = {
    "dense": ec.dense(WEIGHT),
    "4 bits": ec.compress(WEIGHT, bits=4),
    "f16": ec.dense(WEIGHT.astype(np.float16)),
    "no rows": ec.dense(WEIGHT[:0]),
}


def masks(count):
    return st.lists(st.booleans(), min_size=count, max_size=count).map(np.array)


@st.composite
def indices(draw, shape):
    """Indices that NumPy takes, of one axis or two: numbers, slices, arrays and masks."""
    integers = npst.integer_array_indices((ROWS,), result_shape=npst.array_shapes(min_dims=0, max_dims=3, max_side=4))
    rows = st.one_of(
        st.integers(-ROWS, ROWS - 1), st.slices(ROWS), integers.map(lambda found: found[0]), masks(ROWS), st.just(...)
    )
    columns = st.one_of(
        st.integers(-DIMENSION, DIMENSION - 1),
        st.slices(DIMENSION),
        masks(DIMENSION),
        st.lists(st.integers(-DIMENSION, DIMENSION - 1), min_size=1, max_size=4),
    )
    if shape == "rows":
        return draw(rows)
    return draw(rows), draw(columns)


@pytest.mark.parametrize("name", ["dense", "4 bits", "f16"])
@given(data=st.data(), shape=st.sampled_from(["rows", "both"]))
def test_indices_are_numpys(name, data, shape):
    table = TABLES[name]
    index = data.draw(indices(shape))
    try:
        wanted = table.decode()[index]
    except IndexError:
        with pytest.raises(IndexError):
            table[index]
        return
    found = table[index]
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == np.float32 and found.shape == wanted.shape


@pytest.mark.parametrize("name", list(TABLES))
@given(index=npst.basic_indices((ROWS, DIMENSION), allow_newaxis=False, allow_ellipsis=True))
def test_basic_indices_are_numpys(name, index):
    table = TABLES[name]
    try:
        wanted = table.decode()[index]
    except IndexError:
        with pytest.raises(IndexError):
            table[index]
        return
    np.testing.assert_array_equal(table[index], wanted)


@pytest.mark.parametrize(
    "index, message",
    [
        (ROWS, "index 37 is out of range: the table has 37 rows"),
        (-ROWS - 1, "index -38 is out of range"),
        ([1, 2, 99], "index 99 at 2 is out of range"),
        ([[1, 2], [3, -50]], r"index -50 at \[1, 1\] is out of range"),
        ((0, DIMENSION), "out of bounds"),
        (([0, 1], [3, DIMENSION]), "index 12 at 1 is out of range: the table has 12 columns"),
        (([0, 1], [3, 4, 5]), "don't go together"),
        (1.0, "not float64"),
        ("word", "not str"),
        (np.float32([1, 2]), "not float32"),
        (np.zeros(ROWS - 1, bool), "a mask of rows must have 37 elements, one for each, not 36"),
        (np.zeros((ROWS, DIMENSION), bool), "not 37 x 12"),
        (True, "not one value"),
        (None, "no new axes"),
        ((None, 3), "no new axes"),
        ((1, 2, 3), "two axes"),
        ((..., ...), "two axes"),
        ({"a": 1}, "rows are indexed with"),
    ],
)
def test_what_is_no_index(index, message):
    with pytest.raises(IndexError, match=message):
        TABLES["dense"][index]


def test_attributes_are_those_of_the_rows():
    table = TABLES["4 bits"]
    assert (table.shape, table.ndim, table.size, len(table)) == ((ROWS, DIMENSION), 2, ROWS * DIMENSION, ROWS)
    assert table.dtype == np.float32 and isinstance(table.dtype, np.dtype)


def test_numpy_takes_a_table():
    table = TABLES["4 bits"]
    rows = table.decode()
    np.testing.assert_array_equal(np.asarray(table), rows)
    assert np.asarray(table).dtype == np.float32
    assert np.asarray(table, np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.array(table, np.float16, copy=True), rows.astype(np.float16))
    np.testing.assert_array_equal(np.linalg.norm(table, axis=1), np.linalg.norm(rows, axis=1))
    np.testing.assert_array_equal(np.stack([table, table]), np.stack([rows, rows]))
    with pytest.raises(ValueError, match="copy=False"):
        np.array(table, copy=False)


def test_what_was_decoded_is_the_callers():
    table = ec.dense(WEIGHT.copy())
    for found in (table[3], table[2:5], np.asarray(table), next(iter(table))):
        found[:] = 7
    np.testing.assert_array_equal(table.decode(), WEIGHT)


@pytest.mark.parametrize("name", list(TABLES))
@pytest.mark.parametrize("block_bytes", [1, 4 * DIMENSION * 5, 1 << 20])
def test_iteration_goes_through_the_rows(name, block_bytes, monkeypatch):
    monkeypatch.setattr(_indexing, "BLOCK_BYTES", block_bytes)
    found = list(TABLES[name])
    assert len(found) == TABLES[name].rows
    for row, wanted in zip(found, TABLES[name].decode(), strict=True):
        np.testing.assert_array_equal(row, wanted)


def test_a_table_is_no_sequence_of_tables():
    for call in (ec.TableSet, ec.columns, lambda table: ec.tensor_train(table)):
        with pytest.raises(TypeError, match="must be a sequence, not a Table"):
            call(TABLES["dense"])


def test_masks_and_columns_of_frames():
    pandas = pytest.importorskip("pandas")
    table, rows = TABLES["dense"], WEIGHT
    frame = pandas.DataFrame({"id": np.arange(ROWS, dtype=np.int8), "use": np.arange(ROWS) % 3 == 0})
    np.testing.assert_array_equal(table[frame["use"]], rows[::3])
    np.testing.assert_array_equal(table[frame["id"]], rows)


def test_tensors_index():
    torch = pytest.importorskip("torch")
    table = TABLES["dense"]
    np.testing.assert_array_equal(table[torch.tensor([3, -1])], WEIGHT[[3, -1]])
    np.testing.assert_array_equal(table[torch.tensor(3)], WEIGHT[3])
    np.testing.assert_array_equal(table[torch.arange(ROWS) < 4], WEIGHT[:4])
    np.testing.assert_array_equal(torch.as_tensor(np.asarray(table)), WEIGHT)


@pytest.fixture
def words():
    return [f"word{i}" for i in range(ROWS)]


@pytest.mark.parametrize("name", ["4 bits", "f16"])
def test_gensim_holds_a_table(name, words):
    gensim = pytest.importorskip("gensim.models")
    table = TABLES[name]

    def vectors(held):
        keyed = gensim.KeyedVectors(DIMENSION)
        keyed.add_vectors(words, table.decode())
        keyed.vectors = held
        return keyed

    found, wanted = vectors(table), vectors(table.decode())
    assert found.most_similar("word3", topn=9) == wanted.most_similar("word3", topn=9)
    assert found.most_similar(positive=["word1", "word2"], negative=["word5"]) == wanted.most_similar(
        positive=["word1", "word2"], negative=["word5"]
    )
    assert found.similarity("word1", "word9") == wanted.similarity("word1", "word9")
    assert found.doesnt_match(words[:5]) == wanted.doesnt_match(words[:5])
    np.testing.assert_array_equal(found["word7"], wanted["word7"])
    np.testing.assert_array_equal(found[words[2:6]], wanted[words[2:6]])
    np.testing.assert_array_equal(found.get_normed_vectors(), wanted.get_normed_vectors())
    np.testing.assert_array_equal(found.distances("word1"), wanted.distances("word1"))


def test_model2vec_holds_a_table(words):
    model2vec = pytest.importorskip("model2vec")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"[UNK]": 0, "[PAD]": 1} | {word: i + 2 for i, word in enumerate(words[2:])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    table = TABLES["4 bits"]
    sentences = ["word3 word4 word5", "word7", "word9 word9 word30 nothing", ""]

    def model(held):
        made = model2vec.StaticModel(table.decode(), tokenizer)
        made.embedding = held
        return made

    found, wanted = model(table), model(table.decode())
    np.testing.assert_array_equal(found.encode(sentences), wanted.encode(sentences))
    np.testing.assert_array_equal(found.encode("word5 word6"), wanted.encode("word5 word6"))
    sequences = zip(found.encode_as_sequence(sentences), wanted.encode_as_sequence(sentences), strict=True)
    for one, other in sequences:
        np.testing.assert_array_equal(one, other)
    assert found.dim == wanted.dim
