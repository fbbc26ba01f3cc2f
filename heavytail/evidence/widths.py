"""Width: what a wider network prunes and keeps, and what the limit law says it should."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
from scipy import optimize

from heavytail import compress, laws
from heavytail.evidence.cells import Cell, Sample, medians
from heavytail.evidence.experiments import AT_SHARES, diverged, mean_accuracy, outcomes, unpenalised
from heavytail.evidence.intervals import paired

ERROR = math.sqrt(compress.SQUARED_ERROR)


def compressibility(table: pd.DataFrame) -> list[Cell]:
    """Pruning ratio at the largest width less that at the smallest: a cell is one noise at one setting."""
    return widest_less_narrowest(table[table["noise"].notna()], lambda rows: rows["pruning_ratio"])


def accuracy_at_equal_share(table: pd.DataFrame) -> list[Cell]:
    """What width adds to test accuracy at an equal pruned share with noise, less what it adds without.

    Mean over the pruned shares 0.1 to 0.9, at the largest width less at the smallest, and of that the same difference
    of plain SGD of the same seed and step size taken off. A diverged run is at chance.
    """
    held = outcomes(table, AT_SHARES)
    gains = _widest_less_narrowest(held, mean_accuracy(held))
    plain = {lr: sample.values for lr, sample in gains if not sample.noise}
    nothing = pd.Series(dtype=float)
    return medians([replace(s, values=paired(s.values, plain.get(lr, nothing))) for lr, s in gains if s.noise])


def widest_less_narrowest(table: pd.DataFrame, quantity: Callable[[pd.DataFrame], pd.Series]) -> list[Cell]:
    """A quantity at the largest width less at the smallest, seed by seed; plain SGD, if it is there, comes first.

    Networks of two widths have starts and kicks of their own: a seed pairs them by its batches alone, if at all. A
    setting without runs at both widths is left out.
    """
    return medians([sample for _, sample in _widest_less_narrowest(table, quantity(table))])


def pruned_against_narrow(table: pd.DataFrame, share: float = 0.9) -> list[Cell]:
    """Test accuracy of the widest network with this share pruned less that of one trained with as few neurons.

    Of the widths it takes the largest whose rest, `width * (1 - share)`, is a width of the table too; no cell if there
    is none. `share` is one of `results.SHARES`. Seed by seed, plain SGD first.
    """
    every = set(table["width"])
    pairs = [(wide, round(wide * (1 - share))) for wide in every if round(wide * (1 - share)) in every - {wide}]
    if not pairs:
        return []
    wide, narrow = max(pairs)
    pruned = f"test_accuracy_share_{share:.1f}"
    held = outcomes(table, [pruned, "test_accuracy"])
    return medians([sample for _, sample in _less(held, held[pruned], wide, held["test_accuracy"], narrow)])


def limit_share(alpha: float, width: float, error: float = ERROR, probability: float = 0.5) -> float:
    """The share that pure Type-I noise lets go at this width with this probability, for a relative error of `error`.

    In (0, 1): one less the share kept at which `laws.required_width` is the width. The law is asymptotic: at a hundred
    columns, or where a handful is left, it is a guide. Raises ValueError where the share is nearer to 0 or 1 than
    10^-6, and as `laws.required_width` does. [D]
    """

    def excess(keep: float) -> float:
        needed = laws.required_width(alpha, keep, error, probability)
        return min(math.log(needed), 700.0) - math.log(width)

    low, high = 1e-6, 1 - 1e-6
    if not (width > 1 and excess(low) > 0 > excess(high)):
        raise ValueError(f"at no share kept is {width:g} the required width, for alpha = {alpha:g} and error {error:g}")
    return 1 - float(optimize.brentq(excess, low, high, xtol=1e-7))


def _widest_less_narrowest(table: pd.DataFrame, values: pd.Series) -> list[tuple[float, Sample]]:
    narrow, wide = table["width"].min(), table["width"].max()
    if table.empty or narrow == wide:
        return []  # nothing to compare
    return _less(table, values, wide, values, narrow)


def _less(
    table: pd.DataFrame, values: pd.Series, wide: int, others: pd.Series, narrow: int
) -> list[tuple[float, Sample]]:
    """Per setting its step size and, seed by seed, `values` at the width `wide` less `others` at `narrow`.

    Plain SGD comes first.
    """
    samples = []
    held = table.assign(first=values.to_numpy(dtype=float), second=others.to_numpy(dtype=float))
    held = unpenalised(held)
    for (kind, alpha, sigma, lr), rows in held.groupby(["noise", "alpha", "sigma", "lr"], dropna=False):
        by_seed = rows.set_index("seed")
        left, right = (by_seed.loc[by_seed["width"] == n, side] for side, n in (("first", wide), ("second", narrow)))
        if left.empty or right.empty:
            continue
        plain = pd.isna(kind)
        label = "plain SGD" if plain else f"{kind}, α = {alpha:g}, σ = {sigma:g}"
        label += f", η = {lr:g}" if held["lr"].nunique() > 1 else ""
        lost = diverged(rows, rows["first"])
        sample = Sample(f"{label}, width {wide} less {narrow}", "" if plain else str(kind), paired(left, right), lost)
        samples.append((float(lr), sample))
    return sorted(samples, key=lambda sample: bool(sample[1].noise))
