"""What is special of learned tables whose form never changes: tensor trains, shared arrays, mixed dimensions, …"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress import training
from embedcompress.training._formats import array_bytes
from embedcompress.training._grouped import grouped_product
from embedcompress.training._hashing import mixed, scaled
from embedcompress.training._new_rows import given_rows
from embedcompress.training._spec import Spec
from embedcompress.training.methods.dhe import is_prime, primes
from embedcompress.training.methods.tt import column_factors, digits, without_centre

CRITEO = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194,
    27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip
"""Fields of the VLDB study's largest set."""


def criteo(name, budget, **options):
    return training.plan(name, sum(CRITEO), 16, budget=budget, fields=CRITEO, **options)


def ratio(plan):
    return plan.stored_bytes / (64 * sum(CRITEO))


# What methods share


@pytest.mark.parametrize("owners", [[0], [2, 2, 2, 2], [0, 3, 3, 1, 3, 3, 3, 0], []], ids=str)
def test_grouped_products_are_products(owners):
    random = torch.Generator().manual_seed(1)
    left = torch.randn(len(owners), 3, 5, generator=random, dtype=torch.float64, requires_grad=True)
    matrices = given_rows(Spec.of(4, 10, 1.0), torch.randn(4, 5 * 2, generator=random)).double()
    right, owner = matrices.elements, torch.tensor(owners, dtype=torch.int64)
    found = grouped_product(left, owner, matrices)
    wanted = torch.bmm(left, right.view(4, 5, 2)[owner])
    torch.testing.assert_close(found, wanted)
    slopes = torch.randn(wanted.shape, generator=random, dtype=torch.float64)
    if owners:
        for mine, theirs in zip(
            torch.autograd.grad((found * slopes).sum(), [left, right]),
            torch.autograd.grad((wanted * slopes).sum(), [left, right]),
            strict=True,
        ):
            torch.testing.assert_close(mine, theirs)


# TT-Rec


@pytest.mark.parametrize(("budget", "rank", "share"), [(0.5, 376, 0.49785), (0.1, 157, 0.0999), (0.01, 46, 0.009977)])
def test_tt_has_the_rank_of_the_study(budget, rank, share):
    plan = criteo("tt", budget)
    assert plan.knobs["rank"] == rank
    assert ratio(plan) == pytest.approx(share, rel=1e-3)
    assert criteo("tt", 0.001).knobs["rank"] == 13


def test_tt_cuts_rows_and_columns_as_the_study_does():
    assert [column_factors(d) for d in (8, 16, 32, 64, 30, 7)] == [
        (2, 2, 2), (2, 2, 4), (2, 4, 4), (4, 4, 4), (2, 3, 5), (1, 1, 7),
    ]  # fmt: skip
    assert digits(1000) == (10, 10, 10)
    for rows in (1, 2, 3, 7, 999, 1001, 10131227):
        assert rows <= np.prod(digits(rows)) < 8 * rows


@pytest.mark.parametrize("budget", [0.5, 0.05])
def test_tt_begins_as_spread_as_a_full_table(budget):
    module = training.embedding("tt", 20_000, 16, budget=budget)
    rows = module(torch.arange(20_000)).detach()
    assert float(rows.std()) == pytest.approx((20_000 * 3) ** -0.5, rel=0.15)
    values = without_centre((100_000,), torch.Generator().manual_seed(0))
    assert float(values.std()) == pytest.approx(1, rel=0.01)
    assert float(values.abs().min()) > 0.8


