"""The kicks of a federation by their addresses: each client's own, those that all share, those of the server.

Keys come from the seed of the plan and what the kicks are for, the number of a step runs on over rounds, and a layer is
known by its place among the hidden weights. alpha, sigma and step size have no part in a key, so plans that differ in
these alone have kicks of the same random words.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from heavytail import noise, streams
from heavytail.federated.layout import Layout, State
from heavytail.federated.plans import Plan
from heavytail.laws.averaging import Design
from heavytail.noise import Kick


def key(plan: Plan, client: int | None = None) -> int:
    """The key of a client's kicks; of the common ones, or of the server's, where no client is named."""
    whose = plan.strategy.design if client is None else client
    return streams.key(plan.seed, "noise", "federated", whose, plan.strategy.kind)


def add_local(plan: Plan, layout: Layout, moves: State, clients: Sequence[int], step: int) -> None:
    """Add to the moves of some clients, (clients, ...) a weight, what each draws after a step; in place."""
    if size := _size(plan, "local", plan.lr):
        own = {row: _kick(plan, size, key(plan, client), step) for row, client in enumerate(clients)}
        for number, name in enumerate(layout.hidden):
            noise.kick_each(moves[name], own, layer=number)


def add_common(plan: Plan, layout: Layout, known: dict[str, Tensor], step: int) -> bool:
    """Add to weights, in place, what everybody adds after a step; whether there is anything."""
    if not (size := _size(plan, "common", plan.lr)):
        return False
    for number, name in enumerate(layout.hidden):
        noise.kick(known[name], _kick(plan, size, key(plan), step), layer=number)
    return True


def add_server(plan: Plan, layout: Layout, moved: dict[str, Tensor], round: int) -> None:
    """Add to weights, in place, what the server draws after a round: of scale `σ (η E)^(1/α)`. [D]"""
    if size := _size(plan, "server", plan.lr * plan.steps):
        for number, name in enumerate(layout.hidden):
            noise.kick(moved[name], _kick(plan, size, key(plan), round), layer=number)


def known_at(plan: Plan, layout: Layout, start: State, round: int) -> dict[str, Tensor]:
    """What every party can compute of the global model before a round: the start and all common kicks until then.

    >>> import torch
    >>> from heavytail.federated import Strategy
    >>> plan = Plan(clients=3, rounds=2, steps=2, lr=0.1, seed=0, strategy=Strategy("common", 0.1, 1.5))
    >>> few = Layout((("weight", (4, 3)),), ("weight",))
    >>> early, late = (known_at(plan, few, {"weight": torch.zeros(4, 3)}, round) for round in (1, 2))
    >>> torch.equal(late["weight"], later(plan, few, early, 1)["weight"])
    True
    """
    return _through(plan, layout, start, range(round * plan.steps))


def later(plan: Plan, layout: Layout, known: State, round: int) -> dict[str, Tensor]:
    """What every party knows after a round, from what it knew before."""
    return _through(plan, layout, known, range(round * plan.steps, (round + 1) * plan.steps))


def _through(plan: Plan, layout: Layout, known: State, steps: range) -> dict[str, Tensor]:
    """A copy of what is known, with the common kicks of some steps."""
    after = {name: weight.clone() for name, weight in known.items()}
    for step in steps:
        if not add_common(plan, layout, after, step):
            break
    return after


def _size(plan: Plan, design: Design, time: float) -> float:
    """The scale of a design's kicks over lr, or the lr of some steps together; 0 where the plan has another design."""
    strategy = plan.strategy
    return noise.scale(strategy.alpha, strategy.sigma, time) if strategy.design == design else 0.0


def _kick(plan: Plan, size: float, key: int, step: int) -> Kick:
    strategy = plan.strategy
    return Kick(strategy.alpha, strategy.kind, "filter", size, key, step)
