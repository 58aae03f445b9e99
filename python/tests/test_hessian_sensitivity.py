"""Eigenvalues and traces against the dense Hessian, seeds, what is left of the model, progress and going on."""

import doctest
import itertools
import json
import signal
import statistics

import numpy as np
import pytest
import torch
from curvature_reference import KINDS, cross_entropy, dense_hessian, network, top
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from embedcompress import hessian


def names_of(model, module):
    mine = {id(parameter) for parameter in module.parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) in mine]


# Exactness


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.25, 1.0])
def test_the_top_eigenvalue_is_that_of_the_dense_hessian(kind, share):
    model, batches = network(kind)
    found = hessian.sensitivity(model, cross_entropy, batches[: int(4 * share)], runs=1, share=1.0)
    assert len(found) > 1
    for name, one in found.items():
        exact = top(
            dense_hessian(model, cross_entropy, batches[: int(4 * share)], names_of(model, model.get_submodule(name)))
        )
        assert one.mean == pytest.approx(exact, rel=0.01)
        assert one.converged == (True,)


@settings(max_examples=10)
@given(st.integers(0, 2**31), st.sampled_from(KINDS))
def test_it_is_for_any_network_and_start(seed, kind):
    """Every run finds an eigenvalue; one of a few, the largest, which a start may have next to nothing of."""
    model, batches = network(kind, seed)
    found = hessian.sensitivity(model, cross_entropy, batches[:1], {"last": model[-1]}, runs=3, seed=seed)["last"]
    values = torch.linalg.eigvalsh(dense_hessian(model, cross_entropy, batches[:1], names_of(model, model[-1])))
    assert max(map(abs, found.runs)) == pytest.approx(float(values.abs().max()), rel=0.01)
    for value in found.runs:
        assert float((values - value).abs().min()) <= 0.01 * abs(value)


@pytest.mark.parametrize("ends", [(1.0, -0.99), (-1.0, 0.99), (1.0, 0.97), (1.0, -1.0)])
def test_eigenvalues_of_nearly_the_same_size(ends):
    """Where plain power iteration takes long, or ends in between."""
    values = torch.cat([torch.tensor(ends), torch.linspace(-0.6, 0.6, 98)])
    basis = torch.linalg.qr(torch.randn(100, 100, generator=torch.Generator().manual_seed(3)))[0]
    matrix = basis @ torch.diag(values) @ basis.T

    class Quadratic(nn.Module):
        def __init__(self):
            super().__init__()
            self.point = nn.Parameter(torch.zeros(100))

        def forward(self):
            return self.point @ matrix @ self.point / 2

    model = Quadratic()
    found = hessian.sensitivity(model, lambda model, _: model(), [0], {"point": model}, runs=5)["point"]
    for value in found.runs:
        assert abs(value) == pytest.approx(1.0, rel=0.01)
    assert max(found.iterations) < 60


def test_the_trace_is_that_of_the_dense_hessian():
    model, batches = network("tanh")
    found = hessian.sensitivity(model, cross_entropy, batches[:1], runs=4, trace=True, probes=200)
    for name, one in found.items():
        dense = dense_hessian(model, cross_entropy, batches[:1], names_of(model, model.get_submodule(name)))
        # The variance of a probe of signs: 2 times the squares off the diagonal.
        off = dense - torch.diag(dense.diagonal())
        spread = float((2 * off.square().sum() / 800).sqrt())
        assert abs(one.trace - float(dense.trace())) < 4 * spread
        assert spread < 0.2 * float(dense.trace())
        assert len(one.traces) == 4


def test_a_linear_block_has_no_curvature():
    model = nn.Linear(4, 1)
    found = hessian.sensitivity(model, lambda model, batch: model(batch).mean(), [torch.randn(3, 4)], runs=2)
    assert found["model"].runs == (0.0, 0.0)
    assert found["model"].omega == 0


def test_two_halves_of_the_data_are_averaged():
    """The Hessian of a mean is the mean of the Hessians, whether the batches come together or not."""
    model, batches = network("norm")
    joined = [tuple(torch.cat(parts) for parts in zip(*batches, strict=True))]
    one = hessian.sensitivity(model, cross_entropy, batches, runs=1, share=1.0)
    other = hessian.sensitivity(model, cross_entropy, joined, runs=1)
    for name in one:
        assert one[name].mean == pytest.approx(other[name].mean, rel=2e-3)


# Runs and seeds


def test_omega_is_the_paper_s():
    one = hessian.Sensitivity("a", 3, (1.0, -4.0, -3.0), (5, 6, 7), (True, True, True))
    assert one.mean == -2.0
    assert one.std == pytest.approx(np.std([1.0, -4.0, -3.0]))
    assert one.omega == 2.0 + one.std
    assert one.trace is None


