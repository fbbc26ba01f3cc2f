"""Plots of averaged kicks: made-up tables in, the numbers drawn out."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import io

import numpy as np
import pandas as pd
import pytest
from made_up_simulations import table

from heavytail import laws
from heavytail.book import figures
from heavytail.lab.simulations import Averaging

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("book_style"),
    pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
MANY = (2, 16, 256)


def kicks():
    """Three repeats whose medians are K at every alpha, and an error of alpha / 4."""
    records = [Averaging(alpha=alpha, noise="shared", clients=k, repeats=3) for alpha in (0.8, 1.5) for k in MANY]
    wild = {"index": [1e3] * 3}
    return table((r, {"scale": [r.clients, 1e-3, 1e3], "error": [r.alpha / 4, 0.01, 0.99], **wild}) for r in records)


def ratios():
    rows = [(alpha, k, 1 / (alpha * k)) for alpha in (1.5, 2.0) for k in (16, 1, 4)]
    return pd.DataFrame(rows, columns=["alpha", "clients", "ratio"])


DRAWN = {
    "averaged_kicks": lambda: figures.averaged_kicks(kicks()),
    "pruned_by_clients": lambda: figures.pruned_by_clients(ratios(), {1.5: 2.0, 2.0: 99.0}, 0.1),
}


def test_every_figure_of_averaging_is_tested_here():
    assert {n for n in figures.__all__ if getattr(figures, n).__module__.endswith(".averaging")} == DRAWN.keys()


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn_with_labelled_axes_and_no_warning(name):
    figure = DRAWN[name]()
    figure.savefig(io.BytesIO(), dpi=50)
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes)


def test_scales_are_medians_beside_the_law_and_errors_beside_their_prediction_above_one():
    left, right = DRAWN["averaged_kicks"]().axes
    points, line = (left.lines[k].get_ydata() for k in (2, 3))  # of the larger alpha
    assert list(points) == list(MANY)
    assert line == pytest.approx([k ** (1 / 1.5 - 1) for k in MANY])
    assert len(right.lines) == 2
    layer = {"noise": "shared", "inputs": 2, "spread": 1.0}
    law = [laws.predicted_error(1.5, 256, 0.1, **layer, scale=k ** (1 / 1.5 - 1)) for k in MANY]
    assert list(right.lines[0].get_ydata()) == [0.375] * 3
    assert np.asarray(right.lines[1].get_ydata()) == pytest.approx(law)


def test_shares_fall_from_the_level_of_common_kicks_and_a_balance_is_marked_where_it_is_on_the_page():
    (axis,) = DRAWN["pruned_by_clients"]().axes
    fall, level, mark = axis.lines[:3]
    assert list(fall.get_xdata()) == [1, 4, 16]
    assert list(fall.get_ydata()) == pytest.approx([1 / 1.5, 1 / 6, 1 / 24])
    assert list(level.get_ydata()) == pytest.approx([1 / 1.5] * 2)
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == pytest.approx((2.0, (1 / 1.5 + 1 / 6) / 2))
    assert len(axis.lines) == 6  # the other balance lies beyond; the last is the start
    assert list(axis.lines[-1].get_ydata()) == [0.1, 0.1]
