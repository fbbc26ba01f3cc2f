"""The plot of the frontier: every arm is there once, in the colours of its alpha, with no warning."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import io
import math
from dataclasses import replace

import pandas as pd
import pytest
from made_up_results import measured, table
from matplotlib.colors import same_color

from heavytail import Run
from heavytail.book import figures
from heavytail.book.figures.style import alpha_colours
from heavytail.evidence import arms

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("book_style"),
    pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
ARMS = {"plain SGD": 0.9, "weight decay": 0.91, "group lasso": 0.92, "shared, α = 1.5": 0.8, "entrywise, α = 1.9": 0.7}


def points(few=False):
    rows = [
        (arm, "pruned", kept, value * kept**0.05, value - 0.1, value + 0.05)
        for arm, value in {**ARMS, "entrywise, α = 2": 0.6}.items()
        for kept in (1.0, 0.5, 0.1)
    ]
    rows += [("plain SGD", "small", 0.5, 0.85, 0.8, 0.9), ("plain SGD", "tuned", 0.5, 0.95, 0.9, 0.99)]
    frame = pd.DataFrame(rows, columns=["arm", "way", "kept", "accuracy", "low", "high"])
    return frame.assign(low=-math.inf, high=math.inf) if few else frame


def named(axis):
    return {line.get_label(): line for line in axis.lines}


def test_every_noise_type_has_a_panel_with_the_references_and_its_own_arms():
    figure = figures.frontier(points())
    figure.savefig(io.BytesIO(), dpi=50)
    grey = ["plain SGD", "weight decay", "group lasso", "small, from scratch"]
    lines = [named(axis) for axis in figure.axes]
    assert [sorted(own) for own in lines] == [
        sorted([*grey, "α = 1.5"]),
        sorted([*grey, "α = 1.9", "α = 2"]),
        sorted(grey),
    ]
    assert lines[0]["α = 1.5"].get_ydata().tolist() == pytest.approx([0.8 * k**0.05 for k in (0.1, 0.5, 1.0)])
    assert same_color(lines[1]["α = 1.9"].get_color(), alpha_colours([1.9])[1.9])
    assert same_color(lines[1]["α = 2"].get_color(), alpha_colours([2])[2])
    assert lines[0]["small, from scratch"].get_ydata().tolist() == [0.85]
    assert all(axis.get_xlabel() for axis in figure.axes)
    (legend,) = figure.legends
    assert sorted(text.get_text() for text in legend.get_texts()) == sorted([*grey, "α = 1.5", "α = 1.9", "α = 2"])
    assert [len(axis.collections) for axis in figure.axes] == [4, 5, 3]  # a band a line


def test_another_way_to_the_same_size_can_be_drawn():
    (line,) = [named(axis)["plain SGD"] for axis in figures.frontier(points(), "tuned").axes[:1]]
    assert line.get_ydata().tolist() == [0.95]


def test_where_there_are_too_few_seeds_there_is_no_band():
    assert not any(axis.collections for axis in figures.frontier(points(few=True)).axes)


def searched():
    base = Run(dataset="ecg5000", width=9, validation=50, lr=0.1)
    runs = {base: (0.9, 0.1), replace(base, lr=0.2): (0.8, 0.1)}
    for kind, prunes in (("shared", 0.5), ("isotropic", 0.3)):
        for sigma in (0.1, 1.0):
            noisy = replace(base, noise=kind, alpha=1.75, sigma=sigma)
            runs[noisy] = (0.9 - 0.01 * sigma, prunes * sigma)
            runs[replace(noisy, lr=0.2)] = (0.5, 0.9)
    return table(
        (replace(run, seed=seed), measured(share_accuracy=accuracy, pruning_ratio=ratio))
        for run, (accuracy, ratio) in runs.items()
        for seed in (1, 2)
    )


def test_a_search_is_drawn_at_the_step_size_of_the_setting_that_was_chosen_and_rings_it():
    figure = figures.strengths(searched())
    figure.savefig(io.BytesIO(), dpi=50)
    left, right = figure.axes
    assert sorted(name for name in named(left) if not name.startswith("_")) == ["Type-I", "Type-III", "plain SGD"]
    assert named(left)["Type-I"].get_ydata().tolist() == pytest.approx([0.899, 0.89])
    assert named(right)["Type-III"].get_ydata().tolist() == pytest.approx([0.03, 0.3])
    rings = [line for line in right.lines if line.get_fillstyle() == "none"]
    assert [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in rings] == [
        ([1.0], [0.5]),
        ([1.0], [0.3]),
    ]
    levels = sorted(line.get_ydata()[0] for line in left.lines if line.get_linestyle() in ("--", ":"))
    assert levels == pytest.approx([0.88, 0.9])


def test_a_search_is_drawn_as_it_was_before_pruning_where_settings_were_chosen_by_that():
    """At the step size of plain SGD, 0.1, where whole networks have the accuracies 0.9, 0.899 and 0.89 as well."""
    search = searched()
    search["test_accuracy"] = arms.score(search)
    search.loc[search["sigma"] == 1.0, "test_accuracy"] = 0.85  # loses more than two points
    left, right = figures.strengths(search, before=True).axes
    assert named(left)["Type-I"].get_ydata().tolist() == pytest.approx([0.899, 0.85])
    rings = [line for line in right.lines if line.get_fillstyle() == "none"]
    assert [line.get_xdata().tolist() for line in rings] == [[0.1], [0.1]]
    assert left.get_ylabel() == "accuracy before pruning"


def dosed(seeds):
    """Two noises at three strengths, which prune more and cost more; plain SGD is best at its first step size."""
    base = Run(dataset="ecg5000", width=9, lr=0.1)
    runs = {base: (0.9, 0.1), replace(base, lr=0.2): (0.8, 0.15)}
    for kind, prunes in (("shared", 0.5), ("isotropic", 0.3)):
        for sigma in (0.01, 0.1, 1.0):
            runs[replace(base, noise=kind, alpha=1.75, sigma=sigma)] = (0.9 - 0.2 * sigma, prunes + 0.1 * sigma)
    return table(
        (replace(run, seed=seed), measured(share_accuracy=accuracy + 1e-3 * seed, pruning_ratio=ratio + 1e-3 * seed))
        for run, (accuracy, ratio) in runs.items()
        for seed in range(seeds)
    )


def test_a_dose_has_a_line_of_medians_a_noise_with_a_band_where_there_are_seeds_enough():
    left, right = figures.dose(dosed(7)).axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["Type-I", "Type-III", "plain SGD"]
    assert named(left)["Type-I"].get_xdata().tolist() == [0.01, 0.1, 1.0]
    assert named(left)["Type-I"].get_ydata().tolist() == pytest.approx([0.901, 0.883, 0.703])
    assert named(right)["Type-III"].get_ydata().tolist() == pytest.approx([0.304, 0.313, 0.403])
    assert named(left)["plain SGD"].get_ydata()[0] == pytest.approx(0.903)
    assert [len(axis.collections) for axis in (left, right)] == [2, 2]
    few = figures.dose(dosed(3))
    few.savefig(io.BytesIO(), dpi=50)
    assert not any(axis.collections for axis in few.axes)
