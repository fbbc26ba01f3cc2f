"""Measures of the theory's claims: a table of simulations in, cells out. A cell is one setting at one alpha."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
from scipy import stats

from heavytail import laws, noise, streams
from heavytail.evidence.cells import Cell, median_cell, share_cell
from heavytail.evidence.intervals import LEVEL, least_seeds
from heavytail.evidence.slopes import exponent
from heavytail.lab.simulations import record

PROMISED = 0.99  # the probability with which a trained network's error should stay below what is predicted
KICKS = 2**20  # drawn where the largest of some is asked for
WIDE = 512  # neurons from which the smallest squared norms have nearly their mean

ONE_BROKEN = {
    "ReLU": {"activation": "relu", "trained": False, "summed": False},
    "outputs trained": {"activation": "tanh", "trained": True, "summed": False},
    "summed": {"activation": "tanh", "trained": False, "summed": True},
}


def _cells(table: pd.DataFrame, quantity: str, *by: str) -> Iterator[tuple[str, float, pd.DataFrame]]:
    """One quantity's rows cell by cell: (label, alpha, rows); a cell is one alpha at one value of each of `by`."""
    chosen = table[table["quantity"] == quantity]
    for values, rows in chosen.groupby(["alpha", *by], sort=True):
        alpha, *others = values
        label = ", ".join([f"α = {alpha:g}", *(f"{_NAMES[name]} = {v:g}" for name, v in zip(by, others, strict=True))])
        yield label, float(alpha), rows


_NAMES = {"sigma": "σ", "width": "n", "spread": "spread", "horizon": "T"}


def chaos(table: pd.DataFrame) -> list[Cell]:
    """T1: exponent of n in the distance between a particle and its limit."""
    return [exponent(label, rows, "width") for label, _, rows in _cells(table, "distance", "sigma")]


def independence(table: pd.DataFrame) -> list[Cell]:
    """n times the correlation between the outputs of two neurons, at every width, from the variance of their mean.

    The correlation itself is at least -1/(n-1) by algebra, so that it is small says little.
    """
    return [
        replace(scaled(pair_correlation(rows, table), float(rows["width"].iloc[0])), label=label)
        for label, _, rows in _cells(table, "output", "sigma", "width")
    ]


def pair_correlation(rows: pd.DataFrame, table: pd.DataFrame) -> Cell:
    """Correlation of two neurons' outputs from the `output` rows of one width; their squares are in `table`."""
    squares = table[(table["quantity"] == "output_square") & table["key"].isin(rows["key"])]
    ratio = inflation(rows["value"].to_numpy(), squares["value"].to_numpy(), n := int(rows["width"].iloc[0]))
    return scaled(ratio, 1 / (n - 1), -1.0)


def inflation(outputs: np.ndarray, squares: np.ndarray, width: int) -> Cell:
    """n Var(f) over the variance of one neuron's output: 1 if neurons are independent. Interval from the χ² law."""
    n = len(outputs)
    if n < least_seeds():
        return Cell("", math.nan, -math.inf, math.inf, n, seeds=n)
    value = width * outputs.var(ddof=1) / (squares.mean() - outputs.mean() ** 2)
    low, high = (n - 1) / stats.chi2.ppf([(1 + LEVEL) / 2, (1 - LEVEL) / 2], n - 1)
    return Cell("", float(value), float(value * low), float(value * high), n, seeds=n)


def constant(table: pd.DataFrame) -> list[Cell]:
    """T1: √n times the mean distance over that of the Gaussian limit."""
    cells = []
    for label, _, rows in _cells(table, "distance", "sigma", "width"):
        limits = _of_the_same(table, "limit_distance", rows)
        cells.append(ratio_of_means(label, rows["value"] * np.sqrt(rows["width"]), limits))
    return cells


def independence_as_predicted(table: pd.DataFrame) -> list[Cell]:
    """n times the correlation of two neurons' outputs, less what the Gaussian limit says it tends to.

    That is Var(g) / Var(G) − 1 of `Fluctuations`. The ends add up those of both numbers.
    """
    cells = []
    for label, _, rows in _cells(table, "output", "sigma", "width"):
        measured = scaled(pair_correlation(rows, table), float(rows["width"].iloc[0]))
        seen, free = (_of_the_same(table, name, rows) for name in ("limit_output", "free_output"))
        low, value, high = variance_ratio(seen, free)
        least, most = measured.low - high + 1, measured.high - low + 1
        cells.append(replace(measured, label=label, value=measured.value - value + 1, low=least, high=most))
    return cells