def test_the_same_seed_gives_the_same_figures():
    model, batches = network("norm")
    first, again, other = (
        hessian.sensitivity(model, cross_entropy, batches, runs=3, seed=seed, trace=True, probes=2)
        for seed in (7, 7, 8)
    )
    assert first == again
    assert [one.omega for one in first.values()] == [one.omega for one in again.values()]
    assert all(first[name].runs != other[name].runs for name in first)
    assert len(set(first["0"].runs)) == 3


def test_a_block_s_figures_don_t_depend_on_the_others():
    model, batches = network("relu")
    together = hessian.sensitivity(model, cross_entropy, batches, {"a": model[0], "b": model[2]}, runs=2)
    alone = hessian.sensitivity(model, cross_entropy, batches, {"b": model[2]}, runs=2)
    assert alone["b"] == together["b"]


@pytest.mark.filterwarnings("ignore:block")
def test_runs_share_no_data_while_there_is_enough():
    model, batches = network("tanh")
    seen = []

    def loss(model, batch):
        seen.append(batch[2])
        return cross_entropy(model, batch[:2])

    numbered = [(*batches[number % 4], number) for number in range(20)]
    hessian.sensitivity(model, loss, numbered, runs=10, share=0.1, iterations=1, tolerance=0.9)
    assert sorted(seen) == list(range(20))


def test_too_few_iterations_are_told():
    model, batches = network("norm")
    with pytest.warns(UserWarning, match=r"block '0': 2 of 2 runs reached 2 iterations"):
        found = hessian.sensitivity(model, cross_entropy, batches, {"0": model[0]}, runs=2, iterations=2)
    assert found["0"].converged == (False, False)
    assert found["0"].iterations == (2, 2)


def test_a_loss_that_draws_at_random_is_the_same_each_time():
    model, batches = network("tanh")

    def loss(model, batch):
        return cross_entropy(model, (batch[0] + 0.1 * torch.randn_like(batch[0]), batch[1]))

    before = torch.get_rng_state()
    first = hessian.sensitivity(model, loss, batches, runs=2)
    assert first == hessian.sensitivity(model, loss, batches, runs=2)
    assert torch.equal(torch.get_rng_state(), before)


# The model


def test_the_model_is_left_as_it_was():
    model, batches = network("batchnorm")
    model.train()
    model[3].eval()
    model[0].weight.requires_grad_(False)
    model[3].bias.grad = torch.ones(3)
    gradient = model[3].bias.grad
    state = {name: value.clone() for name, value in model.state_dict().items()}
    training = [module.training for module in model.modules()]
    needed = [parameter.requires_grad for parameter in model.parameters()]

    def loss(model, batch):
        model[1].running_mean += 1
        return cross_entropy(model, batch)

    with torch.no_grad():
        found = hessian.sensitivity(model, loss, batches, runs=2)
    assert set(found) == {"0", "3"}

    def unchanged():
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert [module.training for module in model.modules()] == training
        assert [parameter.requires_grad for parameter in model.parameters()] == needed
        assert model[3].bias.grad is gradient
        assert torch.equal(gradient, torch.ones(3))
        assert model[0].weight.grad is None

    unchanged()
    with pytest.raises(KeyboardInterrupt):
        hessian.sensitivity(model, loss, batches, progress=lambda done, total: False)
    unchanged()
    hessian.surface(model, loss, batches, model[0], points=3)
    unchanged()


def test_dropout_is_off():
    model, batches = network("tanh")
    one = hessian.sensitivity(model.train(), cross_entropy, batches, runs=1)
    other = hessian.sensitivity(model.eval(), cross_entropy, batches, runs=1)
    assert one == other


# Progress and going on


def test_progress_ends_at_the_total():
    model, batches = network("relu")
    calls = []
    hessian.sensitivity(model, cross_entropy, batches, runs=2, trace=True, progress=lambda *call: calls.append(call))
    assert calls[-1] == (12, 12)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.parametrize("trace", [False, True])
def test_it_goes_on_where_it_was_stopped_to_the_same_figures(trace, tmp_path):
    model, batches = network("relu")
    arguments = {"runs": 3, "share": 0.5, "seed": 3, "trace": trace}
    whole = hessian.sensitivity(model, cross_entropy, batches, **arguments)
    path = tmp_path / "sensitivity.json"
    stops = 0
    for stop in itertools.count(1):
        calls = iter(range(17 * stop))
        try:
            found = hessian.sensitivity(
                model, cross_entropy, batches, **arguments, checkpoint=path, progress=_until_used_up(calls)
            )
            break
        except KeyboardInterrupt:
            stops += 1
            assert not list(tmp_path.glob("*.partial"))
    assert stops > 1
    assert found == whole
    # Finished: nothing is computed again.
    again = hessian.sensitivity(model, None, batches, **arguments, checkpoint=path)
    assert again == whole


