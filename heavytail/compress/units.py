"""Units of a network by number, and what is known of the tensors that say them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Line:
    """The axis of a tensor whose entries are units."""

    axis: int
    units: np.ndarray  # (n,) which unit each entry belongs to
    constant: np.ndarray  # (n,) whether it says the same whatever the input is, and wherever it stands


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a tensor: whether something of the input is in it, and its line if it has one."""

    data: bool
    line: Line | None = None
    shares: bool = False  # whether it sums to one along its last axis, as a softmax does


@dataclass(frozen=True, eq=False)
class Reader:
    """A layer that multiplies units by the columns of its weight and adds them up."""

    weight: Tensor
    axis: int  # of the weight, along which its inputs lie
    bias: Tensor | None
    layer: nn.Module | None  # whose bias may be made if there is none
    said: list[np.ndarray] = field(default_factory=list)  # (n,) at each call, what each unit says; nan: not known


class Units:
    """Units by number, some tied to others, some that must stay: union and find."""

    def __init__(self) -> None:
        self._above: list[int] = []
        self.stay: set[int] = set()
        self.dead: set[int] = set()  # whose weights are all zero
        self.heads: dict[int, np.ndarray] = {}  # the units of what may be the head of an attention, by its own number
        self.attended: list[int] = []  # of each attention the first head

    def __len__(self) -> int:
        return len(self._above)

    def new(self, number: int) -> np.ndarray:
        """So many units, tied to none."""
        first = len(self._above)
        self._above += range(first, first + number)
        return np.arange(first, first + number)

    def of(self, unit: int) -> int:
        """The one that stands for all that are tied to this one."""
        while self._above[unit] != unit:
            self._above[unit] = self._above[self._above[unit]]
            unit = self._above[unit]
        return unit

    def tie(self, some: Iterable[int], others: Iterable[int]) -> None:
        """Tie these units to those, one by one."""
        for one, other in zip(some, others, strict=True):
            self._above[self.of(int(one))] = self.of(int(other))

    def as_heads(self, units: np.ndarray) -> None:
        """These are heads that an attention has read: the units of each go together."""
        if int(units[0]) in self.heads:
            self.attended.append(int(units[0]))
        for unit in map(int, units):
            if unit in self.heads:
                members = self.heads.pop(unit)
                self.tie(members, [unit] * len(members))

    def keep(self, units: Iterable[int]) -> None:
        """These units must stay."""
        self.stay.update(int(unit) for unit in units)