def _of_the_same(table: pd.DataFrame, quantity: str, rows: pd.DataFrame) -> np.ndarray:
    """Another quantity of the simulations of these rows, repeat by repeat."""
    chosen = table[(table["quantity"] == quantity) & table["key"].isin(rows["key"])]
    return chosen.sort_values("repeat")["value"].to_numpy()


def ratio_of_means(label: str, values: Iterable[float], others: Iterable[float]) -> Cell:
    """The mean of some positive numbers over that of others, independent of them, with the ends of a normal law.

    The logarithm of a mean is nearly normal where there are hundreds of numbers of a law with moments; with fewer than
    `least_seeds` there are no ends.
    """
    logs = off = 0.0
    few = []
    for sign, sample in ((1, np.asarray(list(values))), (-1, np.asarray(list(others)))):
        logs += sign * math.log(sample.mean())
        few.append(len(sample))
        off += sample.var(ddof=1) / sample.mean() ** 2 / len(sample) if len(sample) > 1 else math.inf
    reach = stats.norm.ppf((1 + LEVEL) / 2) * math.sqrt(off) if min(few) >= least_seeds() else math.inf
    ends = (0.0, math.inf) if math.isinf(reach) else (math.exp(logs - reach), math.exp(logs + reach))
    return Cell(label, math.exp(logs), *ends, min(few), seeds=min(few))