@settings(max_examples=40, deadline=None)
@given(ids=st.lists(st.integers(0, 5_099), min_size=1, max_size=60), seed=st.integers(0, 3))
def test_tt_has_the_same_gradients_sparse_and_dense(ids, seed):
    """And as those of products of slices that are gathered for every id; sparse ones have each row once, in order."""
    slopes = torch.randn(len(ids), 8, generator=torch.Generator().manual_seed(seed))
    modules = [
        training.embedding("tt", 5_100, 8, budget=0.1, fields=(100, 5_000), sparse=sparse) for sparse in (False, True)
    ]
    for module in modules:
        (module(torch.tensor(ids)) * slopes).sum().backward()
        module.before_step()
    (d0, d1, d2), rank = modules[0].columns, modules[0].rank
    cores = [getattr(modules[0], f"core{position}").elements.detach().requires_grad_() for position in range(3)]
    total = torch.zeros(())
    for x, slope in zip(ids, slopes, strict=True):
        field = int(x >= 100)
        if modules[0].planned.knobs["plain"][field]:
            continue
        n0, n1, _ = digits((100, 5_000)[field])
        local = x - 100 * field
        digit = (local % n0, local // n0 % n1, local // n0 // n1)
        first = [int(getattr(modules[0], f"first{position}")[field]) for position in range(3)]
        a, b, c = (core[begin + number] for core, begin, number in zip(cores, first, digit, strict=True))
        row = (a.view(d0, rank) @ b.view(rank, d1 * rank)).view(d0 * d1, rank) @ c.view(rank, d2)
        total = total + (row.flatten() * slope).sum()
    wanted = torch.autograd.grad(total, cores) if total.requires_grad else [torch.zeros_like(core) for core in cores]
    for position, of in enumerate(wanted):
        dense, sparse = (getattr(module, f"core{position}").elements.grad for module in modules)
        if dense is None:
            assert not of.any()
        else:
            assert sparse.is_sparse and sparse.is_coalesced() and bool((sparse.indices()[0].diff() > 0).all())
            torch.testing.assert_close(sparse.to_dense(), dense)
            torch.testing.assert_close(dense, of, rtol=1e-5, atol=1e-6)


# ROBE


def test_robe_has_as_many_numbers_as_in_the_study():
    found = [criteo("robe", budget) for budget in (0.5, 0.1, 0.01, 0.001)]
    assert [plan.study["numbers"] for plan in found] == [270_100_616, 54_020_123, 5_402_012, 540_201]
    # The seed and the block take the place of four.
    assert [plan.knobs["numbers"] for plan in found] == [270_100_612, 54_020_119, 5_402_008, 540_197]


def test_robe_hashes_all_bits_of_seeds_and_ids():
    module = training.embedding("robe", 2**40, 4, budget=16 + 4 * 1000, block=1, seed=2**62 - 1).eval()
    ids = np.concatenate([np.arange(50), 2**40 - 1 - np.arange(50)])
    rows = module(torch.from_numpy(ids)).detach().numpy()
    np.testing.assert_array_equal(module.freeze().lookup(ids), rows)
    assert len(np.unique(np.abs(rows))) > 300


@settings(max_examples=60, deadline=None)
@given(
    dimension=st.integers(1, 20),
    numbers=st.integers(1, 90),
    block=st.integers(1, 20),
    ids=st.lists(st.integers(0, 299), max_size=40),
    signs=st.booleans(),
)
def test_robe_has_the_same_gradient_sparse_and_dense(dimension, numbers, block, ids, signs):
    """Bit for bit, and that of numbers which are gathered one by one, also of runs longer than the array."""
    found = []
    slopes = torch.randn(len(ids), dimension, generator=torch.Generator().manual_seed(3))
    block = min(block, dimension)
    for sparse in (False, True):
        module = training.embedding(
            "robe", 300, dimension, budget=16 + 4 * numbers, block=block, signs=signs, sparse=sparse
        )
        rows = module(torch.tensor(ids, dtype=torch.int64))
        (rows * slopes).sum().backward()
        gradient = module.array.elements.grad
        assert gradient.is_sparse == sparse
        if sparse:
            lines = gradient._indices()[0]
            assert bool((lines.diff() > 0).all())
            assert len(lines) <= 2 + len(ids) * -(-dimension // block) * 2
        found.append((rows.detach(), gradient.to_dense()))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    weight = module.array.elements.detach().flatten().requires_grad_()
    runs = -(-dimension // block)
    hashes = mixed(torch.tensor(ids, dtype=torch.int64)[:, None] * runs + torch.arange(runs), 0)
    places = (scaled(hashes, module.count)[:, :, None] + torch.arange(block)) % module.count
    sign = (1 - 2 * (hashes & 1))[:, :, None] if signs else 1
    rows = (weight[places] * sign).flatten(1)[:, :dimension]
    assert torch.equal(rows, found[0][0])
    (rows * slopes).sum().backward()
    torch.testing.assert_close(weight.grad.view_as(module.array.elements), found[0][1])


def test_robe_moves_nothing_but_what_a_batch_reads():
    module = training.embedding("robe", 10_000, 8, budget=0.5, sparse=True)
    before = module.array.elements.detach().clone()
    optimizer = torch.optim.SparseAdam(module.parameters(), lr=0.1)
    module(torch.tensor([3, 5_000])).sum().backward()
    optimizer.step()
    assert module.array.elements.grad._values().shape[0] <= 4
    assert 8 <= int((module.array.elements != before).sum()) <= 16


@settings(max_examples=60, deadline=None)
@given(
    fields=st.lists(st.integers(1, 300), min_size=2, max_size=6),
    dimension=st.sampled_from([1, 3, 8, 16, 40]),
    block=st.integers(1, 20),
    budget=st.floats(0.01, 1),
    own=st.floats(0, 1),
    bits=st.sampled_from([None, 2, 4, 8]),
    sparse=st.booleans(),
)
def test_robe_gives_the_smallest_fields_rows_of_their_own(fields, dimension, block, budget, own, bits, sparse):
    """As many as the share pays for, and the array once, whatever ranges of ids it serves."""
    options = {"fields": fields, "block": min(block, dimension), "bits": bits, "own": own}
    try:
        module = training.embedding("robe", sum(fields), dimension, budget=budget, sparse=sparse, **options)
    except ec.BudgetError as error:
        # No less is needed without rows of their own.
        floor = int(error.floor)
        module = training.embedding("robe", sum(fields), dimension, budget=floor, sparse=sparse, **options)
        with pytest.raises(ec.BudgetError):
            training.plan("robe", sum(fields), dimension, budget=floor - 1, **options)
    owned = module.planned.knobs.get("own", [0] * len(fields))
    rows = sum(owned)
    assert all(one in (0, size) for one, size in zip(owned, fields, strict=True))
    others = [size for one, size in zip(owned, fields, strict=True) if not one]
    assert others and max(owned) <= min(others)
    used = array_bytes(rows, dimension, bits) if rows else 0
    assert used <= own * module.spec.budget
    # 16 bytes for each range of ids that share the array.
    ranges = sum(not one and (not at or bool(owned[at - 1])) for at, one in enumerate(owned))
    width = module.array.dimension
    array = 4 * module.count if bits is None else array_bytes(-(-module.count // width), width, bits)
    assert module.stored_bytes == used + array + 16 * ranges <= module.spec.budget
    next_field = rows + min(others)
    if len(others) > 1 and array_bytes(next_field, dimension, bits) <= own * module.spec.budget:
        # With one field more, there would be no room for an array.
        assert array_bytes(next_field, dimension, bits) + array_bytes(1, width, bits) > module.spec.budget - 16 * 7

    every = torch.arange(sum(fields))
    slopes = torch.randn(len(every), dimension, generator=torch.Generator().manual_seed(1))
    (module(every) * slopes).sum().backward()
    if rows:
        of_own = torch.tensor([bool(one) for one in owned]).repeat_interleave(torch.tensor(fields))
        gradient = module.own_rows.elements.grad
        assert gradient.is_sparse == sparse
        torch.testing.assert_close(gradient.to_dense(), slopes[of_own])
    torch.optim.Adagrad(module.parameters(), lr=0.1).step()
    table = module.eval().freeze()
    wanted = module(every).detach().numpy()
    np.testing.assert_allclose(table.decode(), wanted, rtol=0, atol=1e-6)
    assert table.stored_bytes == module.stored_bytes
    arrays = table.parts()[1].values()
    assert sum(one.values.nbytes for one in arrays) + 16 * ranges == table.stored_bytes

    other = training.embedding("robe", sum(fields), dimension, budget=module.spec.budget, seed=1, **options)
    other.load_state_dict(module.state_dict())
    np.testing.assert_array_equal(other.eval().freeze().decode(), table.decode())


def test_robe_reads_nothing_of_the_array_for_ids_with_rows_of_their_own():
    for budget, bits in ((0.1, None), (0.1, 4)):
        module = training.embedding(
            "robe", 1110, 8, budget=budget, fields=[10, 1000, 100], own=0.3, bits=bits, sparse=True
        )
        assert module.planned.knobs["own"] == [10, 0, 100 if bits else 0]
        module(torch.tensor([3, 9])).sum().backward()
        assert not module.array.elements.grad._nnz()
        assert module.own_rows.elements.grad._indices().tolist() == [[3, 9]]
        assert module(torch.tensor([], dtype=torch.int64)).shape == (0, 8)


def test_robe_with_own_rows_needs_fields():
    with pytest.raises(ValueError, match="own is for tables of several fields"):
        training.embedding("robe", 100, 8, budget=0.5, own=0.1)
    assert training.embedding("robe", 100, 8, budget=0.5, own=0.0).planned.knobs.keys() == {"numbers", "block"}


@pytest.mark.parametrize(
    ("option", "value"), [("block", 0), ("block", 17), ("block", 1.5), ("signs", 1), ("own", 1.5), ("own", -0.1)]
)
def test_robe_refuses_options(option, value):
    with pytest.raises(ValueError, match=option):
        criteo("robe", 0.1, **{option: value})


# MDE


@pytest.mark.parametrize(
    ("budget", "alpha", "least", "share"), [(0.5, 0.0703125, 8, 0.50001), (0.1, 0.16015625, 1, 0.09293)]
)
def test_mde_has_the_alpha_of_the_study_beside_its_own(budget, alpha, least, share):
    plan = criteo("mde", budget)
    assert plan.study["alpha"] == alpha
    assert min(plan.study["widths"]) == least
    assert plan.study["ratio"] == pytest.approx(share, abs=1e-5)
    assert ratio(plan) <= budget
    assert ratio(plan) > 0.97 * budget
    assert plan.knobs["alpha"] < alpha
    powers = criteo("mde", budget, widths="powers")
    assert ratio(powers) <= budget
    assert all(width & (width - 1) == 0 for width in powers.knobs["widths"])


def test_mde_is_refused_below_a_column():
    with pytest.raises(ec.BudgetError, match=r"\(0\.0625 of the f32 table\)"):
        criteo("mde", 0.01)
    assert training.plan("mde", 1000, 16, budget=1 / 15).knobs["widths"] == [1]


def test_mde_compresses_fields_of_one_size():
    plan = training.plan("mde", 3000, 16, budget=0.5, fields=(1000, 1000, 1000))
    assert plan.knobs["alpha"] == 1
    assert 0.45 < plan.stored_bytes / (3000 * 64) <= 0.5


def test_mde_keeps_its_alpha():
    plan = criteo("mde", 0.3, alpha=0.1)
    assert plan.knobs["alpha"] == 0.1
    assert 0.25 < ratio(plan) <= 0.3


@pytest.mark.parametrize(("option", "value"), [("alpha", -1), ("alpha", "a"), ("widths", "odd")])
def test_mde_refuses_options(option, value):
    with pytest.raises(ValueError, match=option):
        criteo("mde", 0.1, **{option: value})


def test_mde_begins_as_spread_as_a_full_table():
    module = training.embedding("mde", 20_300, 16, budget=0.4, fields=(20_000, 300))
    rows = module(torch.arange(20_000)).detach()
    assert float(rows.std()) == pytest.approx((20_000 * 3) ** -0.5, rel=0.3)


# AdaptEmb


def adaptive(counts, budget, dimension=16, **options):
    return training.embedding("adapt", len(counts), dimension, budget=budget, counts=counts, **options)


def test_adapt_gives_frequent_ids_rows_of_their_own(rng):
    counts = rng.permutation(np.arange(10_000))
    module = adaptive(counts, 0.1, top_percent=0.04)
    place = module.places(torch.arange(10_000)).numpy()
    users = np.bincount(place)
    assert (users[place[counts >= 9600]] == 1).all()
    others = np.flatnonzero(counts < 9600)
    shared = module.planned.knobs["shared"][0]
    np.testing.assert_array_equal(place[others], 400 + np.arange(len(others)) % shared)
    # 9/8 bits of each id in blocks of 512, and rows.
    assert module.stored_bytes == 64 * (400 + shared) + 20 * 72 <= 64_000
    assert module.planned.study == {"hot": 400, "shared": 600, "ratio": 0.1 + 1 / 16}


def test_adapt_needs_no_map_for_ids_by_falling_counts():
    module = adaptive(np.arange(10_000, 0, -1), 0.1)
    assert module.planned.knobs == {"hot": [500], "shared": [500], "map": ["none"]}
    assert module.stored_bytes == 64_000
    kinds = module.freeze().parts()[0]
    assert (kinds["kind"], kinds["by"]) == ("partition", "ranges")


def test_adapt_takes_the_smaller_of_two_maps(rng):
    found = {
        rows: adaptive(rng.permutation(rows) + 1, 0.5, top_percent=0.2).planned.knobs["map"] for rows in (40, 5000)
    }
    assert found == {40: ["rows"], 5000: ["partition"]}


def test_adapt_gives_no_own_rows_to_ids_that_are_never_used(rng):
    counts = np.zeros(1000)
    counts[[5, 700]] = 3
    assert adaptive(counts, 0.5).planned.knobs["hot"] == [2]


def test_adapt_keeps_places_of_the_counts_that_it_was_trained_with(rng, tmp_path):
    module = adaptive(rng.permutation(3000), 0.2, top_percent=0.1)
    torch.save(module.state_dict(), tmp_path / "state.pt")
    fresh = adaptive(np.arange(3000, 0, -1), 0.2, top_percent=0.05)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=False))
    assert fresh.stored_bytes == module.stored_bytes == fresh.freeze().stored_bytes
    np.testing.assert_array_equal(fresh.freeze().decode(), module.freeze().decode())


def test_adapt_needs_counts_and_room():
    with pytest.raises(ValueError, match="adapt needs counts"):
        training.plan("adapt", 100, 16, budget=0.5)
    with pytest.raises(ec.BudgetError):
        adaptive(np.arange(1000, 0, -1), 0.1, top_percent=0.1)
    for value in (-0.1, 1.5, "all"):
        with pytest.raises(ValueError, match="top_percent"):
            adaptive(np.arange(1000), 0.5, top_percent=value)


# DHE


@pytest.mark.parametrize(
    ("budget", "width", "networks", "share"),
    [(0.5, 3626, 4, 0.49987), (0.1, 1372, 5, 0.99960e-1), (0.01, 271, 8, 0.009992), (0.001, 29, 14, 0.000975)],
)
def test_dhe_has_the_width_of_the_study_beside_its_own(budget, width, networks, share):
    plan = criteo("dhe", budget)
    assert (plan.study["width"], plan.study["networks"]) == (width, networks)
    assert plan.study["ratio"] == pytest.approx(share, rel=1e-3)
    # Constants of hashes count, numbers of batch norm do not.
    assert 0.85 * width < plan.knobs["width"] <= width + 1
    assert 0.98 * budget < ratio(plan) <= budget


def test_dhe_is_layers_of_torch_in_training_mode():
    module = training.embedding("dhe", 2000, 8, budget=0.5, hashes=32, seed=3).train()
    network = module.networks[0]
    layers = []
    for layer in range(6):
        weight = network.weights[layer].detach().double()
        linear = torch.nn.Linear(*weight.shape, bias=layer == 5).double()
        linear.weight.data = weight.T.contiguous()
        layers.append(linear)
        if layer < 5:
            layers += [torch.nn.BatchNorm1d(weight.shape[1]).double(), torch.nn.Mish()]
    linear.bias.data.zero_()
    theirs = torch.nn.Sequential(*layers)
    ids = torch.tensor([5, 8, 5, 1999, 0, 77, 8, 8, 900])
    unique, back = torch.unique(ids, return_inverse=True)
    for _ in range(3):
        wanted = theirs(module.codes(unique).double())[back]
        found = module(ids)
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4 * float(wanted.detach().abs().max()))
    slopes = torch.randn(len(ids), 8, generator=torch.Generator().manual_seed(0))
    (found * slopes).sum().backward()
    (wanted * slopes.double()).sum().backward()
    for layer in range(6):
        grad = theirs[3 * layer].weight.grad.T
        scale = float(grad.abs().max())
        torch.testing.assert_close(network.weights[layer].grad.double(), grad, rtol=1e-3, atol=1e-3 * scale)
    torch.testing.assert_close(network.means[4].double(), theirs[13].running_mean, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(network.variances[4].double(), theirs[13].running_var, rtol=1e-3, atol=1e-5)


def test_dhe_takes_a_single_id_in_training_mode():
    module = training.embedding("dhe", 2000, 8, budget=0.5, hashes=32).train()
    rows = module(torch.tensor([4, 4]))
    assert torch.isfinite(rows).all()
    assert torch.equal(module.networks[0].means, torch.zeros_like(module.networks[0].means))


@pytest.mark.parametrize(("encoding", "slack"), [("uniform", 1e-6), ("normal", 3e-6)])
def test_dhe_freezes_networks_of_many_hashes(encoding, slack):
    """Angles and logarithms are exact to about 1e-6 on either side."""
    module = training.embedding("dhe", 50_000, 16, budget=0.1, seed=1, encoding=encoding).train()
    random = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        module(torch.randint(0, 50_000, (256,), generator=random)).add(-1).square().mean().backward()
        optimizer.step()
    ids = torch.arange(0, 50_000, 97)
    rows = module.eval()(ids).detach().numpy()
    np.testing.assert_allclose(module.freeze().lookup(ids.numpy()), rows, rtol=1e-6, atol=slack * np.abs(rows).max())


def test_dhe_hashes_with_primes():
    found = primes(64, torch.Generator().manual_seed(0))
    assert all(2**30 < number < 2**31 and all(number % other for other in range(3, 46_341, 2)) for number in found)
    known = [
        number for number in range(9, 3000, 2) if all(number % other for other in range(3, 56, 2) if other < number)
    ]
    assert [number for number in range(9, 3000, 2) if is_prime(number)] == known


@pytest.mark.parametrize(
    "options", [{"hashes": 0}, {"hashes": 7, "encoding": "normal"}, {"encoding": "binary"}, {"hashes": 1.5}], ids=str
)
def test_dhe_refuses_options(options):
    with pytest.raises(ValueError, match=r"hashes|encoding"):
        criteo("dhe", 0.1, **options)
