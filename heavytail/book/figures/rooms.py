"""The picture of the package: a room above all that it imports."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from heavytail.book import rooms
from heavytail.book.figures.style import COLOURS

WIDTH = 10.0  # of the picture, inches
FLOOR = 0.72  # height of one


def plan(found: Mapping[str, rooms.Room]) -> Figure:
    """Rooms by name, each above what it imports, and a line from each down to every one that it imports.

    Imports that a chain of others implies have no line.
    """
    floors, lines = rooms.floors(found), rooms.direct(found)
    places = _places(floors, lines)
    figure, axis = plt.subplots(figsize=(WIDTH, FLOOR * len(floors)))
    axis.set(xlim=(0, 1), ylim=(-0.6, len(floors) - 0.4))
    axis.axis("off")
    for name, target in sorted(lines):
        (x, y), (below_x, below_y) = places[name], places[target]
        # A long line goes around what lies between.
        bend = 0.0 if y - below_y == 1 else 0.12 * np.sign(below_x - x or 1.0)
        curve = f"arc3,rad={bend}"
        line = FancyArrowPatch((below_x, below_y), (x, y), arrowstyle="-", connectionstyle=curve)
        line.set(linewidth=0.8, color="0.55")
        axis.add_patch(line)
    for name, (x, y) in places.items():
        box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": COLOURS["Type-II"], "linewidth": 1.1}
        axis.text(x, y, name, ha="center", va="center", fontsize=9, bbox=box, zorder=2)
    return figure


def _places(floors: list[list[str]], lines: set[tuple[str, str]]) -> dict[str, tuple[float, float]]:
    """Where each room lies: floors from below, and on a floor near what it is tied to."""
    order = [list(floor) for floor in floors]
    ties: dict[str, list[str]] = {name: [] for floor in floors for name in floor}
    for name, target in lines:
        ties[name].append(target)
        ties[target].append(name)
    places: dict[str, tuple[float, float]] = {}
    for _ in range(12):  # each sweep moves rooms to the middle of their ties, then spreads them evenly
        places = {
            name: ((slot + 0.5) / len(floor), float(height))
            for height, floor in enumerate(order)
            for slot, name in enumerate(floor)
        }
        middle = {name: np.mean([places[other][0] for other in others] or [0.5]) for name, others in ties.items()}
        order = [sorted(floor, key=lambda name: (middle[name], name)) for floor in order]
    return places
