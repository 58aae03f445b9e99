"""Tables with an optimizer of their own, whose rows of ids that are used often are f16."""

import copy
import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress import training
from embedcompress.training._mixed_rows import MixedRows

SIZES, DIMENSION = (5, 120, 7, 60, 3), 16
ROWS = sum(SIZES)
COUNTS = np.random.default_rng(0).zipf(1.3, ROWS)
KNOWN = {"fields": {"fields": SIZES}, "counts": {"counts": COUNTS}}
"""What says which ids are used often."""
FORMS = {
    "int8": ("int8", {}),
    "int4": ("int4", {}),
    "alpt8": ("alpt", {"bits": 8}),
    "alpt4": ("alpt", {"bits": 4}),
    "alpt4, one pass": ("alpt", {"bits": 4, "passes": 1}),
}
each_form = pytest.mark.parametrize("form", FORMS)
each_known = pytest.mark.parametrize("known", KNOWN)


def make(form="int8", known="fields", rows=ROWS, dimension=DIMENSION, **options):
    method, own = FORMS[form]
    base = {"budget": 1.0, "seed": 3, "optimizer": training.RowwiseAdagrad(0.1)} | KNOWN.get(known, {})
    return training.embedding(method, rows, dimension, **(base | own | options))


def values(module):
    return module.freeze().decode()


def step(module, ids, wanted=0.3, **given):
    def loss():
        return (module(ids, **given) - wanted).square().sum()

    loss().backward()
    training.second_pass(module, loss)


def train(module, steps, seed=0):
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        step(module, torch.randint(0, ROWS, (20, 3), generator=random))


@st.composite
def tables(draw):
    sizes = draw(st.lists(st.integers(1, 30), min_size=1, max_size=8))
    own = {
        "bits": draw(st.sampled_from([8, 4])),
        "method": draw(st.sampled_from(["int4", "int8", "alpt"])),
        "budget": draw(st.floats(0.1, 1.0)),
        "share": draw(st.sampled_from([0.0, 0.05, 0.3, 0.7, 1.0])),
        "dimension": draw(st.integers(3, 20)),
    }
    counts = draw(st.none() | st.lists(st.integers(0, 9), min_size=sum(sizes), max_size=sum(sizes)))
    return sizes, counts, own


