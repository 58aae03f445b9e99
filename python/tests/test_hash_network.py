"""Networks of hashes against float64."""

import itertools

import numpy as np
import pytest
import random_tables
from hypothesis import given
from hypothesis import strategies as st
from store_reference import assert_agrees, assert_close, hash_codes, hash_network_rows, mish

import embedcompress as ec


def network(rng, hashes, widths, buckets=1_000_000, element=np.float32):
    sizes = [hashes, *widths]
    return {
        "factors": rng.integers(0, 2**31, hashes),
        "summands": rng.integers(0, 2**31, hashes),
        "moduli": rng.integers(2, 2**31, hashes),
        "buckets": buckets,
        "weights": [(rng.standard_normal((a, b)) / np.sqrt(a)).astype(element) for a, b in itertools.pairwise(sizes)],
        "biases": [rng.standard_normal(b).astype(np.float32) for b in widths],
    }


@given(
    st.sampled_from([2, 4, 16, 30, 66, 130]),
    st.lists(st.sampled_from([1, 5, 16, 17, 40, 100]), min_size=1, max_size=4),
    st.sampled_from([2, 3, 10, 1000, 2**20, 1_000_000, 2**31 - 1]),
    st.sampled_from(["uniform", "normal"]),
    st.sampled_from([np.float32, np.float16]),
    st.integers(0, 2**32),
)
def test_rows_are_those_of_the_network(hashes, widths, buckets, encoding, element, seed):
    rng = np.random.default_rng(seed)
    parts = network(rng, hashes, widths, buckets, element)
    table = ec.hash_network(**parts, rows=200, encoding=encoding)
    weights = sum(layer.nbytes for layer in parts["weights"] + parts["biases"])
    assert table.stored_bytes == weights + 24 * hashes + 8
    wanted, magnitude = hash_network_rows(np.arange(200), **parts, encoding=encoding)
    # Angles and logarithms are exact to about 1e-6 of the largest, 6.6.
    slack = 8 if encoding == "uniform" else 60
    assert_close(table.decode(), wanted, magnitude + 1e-3, terms=slack + sum([hashes, *widths]) / 4)
    assert_agrees(table, rng)


