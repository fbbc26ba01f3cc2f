"""How samples are dealt to clients: evenly, with skewed labels, or with few classes a client. All by a seed.

A split is a tensor of positions a client. Every sample goes to one client, and every client has one or more. Of all:

    labels   (N,), of any type and on any device
    result   the positions of each client's samples, (n,), int64, on the CPU, their n summing to N

They raise TypeError for labels that are no tensor, and ValueError for labels of another shape, fewer labels than
clients, or a number that is not whole.
"""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

from heavytail import streams
from heavytail.federated.plans import whole
from heavytail.noise.kinds import as_float, shown


def even(labels: Tensor, clients: int, *, seed: int) -> list[Tensor]:
    """Samples in a random order, in parts whose sizes differ by one at most.

    >>> [len(part) for part in even(torch.zeros(10), 3, seed=0)]
    [4, 3, 3]
    """
    clients, seed = _checked(labels, clients, seed)
    shuffled = torch.randperm(len(labels), generator=_generator(seed, "even", clients))
    return list(shuffled.tensor_split(clients))


def dirichlet(labels: Tensor, clients: int, *, concentration: float, seed: int) -> list[Tensor]:
    """Each class in shares of a symmetric Dirichlet law: the smaller its concentration, the fewer classes a client has.

    Shares are independent from class to class, so clients have different numbers of samples. A client that got none
    takes one from the client that has most. Raises ValueError for a concentration that is no finite number above 0.

    >>> labels = torch.arange(1000) % 10
    >>> skewed = dirichlet(labels, 4, concentration=0.1, seed=0)
    >>> sorted(torch.cat(skewed).tolist()) == list(range(1000))
    True
    """
    clients, seed = _checked(labels, clients, seed)
    number = isinstance(concentration, Real) and not isinstance(concentration, bool)
    if not number or not 0 < as_float(concentration) < math.inf:
        raise ValueError(f"the concentration of a Dirichlet law is a finite number above 0, got {shown(concentration)}")
    concentration = max(float(concentration), 1e-300)  # below, logarithms overflow; one share is 1 long before
    generator = _generator(seed, "dirichlet", clients)
    parts: list[list[Tensor]] = [[] for _ in range(clients)]
    for label in labels.unique(sorted=True):
        own = (labels == label).nonzero().flatten().cpu()
        own = own[torch.randperm(len(own), generator=generator)]
        shares = _dirichlet(clients, concentration, generator)
        cuts = (shares.cumsum(0)[:-1] * len(own)).round().long().clamp(max=len(own))
        for part, some in zip(parts, own.tensor_split(cuts), strict=True):
            part.append(some)
    dealt = [torch.cat(part) for part in parts]
    for client in range(clients):
        if not len(dealt[client]):
            richest = max(range(clients), key=lambda other: len(dealt[other]))
            dealt[client], dealt[richest] = dealt[richest][-1:], dealt[richest][:-1]
    return dealt


def few_classes(labels: Tensor, clients: int, *, each: int = 2, seed: int) -> list[Tensor]:
    """So many classes a client, dealt from shuffled decks of all classes; a class goes evenly to those who have it.

    Raises ValueError where there are fewer classes than `each`, too few clients to have them all, or too few samples of
    a class for the clients that have it.

    >>> labels = torch.arange(1000) % 10
    >>> [labels[part].unique().numel() for part in few_classes(labels, 10, seed=0)]
    [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    clients, seed = _checked(labels, clients, seed)
    each = whole("each", each, 1)
    classes = labels.unique(sorted=True).cpu()
    if not 1 <= each <= len(classes):
        raise ValueError(f"{len(classes)} classes cannot be dealt {each} a client: take a number from 1 to that")
    if each * clients < len(classes):
        raise ValueError(
            f"{clients} clients with {each} classes each cannot have all {len(classes)}: take more clients"
        )
    generator = _generator(seed, "few classes", clients, each)
    hands = _hands(len(classes), clients, each, generator)
    parts: list[list[Tensor]] = [[] for _ in range(clients)]
    for number, label in enumerate(classes):
        own = (labels == label).nonzero().flatten().cpu()
        holders = [client for client, hand in enumerate(hands) if number in hand]
        if len(own) < len(holders):
            raise ValueError(
                f"class {int(label)} has {len(own)} samples for {len(holders)} clients: take fewer clients, or classes"
            )
        shuffled = own[torch.randperm(len(own), generator=generator)]
        for client, some in zip(holders, shuffled.tensor_split(len(holders)), strict=True):
            parts[client].append(some)
    return [torch.cat(part) for part in parts]


def _hands(classes: int, clients: int, each: int, generator: torch.Generator) -> list[list[int]]:
    """The classes of each client, all different: the next of a deck, which is shuffled anew where it ends."""
    hands: list[list[int]] = []
    deck: list[int] = []
    for _ in range(clients):
        hand: list[int] = []
        while len(hand) < each:
            if not deck:
                # Classes that are in this hand already go to the end, so that none is dealt to it twice.
                fresh = torch.randperm(classes, generator=generator).tolist()
                deck = [c for c in fresh if c not in hand] + [c for c in fresh if c in hand]
            hand.append(deck.pop(0))
        hands.append(hand)
    return hands


def _dirichlet(parts: int, concentration: float, generator: torch.Generator) -> Tensor:
    """Shares of a symmetric Dirichlet law: gamma variables over their sum, by logarithms, as most may be tiny.

    A gamma variable of a below 1 is one of a + 1 times U^(1/a) (Marsaglia and Tsang); that one is drawn by rejection.
    """
    shape = concentration if concentration >= 1 else concentration + 1
    d = shape - 1 / 3
    logs = torch.empty(parts, dtype=torch.float64)
    for k in range(parts):
        while True:
            x = float(torch.randn((), generator=generator, dtype=torch.float64))
            u = 1 - float(torch.rand((), generator=generator, dtype=torch.float64))
            v = (1 + x / math.sqrt(9 * d)) ** 3
            if v > 0 and math.log(u) < 0.5 * x * x + d * (1 - v + math.log(v)):
                break
        logs[k] = math.log(d * v)
        if concentration < 1:
            logs[k] += math.log(1 - float(torch.rand((), generator=generator, dtype=torch.float64))) / concentration
    return torch.softmax(logs, 0)


def _generator(seed: int, *about: str | int) -> torch.Generator:
    return streams.generator(streams.key(seed, "data", "federated", *about), "data")


def _checked(labels: Tensor, clients: int, seed: int) -> tuple[int, int]:
    """The numbers of clients and the seed, as ints."""
    clients, seed = whole("clients", clients, 1), whole("seed", seed, 0)
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels are a tensor of shape (N,), not a {type(labels).__name__}: call torch.as_tensor")
    if labels.ndim != 1 or len(labels) < clients:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} cannot be dealt to {clients} clients, one each or more"
        )
    return clients, seed
