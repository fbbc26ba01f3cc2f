"""Ratios of times measured side by side: a slow minute of the machine slows both sides."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Figure:
    """A measured number: the median over rounds, the lowest and the highest, and what it is."""

    name: str
    case: str
    value: float
    low: float
    high: float
    unit: str

    @staticmethod
    def of(name: str, case: str, values: list[float], unit: str) -> Figure:
        """The figure of a list of rounds."""
        return Figure(name, case, statistics.median(values), min(values), max(values), unit)


def side_by_side(
    sides: Mapping[str, Callable[[], object]], rounds: int, calls: Mapping[str, int] = MappingProxyType({})
) -> dict[str, list[float]]:
    """Seconds a call of each side, a list over rounds: after one call to warm up, sides take turns in every round.

    `calls` says how many calls a side makes in its turn, if not one.
    """
    for side in sides.values():
        side()
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            turns = calls.get(name, 1)
            for _ in range(turns):
                side()
            taken[name].append((time.perf_counter() - start) / turns)
    return taken


def ratios(over: list[float], under: list[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(over, under, strict=True)]