def test_hashes_are_exact(rng):
    """One layer that is the identity shows the hashes themselves."""
    ids = np.concatenate([np.arange(300), rng.integers(0, 2**32, 700)])
    for buckets in (2, 3, 1000, 65536, 1_000_000, 2**24 - 3):
        hashes = 64
        moduli = np.concatenate([rng.integers(2, 2**31, 40), 2 ** np.arange(1, 17), 2**31 - 1 - np.arange(8)])
        factors = np.concatenate([rng.integers(0, 2**31, 62), [0, 2**31 - 1]])
        constants = {"factors": factors, "summands": rng.integers(0, 2**31, hashes), "moduli": moduli}
        table = ec.hash_network(
            **constants,
            buckets=buckets,
            weights=[np.eye(hashes, dtype=np.float32)],
            biases=[np.zeros(hashes, np.float32)],
            rows=2**32,
        )
        codes = hash_codes(ids, **constants, buckets=buckets)
        found = (table.lookup(ids).astype(np.float64) + 1) * (buckets - 1) / 2
        assert np.abs(found - codes).max() <= 0.13 * max(buckets / 1e6, 1e-3)
        assert (table.slice(2**31, 2**32).lookup(ids // 2) == table.lookup(ids // 2 + 2**31)).all()


def test_normal_codes_are_normal(rng):
    parts = network(rng, 256, [256])
    parts["moduli"][:] = 2**31 - 1
    parts |= {"weights": [np.eye(256, dtype=np.float32)], "biases": [np.zeros(256, np.float32)]}
    found = ec.hash_network(**parts, rows=4000, encoding="normal").decode().astype(np.float64)
    assert abs(found.mean()) < 0.01
    assert abs(found.std() - 1) < 0.01
    assert abs((np.abs(found) < 1).mean() - 0.6827) < 0.01


def test_mish_everywhere():
    """A single hash of one bucket of two leads any number through Mish."""
    x = np.concatenate([np.linspace(-86, 90, 4001), [0, 1e-8, -1e-8, 1e30, -1e4]]).astype(np.float32)
    table = ec.hash_network(
        factors=[0], summands=[0], moduli=[2], buckets=2, rows=1,
        weights=[np.zeros((1, len(x)), np.float32), np.eye(len(x), dtype=np.float32)],
        biases=[x, np.zeros(len(x), np.float32)],
    )  # fmt: skip
    found, wanted = table.decode()[0].astype(np.float64), mish(x.astype(np.float64))
    assert (np.abs(found - wanted) <= 1.5e-6 * np.abs(wanted) + 1e-32).all()


def test_files_and_threads(rng, tmp_path):
    table = ec.hash_network(**network(rng, 100, [70, 33], element=np.float16), rows=500)
    assert_agrees(table, rng, tmp_path)
    found = []
    for threads in (1, 3):
        ec.set_num_threads(threads)
        found.append(table.decode())
    np.testing.assert_array_equal(*found)


def test_what_is_refused(rng):
    good = network(rng, 8, [6, 4]) | {"rows": 10}
    for change in (
        {"rows": 2**32 + 1},
        {"buckets": 1},
        {"encoding": "binary"},
        {"factors": good["factors"] - 2**31},
        {"factors": good["factors"] + 2**31},
        {"moduli": good["moduli"] * 0 + 1},
        {"moduli": good["moduli"][:7]},
        {"biases": good["biases"][::-1]},
        {"weights": good["weights"][::-1]},
    ):
        with pytest.raises(ec.FormatError):
            ec.hash_network(**good | change)
    with pytest.raises(ec.FormatError, match="even number"):
        ec.hash_network(**network(rng, 7, [4]), rows=3, encoding="normal")
    for change in ({"weights": []}, {"biases": good["biases"][:1]}, {"factors": [1.5]}):
        with pytest.raises(ValueError):
            ec.hash_network(**good | change)


@given(
    st.sampled_from([1, 4, 30, 66]),
    st.lists(st.sampled_from([1, 5, 16, 33, 70]), min_size=1, max_size=4),
    st.sampled_from([2, 4, 8]),
    st.sampled_from(["uniform", "codebook"]),
    st.integers(0, 2**32),
)
def test_weights_may_be_tables_of_codes(hashes, widths, bits, kind, seed):
    """They are the network of what the codes stand for, at the bytes of the codes."""
    rng = np.random.default_rng(seed)
    parts = network(rng, hashes, widths)
    if kind == "uniform":
        tables = [random_tables.random_uniform(rng, *layer.shape, bits) for layer in parts["weights"]]
    else:
        tables = [random_tables.random_codebook(rng, *layer.shape, bits, scope="scaled") for layer in parts["weights"]]
    table = ec.hash_network(**parts | {"weights": tables}, rows=50)
    plain = ec.hash_network(**parts | {"weights": [one.decode() for one in tables]}, rows=50)
    np.testing.assert_array_equal(table.decode(), plain.decode())
    np.testing.assert_array_equal(table.slice(7, 31).decode(), plain.decode()[7:31])
    np.testing.assert_array_equal(table.aligned(16).decode(), plain.decode())
    biases = sum(one.nbytes for one in parts["biases"])
    assert table.stored_bytes == sum(one.stored_bytes for one in tables) + biases + 24 * hashes + 8
    assert_agrees(table, rng)


def test_tables_of_weights_are_read_from_files(rng, tmp_path):
    parts = network(rng, 20, [40, 33])
    tables = [random_tables.random_uniform(rng, *layer.shape, 4) for layer in parts["weights"]]
    table = ec.hash_network(**parts | {"weights": tables}, rows=500)
    assert_agrees(table, rng, tmp_path)
    with pytest.raises(ValueError, match="arrays for all layers, or tables for all"):
        ec.hash_network(**parts | {"weights": [tables[0], parts["weights"][1]]}, rows=5)
    for weights, message in (
        (tables[::-1], "weights 0 are a table of 40 x 33, not of 20 x 33"),
        (tables[:1], "a table of weights for each of 2 biases, not 1"),
        ([tables[0], ec.dense(parts["weights"][1])], "weights 1 are a table of the kind 'dense'"),
        ([tables[0], ec.remap(tables[1], map=np.zeros(40, np.int64))], "weights 1 are a table of the kind 'remap'"),
    ):
        with pytest.raises(ec.FormatError, match=message):
            ec.hash_network(**parts | {"weights": weights}, rows=5)
    wide = network(rng, 1500, [400])
    tables = [random_tables.random_uniform(rng, 1500, 400, 2)]
    with pytest.raises(ec.FormatError, match="at most 1048576 bytes for each layer"):
        ec.hash_network(**wide | {"weights": tables}, rows=5)
