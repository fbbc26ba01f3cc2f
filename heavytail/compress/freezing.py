"""Zeroed units that stay zero while the rest of a network is trained on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Frozen:
    """The hold on zeroed units, made by `freeze_zeros`. In a `with` statement it ends where the block ends."""

    def __init__(self, optimizer: torch.optim.Optimizer, zeros: dict[str, tuple[nn.Parameter, Tensor]]) -> None:
        self._zeros = zeros
        self._hook = optimizer.register_step_post_hook(self._after_step)

    @property
    def counts(self) -> dict[str, int]:
        """How many zero units each weight has, by name: filters or neurons, and in convolutions kernels."""
        return {name: int(gone.sum()) for name, (_, gone) in self._zeros.items()}

    def remove(self) -> None:
        """Let go; a second call does nothing."""
        self._hook.remove()

    def __enter__(self) -> Frozen:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _after_step(self, *_: Any) -> None:
        with torch.no_grad():
            for weight, gone in self._zeros.values():
                weight[gone] = 0


def freeze_zeros(model: nn.Module, optimizer: torch.optim.Optimizer) -> Frozen:
    """Keep the units that are all zero now exactly zero in every later step of an optimizer; returns the handle.

    model      a pruned network: of each weight the rows that are all zero stay so, in a convolution the kernels
    optimizer  the one that trains it, of any kind. What it remembers of earlier steps, as momentum, and weight decay
               move the units too, so they are set to zero after its step and not only kept from a gradient

    Biases go on being trained: `shrink` carries over what a dead unit says. Call it after `perturb`, whose noise is
    also added after the step. Raises TypeError for what is no module or no optimizer, and ValueError where the
    optimizer holds none of the model's weights or no weight has a zero unit.

    >>> from heavytail import compress, networks
    >>> model = networks.fcn(20, width=100, depth=1, classes=3, generator=torch.Generator().manual_seed(0))
    >>> pruned = compress.prune(model, keep=0.1)
    >>> optimizer = torch.optim.Adam(pruned.parameters(), weight_decay=0.1)
    >>> with freeze_zeros(pruned, optimizer):
    ...     pruned(torch.ones(5, 20)).square().sum().backward()
    ...     optimizer.step()
    >>> int(compress.norms(pruned[1].weight).count_nonzero())
    10
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"a network to train is a torch.nn.Module, got {type(model).__name__}")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer= is a torch.optim.Optimizer, got {type(optimizer).__name__}")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    weights = {name: p for name, p in model.named_parameters() if p.ndim >= 2 and id(p) in held}
    if not weights:
        raise ValueError("the optimizer holds no weight of this model: make it from the parameters of this model")
    zeros = {}
    for name, weight in weights.items():
        gone = (weight.detach() == 0).flatten(min(2, weight.ndim - 1)).all(-1)
        if bool(gone.any()):
            zeros[name] = (weight, gone)
    if not zeros:
        raise ValueError("no weight of the model has a unit that is all zero: prune it first")
    return Frozen(optimizer, zeros)
