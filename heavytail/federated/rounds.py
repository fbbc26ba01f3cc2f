"""A round: what the server sends, what a client answers, and how answers are averaged to the next global model.

The global model has two parts. Θ_t = W_t + G_t: the `known` one, W_t, is the start and the common kicks, which every
party computes for itself; the other, G_t, is all that `moved` it else. A round of clients k = 1, …, K is

    the server sends G_t;
    a client makes E steps from W_t + G_t, and sends its move M_k, or a part of it, see `Selection`;
    G_{t+1} = G_t + Σ w_k M_k over those who answered, w_k their weights over the sum of these, plus the server's kick.

With local kicks or none W_t is the start, and a move holds gradient steps and kicks as one sum. With common kicks it
holds gradient steps alone, and so does G_t: no kick is ever sent. A server's kicks are in G_t. [D]
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heavytail.federated import kicks, selecting
from heavytail.federated.layout import Layout, State, nothing
from heavytail.federated.messages import pack, unpack
from heavytail.federated.plans import Plan, flat

_ORIGIN = 16  # bytes that name a plan, a layout and a start


@dataclass(frozen=True, eq=False)
class Federation:
    """The global model after `round` rounds, in its two parts. All that it takes to go on from there.

    origin  what `origin` gives for the plan, layout and start that it comes from
    """

    round: int
    known: State
    moved: State
    origin: bytes

    def weights(self) -> dict[str, Tensor]:
        """The global model Θ = W + G."""
        return {name: weight + self.moved[name] for name, weight in self.known.items()}


@dataclass(frozen=True, eq=False)
class Answer:
    """What the server has of one client: its move as it arrived, and how many samples it stands for."""

    move: State
    samples: int


@dataclass(frozen=True, eq=False)
class Round:
    """What came of a round.

    federation  the global model after it
    answered    the numbers of the clients in the average
    refused     a sentence for each client that is not, and for each answer that was turned down
    upload      bytes of all messages to the server, those that were turned down too
    download    bytes of all messages to clients
    """

    federation: Federation
    answered: tuple[int, ...]
    refused: tuple[str, ...]
    upload: int
    download: int


def begin(plan: Plan, layout: Layout, start: State) -> Federation:
    """The global model before the first round: a start that all parties have. Raises ValueError for another layout."""
    _fits(layout, start)
    return Federation(0, kicks.known_at(plan, layout, start, 0), nothing(start), origin(plan, layout, start))


def origin(plan: Plan, layout: Layout, start: State) -> bytes:
    """16 bytes that name what a federation comes from: others for another plan, layout or start, on any device.

    The number of rounds has no part in them: a training may go on for more.
    """
    settings = {name: value for name, value in flat(plan).items() if name != "rounds"}
    agreed = json.dumps([settings, layout.shapes, layout.hidden], sort_keys=True)
    digest = hashlib.sha256(agreed.encode())
    for name, _ in layout.shapes:
        digest.update(start[name].detach().cpu().contiguous().numpy().astype("<f4", copy=False).tobytes())
    return digest.digest()[:_ORIGIN]


def save(layout: Layout, federation: Federation) -> bytes:
    """The global model as bytes, for `restore`: its round, its origin, and the part that the start does not decide."""
    return federation.round.to_bytes(8, "little") + federation.origin + pack(federation.moved, layout)


def restore(plan: Plan, layout: Layout, start: State, content: bytes) -> Federation:
    """The global model that `save` made bytes of, to the bit; plan and start are those that it was trained with.

    Raises ValueError as `unpack` does, for a start of another layout, for bytes of another plan or start, and for a
    round that the plan does not have.
    """
    _fits(layout, start)
    round, end = int.from_bytes(content[:8], "little"), 8 + _ORIGIN
    moved = unpack(content[end:], layout)
    check_origin(plan, layout, start, content[8:end], "these bytes are")
    check_round(plan, round)
    there = {name: part.to(start[name].device) for name, part in moved.items()}
    return Federation(round, kicks.known_at(plan, layout, start, round), there, content[8:end])


def check_origin(plan: Plan, layout: Layout, start: State, given: bytes, what: str) -> None:
    """Raises ValueError where an origin is not that of this plan, layout and start; `what` begins the sentence."""
    if given != origin(plan, layout, start):
        raise ValueError(f"{what} of another plan or start: use those that they were trained with")


def check_round(plan: Plan, round: int) -> None:
    """Raises ValueError for more rounds than a plan has."""
    if round > plan.rounds:
        raise ValueError(f"this is the global model after {round} rounds, and the plan has {plan.rounds}")


def offer(layout: Layout, federation: Federation) -> bytes:
    """What the server sends to every client: the part of the global model that they cannot compute."""
    return pack(federation.moved, layout)


def answer(plan: Plan, layout: Layout, after: State, client: int, round: int, move: State) -> bytes:
    """What a client sends: its move, or that part of it which the plan's strategy selects.

    `after` is what all know after this round, see `kicks.later`. Raises ValueError for a move that is not finite.
    """
    selection, masks = plan.strategy.selection, _masks(plan, layout, after, client, round)
    return pack(selecting.select(selection, move, layout, masks), layout, masks)


def read(plan: Plan, layout: Layout, after: State, client: int, round: int, content: bytes) -> dict[str, Tensor]:
    """The move that a client sent. Raises ValueError as `unpack` does."""
    return unpack(content, layout, _masks(plan, layout, after, client, round))


def close(
    plan: Plan, layout: Layout, federation: Federation, after: State, answers: Mapping[int, Answer]
) -> Federation:
    """The global model after a round, from the answers by number of client; without any it moves by kicks alone.

    The mean is made in float64 and in the order of the clients, so it does not depend on who was first. Raises
    ValueError if the model would not be finite, as where a client sends numbers that float32 can just hold, or where
    kicks are larger than that.
    """
    too_large = f"the kicks of round {federation.round + 1} are more than float32 holds: take a smaller sigma"
    if not all(map(_finite, after.values())):
        raise ValueError(too_large)
    moved = _averaged(plan, federation.moved, answers)
    for name, weight in moved.items():
        if not _finite(weight + after[name]):
            raise ValueError(f"the average of {name!r} would not be finite" if answers else too_large)
    kicks.add_server(plan, layout, moved, federation.round)
    if not all(_finite(weight + after[name]) for name, weight in moved.items()):
        raise ValueError(too_large)
    return Federation(federation.round + 1, after, moved, federation.origin)


def end(
    plan: Plan,
    layout: Layout,
    federation: Federation,
    after: State,
    answers: Mapping[int, Answer],
    refused: Sequence[str],
    sizes: tuple[int, int],
) -> Round:
    """What came of a round, `sizes` being its bytes up and down; without answers if they have no finite average.

    Raises ValueError where the model is not finite without them either.
    """
    said = tuple(refused)
    try:
        closed = close(plan, layout, federation, after, answers)
    except ValueError as error:
        said += (f"all answers of round {federation.round + 1} are refused: {error}",)
        closed, answers = close(plan, layout, federation, after, {}), {}
    return Round(closed, tuple(sorted(answers)), said, *sizes)


def _fits(layout: Layout, start: State) -> None:
    if tuple((name, tuple(weight.shape)) for name, weight in start.items()) != layout.shapes:
        raise ValueError("the start has other weights than the layout: take both from one network")


def _averaged(plan: Plan, moved: State, answers: Mapping[int, Answer]) -> dict[str, Tensor]:
    """What moved the global model, with the mean of the answers."""
    counts = {k: answers[k].samples if plan.weighting == "samples" else 1 for k in sorted(answers)}
    total, after = sum(counts.values()), {}
    for name, weight in moved.items():
        mean = torch.zeros_like(weight, dtype=torch.float64)
        for k, count in counts.items():
            mean.add_(answers[k].move[name].to(mean), alpha=count / total)
        after[name] = (weight + mean).float()
    return after


def _finite(weight: Tensor) -> bool:
    return bool(torch.isfinite(weight).all())


def _masks(plan: Plan, layout: Layout, after: State, client: int, round: int) -> dict[str, Tensor]:
    """The places that both sides know of what a client sends."""
    selection = plan.strategy.selection
    if selection.kind == "known":
        return selecting.largest(selection.amount, after, layout)
    if selection.kind == "random":
        return selecting.drawn(selection.amount, layout, plan.seed, client, round)
    return {}
