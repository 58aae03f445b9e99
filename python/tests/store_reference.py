"""What the stores of `_stores.py` mean, in NumPy and float64, and what every table must agree on."""

import numpy as np

import embedcompress as ec


def halves_or_floats(array, element):
    return array.astype({"f16": np.float16, "f32": np.float32}[element])


def tensor_train_rows(core0, core1, core2, rows):
    """Rows of a tensor train, and of one of its cores' magnitudes."""
    x = np.arange(rows)
    n0, n1 = len(core0), len(core1)
    parts = core0[x % n0], core1[x // n0 % n1], core2[x // n0 // n1]

    def product(a, b, c):
        a, b, c = (part.astype(np.float64) for part in (a, b, c))
        return np.einsum("xpr,xrqs,xst->xpqt", a, b, c, optimize=True).reshape(rows, a.shape[1] * b.shape[2] * c.shape[2])

    return product(*parts), product(*(np.abs(part) for part in parts))


def assert_close(found, wanted, magnitude, terms):
    """Sums of `terms` products in f32, of numbers that add up to `magnitude`."""
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    bound = magnitude * (2 + terms) * 2.0**-23 + 1e-37
    assert (np.abs(found - wanted) <= bound).all(), np.abs(found - wanted).max()


def assert_agrees(table, rng, tmp_path=None, is_exact=True):
    """Decode, lookup, bag, slice, parts and files of a table say the same."""
    rows = table.decode()
    same = np.testing.assert_array_equal if is_exact else np.testing.assert_allclose
    if table.rows:
        ids = rng.integers(0, table.rows, 700)
        same(table.lookup(ids), rows[ids])
        same(table.lookup(ids[:1].astype(np.int32)), rows[ids[:1]])
        hidden = np.where(rng.random(700) < 0.2, -5, ids)
        wanted = np.where((hidden < 0)[:, None], np.float32(0), rows[ids])
        same(table.lookup(hidden, on_invalid="zero"), wanted)
        offsets = np.sort(rng.integers(0, 700, 40))
        offsets[0] = 0
        for mode in ("sum", "mean", "max"):
            weights = rng.standard_normal(700).astype(np.float32) if mode == "sum" else None
            plain = ec.dense(np.ascontiguousarray(rows))
            np.testing.assert_allclose(
                table.bag(ids, offsets, mode, per_sample_weights=weights),
                plain.bag(ids, offsets, mode, per_sample_weights=weights),
                rtol=2e-5,
                atol=2e-5 * (np.abs(rows).max() + 1e-30) * 30,
            )
    start, stop = sorted(rng.integers(0, table.rows + 1, 2).tolist())
    part = table.slice(start, stop)
    same(part.decode(), rows[start:stop])
    if stop > start:
        same(part.slice(1, stop - start).decode(), rows[start + 1 : stop])
    tree, arrays = part.parts()
    same(ec.Table.from_parts(tree, arrays).decode(), rows[start:stop])
    same(table.aligned(64).decode(), rows)
    if tmp_path is not None:
        for one in (table, part):
            one.save(tmp_path / "table.safetensors")
            for mmap in (True, False):
                again = ec.load(tmp_path / "table.safetensors", mmap=mmap)
                assert again.stored_bytes == one.stored_bytes
                same(again.decode(), one.decode())
