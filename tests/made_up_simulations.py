"""Tables of simulations with numbers put in by hand, through the same `results.simulated` as a simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from heavytail import laws
from heavytail.evidence import theorems
from heavytail.lab import results, simulations
from heavytail.lab.simulations import (
    Averaging,
    Batches,
    Chaos,
    Discretisation,
    Fluctuations,
    Pruning,
    Simulation,
    Surely,
)

GRIDS = Path(__file__).resolve().parents[1] / "data" / "grids"
#: By quantity, or by (quantity, level): one number a repeat.
Numbers = Mapping[str | tuple[str, int], Sequence[float] | np.ndarray]
#: Enough for every claim held against a grid; 40 where none is named.
REPEATS = {
    "averaging": 60,
    "limit-law": 2000,
    "required-width": 2000,
    "trained": 3000,
    "surely": 60,
    "fluctuations": 6000,
}


def table(found: Iterable[tuple[Simulation, Numbers]]) -> pd.DataFrame:
    """A table of these simulations and what they found."""
    groups = [list(group) for _, group in groupby(found, key=lambda pair: type(pair[0]))]
    return pd.concat([_rows(group) for group in groups], ignore_index=True)


def _rows(found: Sequence[tuple[Simulation, Numbers]]) -> pd.DataFrame:
    """Rows of simulations of one study, all at once: a column holds the field of each as often as it found a number."""
    names = [(name, 0) if isinstance(name, str) else name for _, numbers in found for name in numbers]
    values = [np.asarray(each, float) for _, numbers in found for each in numbers.values()]
    counts = [len(each) for each in values]
    frame = pd.DataFrame(
        {
            "quantity": np.repeat([quantity for quantity, _ in names], counts).tolist(),
            "level": np.repeat([level for _, level in names], counts),
            "repeat": np.concatenate([np.arange(count) for count in counts]),
            "value": np.concatenate(values),
        }
    )
    own = [sum(map(len, numbers.values())) for _, numbers in found]
    records = [asdict(simulation) for simulation, _ in found]

    def column(values: list[Any]) -> pd.Series:
        return pd.Series(values).repeat(own).set_axis(frame.index)

    fields = {name: column([record[name] for record in records]) for name in records[0]}
    key = column([simulation.key for simulation, _ in found])
    return results.simulated(found[0][0].study, key, fields, frame, seconds=1.0, device="cpu")  # type: ignore[arg-type]


def steady(value: float, repeats: int) -> np.ndarray:
    """Numbers close to `value`, whose mean is exactly that."""
    turns = (np.arange(repeats) + 0.5) / repeats
    return value * (1 + (1e-3 * np.cos(2 * np.pi * turns) if repeats > 1 else 0 * turns))


def normal(repeats: int) -> np.ndarray:
    """Quantiles of the standard normal law."""
    return stats.norm.ppf((np.arange(repeats) + 0.5) / repeats)


def lawful(alpha: float, keep: float, noise: str, inputs: int, width: int, repeats: int) -> np.ndarray:
    """Pruning errors whose n^(2/α−1) error² are quantiles of the limit law."""
    points, shares = _limit_curve(alpha, keep, noise, inputs)
    squares = np.interp((np.arange(repeats) + 0.5) / repeats, shares, points)
    return np.sqrt(squares * width ** (1 - 2 / alpha))


@cache
def _limit_curve(alpha: float, keep: float, noise: str, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and the limit law's shares below them: the same for all widths and repeats."""
    law = laws.limit_law(alpha, keep, noise, inputs)
    points = np.geomspace(law.quantile(1e-6), law.quantile(1 - 1e-6), 2000)
    return points, law.cdf(points)


predicted_error = cache(laws.predicted_error)  # tables with other repeats want the same


@cache
def made_up(grid: str, *, agree: bool, repeats: int | None = None) -> pd.DataFrame:
    """The quick table of a grid, its numbers in agreement with all claims held against it, or with none."""
    repeats = REPEATS.get(grid, 40) if repeats is None else repeats
    todo = simulations.read_grid(GRIDS / f"{grid}.toml", "quick", repeats=repeats)
    return table((simulation, _NUMBERS[grid](simulation, agree)) for simulation in todo)


def _chaos(s: Chaos, agree: bool) -> Numbers:
    promised = -0.5 if agree else 0.0
    if s.activation == "relu":
        promised = 1 / s.alpha - 1 if agree else -0.7
    correlation = 0.0 if agree else 0.5
    spread = np.sqrt(1 / s.width + correlation)
    return {
        "distance": steady(0.3 * s.width**promised, s.repeats),
        "output": spread * normal(s.repeats),
        "output_square": steady(1.0, s.repeats),
        "reference_gap": [0.001],
    }


