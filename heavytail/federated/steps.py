"""The steps of some clients in a round, all at once: the networks of K clients are K rows of every weight.

With Θ the global model, η the step size and ∇R_k the gradient on a batch of client k's own samples, E times

    M_k ← M_k - η ∇R_k(Θ + M_k),    then    M_k ← M_k + σ η^(1/α) ξ_k    or    Θ ← Θ + σ η^(1/α) ξ

for local kicks ξ_k, or common ones ξ. So M_k is the move of a client: from zero, gradient steps and kicks of its own,
and never a kick that the others know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    """The samples of one client: inputs x, (N, ...), float32, and labels y, (N,), int64, from 0 on; N of 1 or more.

    Raises TypeError for what is no tensor, ValueError for other shapes, types or labels.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            if not isinstance(value := getattr(self, name), Tensor):
                raise TypeError(f"{name} of a client is a tensor, not a {type(value).__name__}")
        if self.y.ndim != 1 or self.x.ndim < 1:
            shapes = f"x of shape {tuple(self.x.shape)} and y of shape {tuple(self.y.shape)}"
            raise ValueError(f"inputs x are (N, ...) and labels y (N,), got {shapes}")
        if not len(self.y) or len(self.x) != len(self.y):
            raise ValueError(f"a client has as many labels as inputs, 1 or more, got {len(self.y)} and {len(self.x)}")
        if self.x.dtype != torch.float32 or self.y.dtype != torch.int64:
            raise ValueError(f"inputs x are float32 and labels y int64, got {self.x.dtype} and {self.y.dtype}")
        if int(self.y.min()) < 0:
            raise ValueError(
                f"labels are numbers of classes, 0 or more, got {int(self.y.min())}: leave such samples out"
            )


@torch.inference_mode(False)
@torch.enable_grad()
def moves(
    model: nn.Module,
    plan: Plan,
    layout: Layout,
    known: State,
    moved: State,
    clients: Sequence[int],
    shards: Sequence[Shard],
    round: int,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What each of some clients moves in a round, (clients, ...) a weight, and what all know after it: `kicks.later`.

    known, moved   the parts of the global model: what all can compute, and the rest; they are not changed
    clients        their numbers, which decide batches and kicks
    shards         the samples of each

    What a client moves does not depend on the others, but for the last bits: products of many rows at once may add in
    another order. The network is used in training mode, and has its own again afterwards. Gradients are taken where
    torch has them switched off too. Raises ValueError for inputs of several shapes and for labels of classes that the
    network does not have, RuntimeError as the network does.
    """
    _check(model, shards)
    common = {name: weight.clone() for name, weight in known.items()}
    global_model = _sum(common, moved)
    each = {name: weight.new_zeros(len(clients), *weight.shape) for name, weight in common.items()}
    at = {name: torch.empty_like(move).requires_grad_() for name, move in each.items()}
    for step in range(round * plan.steps, (round + 1) * plan.steps):
        x, y, share = _batches(plan, clients, shards, step)
        with torch.no_grad():
            for name, move in each.items():
                torch.add(global_model[name], move, out=at[name])
        with _training(model):
            loss = _losses(model, at, x, y, share).sum()
        slopes = torch.autograd.grad(loss, list(at.values()), allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            for move, slope in zip(each.values(), slopes, strict=True):
                move.sub_(slope, alpha=plan.lr)
        kicks.add_local(plan, layout, each, clients, step)
        if kicks.add_common(plan, layout, common, step):
            global_model = _sum(common, moved)
    return each, common


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


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _check(model: nn.Module, shards: Sequence[Shard]) -> None:
    """That the clients' samples are those of one network. On a GPU a label of no class would end the program."""
    if len(shapes := {tuple(shard.x.shape[1:]) for shard in shards}) > 1:
        raise ValueError(f"inputs of clients have several shapes, {', '.join(map(str, sorted(shapes)))}: use one")
    with torch.no_grad(), _training(model):
        outputs = model(shards[0].x[:1])
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        raise ValueError("the network must return a tensor of shape (batch, classes)")
    if (most := max(int(shard.y.max()) for shard in shards)) >= outputs.shape[1]:
        raise ValueError(
            f"there is a label {most}, and the network has {outputs.shape[1]} classes, from 0 on: make more"
        )


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
