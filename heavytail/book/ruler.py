"""The piece *How wide is wide enough*: the required width on a logarithmic ruler, for settings that the reader moves.

`book/_static/ruler.js` draws. By the law the logarithm of the width is a number that depends on noise, α and share
kept, less `2α/(2−α)` times that of the error. That number comes with the page for each setting that can be chosen, so
nothing is interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch

from heavytail import laws, noise
from heavytail.book import pieces
from heavytail.book.tables import PAPER_TYPE, Html
from heavytail.noise import Noise

INPUTS = 784  # of a column with Type-II or III; for Type-I they do not matter

#: What can be chosen. The last error but two is that of the paper's criterion, a squared error of 0.1.
NOISES: tuple[Noise, ...] = ("shared", "entrywise", "isotropic")
ALPHAS = tuple(round(1.1 + 0.05 * step, 2) for step in range(18))
KEEPS = (0.01, 0.05, 0.1, 0.2, 0.5)
ERRORS = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, math.sqrt(0.1), 0.4, 0.5)

#: Widths of the matrices that are drawn, and how many of each. One of wide columns has INPUTS times the draws.
WIDTHS = {"shared": (100, 1000, 10_000, 30_000), "entrywise": (100, 300), "isotropic": (100, 300)}
MATRICES = 9

_SMALL = 1e-3  # an error at which every width is above 1, where the law says nothing
_DIGITS = 3  # of a matrix's error


@dataclass(frozen=True)
class Landmark:
    """A number on the ruler, and what there are so many of."""

    number: float
    name: str


#: Known numbers; the chapter cites where they are from.
KNOWN = (
    Landmark(49_152, "a hidden layer of GPT-3"),
    Landmark(8.6e10, "the neurons of a brain"),
    Landmark(6.02214076e23, "the molecules in 18 g of water"),
)


@cache
def log_width_at_one(kind: Noise, alpha: float, keep: float) -> float:
    """The natural logarithm of the width at which the law's line reaches the error 1; below 1 columns it may lie.

    At any error ε, `log_required_width` is this less `2α/(2−α) log ε`, but not below 0.

    >>> log = log_width_at_one("shared", 1.5, 0.1) - 2 * 1.5 / 0.5 * math.log(0.1)
    >>> round(math.exp(log))
    895869
    """
    inputs = 1 if kind == "shared" else INPUTS
    log = laws.log_required_width(alpha, keep, _SMALL, noise=kind, inputs=inputs)
    return log + 2 * alpha / (2 - alpha) * math.log(_SMALL)


def simulated(kind: Noise, alpha: float, seed: int) -> dict[int, np.ndarray]:
    """Errors of matrices of pure noise: width -> (MATRICES, KEEPS), relative and in the Frobenius norm."""
    rows = {}
    for place, width in enumerate(WIDTHS[kind]):
        shape = (MATRICES, width, 1 if kind == "shared" else INPUTS)
        columns = torch.zeros(shape)
        for matrix, weight in enumerate(columns):
            step = (NOISES.index(kind) * len(ALPHAS) + ALPHAS.index(alpha)) * len(WIDTHS["shared"]) + place
            noise.add(weight, alpha, kind, 1.0, key=seed, step=step * MATRICES + matrix)
        squares = columns.double().square().sum(-1).sort(-1).values
        held = squares.cumsum(-1)
        kept = torch.tensor([width - round(keep * width) - 1 for keep in KEEPS])
        rows[width] = (held[:, kept] / held[:, -1:]).sqrt().numpy()
    return rows


def medians(tables: Iterable[pd.DataFrame]) -> list[dict[str, float]]:
    """From tables of simulations, the median errors of matrices of pure Type-I noise at settings that can be chosen.

    Alpha, keep, width and error of each, and how many matrices it is of; ready for `page`.
    """
    rows = pd.concat(tables)
    rows = rows[(rows["quantity"] == "error") & (rows["noise"] == "shared") & (rows["steps"] == 0)]
    rows = rows[rows["alpha"].isin(ALPHAS) & rows["keep"].isin(KEEPS)]
    found = rows.groupby(["alpha", "keep", "width"])["value"].agg(error="median", matrices="count").reset_index()
    return found.to_dict("records")


def page(
    landmarks: Iterable[Landmark],
    alpha: float,
    keep: float,
    error: float,
    seed: int,
    committed: Sequence[Mapping[str, float]] = (),
    static: str = "../_static",
) -> Html:
    """The piece as HTML, which opens at Type-I noise and these settings; `static` is where its script lies.

    `landmarks` are on the ruler beside KNOWN. `committed` are medians of many matrices of Type-I noise: alpha, keep,
    width and error of each. What a reader sees without the script is a table of widths.

    Raises ValueError for a setting that cannot be chosen.
    """
    for name, value, values in (("alpha", alpha, ALPHAS), ("keep", keep, KEEPS), ("error", error, ERRORS)):
        if value not in values:
            raise ValueError(f"{name} = {value:g} cannot be chosen: take one of {', '.join(f'{v:g}' for v in values)}")
    data = {
        "noises": [PAPER_TYPE[kind] for kind in NOISES],
        "colours": [pieces.colour(PAPER_TYPE[kind]) for kind in NOISES],
        "inputs": INPUTS,
        "alphas": ALPHAS,
        "keeps": KEEPS,
        "errors": ERRORS,
        "start": [0, ALPHAS.index(alpha), KEEPS.index(keep), ERRORS.index(error)],
        "laws": [[[log_width_at_one(kind, a, k) for k in KEEPS] for a in ALPHAS] for kind in NOISES],
        "widths": [WIDTHS[kind] for kind in NOISES],
        "matrices": [[[_short(rows) for rows in simulated(kind, a, seed).values()] for a in ALPHAS] for kind in NOISES],
        "committed": list(committed),
        "landmarks": [asdict(mark) for mark in sorted([*landmarks, *KNOWN], key=lambda mark: mark.number)],
    }
    return pieces.html("ruler", "How wide is wide enough", data, _table(keep), shared=True, static=static)


def _short(rows: np.ndarray) -> list[list[float]]:
    """Errors by share kept, each of a few digits."""
    return [[float(f"{error:.{_DIGITS}g}") for error in matrices] for matrices in rows.T]


def _table(keep: float) -> str:
    """Widths by α and error, as powers of ten."""
    alphas, errors = (1.2, 1.35, 1.5, 1.75, 1.9), (0.1, math.sqrt(0.1), 0.5)
    head = "".join(f'<th scope="col">error {error:.2g}</th>' for error in errors)
    body = ""
    for alpha in alphas:
        cells = (laws.log_required_width(alpha, keep, error) / math.log(10) for error in errors)
        texts = "".join(f"<td>10<sup>{log:.1f}</sup></td>" for log in cells)
        body += f'<tr><th scope="row">α = {alpha:g}</th>{texts}</tr>'
    caption = f"<caption>The width that Type-I noise needs, with {keep:.0%} of the columns kept</caption>"
    head = f"<thead><tr><td></td>{head}</tr></thead>"
    return f'<table class="dataframe">{caption}{head}<tbody>{body}</tbody></table>'
