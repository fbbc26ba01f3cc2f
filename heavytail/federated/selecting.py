"""What a client sends of its move: all of it, some columns of each hidden weight, or some of its numbers.

A column of the paper is a row of a torch weight. Columns by error or share are the paper's pruning, of the move of one
client. The rest are the usual ways to send fewer bytes, which know nothing of columns. Weights that are not hidden are
always sent whole, and so is the part of a message that says which numbers it holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

import torch
from torch import Tensor

from heavytail import compress, streams
from heavytail.federated.layout import Layout, State
from heavytail.noise.kinds import as_float, shown

Kind = Literal["all", "error", "columns", "known", "top", "random", "threshold"]


@dataclass(frozen=True)
class Selection:
    """Which part of each hidden weight of a move is sent.

        kind         amount              what is sent
        "all"                            everything
        "error"      squared error < 1   the largest columns, so many that what is left out holds no more of ‖move‖²
        "columns"    share in (0, 1]     the largest columns of the move
        "known"      share in (0, 1]     those columns that are the largest of start plus common kicks: values alone
        "top"        share in (0, 1]     the largest numbers
        "random"     share in (0, 1]     numbers at places that the plan's seed draws: values alone
        "threshold"  size > 0            numbers of at least that size

    Raises ValueError for an unknown kind or an amount out of range, TypeError for an amount that is no number.

    >>> Selection("columns", 0.1)
    Selection(kind='columns', amount=0.1)
    >>> Selection("columns", 2)
    Traceback (most recent call last):
    ValueError: a selection of kind 'columns' has an amount in (0, 1], a share, got 2
    """

    kind: Kind = "all"
    amount: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown selection {shown(self.kind)}: choose one of {', '.join(get_args(Kind))}")
        if not isinstance(self.amount, Real) or isinstance(self.amount, bool):
            raise TypeError(f"the amount of a selection is a number, not {shown(self.amount)}")
        amount = as_float(self.amount)
        allowed, words = {
            "all": (amount == 0, "of 0: it sends everything"),
            "error": (0 <= amount < 1, "in [0, 1), a squared error"),
            "threshold": (0 < amount < math.inf, "above 0, the size of a number"),
        }.get(self.kind, (0 < amount <= 1, "in (0, 1], a share"))
        if not allowed:
            raise ValueError(f"a selection of kind {self.kind!r} has an amount {words}, got {amount:g}")
        object.__setattr__(self, "amount", amount)


def select(selection: Selection, move: State, layout: Layout, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The move with zeros in what is not sent; `masks` are those of `largest` or `drawn` where both sides know them.

    >>> move = {"weight": torch.tensor([[3.0, 1.0], [0.5, -2.0]])}
    >>> few = Layout((("weight", (2, 2)),), ("weight",))
    >>> select(Selection("columns", 0.5), move, few, {})["weight"].tolist()
    [[3.0, 1.0], [0.0, 0.0]]
    >>> select(Selection("top", 0.5), move, few, {})["weight"].tolist()
    [[3.0, 0.0], [0.0, -2.0]]
    """
    sent = dict(move)
    for name in layout.hidden:
        places = masks[name] if name in masks else _places(selection, move[name])
        if places is not None:
            sent[name] = torch.where(places.to(move[name].device), move[name], 0.0)
    return sent


def largest(share: float, state: State, layout: Layout) -> dict[str, Tensor]:
    """Masks of the largest columns of each hidden weight of a state that both sides have."""
    return {name: _columns(state[name], keep=share) for name in layout.hidden}


def drawn(share: float, layout: Layout, seed: int, client: int, round: int) -> dict[str, Tensor]:
    """Masks of numbers of each hidden weight, drawn by the seed of a plan for a client and a round.

    >>> few = Layout((("weight", (2, 5)),), ("weight",))
    >>> int(drawn(0.3, few, seed=0, client=1, round=2)["weight"].sum())
    3
    """
    shapes, masks = dict(layout.shapes), {}
    generator = streams.generator(streams.key(seed, "pruning", "federated", client), "pruning", round)
    for name in layout.hidden:
        size = math.prod(shapes[name])
        mask = torch.zeros(size, dtype=torch.bool)
        mask[torch.randperm(size, generator=generator)[: _number(share, size)]] = True
        masks[name] = mask.view(shapes[name])
    return masks


def _places(selection: Selection, weight: Tensor) -> Tensor | None:
    """Where a weight is sent, bool in its shape; None for everywhere. What is not finite is left for the message."""
    if selection.kind == "all" or not bool(torch.isfinite(weight).all()):
        return None
    if selection.kind == "error":
        return _columns(weight, squared_error=selection.amount) if bool(weight.any()) else None
    if selection.kind == "columns":
        return _columns(weight, keep=selection.amount)
    if selection.kind == "threshold":
        return weight.abs() >= selection.amount
    if selection.kind == "top":
        first = weight.abs().flatten().topk(_number(selection.amount, weight.numel())).indices
        return torch.zeros_like(weight, dtype=torch.bool).flatten().index_fill_(0, first, True).view(weight.shape)
    raise ValueError(f"the places of a selection of kind {selection.kind!r} are known beforehand: pass their masks")


def _columns(weight: Tensor, *, squared_error: float | None = None, keep: float | None = None) -> Tensor:
    stay = compress.order(weight)[compress.count(weight, squared_error=squared_error, keep=keep) :]
    rows = torch.zeros(len(weight), dtype=torch.bool, device=weight.device).index_fill_(0, stay, True)
    return rows.view(-1, *[1] * (weight.ndim - 1)).expand(weight.shape)


def _number(share: float, size: int) -> int:
    return max(1, round(share * size))
