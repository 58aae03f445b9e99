"""The dense Hessian of a block, and small networks to take it of."""

import copy

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel


def cross_entropy(model, batch):
    inputs, targets = batch
    return functional.cross_entropy(model(inputs), targets)


def dense_hessian(model, loss_fn, batches, names):
    """(n, n) in f64: of the mean loss over batches in the parameters that have these names."""
    model = copy.deepcopy(model).double().eval()
    batches = [[part.double() if part.is_floating_point() else part for part in batch] for batch in batches]
    parameters = dict(model.named_parameters())
    sizes = [parameters[name].numel() for name in names]

    class Moved(nn.Module):
        def __init__(self, flat):
            super().__init__()
            pieces = zip(names, flat.split(sizes), strict=True)
            self.moved = {name: piece.view_as(parameters[name]) for name, piece in pieces}

        def forward(self, *args):
            return functional_call(model, self.moved, args)

    def mean(flat):
        return sum(loss_fn(Moved(flat), batch) for batch in batches) / len(batches)

    flat = torch.cat([parameters[name].detach().reshape(-1) for name in names])
    with sdpa_kernel(SDPBackend.MATH):
        return torch.autograd.functional.hessian(mean, flat)


def top(hessian):
    """The eigenvalue of largest magnitude."""
    values = torch.linalg.eigvalsh(hessian)
    return float(values[values.abs().argmax()])


def network(kind, seed=0):
    """A small network, batches for it, and the names of its blocks' parameters."""
    torch.manual_seed(seed)
    if kind == "words":
        model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
        inputs = [torch.randint(0, 9, (16, 3)) for _ in range(4)]
    else:
        model = {
            "tanh": lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3)),
            "relu": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)),
            "norm": lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)),
            "batchnorm": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)),
        }[kind]()
        inputs = [torch.randn(16, 6) for _ in range(4)]
    batches = [(one, torch.randint(0, 3, (16,))) for one in inputs]
    return model, batches


KINDS = ("tanh", "relu", "norm", "batchnorm", "words")
