"""The loss along two eigenvectors, and the plots."""

import numpy as np
import pytest
import torch
from curvature_reference import cross_entropy, dense_hessian, network
from torch import nn

from embedcompress import hessian


def test_the_directions_are_the_top_two_eigenvectors():
    """The second differences of the loss are the eigenvalues of the dense Hessian, and the mixed one is zero."""
    model, batches = network("tanh")
    model.double()
    batches = [(inputs.double(), targets) for inputs, targets in batches]
    found = hessian.surface(model, cross_entropy, batches, model[3], name="last", points=3, extent=1e-3, tolerance=1e-5)
    values = torch.linalg.eigvalsh(dense_hessian(model, cross_entropy, batches, ["3.weight", "3.bias"])).numpy()
    expected = values[np.abs(values).argsort()[::-1][:2]]
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-3)
    losses = found.losses
    for axis, value in enumerate(expected):
        line = losses[:, 1] if axis == 0 else losses[1]
        assert (line[0] - 2 * line[1] + line[2]) / 1e-6 == pytest.approx(value, rel=1e-2)
    mixed = (losses[2, 2] - losses[2, 0] - losses[0, 2] + losses[0, 0]) / 4e-6
    assert abs(mixed) < 0.01 * abs(expected[0])
    assert found.block == "last"


def test_the_middle_is_the_model_and_the_edge_doubles_the_loss():
    model, batches = network("norm")
    model.eval()
    calls = []
    found = hessian.surface(model, cross_entropy, batches, model, points=5, progress=lambda *call: calls.append(call))
    with torch.no_grad():
        loss = sum(float(cross_entropy(model, batch)) for batch in batches) / len(batches)
    assert found.losses.shape == (5, 5)
    assert found.losses[2, 2] == pytest.approx(loss, rel=1e-6)
    assert found.first[2] == found.second[2] == 0
    assert found.first[-1] ** 2 * abs(found.eigenvalues[0]) / 2 == pytest.approx(loss, rel=1e-3)
    assert calls == [(row, 5) for row in range(1, 6)]
    again = hessian.surface(model, cross_entropy, batches, model, points=5)
    assert np.array_equal(again.losses, found.losses)


def test_a_surface_can_be_stopped():
    model, batches = network("tanh")
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(KeyboardInterrupt):
        hessian.surface(model, cross_entropy, batches, model, points=3, progress=lambda *_: False)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": 4}, "points must be odd"),
        ({"extent": 0.0}, "extent must be positive"),
        ({"batches": []}, "there are no batches"),
        ({"block": []}, "block 'block' has no parameters"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    model, batches = network("tanh")
    with pytest.raises(ValueError, match=message):
        hessian.surface(**{"model": model, "loss_fn": cross_entropy, "batches": batches, "block": model, **arguments})


def test_one_value_makes_no_plane():
    model = nn.Linear(1, 1, bias=False)
    with pytest.raises(ValueError, match="has one value"):
        hessian.surface(model, lambda model, batch: model(batch).pow(2).mean(), [torch.ones(1, 1)], model)


# Plots


def result(spread):
    return hessian.Sensitivities(
        {
            name: hessian.Sensitivity(
                name, 10, tuple(spread**place * step for step in (1.0, 2.0, 4.0)), (5,) * 3, (True,) * 3
            )
            for place, name in enumerate(("words", "layer 0", "layer 1"))
        }
    )


@pytest.mark.parametrize("kind", [None, "box", "violin"])
def test_a_plot_of_eigenvalues(kind, tmp_path):
    pytest.importorskip("matplotlib")
    found = result(2.0)
    drawing = hessian.plot(found, tmp_path / "plot.png", kind=kind)
    (axes,) = drawing.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == list(found)
    marks = next(line for line in axes.lines if line.get_label().startswith("Ω"))
    assert list(marks.get_ydata()) == [one.omega for one in found.values()]
    assert axes.get_yscale() == "linear"
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


def test_eigenvalues_of_unlike_size_are_on_a_logarithmic_axis():
    pytest.importorskip("matplotlib")
    assert hessian.plot(result(100.0)).axes[0].get_yscale() == "log"


@pytest.mark.parametrize("kind", ["surface", "contour"])
def test_a_plot_of_the_loss(kind, tmp_path):
    pytest.importorskip("matplotlib")
    grid = np.add.outer(np.arange(3.0) ** 2, np.arange(3.0))
    grid[0, 0] = np.inf
    found = hessian.Surface("layer 3", (2.0, -0.5), np.arange(3.0), np.arange(3.0), grid)
    drawing = hessian.plot(found, tmp_path / "plot.svg", kind=kind)
    assert drawing.axes[0].get_title() == "layer 3"
    assert drawing.axes[0].get_ylabel() == "eigenvector of -0.5"
    assert b"<svg" in (tmp_path / "plot.svg").read_bytes()


def test_what_can_t_be_plotted_is_refused():
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="kind must be one of box, violin, not 'contour'"):
        hessian.plot(result(2.0), kind="contour")
    with pytest.raises(TypeError, match="must be Sensitivities or a Surface, not dict"):
        hessian.plot({})