def slow_plan(sizes, counts, share, low, wide, budget, constant):
    """Return the bytes and the f16 rows of each field, by trying all numbers of fields or of ids.

    They are the most that fit, or if none do, those of the fewest bytes.
    """
    rows = sum(sizes)
    tried = [(low * rows + constant, [0] * len(sizes))]
    if counts is not None:
        order = sorted(range(rows), key=lambda row: (-counts[row], row))
        owner = np.repeat(np.arange(len(sizes)), sizes)
        flags = 72 * (rows // 512 + (rows % 512 > 0))
        for high in range(1, rows + 1):
            rest = rows - high
            size = wide * high + (low * rest + constant + flags if rest else 0)
            if high <= int(share * rows) and counts[order[high - 1]]:
                tried.append((size, np.bincount(owner[order[:high]], minlength=len(sizes)).tolist()))
    order = sorted(range(len(sizes)), key=lambda field: (sizes[field], field))
    for count in range(1, len(sizes) + 1 if counts is None else 1):
        chosen = [field in order[:count] for field in range(len(sizes))]
        runs = sum(not one and (field == 0 or chosen[field - 1]) for field, one in enumerate(chosen))
        high = sum(size for size, one in zip(sizes, chosen, strict=True) if one)
        if high <= int(share * rows):
            own = [size if one else 0 for size, one in zip(sizes, chosen, strict=True)]
            tried.append((wide * high + low * (rows - high) + constant * runs, own))
    fitting = [one for one in tried if one[0] <= budget]
    return fitting[-1] if fitting else min(tried, key=lambda one: one[0])


@given(tables())
@settings(max_examples=150, deadline=None)
def test_plans_take_what_the_budget_has_room_for(given):
    sizes, counts, own = given
    rows, dimension = sum(sizes), own["dimension"]
    options = {"bits": own["bits"]} if own["method"] == "alpt" else {}
    asked = {"budget": own["budget"], "fields": sizes, "counts": counts, "optimizer": training.SGD(0.1), **options}
    budget = int(own["budget"] * 4 * rows * dimension)

    def plan(**changed):
        return training.plan(own["method"], rows, dimension, **(asked | {"high_precision": own["share"]} | changed))

    bits = own["bits"] if own["method"] == "alpt" else int(own["method"][3:])
    low = -(-dimension * bits // 8) + (4 if own["method"] == "alpt" else 8)
    constant = 4 << bits if own["method"] == "alpt" else 0
    has_codes = low * rows + constant < 4 * rows * dimension
    if own["share"] and not has_codes:
        with pytest.raises(ValueError, match="high_precision has no effect: rows are f32"):
            plan()
        return
    if 0 < own["share"] < 1 and counts is None and len(sizes) == 1:
        with pytest.raises(ValueError, match="high_precision has no effect without counts or fields"):
            plan()
        return
    stored, expected = slow_plan(sizes, counts, own["share"], low, 2 * dimension, budget, constant)
    if not has_codes:
        stored = 4 * rows * dimension
    if stored > budget:
        with pytest.raises(ec.BudgetError) as caught:
            plan()
        assert caught.value.floor == stored
        assert plan(budget=stored).stored_bytes == stored
        return
    found = plan()
    assert found.stored_bytes == stored
    if own["share"] == 0:
        assert "f16_rows" not in found.knobs
        return
    assert found.knobs["f16_rows"] == expected
    module = training.embedding(own["method"], rows, dimension, high_precision=own["share"], **asked)
    table = module.freeze()
    assert table.stored_bytes == module.stored_bytes == found.stored_bytes <= budget
    np.testing.assert_allclose(table.decode(), module.eval()(torch.arange(rows)).numpy(), rtol=0, atol=1e-6)
    assert isinstance(module.fused, MixedRows) == (0 < sum(expected) < rows)


def test_what_is_known_decides():
    assert make().planned.knobs["f16_rows"] == [5, 0, 7, 0, 3]
    assert sum(make(known="counts").planned.knobs["f16_rows"]) == ROWS // 10
    # Nothing is known, or the budget has no room.
    for module in (make(known="nothing"), make(budget=ROWS * (DIMENSION + 8)), make("int4", budget=0.25)):
        assert sum(module.planned.knobs["f16_rows"]) == 0
        assert not isinstance(module.fused, MixedRows)
    assert make(high_precision=0.05).planned.knobs["f16_rows"] == [5, 0, 0, 0, 3]
    assert make(high_precision=1.0).fused.form == "f16"
    unused = np.zeros(ROWS, np.int64)
    unused[[3, 100]] = 9
    assert make(counts=unused).planned.knobs["f16_rows"] == [1, 1, 0, 0, 0]


@each_form
@each_known
def test_rows_are_those_of_two_tables(form, known):
    """Both kinds of rows step as tables of their own do: a batch is divided, and put together again."""
    module = make(form, known)
    is_high = np.zeros(ROWS, bool)
    if known == "fields":
        for field in (0, 2, 4):
            start = sum(SIZES[:field])
            is_high[start : start + SIZES[field]] = True
    else:
        is_high[np.argsort(-COUNTS, kind="stable")[: ROWS // 10]] = True
    number = np.where(is_high, np.cumsum(is_high) - 1, np.cumsum(~is_high) - 1)
    high, low = copy.deepcopy(module.fused.high), copy.deepcopy(module.fused.low)
    random = np.random.default_rng(1)
    for _ in range(4):
        ids = random.integers(0, ROWS, 50)
        here = is_high[ids]
        step(module, torch.from_numpy(ids))
        for rows, kind in ((high, here), (low, ~here)):
            own = torch.from_numpy(number[ids[kind]])
            (rows(own) - 0.3).square().sum().backward()
            if rows is low and form.startswith("alpt") and "one" not in form:
                (again,) = rows.begin_second_pass()
                place = torch.searchsorted(rows.held.ids, own)
                slopes = torch.autograd.grad((again[place] - 0.3).square().sum(), [again])
                rows.end_second_pass(slopes)
    expected = np.zeros((ROWS, DIMENSION), np.float32)
    expected[is_high], expected[~is_high] = high.frozen().decode(), low.frozen().decode()
    np.testing.assert_array_equal(values(module), expected)
    assert np.abs(expected[ids] - 0.3).mean() < np.abs(values(make(form, known))[ids] - 0.3).mean()


@each_form
@each_known
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_are_pools_of_rows(form, known, mode):
    module, ids = make(form, known, mode=mode), torch.arange(ROWS)
    rows = values(module)
    offsets = torch.tensor([0, 0, 40, 41, 150, ROWS])
    weights = torch.linspace(-1, 1, ROWS) if mode == "sum" else None
    found = module(ids, offsets, weights).detach().numpy()
    for bag, (start, stop) in enumerate(zip(offsets, [*offsets[1:], ROWS], strict=True)):
        own = rows[start:stop] if weights is None else rows[start:stop] * weights[start:stop, None].numpy()
        expected = getattr(np, mode)(own, axis=0) if stop > start else np.zeros(DIMENSION)
        np.testing.assert_allclose(found[bag], expected, rtol=0, atol=1e-5)


@each_known
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_move_rows_as_their_ids_do(known, mode):
    pooled, plain = (make("int8", known, mode=one, optimizer=training.SGD(0.05)) for one in (mode, None))
    offsets = torch.tensor([0, 3, 3, 50])
    ids = torch.randint(0, ROWS, (60,), generator=torch.Generator().manual_seed(1))
    slopes = torch.randn(4, DIMENSION, generator=torch.Generator().manual_seed(2))
    # The gradient of an empty bag does not matter.
    slopes[1] = torch.nan
    pooled(ids, offsets).backward(slopes)
    lengths = torch.tensor([3, 0, 47, 10])
    own = slopes / lengths[:, None] if mode == "mean" else slopes
    plain(ids).backward(own.repeat_interleave(lengths, 0))
    np.testing.assert_allclose(values(pooled), values(plain), rtol=0, atol=1e-3)


@each_form
@each_known
def test_a_state_goes_on_bit_for_bit(form, known):
    module = make(form, known)
    train(module, 5)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    other = make(form, known, seed=3)
    other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    twin = copy.deepcopy(module)
    saved = pickle.loads(pickle.dumps(module))
    for one in (module, other, twin, saved):
        train(one, 5, seed=1)
    for one in (other, twin, saved):
        np.testing.assert_array_equal(values(one), values(module))
    with pytest.raises(ValueError, match=r"keeps its types, but its \w+ are torch.float64"):
        module.double()(torch.arange(3))


@pytest.mark.parametrize("form", ["int8", "alpt4"])
def test_a_state_of_other_rows_in_f16_is_refused(form):
    def of(sizes):
        return make(form, rows=sum(sizes), fields=sizes, high_precision=0.1)

    module, other = of([5, 95, 5]), of([95, 5, 5])
    assert sum(module.planned.knobs["f16_rows"]) == sum(other.planned.knobs["f16_rows"]) == 10
    before = values(other)
    with pytest.raises(ValueError, match="the rows of other fields in f16"):
        other.load_state_dict(module.state_dict())
    np.testing.assert_array_equal(values(other), before)
    with pytest.raises(ValueError, match="the rows of other fields in f16"):
        of([5, 90, 10]).load_state_dict(module.state_dict())


def test_a_state_of_other_counts_of_rows_in_f16_is_refused():
    module, more = make(known="counts"), make(known="counts", high_precision=0.5)
    numbers = [sum(one.planned.knobs["f16_rows"]) for one in (module, more)]
    with pytest.raises(ValueError, match=f"has {numbers[0]} of some 256 rows in f16, not {numbers[1]} of 256"):
        more.load_state_dict(module.state_dict())
    # With as many, the state says which they are.
    turned = make(known="counts", counts=COUNTS[::-1].copy())
    turned.load_state_dict(module.state_dict())
    np.testing.assert_array_equal(values(turned), values(module))


@each_known
def test_a_trainer_goes_on_from_a_checkpoint(known, tmp_path):
    def fit(folder, stop=None):
        model = torch.nn.Sequential(make("alpt4", known), torch.nn.Linear(DIMENSION, 1))
        torch.nn.init.constant_(model[1].weight, 0.1)
        torch.nn.init.zeros_(model[1].bias)
        trainer = training.Trainer(
            model,
            lambda model, ids: (model(ids) - 0.3).square().mean(),
            epochs=2,
            checkpoints=folder,
            checkpoint_steps=2,
            progress=lambda done, total: done != stop,
        )
        if stop is None:
            trainer.fit(lambda epoch: torch.arange(ROWS).split(30))
        else:
            with pytest.raises(KeyboardInterrupt):
                trainer.fit(lambda epoch: torch.arange(ROWS).split(30))
        return values(model[0])

    expected = fit(tmp_path / "whole")
    fit(tmp_path / "part", stop=5)
    np.testing.assert_array_equal(fit(tmp_path / "part"), expected)


@each_form
@each_known
def test_threads_change_nothing(form, known):
    found, rows = [], 9000
    own = {"fields": (100, 8000, 900)} if known == "fields" else {"counts": np.arange(rows) % 97}
    for threads in (1, 2):
        ec.set_num_threads(threads)
        torch.set_num_threads(threads)
        module = make(form, known, rows=rows, dimension=17, **own)
        assert isinstance(module.fused, MixedRows)
        for turn in range(3):
            step(module, torch.randint(0, rows, (9000,), generator=torch.Generator().manual_seed(turn)))
        found.append(values(module))
    ec.set_num_threads(2)
    torch.set_num_threads(1)
    np.testing.assert_array_equal(*found)


@each_form
@each_known
def test_training_bytes_count_everything(form, known):
    module = make(form, known, optimizer=training.RowwiseAdam(0.1))
    high = sum(module.planned.knobs["f16_rows"])
    low = DIMENSION // (2 if form.startswith(("int4", "alpt4")) else 1) + 4
    expected = high * 2 * DIMENSION + (ROWS - high) * low + ROWS * (4 * DIMENSION + 4)
    # What says which rows are f16, and of which field an id is.
    rest = sum(tensor.nbytes for kind in (module.fields, module.fused.kinds) for tensor in kind.buffers())
    assert module.training_bytes == expected + rest
    if known == "counts":
        words = -(-ROWS // 64)
        assert sum(tensor.nbytes for tensor in module.fused.kinds.buffers()) == words * 12


@each_form
@each_known
def test_an_error_leaves_both_tables_as_they_are(form, known):
    module = make(form, known)
    before = values(module)
    with pytest.raises(IndexError, match=f"id {ROWS} is out of range"):
        module(torch.tensor([0, ROWS]))
    for bad in (0, 2):
        factor = torch.ones(4, DIMENSION)
        factor[bad, 3] = torch.inf
        with pytest.raises(ValueError, match=f"gradients must be finite, but the one at position {bad} has"):
            module(torch.tensor([0, 6, 1, 7])).backward(factor)
    np.testing.assert_array_equal(values(module), before)
    assert module.fused.high.steps.count == module.fused.low.steps.count == 0


@each_form
def test_ids_of_one_kind_count_as_a_step_of_both(form):
    module = make(form)
    for ids in (torch.arange(5), torch.arange(5, 9), torch.empty(0, dtype=torch.int64)):
        step(module, ids)
    assert module.fused.high.steps.count == module.fused.low.steps.count == 3
    assert np.isfinite(values(module)).all()


@each_form
@each_known
def test_calls_of_a_loss_count_alike_for_both(form, known):
    module = make(form, known, optimizer=training.RowwiseAdam(0.1))
    first, second = torch.arange(0, ROWS, 2), torch.arange(0, ROWS, 3)

    def loss():
        return sum((module(ids) - 0.3).square().sum() for ids in (first, second))

    # Rows that wait for a second pass are written once, whatever calls there were.
    calls = 1 if form in ("alpt8", "alpt4") else 2
    for turn in range(1, 4):
        loss().backward()
        training.second_pass(module, loss)
        assert module.fused.high.steps.count == module.fused.low.steps.count == calls * turn


def test_the_learning_rate_is_that_of_both():
    module = make()
    module.set_learning_rate(0.0)
    assert module.optimizer == module.fused.high.optimizer == module.fused.low.optimizer == training.RowwiseAdagrad(0.0)
    before = values(module)
    train(module, 2)
    np.testing.assert_array_equal(values(module), before)


def test_it_begins_as_a_table_of_one_width():
    mixed, plain = (values(make(high_precision=share)) for share in (0.1, 0))
    assert np.abs(mixed - plain).max() <= 1.01 * float(make(high_precision=0).fused.scales[0])


def test_what_does_not_take_it():
    with pytest.raises(ValueError, match="high_precision is for a table with an optimizer of its own"):
        make(optimizer=None, high_precision=0.1)
    with pytest.raises(ValueError, match="high_precision must be"):
        make(high_precision=1.5)
    with pytest.raises(ValueError, match="no effect without counts or fields"):
        make(known="nothing", high_precision=0.1)
    with pytest.raises(ValueError, match="no effect: rows are f32"):
        make(dimension=2, high_precision=0.1)
    # Nothing is asked for.
    assert make(known="nothing", high_precision=0.0).stored_bytes == make(known="nothing").stored_bytes
    with pytest.raises(ValueError, match="high_precision"):
        training.embedding("int16", 9, 9, budget=1.0, optimizer=training.SGD(0.1), high_precision=0.1)
    with pytest.raises(ValueError, match="trains on a CPU only, not on meta"):
        make().to("meta")(torch.arange(3))


CONSTRUCTION = """
import resource, sys, torch
from embedcompress import training
import numpy as np
method, options, known = sys.argv[1], eval(sys.argv[2]), sys.argv[3]
def make(rows):
    given = {"counts": np.arange(rows)} if known == "counts" else {"fields": (rows // 20, rows - rows // 20)}
    own = training.RowwiseAdagrad(0.1)
    return training.embedding(method, rows, 16, budget=1.0, optimizer=own, **options, **given)
make(100_000)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
module = make(5_000_000)
print(peak() - before, module.training_bytes)
"""


@pytest.mark.parametrize("form", ["int8", "alpt4"])
@each_known
def test_construction_makes_nothing_else_of_the_size_of_the_table(form, known):
    method, options = FORMS[form]
    given = [sys.executable, "-c", CONSTRUCTION, method, repr(options), known]
    done = subprocess.run(given, capture_output=True, text=True, check=True)
    taken, own = (int(word) for word in done.stdout.split())
    # Counts come in f64, and in the type in which they are given.
    assert taken < 1.25 * own + (5_000_000 * 20 if known == "counts" else 0)
    assert own < (0.4 if form == "int8" else 0.3) * 5_000_000 * 64
