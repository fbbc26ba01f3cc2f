"""A federation in one process: the same messages and rounds as over a wire, with the clients as rows of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from heavytail.federated import rounds, steps
from heavytail.federated.layout import Layout, layout, state_of
from heavytail.federated.messages import unpack
from heavytail.federated.plans import Plan, taking_part
from heavytail.federated.rounds import Answer, Federation, Round
from heavytail.federated.steps import Shard
from heavytail.networks.keeping import copied


def simulate(
    plan: Plan,
    model: nn.Module,
    shards: Sequence[Shard],
    *,
    sample: Any = None,
    after: Federation | None = None,
) -> Iterator[Round]:
    """The rounds of a plan, one after the other.

    model   the start; it is not changed. Trained on cross-entropy: it takes x and returns (batch, classes)
    shards  the samples of each client, on the device of the model
    sample  that of `heavytail.hidden_weights`
    after   where to go on from: the `federation` of a round, of the same plan, start and shards, or `keeping.kept`

    A client whose move is not finite is left out of the average, and said in `refused`.
    Raises ValueError, before the first round, for another number of shards than clients, a network that has no layout,
    or an `after` of another plan or start, or of a later round than the last; else as `steps.moves` does.

    >>> import torch
    >>> from heavytail import networks
    >>> start = networks.fcn(4, width=8, depth=1, classes=2, generator=torch.Generator().manual_seed(0))
    >>> x = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    >>> shards = [Shard(x[k::2], (x[k::2, 0] > 0).long()) for k in range(2)]
    >>> for done in simulate(Plan(clients=2, rounds=2, steps=3, lr=0.1, seed=0), start, shards):
    ...     print(done.federation.round, done.answered, done.upload, done.download)
    1 (0, 1) 498 106
    2 (0, 1) 498 498
    """
    known_layout, start = layout(model, sample), state_of(model)
    if len(shards) != plan.clients:
        raise ValueError(f"there are {len(shards)} shards for {plan.clients} clients: make one a client")
    if after is not None:
        rounds.check_origin(plan, known_layout, start, after.origin, "the weights to go on from are")
        rounds.check_round(plan, after.round)
    return _rounds(plan, copied(model), known_layout, shards, after or rounds.begin(plan, known_layout, start))


def _rounds(
    plan: Plan, network: nn.Module, known_layout: Layout, shards: Sequence[Shard], now: Federation
) -> Iterator[Round]:
    """The rounds from here on; the network is for steps alone, whatever its weights are."""
    while now.round < plan.rounds:
        offered = rounds.offer(known_layout, now)
        moved = {name: part.to(now.known[name].device) for name, part in unpack(offered, known_layout).items()}
        clients = taking_part(plan, now.round)
        own = [shards[client] for client in clients]
        each, known = steps.moves(network, plan, known_layout, now.known, moved, clients, own, now.round)
        answers, refused, upload = {}, [], 0
        for row, client in enumerate(clients):
            move = {name: part[row] for name, part in each.items()}
            try:
                content = rounds.answer(plan, known_layout, known, client, now.round, move)
            except ValueError as error:
                refused.append(f"client {client} sent nothing in round {now.round + 1}: {error}")
                continue
            upload += len(content)
            arrived = rounds.read(plan, known_layout, known, client, now.round, content)
            answers[client] = Answer(arrived, len(shards[client].y))
        sizes = (upload, len(offered) * len(clients))
        yield (done := rounds.end(plan, known_layout, now, known, answers, refused, sizes))
        now = done.federation