def _until_used_up(calls):
    return lambda *_: next(calls, None) is not None


def test_ctrl_c_leaves_what_was_finished(tmp_path):
    model, batches = network("norm")
    path = tmp_path / "sensitivity.json"
    whole = hessian.sensitivity(model, cross_entropy, batches, runs=3)
    calls = itertools.count()

    def loss(model, batch):
        if next(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return cross_entropy(model, batch)

    with pytest.raises(KeyboardInterrupt):
        hessian.sensitivity(model, loss, batches, runs=3, checkpoint=path)
    assert len(json.loads(path.read_text())["results"]) == 2 * len(whole)
    calls = itertools.count(3)
    assert hessian.sensitivity(model, loss, batches, runs=3, checkpoint=path) == whole
    assert next(calls) == 4


def test_a_checkpoint_of_another_measurement_is_refused(tmp_path):
    model, batches = network("tanh")
    path = tmp_path / "sensitivity.json"
    hessian.sensitivity(model, cross_entropy, batches, runs=1, checkpoint=path)
    with pytest.raises(ValueError, match="seed differs"):
        hessian.sensitivity(model, cross_entropy, batches, runs=1, seed=1, checkpoint=path)
    with pytest.raises(ValueError, match="blocks differs"):
        hessian.sensitivity(model, cross_entropy, batches, {"a": model[0]}, runs=1, checkpoint=path)
    with torch.no_grad():
        model[0].weight[0, 0] += 1
    with pytest.raises(ValueError, match="model differs"):
        hessian.sensitivity(model, cross_entropy, batches, runs=1, checkpoint=path)
    for text in ("{", "[]", json.dumps({"settings": {}, "results": {}})):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"sensitivity.json is not a checkpoint"):
            hessian.sensitivity(model, cross_entropy, batches, runs=1, checkpoint=path)


def test_the_table_has_a_line_for_each_block():
    model, batches = network("tanh")
    found = hessian.sensitivity(model, cross_entropy, batches, runs=2, trace=True)
    lines = str(found).splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["block", "parameters", "mean", "std", "Ω", "least", "most", "iterations", "trace"]
    assert lines[1].split()[:2] == ["0", "56"]
    assert float(lines[1].split()[4]) == pytest.approx(found["0"].omega, rel=1e-3)
    assert statistics.fmean(found["0"].runs) == found["0"].mean


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"runs": 0}, "runs, iterations and probes must be at least 1"),
        ({"share": 0.0}, "share must be in"),
        ({"share": 1.5}, "share must be in"),
        ({"tolerance": 0.0}, "tolerance in"),
        ({"batches": []}, "there are no batches"),
        ({"blocks": {}}, "there are no blocks"),
        ({"blocks": {"a": []}}, "block 'a' has no parameters"),
        ({"blocks": {"a": nn.Linear(2, 2)}}, "block 'a' has a tensor of shape .* that is no parameter of the model"),
        ({"loss_fn": lambda model, batch: model(batch[0])}, "must return a tensor of one value"),
        ({"loss_fn": lambda model, batch: model(batch[0]).sum() * float("nan")}, "loss of batch 0 .* is not finite"),
        ({"loss_fn": lambda model, batch: torch.ones(())}, "does not depend on block '0'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    model, batches = network("tanh")
    with pytest.raises(ValueError, match=message):
        hessian.sensitivity(model, **{"loss_fn": cross_entropy, "batches": batches, **arguments})


def test_a_block_that_the_loss_does_not_use_is_refused():
    model, batches = network("tanh")
    model.add_module("unused", nn.Identity())
    model.unused.weight = nn.Parameter(torch.ones(3, 3))
    with pytest.raises(ValueError, match="the loss does not depend on block 'idle'"):
        hessian.sensitivity(model, cross_entropy, batches, {"used": model[0], "idle": model.unused})


def test_a_block_that_is_no_module_is_refused():
    model, batches = network("tanh")
    with pytest.raises(TypeError, match="block 'a' must hold modules and parameters, not str"):
        hessian.sensitivity(model, cross_entropy, batches, {"a": ["0"]})


def test_the_docstring_s_example():
    torch.manual_seed(0)
    assert doctest.testmod(hessian).attempted > 0
    assert doctest.testmod(hessian).failed == 0
