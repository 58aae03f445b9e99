"""Hessian-vector products of a mean loss, block by block, by differentiating the gradient once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ._state import seed_of

Loss = Callable[[nn.Module, Any], Tensor]
"""loss_fn(model, batch) -> a scalar."""


class Products:
    """Hv for the mean loss over some batches, where H is a block's own part of the Hessian.

    All blocks share the forward pass and the gradient's graph of a batch. With a single batch these are made once and
    kept; with several, once per call. A product then costs one backward pass through that graph.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Loss,
        batches: Sequence[Any],
        blocks: Mapping[str, Sequence[Tensor]],
        seed: int,
    ):
        self.model, self.loss_fn, self.batches, self.blocks, self.seed = model, loss_fn, batches, blocks, seed
        self._kept: dict[str, list[Tensor | None]] | None = None

    def size(self, name: str) -> int:
        """Return how many values a block has."""
        return sum(parameter.numel() for parameter in self.blocks[name])

    def __call__(self, vectors: Mapping[str, Tensor], tick: Callable[[], None] | None = None) -> dict[str, Tensor]:
        """Return the products of flat vectors, by block; `tick` is called after each batch of each block.

        Raises:
            ValueError: the loss does not depend on a block, or it or a product is not finite.
        """
        sums: dict[str, Tensor] = {}
        used = dict.fromkeys(vectors, False)
        for number in range(len(self.batches)):
            gradients = self._gradients(number, vectors)
            for name, vector in vectors.items():
                used[name] |= any(part is not None for part in gradients[name])
                product = self._product(name, gradients[name], vector)
                sums[name] = sums[name].add_(product) if name in sums else product
                if tick:
                    tick()
        for name, product in sums.items():
            if not used[name]:
                raise ValueError(f"the loss does not depend on block {name!r}")
            product /= len(self.batches)
            if not torch.isfinite(product).all():
                raise ValueError(f"the Hessian of block {name!r} is not finite")
        return sums

    def _gradients(self, number: int, vectors: Mapping[str, Tensor]) -> dict[str, list[Tensor | None]]:
        if self._kept is not None:
            return self._kept
        # Whatever the loss draws at random is the same each time.
        torch.manual_seed(seed_of(self.seed, "loss", number))
        loss = self.loss_fn(self.model, self.batches[number])
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise ValueError("loss_fn(model, batch) must return a tensor of one value")
        if not torch.isfinite(loss):
            raise ValueError(f"the loss of batch {number} of the run is not finite")
        names = list(self.blocks if len(self.batches) == 1 else vectors)
        flat = [parameter for name in names for parameter in self.blocks[name]]
        if not loss.requires_grad:
            raise ValueError(f"the loss does not depend on block {names[0]!r}, nor on any other")
        parts = iter(torch.autograd.grad(loss, flat, create_graph=True, allow_unused=True))
        found: dict[str, list[Tensor | None]] = {name: [next(parts) for _ in self.blocks[name]] for name in names}
        for name, gradients in found.items():
            if any(part is not None and part.layout != torch.strided for part in gradients):
                raise ValueError(
                    f"block {name!r} has sparse gradients, which have no second derivative: make them dense"
                )
        if len(self.batches) == 1:
            self._kept = found
        return found

    def _product(self, name: str, gradients: Sequence[Tensor | None], vector: Tensor) -> Tensor:
        parameters = self.blocks[name]
        pieces = [
            piece.view_as(parameter)
            for piece, parameter in zip(torch.split(vector, [p.numel() for p in parameters]), parameters, strict=True)
        ]
        pairs = [
            (part, piece)
            for part, piece in zip(gradients, pieces, strict=True)
            if part is not None and part.requires_grad
        ]
        if not pairs:
            return torch.zeros_like(vector)
        found = torch.autograd.grad(
            [part for part, _ in pairs],
            parameters,
            [piece for _, piece in pairs],
            retain_graph=True,
            allow_unused=True,
        )
        return torch.cat(
            [
                torch.zeros(parameter.numel(), dtype=vector.dtype, device=vector.device)
                if part is None
                else part.reshape(-1)
                for part, parameter in zip(found, parameters, strict=True)
            ]
        )
