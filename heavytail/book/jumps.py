"""The piece *Jump by jump*: 200 columns, each the sum of its stable kicks, at an α that the reader moves.

`book/_static/jumps.js` computes the kicks by the formula of `heavytail.stable` from uniforms that come with the page,
the same at every α.
"""

from __future__ import annotations

import base64

import numpy as np
import torch
from torch import Tensor

from heavytail import stable
from heavytail.book import pieces
from heavytail.book.tables import Html

COLUMNS = 200
KICKS = 64

LOWEST, STEP = 1.1, 0.05  # of the α that a reader can choose; the highest is 2

_WITHOUT = (1.1, 1.3, 1.5, 1.7, 1.9, 2.0)  # α of the table that stands there without the script


def uniforms(seed: int, columns: int = COLUMNS) -> tuple[np.ndarray, np.ndarray]:
    """The two uniforms behind each draw of `kicks`, with a sign each: (KICKS, columns) float64.

    They are what `stable.symmetric` takes from a generator of this seed: a word for the angle, then one for the
    exponential. A word's size is the uniform, with full precision near 0; its sign is a fair one.
    """
    generator = torch.Generator().manual_seed(seed)

    def signed() -> np.ndarray:
        word = torch.empty((KICKS, columns), dtype=torch.int64).random_(-(2**63), None, generator=generator)
        size = (word.double().abs() + 0.5) * 2.0**-63
        return torch.where(word < 0, -size, size).numpy()

    return signed(), signed()


def kicks(alpha: float, seed: int, columns: int = COLUMNS) -> Tensor:
    """The kicks that the columns get: (KICKS, columns) float64, all kicks of a column together of scale 1.

    >>> kicks(1.5, seed=1).shape
    torch.Size([64, 200])
    """
    generator = torch.Generator().manual_seed(seed)
    draws = stable.symmetric(alpha, (KICKS, columns), generator=generator, dtype=torch.float64)
    return KICKS ** (-1 / alpha) * draws


def largest_shares(alpha: float, seed: int, columns: int = COLUMNS) -> Tensor:
    """Which share of the squared norm the largest column holds after each kick.

    >>> heavy, gaussian = (float(largest_shares(alpha, seed=1)[-1]) for alpha in (1.1, 2))
    >>> heavy > 5 * gaussian
    True
    """
    squares = kicks(alpha, seed, columns).cumsum(0).square()
    return squares.amax(1) / squares.sum(1)


def page(alpha: float, seed: int, columns: int = COLUMNS, static: str = "../_static") -> Html:
    """The piece as HTML, which opens at this α; `static` is where its script lies.

    What a reader sees without the script is a table of the largest column's share. Raises ValueError for an α that the
    slider does not have.
    """
    steps = (alpha - LOWEST) / STEP
    if not LOWEST <= alpha <= 2 or abs(steps - round(steps)) > 1e-9:
        raise ValueError(f"the slider goes from {LOWEST:g} to 2 in steps of {STEP:g}, and has no {alpha:g}")
    turns, waits = (base64.b64encode(part.astype("<f8").tobytes()).decode() for part in uniforms(seed, columns))
    data = {
        "columns": columns,
        "kicks": KICKS,
        "lowest": LOWEST,
        "step": STEP,
        "alpha": alpha,
        "turns": turns,
        "waits": waits,
    }
    head = "".join(f'<th scope="col">α = {each:g}</th>' for each in _WITHOUT)
    row = "".join(f"<td>{float(largest_shares(each, seed, columns)[-1]):.1%}</td>" for each in _WITHOUT)
    without = (
        f"<p>Of {columns} columns, each the sum of {KICKS} kicks from the same random numbers, the largest holds this "
        'share of the squared norm:</p><table class="dataframe">'
        f"<thead><tr>{head}</tr></thead><tbody><tr>{row}</tr></tbody></table>"
    )
    own = f' style="--own: {pieces.colour("Type-I")}"'
    return pieces.html("jumps", "Jump by jump", data, without, shared=True, attributes=own, static=static)
