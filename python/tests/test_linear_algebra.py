"""The eigenvectors that low-rank methods are made of: beside NumPy, and what the call refuses."""

import threading

import numpy as np
import pytest

import embedcompress as ec
from embedcompress import _core


def symmetric(size, seed=0):
    half = np.random.default_rng(seed).standard_normal((size, size))
    return half + half.T


def eigenvectors(matrix, progress=None):
    values, vectors = np.full(len(matrix), np.nan), np.full(matrix.shape, np.nan)
    _core.symmetric_eigenvectors(matrix, values, vectors, progress)
    return values, vectors


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 300, 768])
def test_beside_numpy(size):
    matrix = symmetric(size)
    values, vectors = eigenvectors(matrix)
    scale = np.abs(matrix).max(initial=0) * (size + 8) * 1e-15
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), atol=4 * scale)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=2 * scale)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(size), atol=(size + 8) * 1e-15)


def test_a_gram_matrix_of_few_directions():
    rows = np.random.default_rng(1).standard_normal((40, 300))
    gram = rows.T @ rows
    values, vectors = eigenvectors(gram)
    expected, others = np.linalg.eigh(gram)
    np.testing.assert_allclose(values, expected, atol=1e-11)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(300), atol=1e-13)
    # The space of the large ones is the same, whatever basis stands for the others.
    np.testing.assert_allclose(vectors[:, 260:] @ vectors[:, 260:].T, others[:, 260:] @ others[:, 260:].T, atol=1e-12)


def test_threads_change_nothing():
    matrix, before = symmetric(700), ec.get_num_threads()
    try:
        ec.set_num_threads(1)
        one = eigenvectors(matrix)
        ec.set_num_threads(3)
        three = eigenvectors(matrix)
    finally:
        ec.set_num_threads(before)
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)


def test_calls_from_many_threads():
    matrix, found = symmetric(200), []
    threads = [threading.Thread(target=lambda: found.append(eigenvectors(matrix))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for values, vectors in found:
        np.testing.assert_array_equal(values, found[0][0])
        np.testing.assert_array_equal(vectors, found[0][1])


def test_progress():
    calls = []
    eigenvectors(symmetric(100), lambda done, total: calls.append((done, total)))
    assert calls[-1] == (1, 1)
    assert {total for _, total in calls} == {1}
    values, vectors = np.full(100, 7.0), np.full((100, 100), 7.0)
    with pytest.raises(KeyboardInterrupt):
        _core.symmetric_eigenvectors(symmetric(100), values, vectors, lambda done, total: False)
    assert (values == 7).all() and (vectors == 7).all()


def test_not_finite():
    matrix = np.eye(6)
    matrix[4, 1] = np.inf
    with pytest.raises(ValueError, match="not finite, in row 4, column 1"):
        eigenvectors(matrix)


@pytest.mark.parametrize(
    ("matrix", "values", "vectors"),
    [
        ((3, 4), (3,), (3, 3)),
        ((4, 3), (3,), (3, 3)),
        ((9,), (3,), (3, 3)),
        ((3, 3), (4,), (3, 3)),
        ((3, 3), (3, 1), (3, 3)),
        ((3, 3), (3,), (3, 4)),
        ((3, 3), (3,), (9,)),
    ],
)
def test_refuses_shapes(matrix, values, vectors):
    with pytest.raises(ValueError, match="must be"):
        _core.symmetric_eigenvectors(np.zeros(matrix), np.zeros(values), np.zeros(vectors), None)


def test_refuses_arrays():
    matrix, values, vectors = np.eye(3), np.zeros(3), np.zeros((3, 3))
    with pytest.raises(ValueError, match="matrix must be float64"):
        _core.symmetric_eigenvectors(matrix.astype(np.float32), values, vectors, None)
    with pytest.raises(ValueError, match="vectors must be float64"):
        _core.symmetric_eigenvectors(matrix, values, vectors.astype(np.float32), None)
    with pytest.raises(ValueError, match="C-contiguous"):
        _core.symmetric_eigenvectors(np.zeros((3, 6))[:, ::2], values, vectors, None)
    with pytest.raises(ValueError, match="share memory with matrix"):
        _core.symmetric_eigenvectors(matrix, values, matrix, None)
    with pytest.raises(ValueError, match="share memory with values"):
        _core.symmetric_eigenvectors(matrix, vectors[0], vectors, None)
    with pytest.raises(TypeError, match="progress"):
        _core.symmetric_eigenvectors(matrix, values, vectors, 3)