def _fluctuations(s: Fluctuations, agree: bool) -> Numbers:
    """Two neurons with n times a correlation of -0.2, where the limit says so too, or that they are independent."""
    correlation = -0.2 / s.width
    return {
        "distance": steady(0.3 / np.sqrt(s.width), s.repeats),
        "output": np.sqrt((1 + (s.width - 1) * correlation) / s.width) * normal(s.repeats),
        "output_square": steady(1.0, s.repeats),
        "reference_gap": [0.001],
        "limit_distance": steady(0.3 if agree else 0.25, s.repeats),
        "limit_output": (np.sqrt(0.8) if agree else 1.0) * normal(s.repeats),
        "free_output": normal(s.repeats),
    }


def _discretisation(s: Discretisation, agree: bool) -> Numbers:
    found: dict[str | tuple[str, int], np.ndarray] = {("jump", s.finest): steady(3.0, s.repeats)}
    order = 1 / s.alpha if agree else 1 / s.alpha - 0.3
    largest = theorems.largest_of_kicks(pd.DataFrame([asdict(s)]))[s.width] if agree else s.width**order
    for level in s.levels:
        found["grid", level] = steady(level ** (-1.0 if agree else -0.5), s.repeats)
        found["fixed", level] = steady(level**-order, s.repeats)
        found["particles", level] = steady(largest * level**-order, s.repeats)
        found["supremum", level] = steady(3.0 if agree else 1.5, s.repeats)
    return found


def _rate(s: Pruning, agree: bool) -> Numbers:
    return {"error": steady(0.4 * s.width ** (0.5 - 1 / s.alpha + (0 if agree else 0.1)), s.repeats)}


def _trained(s: Pruning, agree: bool) -> Numbers:
    layer = {"noise": s.noise, "inputs": s.inputs, "spread": s.spread, "scale": s.sigma * s.horizon ** (1 / s.alpha)}
    if agree:  # quantiles of the prediction, the median among them, over and over
        ends = [predicted_error(s.alpha, s.width, s.keep, **layer, quantile=(k + 0.5) / 11) for k in range(11)]
        errors = np.resize(ends[5:] + ends[:5], s.repeats)
    else:
        errors = steady(0.99 * (s.width / 4096) ** 0.1, s.repeats)
    return {
        "error": errors,
        "noise_error": errors / 2,
        "bulk": steady(1.5, s.repeats),
        "rest": steady(2.5, s.repeats),
    }


def _limit(s: Pruning, agree: bool) -> Numbers:
    error = lawful(s.alpha, s.keep, s.noise, s.inputs, s.width, s.repeats)
    return {"error": error if agree else 1.5 * error}


def _surely(s: Surely, agree: bool) -> Numbers:
    errors = steady(0.3, s.repeats)
    others = {name: steady(1.0, s.repeats) for name in ("noise_error", "drift", "moved")}
    return {"error": errors, "bound": errors * (1.0 if agree else 0.999), **others}


def _batches(s: Batches, agree: bool) -> Numbers:
    power = (-0.5 if s.batch else -1.0) + (0.0 if agree else 0.05)
    return {(name, level): steady(level**power, s.repeats) for level in s.levels for name in ("grid", "end")}


def _averaging(s: Averaging, agree: bool) -> Numbers:
    power = 1 / s.alpha - 1 + (0.0 if agree else 0.1)
    layer = {"noise": s.noise, "inputs": s.inputs, "spread": s.spread}
    law = predicted_error(s.alpha, s.width, s.keep, **layer, scale=s.clients ** (1 / s.alpha - 1))
    return {
        "scale": steady(s.clients**power, s.repeats),
        "index": steady(s.alpha if agree else s.alpha - 0.1, s.repeats),
        "error": steady(law if agree else 1.1 * law, s.repeats),
    }


_NUMBERS: Mapping[str, Callable[..., Numbers]] = {
    "chaos": _chaos,
    "fluctuations": _fluctuations,
    "assumptions": _chaos,
    "discretisation": _discretisation,
    "rate": _rate,
    "ablation": _rate,
    "trained": _trained,
    "limit-law": _limit,
    "required-width": _limit,
    "surely": _surely,
    "averaging": _averaging,
    "batches": _batches,
}
