"""Which weights get noise in somebody's training: those of a model, or those that an optimizer holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from heavytail.networks import roles
from heavytail.noise.kinds import Noise


@dataclass(frozen=True, eq=False)
class Target:
    """A weight that gets kicks."""

    name: str
    weight: Tensor
    padding: int | None = None  # the row that gets none


def of_model(model: nn.Module, sample: Any, noise: Noise) -> list[Target]:
    """The hidden weights of a model, frozen ones too, by its names. ValueError if one has no units for the noise."""
    known = roles.weights_of(roles.unwrapped(model), sample)  # one name, whatever wraps the model next time
    for name, weight in known.hidden.items():
        if weight in known.turned and noise != "entrywise":
            raise ValueError(
                f"the rows of the weight {name!r} are its inputs, not its outputs, so {noise} noise has no unit there: "
                'store it (outputs, inputs), take noise="entrywise", or name the other weights in params='
            )
    return [Target(name, weight, known.padding.get(weight)) for name, weight in known.hidden.items()]


def of_optimizer(optimizer: torch.optim.Optimizer, params: Iterable[Tensor] | None) -> list[Target]:
    """The weights in `params`, or without them those below the output layer, by their places in the optimizer."""
    places: dict[int, str] = {}
    for number, group in enumerate(optimizer.param_groups):
        names = group.get("param_names")
        for k, p in enumerate(group["params"]):
            places[id(p)] = names[k] if names else f"group {number}, parameter {k}"
    chosen = (
        _below_the_output([group["params"] for group in optimizer.param_groups])
        if params is None
        else {id(p): p for p in params if p.ndim >= 2}.values()
    )
    for p in chosen:
        if id(p) not in places:
            raise ValueError(f"a weight of shape {tuple(p.shape)} in params= is not held by the optimizer")
    return [Target(places[id(p)], p) for p in chosen]


def _below_the_output(groups: list[list[Tensor]]) -> list[Tensor]:
    """The weights before the output layer, where shapes alone tell which it is: a chain of matrices (outputs, inputs).

    The output layer is then the one whose number of rows is no number of columns. A chain from the last to the first
    looks like one of matrices (inputs, outputs), unless each has a bias after it.
    """
    matrices = [p for group in groups for p in group if p.ndim >= 2]
    feeding = [p for p in matrices if any(p.shape[0] == q.shape[1] for q in matrices if q is not p)]
    lengths = [_lengths(group) for group in groups]
    fit = all(rows == length for pairs in lengths for rows, found in pairs for length in found)
    biased = all(found for pairs in lengths for _, found in pairs)
    chain = _chained(matrices) or (biased and _chained(matrices[::-1]))
    plain = all(p.ndim == 2 for p in matrices) and len(feeding) == len(matrices) - 1
    if len(matrices) > 1 and not (plain and fit and chain):
        raise ValueError(
            "which of the optimizer's weights is the output layer cannot be told from their shapes: pass model=, or "
            "name the weights in params="
        )
    return feeding


def _lengths(group: list[Tensor]) -> list[tuple[int, list[int]]]:
    """The rows of each matrix of a group, and the lengths of the vectors that come after it: biases, norms."""
    found: list[tuple[int, list[int]]] = []
    for p in group:
        if p.ndim >= 2:
            found.append((p.shape[0], []))
        elif p.ndim == 1 and found:
            found[-1][1].append(len(p))
    return found


def _chained(matrices: list[Tensor]) -> bool:
    return all(p.shape[0] == q.shape[1] for p, q in pairwise(matrices))


def check(target: Target, generator: torch.Generator) -> None:
    """Raise ValueError unless noise of this generator can be added to the weight."""
    weight = target.weight
    if weight.device.type != generator.device.type:
        raise ValueError(f"the generator is on {generator.device}, a weight on {weight.device}: make them the same")
    if hasattr(weight, "device_mesh"):  # a DTensor
        raise ValueError(f"the weight {target.name!r} is sharded over several processes: noise needs it whole")
    if not weight.is_floating_point() or weight.element_size() < 2:
        raise ValueError(f"the weight {target.name!r} is {weight.dtype}: noise is for floating-point weights")
