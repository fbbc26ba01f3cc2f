"""Plots of several widths: the right data, labelled, with no warning."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import io

import pandas as pd
import pytest
from made_up_results import diverged, sweep, table
from matplotlib.colors import same_color

from heavytail import Run
from heavytail.book import figures
from heavytail.book.figures.style import COLOURS
from heavytail.evidence import widths

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("book_style"),
    pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
WIDTHS = (30, 90)


def noisy(kind, alpha, seed):
    return {"pruning_ratio": 0.9 - alpha / 4 + seed / 100, "share_accuracy": {1: 0.5, 2: 0.6, 3: 0.9}[seed]}


def many():
    frame = sweep(lambda seed: {"pruning_ratio": 0.1}, noisy)
    return pd.concat([frame.assign(width=n, pruning_ratio=frame["pruning_ratio"] + n / 1000) for n in WIDTHS])


def law():
    settings = many()[["noise", "alpha", "width"]].drop_duplicates().sort_values(["noise", "alpha", "width"])
    return settings.assign(predicted=settings["width"] / 100 + settings["alpha"].fillna(0) / 1000)


DRAWN = {
    "pruning_by_width": lambda: figures.pruning_by_width(many(), law()),
    "curves_by_width": lambda: figures.curves_by_width(many(), 1.75),
}


def test_every_figure_of_widths_is_tested_here():
    assert {name for name in figures.__all__ if getattr(figures, name).__module__.endswith(".widths")} == DRAWN.keys()


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn_with_labelled_axes_and_no_warning(name):
    figure = DRAWN[name]()
    figure.savefig(io.BytesIO(), dpi=50)
    assert all(axis.get_xlabel() for axis in figure.axes)
    assert figure.axes[0].get_ylabel()


def test_figures_of_widths_survive_runs_that_diverged_and_leave_their_table_alone():
    runs = [Run(noise="shared", alpha=1.75, sigma=0.1, seed=9, width=n) for n in WIDTHS]
    frame = pd.concat([many(), table([(run, diverged()) for run in runs])], ignore_index=True)
    before = frame.copy()
    figures.pruning_by_width(frame, law()).savefig(io.BytesIO(), dpi=50)
    figures.curves_by_width(frame, 1.75).savefig(io.BytesIO(), dpi=50)
    assert frame.equals(before)


def test_pruning_by_width_draws_a_point_a_run_the_medians_and_both_predictions():
    frame, guess = many(), law()
    figure = figures.pruning_by_width(frame, guess)
    assert [axis.get_title() for axis in figure.axes] == [r"$\alpha=1.75$", r"$\alpha=1.9$"]
    second = figure.axes[1].get_lines()
    of_type = [line for line in second if same_color(line.get_color(), COLOURS["Type-II"])]
    points, medians, dotted = (line.get_ydata() for line in of_type)
    rows = frame[(frame["noise"] == "entrywise") & (frame["alpha"] == 1.9)]
    assert list(points) == list(rows["pruning_ratio"])
    assert list(medians) == pytest.approx(list(rows.groupby("width")["pruning_ratio"].median()))
    chosen = guess[(guess["noise"] == "entrywise") & (guess["alpha"] == 1.9)]
    assert list(dotted) == list(chosen["predicted"])
    (limit,) = [line for line in second if same_color(line.get_color(), "black") and len(line.get_xdata())]
    assert limit.get_ydata()[[0, -1]] == pytest.approx([widths.limit_share(1.9, n) for n in WIDTHS])
    plain = [line for line in second if same_color(line.get_color(), COLOURS["none"])]
    assert [line.get_linestyle() for line in plain] == ["None", "--", ":"]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["plain SGD", "Type-I", "Type-II", "Type-III", "start plus noise", "limit law"]


def test_the_limit_law_is_not_drawn_at_alpha_two():
    frame = many().assign(alpha=lambda rows: rows["alpha"].replace(1.9, 2.0))
    figure = figures.pruning_by_width(frame, law())
    black = [
        sum(same_color(line.get_color(), "black") and len(line.get_xdata()) > 0 for line in axis.get_lines())
        for axis in figure.axes
    ]
    assert black == [1, 0]


def test_curves_by_width_are_medians_of_one_alpha():
    frame = many()
    frame.loc[frame["alpha"] == 1.9, "test_accuracy_share_0.3"] = 0.0
    plain, first, *_ = figures.curves_by_width(frame, 1.75).axes
    assert [plain.get_title(), first.get_title()] == ["plain SGD", "Type-I"]
    assert [line.get_label() for line in first.get_lines()] == ["$n=30$", "$n=90$"]
    for line in first.get_lines():
        assert list(line.get_ydata()) == pytest.approx([0.6] * 11)  # the mean is 2 / 3
