"""Plots that compare depths and noise types: the right data, labelled, with no warning."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import io

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_results import diverged, sweep, table

from heavytail import Run, noise
from heavytail.book import figures
from heavytail.book.figures.style import COLOURS
from heavytail.evidence.experiments import AT_SHARES

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("book_style"),
    pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def plain(seed):
    return {"pruning_ratio": 0.1, "test_accuracy": 0.96}


def noisy(kind, alpha, seed):
    return {
        "pruning_ratio": 0.9 - alpha / 4 + seed / 100,
        "test_accuracy": 0.9,
        "test_accuracy_pruned": 0.9 - seed / 20,
    }


def deep():
    frame = sweep(plain, noisy)
    return pd.concat([frame.assign(depth=d, pruning_ratio=frame["pruning_ratio"] + d / 100) for d in (2, 4)])


def kicks():
    g = torch.Generator().manual_seed(0)
    return {
        kind: noise.vectors(1.5, kind, (300, 5), generator=g).expand(300, 5).double().norm(dim=1)
        for kind in noise.NOISES
    }


def seen():
    return {"some": {"shared": torch.full((2, 3), 1e-9), "isotropic": torch.tensor([[0.1, 0.2], [0.4, 0.3]])}}


def paths():
    frame = sweep(plain, noisy, [("shared", 1.75, 0.1), ("shared", 1.75, 0.2), ("isotropic", 1.75, 0.1)])
    longer = 1 + (frame["seed"] - frame["seed"].median()) / 100  # runs that stop early have paths of their own
    return frame.assign(path=10 * frame["sigma"] * longer)


DRAWN = {
    "pruning_by_depth": lambda: figures.pruning_by_depth(deep()),
    "loss_by_depth": lambda: figures.loss_by_depth(deep()),
    "curves_by_depth": lambda: figures.curves_by_depth(deep(), 1.75),
    "kick_norms": lambda: figures.kick_norms(kicks(), 1.5, 5, {kind: {1: 1.0, 9: 3.0} for kind in noise.NOISES}),
    "exposures": lambda: figures.exposures(seen()),
    "ratio_and_accuracy": lambda: figures.ratio_and_accuracy({"one": deep(), "two": deep()}),
    "at_a_glance": lambda: figures.at_a_glance({"one": sweep(plain, noisy), "two": sweep(plain, noisy)}),
    "ratio_by_kick": lambda: figures.ratio_by_kick({"one": paths(), "two": paths()}),
}


def test_every_figure_of_a_comparison_is_tested_here():
    modules = (".depths", ".comparison")
    assert {name for name in figures.__all__ if getattr(figures, name).__module__.endswith(modules)} == DRAWN.keys()


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn_with_labelled_axes_and_no_warning(name):
    figure = DRAWN[name]()
    figure.savefig(io.BytesIO(), dpi=50)
    rows = 2 if name in ("ratio_by_kick", "at_a_glance") else 1
    below = figure.axes[len(figure.axes) // rows * (rows - 1) :]
    assert all(axis.get_xlabel() for axis in below)
    assert figure.axes[0].get_ylabel()
    assert below[0].get_ylabel()


def points(axis, marker):
    """Heights of the single points of a marker."""
    lines = [line for line in axis.get_lines() if line.get_marker() == marker and line.get_linestyle() == "None"]
    return sorted(float(y) for line in lines for y in line.get_ydata())


def test_pruning_by_depth_has_a_panel_a_noise_a_point_a_run_and_plain_sgd_in_each():
    frame = deep()
    axes = figures.pruning_by_depth(frame).axes
    assert [axis.get_title() for axis in axes] == ["Type-I", "Type-II", "Type-III"]
    for axis, kind in zip(axes, noise.NOISES, strict=True):
        assert points(axis, "x") == pytest.approx(sorted(frame.loc[frame["noise"].isna(), "pruning_ratio"]))
        for marker, alpha in (("D", 1.75), ("o", 1.9)):
            own = frame[(frame["noise"] == kind) & (frame["alpha"] == alpha)]
            assert points(axis, marker) == pytest.approx(sorted(own["pruning_ratio"]))
        (dashed,) = [line for line in axis.get_lines() if line.get_linestyle() == "--" and len(line.get_xdata())]
        assert list(dashed.get_ydata()) == pytest.approx([0.12, 0.14])


def test_loss_by_depth_is_in_points_of_accuracy():
    first = figures.loss_by_depth(deep()).axes[0]
    assert points(first, "D") == pytest.approx([5, 5, 10, 10, 15, 15])


def test_a_run_that_diverged_leaves_the_figures_of_depth_standing():
    lost = table([(Run(noise="shared", alpha=1.75, sigma=0.1, seed=9, depth=2), diverged())])
    both = pd.concat([deep(), lost[deep().columns]], ignore_index=True)
    for draw in (figures.pruning_by_depth, figures.loss_by_depth, lambda frame: figures.curves_by_depth(frame, 1.75)):
        draw(both).savefig(io.BytesIO(), dpi=50)


def test_curves_by_depth_have_a_panel_a_depth():
    frame = deep()
    frame.loc[frame["depth"] == 4, "test_accuracy_share_0.5"] = 0.25
    left, right = figures.curves_by_depth(frame, 1.75).axes
    assert (left.get_title(), right.get_title()) == ("2 hidden layers", "4 hidden layers")
    for axis, accuracy in ((left, 0.9), (right, 0.25)):
        curves = [line.get_ydata() for line in axis.get_lines() if len(line.get_ydata()) == 11]
        assert len(curves) == 4
        assert [float(y[5]) for y in curves] == pytest.approx([accuracy] * 4)


def test_kick_norms_are_over_their_medians_beside_the_tail_law():
    norms = kicks()
    left, right = figures.kick_norms(norms, 1.5, 5, {"shared": {1: 1.0, 4: 2.0}}).axes
    solid = {line.get_label(): line for line in left.get_lines() if not line.get_label().startswith("_")}
    assert list(solid) == ["Type-I", "Type-II", "Type-III"]
    for line, values in zip(solid.values(), norms.values(), strict=True):
        assert line.get_xdata()[0] == pytest.approx(float(values.max() / values.median()))
        assert line.get_ydata()[[0, -1]] == pytest.approx([1 / 300, 1])
    dotted = [line for line in left.get_lines() if line.get_linestyle() == ":"]
    for line in dotted:
        x, y = line.get_data()
        assert np.diff(np.log(y)) / np.diff(np.log(x)) == pytest.approx([-1.5] * (len(x) - 1))
    assert len(dotted) == 3
    assert list(right.get_lines()[0].get_ydata()) == [1.0, 2.0]


def test_a_kick_that_no_input_sees_is_said_and_not_drawn():
    (axis,) = figures.exposures(seen()).axes
    assert [text.get_text() for text in axis.texts] == ["Type-I:\nnone is seen"]
    (line,) = axis.get_lines()
    assert list(line.get_xdata()) == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert list(line.get_ydata()) == [0.25, 0.5, 0.75, 1.0]


def test_ratio_and_accuracy_has_a_point_a_run_where_it_lies():
    frame = sweep(plain, noisy)
    (axis,) = figures.ratio_and_accuracy({"one": frame}).axes
    drawn = [tuple(point) for line in axis.get_lines() for point in zip(*line.get_data(), strict=True)]
    assert sorted(drawn) == sorted(zip(frame["test_accuracy"], frame["pruning_ratio"], strict=True))
    colours = {mpl.colors.to_hex(line.get_color()) for line in axis.get_lines() if len(line.get_xdata())}
    assert colours == {mpl.colors.to_hex(colour) for colour in COLOURS.values()}


def test_ratio_by_kick_joins_the_medians_of_each_noise_over_the_length_of_its_path():
    frame = paths()
    above, _, below, _ = figures.ratio_by_kick({"one": frame, "two": frame}).axes
    lines = {line.get_label(): line for line in above.get_lines()}
    assert list(lines["Type-I"].get_xdata()) == pytest.approx([1.0, 2.0])
    median = noisy("shared", 1.75, 2)["pruning_ratio"]
    assert list(lines["Type-I"].get_ydata()) == pytest.approx([median, median])
    assert list(lines["Type-III"].get_xdata()) == pytest.approx([1.0])
    assert list(lines["plain SGD"].get_ydata()) == pytest.approx([0.1, 0.1])
    assert any(list(line.get_xdata()) == [1.0, 1.0] for line in above.get_lines())  # the norm of plain SGD
    assert {line.get_label() for line in below.get_lines()} >= {"Type-I", "Type-III", "plain SGD"}


def test_at_a_glance_has_the_median_of_each_noise_beside_plain_sgd_and_bars_where_seeds_are_enough():
    few, many = sweep(plain, noisy), sweep(plain, noisy, seeds=range(1, 10))
    many.loc[(many["noise"] == "entrywise") & (many["alpha"] == 1.9), AT_SHARES] = 0.3
    left, right, _, below = figures.at_a_glance({"few": few, "many": many}).axes
    for axis, frame in ((left, few), (right, many)):
        medians = frame[frame["noise"].notna()].groupby(["noise", "alpha"])["pruning_ratio"].median()
        assert points(axis, "o") == pytest.approx(sorted(medians))
        (dashed,) = [line for line in axis.get_lines() if line.get_linestyle() == "--"]
        assert list(dashed.get_ydata()) == pytest.approx([0.1, 0.1])
    assert [len(axis.collections) for axis in (left, right)] == [0, 6]
    (bar,) = right.collections[0].get_segments()
    ratios = sorted(many.loc[(many["noise"] == "shared") & (many["alpha"] == 1.75), "pruning_ratio"])
    assert bar[:, 1] == pytest.approx([ratios[1], ratios[-2]])  # of nine seeds, the second from either end
    assert points(below, "o") == pytest.approx([0.3, *[0.9] * 5])


def test_older_tables_without_norms_are_drawn_all_the_same():
    frame = paths().assign(norm_median=float("nan"))
    assert not any(line.get_linestyle() == ":" for line in figures.ratio_by_kick({"one": frame}).axes[0].get_lines())
