"""The picture of the package: a room above all that it imports."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from heavytail.book import rooms
from heavytail.book.figures.layouts import STAYS_WIDE
from heavytail.book.figures.style import COLOURS, FAINT, GROUND, INK, TINT

WIDTH = 7.6  # of the picture, inches: hardly more than a page shows
FLOOR = 0.72  # height of one
CROWD = 8  # rooms of a floor above which they stand in two rows
HIGH, LETTER = 0.3, 0.085  # a room's height and a letter's width, inches
BENDS = (0.0, 0.1, -0.1, 0.2, -0.2, 0.35, -0.35)  # of a line, by how much we like them


def plan(found: Mapping[str, rooms.Room]) -> Figure:
    """Rooms by name, each above what it imports, and a line from each down to every one that it imports.

    Imports that a chain of others implies have no line. A room that is a wing is filled.
    """
    floors, lines = rooms.floors(found), rooms.direct(found)
    places = _places(floors, lines)
    figure, axis = plt.subplots(figsize=(WIDTH, FLOOR * len(floors)), label=STAYS_WIDE)
    axis.set(xlim=(-0.025, 1.025), ylim=(-0.6, len(floors) - 0.4))  # room for the names at the ends
    axis.axis("off")
    for name, target in sorted(lines):
        others = {other: place for other, place in places.items() if other not in (name, target)}
        bend = min(BENDS, key=lambda bend: _hidden(places[target], places[name], bend, others))
        curve = f"arc3,rad={bend}"
        line = FancyArrowPatch(places[target], places[name], arrowstyle="-", connectionstyle=curve)
        line.set(linewidth=0.8, color=FAINT)
        axis.add_patch(line)
    for name, (x, y) in places.items():
        face = TINT if name in rooms.WINGS else GROUND
        box = {"boxstyle": "round,pad=0.35", "facecolor": face, "edgecolor": COLOURS["Type-II"], "linewidth": 1.1}
        axis.text(x, y, name, ha="center", va="center", fontsize=9, color=INK, bbox=box, zorder=2)
    return figure


def _hidden(
    start: tuple[float, float], end: tuple[float, float], bend: float, others: Mapping[str, tuple[float, float]]
) -> int:
    """How many points of a bent line lie behind other rooms."""
    scale = np.array([WIDTH, FLOOR])
    first, last = np.array(start) * scale, np.array(end) * scale
    across = np.array([last[1] - first[1], first[0] - last[0]])
    control = (first + last) / 2 + bend * across  # as matplotlib's arc3
    t = np.linspace(0, 1, 60)[:, None]
    points = (1 - t) ** 2 * first + 2 * t * (1 - t) * control + t**2 * last
    behind = 0
    for name, place in others.items():
        off = np.abs(points - np.array(place) * scale)
        behind += int(((off[:, 0] < LETTER * len(name) / 2 + 0.15) & (off[:, 1] < HIGH / 2)).sum())
    return behind


def _places(floors: list[list[str]], lines: set[tuple[str, str]]) -> dict[str, tuple[float, float]]:
    """Where each room lies: floors from below, and on a floor so that few lines cross and few lead far."""
    order = [list(floor) for floor in floors]
    best = _cost(_spread(order), lines)
    better = True
    while better:  # rooms of a floor change places as long as that helps
        better = False
        for floor in order:
            for one, other in combinations(range(len(floor)), 2):
                floor[one], floor[other] = floor[other], floor[one]
                cost = _cost(_spread(order), lines)
                if cost < best:
                    best, better = cost, True
                else:
                    floor[one], floor[other] = floor[other], floor[one]
    return _spread(order)


def _spread(order: list[list[str]]) -> dict[str, tuple[float, float]]:
    def row(floor: list[str], slot: int) -> float:
        return (0.22 if slot % 2 else -0.22) if len(floor) > CROWD else 0.0

    return {
        name: ((slot + 0.5) / len(floor), height + row(floor, slot))
        for height, floor in enumerate(order)
        for slot, name in enumerate(floor)
    }


def _cost(places: Mapping[str, tuple[float, float]], lines: set[tuple[str, str]]) -> float:
    """Crossings of lines, and what they lead sideways."""
    ends = [(places[target], places[name]) for name, target in sorted(lines)]
    sideways = sum(abs(high[0] - low[0]) for low, high in ends)
    return sum(_cross(one, other) for one, other in combinations(ends, 2)) + round(sideways, 6)


def _cross(one: tuple[tuple[float, float], ...], other: tuple[tuple[float, float], ...]) -> bool:
    """Whether two lines, each from its lower end up, change sides between the heights that both pass."""
    low, high = max(one[0][1], other[0][1]), min(one[1][1], other[1][1])
    if low >= high:
        return False
    sides = [_at(one, height) - _at(other, height) for height in (low, high)]
    return sides[0] * sides[1] < -1e-12


def _at(line: tuple[tuple[float, float], ...], height: float) -> float:
    (x, y), (to_x, to_y) = line
    return x + (to_x - x) * (height - y) / (to_y - y)
