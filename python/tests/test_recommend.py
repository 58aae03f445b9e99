"""`recommend`: what it tries, how it ranks, and what it says."""

import re

import numpy as np
import pytest

import embedcompress as ec

FINALISTS = 5

FIGURES = ("stored_bytes", "normalized_l2", "mean_cosine", "recall_at_10")


@pytest.fixture(scope="module")
def weight():
    """Rows of an uneven spectrum and of norms that differ."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((3000, 24)) / np.arange(1, 25) ** 0.5
    return (rows * rng.gamma(2, 1, (3000, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def found(weight):
    return ec.recommend(weight, 0.2, sample=800)


def test_the_best_comes_first_and_all_keep_the_budget(found, weight):
    losses = [one.normalized_l2 for one in found]
    assert losses == sorted(losses)
    assert 1 <= len(found) <= FINALISTS
    assert all(one.stored_bytes <= 0.2 * weight.nbytes for one in found)


def test_the_figures_are_those_of_the_table(found, weight):
    for one in found:
        table = one.compress(weight)
        quality = ec.evaluate(table, weight)
        assert table.stored_bytes == one.stored_bytes
        assert one.ratio == table.ratio
        assert one.normalized_l2 == pytest.approx(quality.normalized_l2, rel=1e-6)
        assert one.mean_cosine == pytest.approx(quality.mean_cosine, rel=1e-6)
        assert one.recall_at_10 == pytest.approx(quality.recall_at_10)
        assert one.compress_seconds > 0
        assert one.lookup_ns_per_row > 0
        again = ec.compress(weight, one.method, **one.options)
        np.testing.assert_array_equal(again.decode(), table.decode())


def test_nothing_in_the_registry_is_better(found, weight):
    for method in ec.methods():
        if "budget" in {option.name for option in method.options}:
            try:
                table = ec.compress(weight, method.name, budget=0.2)
            except ec.BudgetError:
                continue
            assert found[0].normalized_l2 <= 1.02 * ec.evaluate(table, weight, queries=0).normalized_l2, method.name


def test_reasons_have_numbers(found):
    first, *others = found
    assert re.match(r"The least loss of \d+ candidates: ", first.reason)
    assert f"normalised l2 {first.normalized_l2:.4g}" in first.reason
    took = f" It took {first.compress_seconds:.2g} s to make, and {first.lookup_ns_per_row:.0f} ns a row to look up."
    assert first.reason.endswith(took)
    for one in others:
        assert "% more loss than the best" in one.reason
    assert all(one.reason.endswith(".") for one in found)


def test_as_dict_is_plain(found):
    for one in found:
        fields = one.as_dict()
        assert set(FIGURES) < set(fields)
        assert all(isinstance(value, (int, float, str)) for value in fields["options"].values())


def test_everything_but_times_is_the_same_again(weight):
    first, second = (ec.recommend(weight[:1500], 0.15, sample=500, seed=4) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert (one.method, one.options, one.expression) == (other.method, other.options, other.expression)
        assert all(getattr(one, name) == getattr(other, name) for name in FIGURES)


def test_a_table_of_low_rank_gets_an_svd():
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((2000, 2)) @ rng.standard_normal((2, 32))).astype(np.float32)
    assert ec.recommend(weight, 0.1, sample=500)[0].method in ("svd", "magsvd")


def test_a_table_whose_columns_hang_together_gets_turned_trellis_codes():
    rng = np.random.default_rng(5)
    turn, _ = np.linalg.qr(rng.standard_normal((32, 32)))
    weight = (rng.standard_normal((3000, 32)) / np.arange(1, 33) ** 0.5 @ turn).astype(np.float32)
    first = ec.recommend(weight, 0.1, sample=800)[0]
    assert (first.method, first.options["rotation"]) == ("trellis", "partial")
    unturned = ec.evaluate(ec.compress(weight, "trellis", budget=0.1), weight, queries=0)
    assert first.normalized_l2 < 0.9 * unturned.normalized_l2


def test_a_table_whose_rows_differ_in_length_gets_trellis_codes_of_more_and_of_fewer_bits():
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((5000, 32)) * rng.gamma(2, 1, (5000, 1))).astype(np.float32)
    first = ec.recommend(weight, 0.1, sample=2000)[0]
    # Tiers are of trellis codes.
    assert first.method == "tiers" and "inner" not in first.options


@pytest.mark.parametrize("metric", ["cosine", "recall"])
def test_metrics_rank(weight, metric):
    found = ec.recommend(weight, 0.15, metric=metric, sample=600)
    values = [one.mean_cosine if metric == "cosine" else one.recall_at_10 for one in found]
    assert values == sorted(values, reverse=True)
    assert ("cosine" if metric == "cosine" else "recall@10") in found[0].reason


def test_counts_weight_the_error(weight):
    counts = 1 / (np.arange(3000) + 2.0)
    found = ec.recommend(weight, 0.1, counts=counts, sample=1000)
    first = found[0]
    error = ((first.compress(weight).decode().astype(np.float64) - weight) ** 2).sum(axis=1)
    wanted = np.sqrt((counts * error).sum() / (counts * (weight.astype(np.float64) ** 2).sum(axis=1)).sum())
    assert first.normalized_l2 == pytest.approx(wanted, rel=1e-5)
    assert first.method == "tiers"
    plain = ec.recommend(weight, 0.1, sample=1000)[0].compress(weight).decode().astype(np.float64)
    assert (counts * error).sum() < 0.7 * (counts * ((plain - weight) ** 2).sum(axis=1)).sum()
    assert first.as_dict()["options"]["counts"] == "array of 3000"


def test_counts_that_are_all_alike_change_no_figure(weight):
    found = ec.recommend(weight, 0.1, counts=np.full(3000, 2.5), sample=500)
    for one in found:
        quality = ec.evaluate(one.compress(weight), weight, queries=0)
        assert (one.normalized_l2, one.mean_cosine) == pytest.approx((quality.normalized_l2, quality.mean_cosine))


def test_small_tables():
    rng = np.random.default_rng(0)
    for shape in ((1, 4), (5, 1), (12, 3)):
        found = ec.recommend(rng.standard_normal(shape).astype(np.float32), 4 * shape[0] * shape[1] + 1000)
        assert found[0].normalized_l2 < 0.01


def test_progress_and_stopping(weight):
    seen = []
    ec.recommend(weight[:300], 0.2, sample=200, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    with pytest.raises(KeyboardInterrupt):
        ec.recommend(weight[:300], 0.2, sample=200, progress=lambda done, total: False)


def test_the_threads_are_as_before(weight):
    ec.set_num_threads(2)
    ec.recommend(weight[:300], 0.2, sample=200)
    assert ec.get_num_threads() == 2


def test_a_budget_that_nothing_meets_names_the_least(weight):
    with pytest.raises(ec.BudgetError, match=r"no method can meet a budget of 3 bytes: .* reach is \d+ bytes$"):
        ec.recommend(weight, 3, sample=300)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "best"}, "metric must be one of l2, cosine, recall, not 'best'"),
        ({"sample": 0}, "sample must be at least 1"),
        ({"counts": np.ones(2)}, "counts must be 3000 numbers"),
        ({"counts": np.zeros(3000)}, "not all of them zero"),
        ({"counts": -np.ones(3000)}, "finite and not negative"),
    ],
)
def test_what_it_refuses(weight, arguments, message):
    with pytest.raises(ValueError, match=message):
        ec.recommend(weight, 0.2, **arguments)
    with pytest.raises(ValueError, match="a table without values"):
        ec.recommend(weight[:0], 0.2)
