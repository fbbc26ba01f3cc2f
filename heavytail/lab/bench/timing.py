"""Ratios of times measured side by side: a slow minute of the machine slows both sides."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

Sides = dict[str, Callable[[], object]]

_CPU = torch.device("cpu")
_CALLS = 1000  # of a side in its turn, at most


class Missing(RuntimeError):
    """A case wants a package that is not installed."""


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
    sides: Sides,
    rounds: int,
    calls: Mapping[str, int] = MappingProxyType({}),
    device: torch.device = _CPU,
) -> dict[str, list[float]]:
    """Seconds a call of each side, a list over rounds: after one call to warm up, sides take turns in every round.

    `calls` says how many calls a side makes in its turn, if not one. A turn ends when the device is done with it.
    """
    for side in sides.values():
        side()
    wait(device)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            turns = calls.get(name, 1)
            taken[name].append(_seconds(side, turns, device) / turns)
    return taken


def in_time(sides: Sides, seconds: float, device: torch.device, rounds: int = 7) -> dict[str, list[float]]:
    """The same in about so many seconds: the turns of all sides are as long, and there are two rounds at least.

    On a GPU the calls of a turn queue up, so that the time of a launch counts only where it is longer than the work.
    """
    share, turn, calls = seconds / (rounds * len(sides)), 0.0, {}
    for name, side in sides.items():
        side()
        wait(device)
        alone = _seconds(side, 1, device)
        calls[name] = max(1, min(_CALLS, int(share / alone)))
        turn += calls[name] * alone
    return side_by_side(sides, max(2, min(rounds, int(seconds / turn))), calls, device)


def _seconds(do: Callable[[], object], calls: int, device: torch.device) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        do()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    """Until a GPU is done with all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ratios(over: list[float], under: list[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(over, under, strict=True)]