def variance_ratio(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """The variance of one normal variable over that of another, drawn in pairs: its lower end, itself, its upper end.

    Of pairs with correlation r the logarithm has a standard deviation of 2 √((1 − r²) / n). Without numbers to speak
    of, fewer than `least_seeds`, the ends are 0 and inf.
    """
    n = len(first)
    if n < least_seeds():
        return 0.0, math.nan, math.inf
    value = float(first.var() / second.var())
    free = max(0.0, 1 - float(np.corrcoef(first, second)[0, 1]) ** 2)
    reach = float(stats.norm.ppf((1 + LEVEL) / 2)) * 2 * math.sqrt(free / n)
    return value * math.exp(-reach), value, value * math.exp(reach)


def fixed_time(table: pd.DataFrame) -> list[Cell]:
    """T2: exponent of η in the error of one particle just before t = 1, less 1/α."""
    return _in_steps(_widest(table), "fixed")


def largest_in_steps(table: pd.DataFrame) -> list[Cell]:
    """T2: exponent of η in the largest error among n particles, all widths together, less 1/α; alpha < 2."""
    return _in_steps(table[table["alpha"] < 2], "particles")


def _in_steps(table: pd.DataFrame, quantity: str) -> list[Cell]:
    """Exponent of η in an error at a fixed time, less 1/α."""
    return [
        exponent(label, rows, "eta", against=laws.euler_rate(alpha, "fixed time"), typical=True)
        for label, alpha, rows in _cells(_with_eta(table), quantity)
    ]


def largest_in_neurons(table: pd.DataFrame) -> list[Cell]:
    """T2: exponent of n in that error, all steps together, less that of the largest of n kicks; alpha < 2.

    The latter tends to 1/α with n, slowly near 2: `largest_of_kicks` has it at the widths of the table.
    """
    cells = []
    for label, _, rows in _cells(_with_eta(table[table["alpha"] < 2]), "particles"):
        over = rows["width"].map(largest_of_kicks(rows))
        logs = np.log(rows["value"] / over).groupby([rows["key"], rows["width"], rows["repeat"]]).mean()
        cells.append(exponent(label, np.exp(logs).rename("value").reset_index(), "width", typical=True))
    return cells


def largest_of_kicks(rows: pd.DataFrame) -> dict[int, float]:
    """The typical largest norm among n kicks of scale 1, its geometric mean, at the widths n of one setting.

    From a million kicks: with the j-th smallest norm r_j of N the largest of n is at most r_j with probability (j/N)^n.
    """
    one = rows.iloc[0]
    generator = streams.generator(0, "noise")
    kicks = noise.vectors(one["alpha"], one["noise"], (KICKS, int(one["inputs"])), generator=generator)
    logs = np.log(np.sort(record.norms(kicks, int(one["inputs"])).double().numpy()))
    below = np.arange(KICKS + 1) / KICKS
    return {int(n): math.exp(float(np.diff(below ** int(n)) @ logs)) for n in rows["width"].unique()}


def on_grid(table: pd.DataFrame) -> list[Cell]:
    """T2: exponent of η in the error on grid points, for steps at least 16 times the finest."""
    return _orders(_widest(table), "grid")


def with_batches(table: pd.DataFrame) -> list[Cell]:
    """T2 with minibatches: the same exponent in the error at t = 1."""
    return _orders(table[table["batch"] > 0], "end")


def with_all_samples(table: pd.DataFrame) -> list[Cell]:
    """T2 with full batches, beside them: the same exponent in the largest error on grid points."""
    return _orders(table[table["batch"] == 0], "grid")


def _orders(table: pd.DataFrame, quantity: str) -> list[Cell]:
    """Exponent of η in an error, for steps at least 16 times the finest."""
    coarse = _with_eta(table)
    coarse = coarse[coarse["level"] * 16 <= coarse["finest"]]
    return [exponent(label, rows, "eta", typical=True) for label, _, rows in _cells(coarse, quantity)]


def supremum(table: pd.DataFrame) -> list[Cell]:
    """T2: the error's supremum over time at the smallest η, over the largest jump of its path, median; alpha < 2."""
    cells = []
    for label, _, rows in _cells(_widest(table[table["alpha"] < 2]), "supremum"):
        finest = rows[rows["level"] == rows["level"].max()].set_index("repeat")["value"]
        jump = table[(table["quantity"] == "jump") & table["key"].isin(rows["key"])].set_index("repeat")["value"]
        cells.append(median_cell(label, finest / jump.reindex(finest.index)))
    return cells


def rate(table: pd.DataFrame) -> list[Cell]:
    """Exponent of n in the relative pruning error, less 1/2 − 1/α."""
    return [
        exponent(label, rows, "width", against=laws.compression_rate(alpha), typical=True)
        for label, alpha, rows in _cells(table, "error")
    ]


def compressible(table: pd.DataFrame) -> list[Cell]:
    """T3: share of the widest trained networks whose error stays below what is predicted for them; alpha < 2."""
    widest = table[(table["width"] == table["width"].max()) & (table["alpha"] < 2)]
    cells = []
    for label, _, rows in _cells(widest, "error", "width"):
        bound = predicted(rows, int(rows["width"].iloc[0]), PROMISED)
        cells.append(share_cell(f"{label}, error ≤ {bound:.2f}", int((rows["value"] <= bound).sum()), len(rows)))
    return cells


def surely(table: pd.DataFrame) -> list[Cell]:
    """T3: share of trained networks whose error exceeds what start plus noise and their outputs allow, by network."""
    cells = []
    for label, _, rows in _cells(table, "error"):
        for (activation, trained), own in rows.groupby(["activation", "trained"]):
            bound = table[(table["quantity"] == "bound") & table["key"].isin(own["key"])]
            beyond = beyond_bound(own, bound)
            network = f"{activation}, {'both layers' if trained else 'one layer'} trained"
            cells.append(share_cell(f"{network}, {label}", int(beyond.sum()), len(beyond)))
    return cells


def beyond_bound(errors: pd.DataFrame, bounds: pd.DataFrame) -> pd.Series:
    """Whether the error of each network is above its bound, of rows of the two quantities; NaN is above it."""
    error, bound = (rows.set_index(["key", "repeat"])["value"] for rows in (errors, bounds))
    return ~(error <= bound.reindex(error.index))


def as_predicted(table: pd.DataFrame) -> list[Cell]:
    """The error of trained networks over its predicted median, of the widths from WIDE on together."""
    wide = table[table["width"] >= WIDE]
    return [median_cell(label, over_prediction(rows)["value"]) for label, _, rows in _cells(wide, "error")]


def rate_as_predicted(table: pd.DataFrame) -> list[Cell]:
    """Exponent of n in the same quotient, at all widths, over the size of that of the limit; alpha < 2."""
    return [
        scaled(exponent(label, over_prediction(rows), "width", typical=True), -1 / laws.compression_rate(alpha))
        for label, alpha, rows in _cells(table[table["alpha"] < 2], "error")
    ]


def over_prediction(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of errors in one setting, each over the median that is predicted at its width."""
    medians = {width: predicted(rows, int(width), 0.5) for width in rows["width"].unique()}
    return rows.assign(value=rows["value"] / rows["width"].map(medians))


def spread_as_predicted(table: pd.DataFrame) -> list[Cell]:
    """Share of trained networks whose error is between its predicted quantiles 0.1 and 0.9, as above; alpha < 2."""
    cells = []
    for label, _, rows in _cells(table[(table["width"] >= WIDE) & (table["alpha"] < 2)], "error"):
        widths = {int(width) for width in rows["width"]}
        low, high = (rows["width"].map({n: predicted(rows, n, end) for n in widths}) for end in (0.1, 0.9))
        cells.append(share_cell(label, int(((low < rows["value"]) & (rows["value"] <= high)).sum()), len(rows)))
    return cells


def predicted(rows: pd.DataFrame, width: int, probability: float) -> float:
    """The error that networks of this width in the setting of these rows stay below, from start and noise alone."""
    one = rows.iloc[0]
    alpha = float(one["alpha"])
    return _predicted_error(
        alpha,
        width,
        float(one["keep"]),
        noise=one["noise"],
        inputs=int(one["inputs"]),
        spread=float(one["spread"]),
        scale=float(one["sigma"] * one["horizon"] ** (1 / alpha)),
        quantile=probability,
    )


_predicted_error = cache(laws.predicted_error)  # several claims ask for the same


def limit_law(table: pd.DataFrame) -> list[Cell]:
    """Largest distance between the distribution of n^(2/α−1) error² and its limit law.

    The ends are those of Dvoretzky, Kiefer and Wolfowitz, with the constant of Massart: the distribution that was drawn
    from is as far from that of the sample, at most, with the probability LEVEL.
    """
    cells = []
    for label, _, rows in _cells(table, "error", "width"):
        distance = from_law(rows)
        off = math.sqrt(math.log(2 / (1 - LEVEL)) / (2 * len(rows)))
        cells.append(Cell(label, distance, max(0.0, distance - off), distance + off, len(rows), seeds=len(rows)))
    return cells


def from_law(rows: pd.DataFrame) -> float:
    """Largest distance between the distribution of n^(2/α−1) error² of one setting and its limit law."""
    return float(stats.kstest(rescaled(rows), noise_law(rows).cdf).statistic)


def noise_law(rows: pd.DataFrame) -> laws.LimitLaw:
    """Limit law of the columns of pure noise of one setting."""
    one = rows.iloc[0]
    return laws.limit_law(one["alpha"], one["keep"], one["noise"], int(one["inputs"]))


def rescaled(rows: pd.DataFrame) -> np.ndarray:
    """n^(2/α−1) error², what the limit law is the law of."""
    return (rows["width"] ** (2 / rows["alpha"] - 1) * rows["value"] ** 2).to_numpy()


def at_required_width(table: pd.DataFrame) -> list[Cell]:
    """Share of matrices with error at most 0.1, at the width where the law says one half."""
    return [
        share_cell(label, int((rows["value"] <= 0.1).sum()), len(rows))
        for label, _, rows in _cells(table, "error", "width")
    ]


def unbounded(table: pd.DataFrame) -> list[Cell]:
    """ReLU: exponent of n in the distance to the limit."""
    broken = table[table["activation"] == "relu"]
    return [exponent(label, rows, "width", typical=True) for label, _, rows in _cells(broken, "distance")]


def unbounded_rate(table: pd.DataFrame, narrowest: int = 0) -> list[Cell]:
    """The same less −(1 − 1/α), over widths from `narrowest` on."""
    broken = table[(table["activation"] == "relu") & (table["width"] >= narrowest)]
    return [
        exponent(label, rows, "width", against=laws.chaos_rate(alpha, bounded=False), typical=True)
        for label, alpha, rows in _cells(broken, "distance")
    ]


def trained_outputs(table: pd.DataFrame) -> list[Cell]:
    """Second layer trained: exponent of n in the distance to the limit."""
    return [exponent(label, rows, "width") for label, _, rows in _cells(table[table["trained"]], "distance")]


def summed(table: pd.DataFrame) -> list[Cell]:
    """No 1/n: exponent of n in the distance that training moves a particle away from start plus noise."""
    return [exponent(label, rows, "width") for label, _, rows in _cells(table[table["summed"]], "distance")]


def broken_rate(table: pd.DataFrame) -> list[Cell]:
    """Exponent of n in the pruning error with one assumption broken, less 1/2 − 1/α."""
    cells = []
    for name, broken in ONE_BROKEN.items():
        chosen = table[np.logical_and.reduce([table[field] == value for field, value in broken.items()])]
        cells += [replace(cell, label=f"{name}, {cell.label}") for cell in rate(chosen)]
    return cells


def _widest(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["width"] == table["width"].max()]


def _with_eta(table: pd.DataFrame) -> pd.DataFrame:
    """With the column eta, the coarse step."""
    table = table[table["level"] > 0]
    return table.assign(eta=1 / table["level"])


def scaled(cell: Cell, factor: float, shift: float = 0.0) -> Cell:
    """(cell + shift) * factor."""
    return replace(cell, **{name: (getattr(cell, name) + shift) * factor for name in ("value", "low", "high")})
