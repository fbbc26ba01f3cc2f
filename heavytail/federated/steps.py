"""The steps of some clients in a round, all at once: the networks of K clients are K rows of every weight.

With Θ the global model, η the step size and ∇R_k the gradient on a batch of client k's own samples, E times

    M_k ← M_k - η ∇R_k(Θ + M_k),    then    M_k ← M_k + σ η^(1/α) ξ_k    or    Θ ← Θ + σ η^(1/α) ξ

for local kicks ξ_k, or common ones ξ. So M_k is the move of a client: from zero, gradient steps and kicks of its own,
and never a kick that the others know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from heavytail import streams
from heavytail.federated import kicks
from heavytail.federated.layout import Layout, State
from heavytail.federated.plans import Plan


@dataclass(frozen=True, eq=False)
class Shard:
    """The samples of one client: inputs x, (N, ...), float32, and labels y, (N,), int64; N of 1 or more."""

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if not len(self.y) or len(self.x) != len(self.y):
            raise ValueError(f"a client has as many labels as inputs, 1 or more, got {len(self.y)} and {len(self.x)}")


def moves(
    model: nn.Module,
    plan: Plan,
    layout: Layout,
    known: State,
    moved: State,
    clients: Sequence[int],
    shards: Sequence[Shard],
    round: int,
) -> dict[str, Tensor]:
    """What each of some clients moves in a round: (clients, ...) a weight. See the top of this module.

    known, moved   the parts of the global model: what all can compute, and the rest; they are not changed
    clients        their numbers, which decide batches and kicks
    shards         the samples of each

    What a client moves does not depend on the others, but for the last bits: products of many rows at once may add in
    another order. Raises RuntimeError as the network does.
    """
    common = {name: weight.clone() for name, weight in known.items()}
    global_model = _sum(common, moved)
    each = {name: weight.new_zeros(len(clients), *weight.shape) for name, weight in common.items()}
    at = {name: torch.empty_like(move).requires_grad_() for name, move in each.items()}
    model.train()
    for step in range(round * plan.steps, (round + 1) * plan.steps):
        x, y, share = _batches(plan, clients, shards, step)
        with torch.no_grad():
            for name, move in each.items():
                torch.add(global_model[name], move, out=at[name])
        slopes = torch.autograd.grad(_losses(model, at, x, y, share).sum(), list(at.values()))
        with torch.no_grad():
            for move, slope in zip(each.values(), slopes, strict=True):
                move.sub_(slope, alpha=plan.lr)
        kicks.add_local(plan, layout, each, clients, step)
        if kicks.add_common(plan, layout, common, step):
            global_model = _sum(common, moved)
    return each


def batch(plan: Plan, client: int, samples: int, step: int) -> Tensor | slice:
    """Which of its samples a client takes at a step: all in order, or the next of a shuffle an epoch.

    The last batch of an epoch holds what is left.

    >>> plan = Plan(clients=1, rounds=1, steps=3, lr=0.1, batch_size=2, seed=0)
    >>> sorted(torch.cat([batch(plan, 0, 5, step) for step in range(3)]).tolist())
    [0, 1, 2, 3, 4]
    """
    if not 0 < plan.batch_size < samples:
        return slice(None)
    epoch, place = divmod(step, -(-samples // plan.batch_size))
    shuffle = streams.generator(streams.key(plan.seed, "batches", "federated", client), "batches", epoch)
    return torch.randperm(samples, generator=shuffle)[place * plan.batch_size :][: plan.batch_size]


def _batches(plan: Plan, clients: Sequence[int], shards: Sequence[Shard], step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (K, batch, ...) and labels (K, batch) of a step, and the share of each in its client's mean loss.

    Where clients have batches of several sizes, the smaller ones are filled up with samples of share 0.
    """
    places = [batch(plan, client, len(shard.y), step) for client, shard in zip(clients, shards, strict=True)]
    parts = [(shard.x[rows], shard.y[rows]) for shard, rows in zip(shards, places, strict=True)]
    sizes = [len(y) for _, y in parts]
    x = torch.stack([_filled(x, max(sizes)) for x, _ in parts])
    y = torch.stack([_filled(y, max(sizes)) for _, y in parts])
    counts = torch.tensor(sizes, device=y.device).unsqueeze(1)
    share = (torch.arange(max(sizes), device=y.device) < counts) / counts
    return x, y, share


def _filled(values: Tensor, size: int) -> Tensor:
    more = values[:1].expand(size - len(values), *values.shape[1:])
    return torch.cat([values, more]) if len(more) else values


def _losses(model: nn.Module, weights: State, x: Tensor, y: Tensor, share: Tensor) -> Tensor:
    """The mean loss of each client's network on its batch, (K,), in nats."""

    def alone(weights: State, x: Tensor, y: Tensor, share: Tensor) -> Tensor:
        outputs = functional_call(model, dict(weights), (x,))
        return (share * cross_entropy(outputs, y, reduction="none")).sum()

    return torch.vmap(alone)(dict(weights), x, y, share)


def _sum(known: State, moved: State) -> dict[str, Tensor]:
    return {name: weight + moved[name] for name, weight in known.items()}
