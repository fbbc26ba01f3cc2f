"""Plots of noise and training: drawn from a tiny table or tensor, labelled, with the right data and no warning."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import inspect
import io

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_results import controlled, diverged, measured, sweep, table
from made_up_timings import gpu_report

from heavytail import Run
from heavytail.book import figures
from heavytail.book.figures.style import COLOURS
from heavytail.compress import norms
from heavytail.lab.results import SHARES

# A socket that an earlier test left to the garbage collector is no warning of a figure.
pytestmark = [
    pytest.mark.usefixtures("book_style"),
    pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

SETTINGS = [(noise, alpha, 0.1) for noise in ("shared", "entrywise", "isotropic") for alpha in (1.75, 1.9)]


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def curve(alpha, seed):
    """Accuracies at the pruned shares; of seeds 1, 2, 3 the median is that of seed 2, the mean is not."""
    return [0.9 - share * alpha / 2 + {1: 0, 2: 0.01, 3: 0.09}[seed] for share in SHARES]


def numbers(noise, alpha, seed):
    shares = {f"test_accuracy_share_{share:.1f}": curve(alpha, seed)[k] for k, share in enumerate(SHARES)}
    return {"pruning_ratio": 1 - alpha / 2.5 + seed / 100, **shares}


def experiment():
    return sweep(lambda seed: {"pruning_ratio": 0.1}, numbers, SETTINGS)


def shared_experiment():
    rows = [(Run(seed=seed), measured(train_loss=0.1 * seed)) for seed in (1, 2)]
    for k, sigma in enumerate((0.01, 0.2), start=1):
        runs = [Run(noise="shared", alpha=1.75, sigma=sigma, seed=seed) for seed in (1, 2)]
        rows += [(run, measured(train_loss=0.1 * run.seed * (1 + k / 100), pruning_ratio=0.2 * k)) for run in runs]
    return table(rows)


def matrices():
    return {title: torch.randn(20, 6, generator=gen(k)) for k, title in enumerate(("none", "Type-I"))}


def costs():
    points = [(name, size) for name in ("n", "d", "runs") for size in (1, 10, 100)]
    cells = [(f"growth.{name}", f"{name} = {size}", 2.0 * size, size, 3.0 * size, "ms") for name, size in points]
    return pd.DataFrame(cells, columns=["name", "case", "value", "low", "high", "unit"])


def grids():
    """Two shapes, two noises: each as fast as its number says, and a limit a tenth above."""
    ends = ("full batch, {}, 12 runs of 600 steps", "full batch, evaluated every 10 steps, {}, 12 runs of 600 steps")
    cases = [f"ecg5000, n = 2000, {end}".format(kind) for end in ends for kind in ("shared", "entrywise")]
    cells = [("grid.speedup_over_loop", case, k, 0.9 * k, 1.1 * k, "ratio") for k, case in enumerate(cases, 2)]
    cells += [("grid.speedup_of_products_alone", case, 1.1 * k, k, 2 * k, "ratio") for k, case in enumerate(cases, 2)]
    return pd.DataFrame(cells, columns=["name", "case", "value", "low", "high", "unit"])


DRAWN = {
    "weight_matrices": lambda: figures.weight_matrices(matrices()),
    "norm_tails": lambda: figures.norm_tails({title: norms(weight) for title, weight in matrices().items()}),
    "accuracy_by_share": lambda: figures.accuracy_by_share(experiment(), alpha=1.75),
    "pruning_by_alpha": lambda: figures.pruning_by_alpha(experiment()),
    "loss_and_pruning": lambda: figures.loss_and_pruning(shared_experiment()),
    "noise_types": lambda: figures.noise_types(1.75, generator=gen()),
    "stable_tails": lambda: figures.stable_tails([1.5, 2.0], 500, generator=gen()),
    "growth": lambda: figures.growth(costs()),
    "over_limits": lambda: figures.over_limits({"gpu-a": gpu_report(), "gpu-b": gpu_report("Other GPU", 2.0)}),
    "over_loop": lambda: figures.over_loop(grids()),
    "controls": lambda: figures.controls(controlled(True, (1, 2))),
    "control_curves": lambda: figures.control_curves(controlled(True, (1, 2))),
}


def test_every_public_figure_is_tested_here_or_in_another_file():
    made = {name for name in figures.__all__ if inspect.signature(getattr(figures, name)).return_annotation == "Figure"}
    others = (
        ".theory",
        ".depths",
        ".comparison",
        ".frontier",
        ".widths",
        ".rooms",
        ".shipping",
        ".averaging",
        ".federated",
    )
    elsewhere = {name for name in made if getattr(figures, name).__module__.endswith(others)}
    assert made - elsewhere == DRAWN.keys()  # the other tests of figures check that they have these


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.long
def test_a_figure_is_drawn_with_labelled_axes_and_no_warning_and_as_the_same_text_each_time(name):
    figure, texts = DRAWN[name](), (io.BytesIO(), io.BytesIO())
    assert isinstance(figure, mpl.figure.Figure)
    figure.savefig(texts[0], format="svg", metadata={"Date": None})
    panels = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    assert panels
    if name == "weight_matrices":  # the upper row shares its x axis with the lower
        assert all(axis.get_xlabel() for axis in panels[len(panels) // 2 :])
    else:
        assert all(axis.get_xlabel() for axis in panels)
    if name in (
        "weight_matrices",
        "noise_types",
        "growth",
        "controls",
        "control_curves",
    ):  # panels share the y axis of the first in their row
        assert panels[0].get_ylabel()
    else:
        assert all(axis.get_ylabel() for axis in panels)
    DRAWN[name]().savefig(texts[1], format="svg", metadata={"Date": None})
    # Drawn from its arguments alone, not from a generator of the library that draws.
    assert texts[0].getvalue() == texts[1].getvalue()


def test_a_figure_leaves_its_table_as_it_was():
    for draw, frame in (
        (figures.accuracy_by_share, experiment()),
        (figures.pruning_by_alpha, experiment()),
        (figures.loss_and_pruning, shared_experiment()),
    ):
        before = frame.copy()
        draw(frame)
        assert frame.equals(before)
        assert list(frame.columns) == list(before.columns)


def test_the_controls_are_drawn_where_they_lie():
    """A heavy-tailed run is a diamond; pruned at random the curve lacks the shares 0 and 1, where chance has no say."""
    runs = controlled(True, (1, 2))
    points = figures.controls(runs).axes[1].get_lines()
    diamonds = [line for line in points if line.get_marker() == "D"]
    assert [list(line.get_xdata()) for line in diamonds] == [
        list(runs.loc[(runs["noise"] == "entrywise") & (runs["alpha"] < 2), "pruning_ratio"])
    ]
    curves = {line.get_label(): line for line in figures.control_curves(runs).axes[2].get_lines()}
    assert list(curves["pruned at random"].get_xdata()) == list(SHARES[1:-1])
    assert set(curves["pruned at random"].get_ydata()) == {0.7}
    light = runs[(runs["noise"] == "isotropic") & (runs["sigma"] == 0.2)]
    assert curves["α = 2, same kick"].get_ydata()[3] == light["test_accuracy_share_0.3"].median()


def test_the_growth_of_cost_is_drawn_over_the_sizes_of_the_report():
    for axis in figures.growth(costs()).axes:
        points, linear = axis.lines[0], axis.lines[-1]
        assert list(points.get_xdata()) == [1, 10, 100]
        assert list(points.get_ydata()) == [2, 20, 200]
        assert list(linear.get_ydata()) == [2, 20, 200]


def test_the_growth_of_cost_has_a_panel_for_each_axis_that_was_measured():
    _, timed = gpu_report()
    assert [axis.get_xlabel() for axis in figures.growth(timed).axes] == ["neurons $n$", "runs at once"]
    with pytest.raises(ValueError, match=r"^no growth was measured: run `heavytail bench growth --json`$"):
        figures.growth(timed[timed["name"] == "noise.over_copy"])


def test_every_case_is_a_point_over_its_limit_in_the_colour_of_its_noise():
    machine, timed = gpu_report()
    noise, step = figures.over_limits({"gpu-a": (machine, timed)}).axes
    for axis, name in ((noise, "noise.over_copy"), (step, "step.over_matmul")):
        rows = timed[timed["name"] == name]
        points = [bars.lines[0] for bars in axis.containers]
        assert sorted(float(point.get_xdata()[0]) for point in points) == pytest.approx(sorted(rows["value"]))
        blue = {float(point.get_xdata()[0]) for point in points if point.get_color() == COLOURS["Type-II"]}
        assert blue == set(rows.loc[rows["case"].str.contains("entrywise"), "value"])
    assert [text.get_text() for text in noise.get_yticklabels()] == ["60 runs of 2000 x 140", "20 runs of 10000 x 784"]
    (only,) = figures.over_limits({"gpu-a": (machine, timed[timed["name"] == "step.over_matmul"])}).axes
    assert only.get_xlabel() == "step over its products"
    with pytest.raises(ValueError, match=r"^nothing was held against its limit"):
        figures.over_limits({"gpu-a": (machine, timed[timed["name"] == "growth.n"])})


def test_every_grid_is_a_point_beside_the_loop_and_has_its_limit_as_a_ring():
    (axis,) = figures.over_loop(grids()).axes
    points = {float(bars.lines[0].get_xdata()[0]): bars.lines[0].get_color() for bars in axis.containers}
    assert points == dict.fromkeys((2, 4), COLOURS["Type-I"]) | dict.fromkeys((3, 5), COLOURS["Type-II"])
    rings = [line for line in axis.lines if line.get_markerfacecolor() == "none"]
    assert [float(ring.get_xdata()[0]) for ring in rings] == pytest.approx([2.2, 3.3, 4.4, 5.5])
    assert [text.get_text() for text in axis.texts] == ["Type-I: 2.0", "Type-II: 3.0", "Type-I: 4.0", "Type-II: 5.0"]
    shapes = [text.get_text() for text in axis.get_yticklabels()]
    assert shapes == ["ECG5000, full batch", "ECG5000, full batch\nevaluated every 10 steps"]
    with pytest.raises(ValueError, match=r"^no grid was held against a loop: run `heavytail bench grid --json`$"):
        figures.over_loop(costs())


def test_the_pruned_picture_shows_the_columns_that_are_left():
    weight = torch.cat([torch.full((15, 4), 0.01), torch.ones(5, 4)])[torch.randperm(20, generator=gen())]
    above, below = figures.weight_matrices({"w": weight}).axes
    whole, pruned = (np.ma.filled(axis.images[0].get_array(), np.nan) for axis in (above, below))
    assert whole.shape == pruned.shape == (4, 20)
    assert (~np.isnan(pruned)).all(axis=0).tolist() == [True] * 5 + [False] * 15
    assert np.abs(whole[:, :5]).min() > np.abs(whole[:, 5:]).max()
    assert below.get_xlabel() == "75% of neurons pruned"


def test_tails_are_shares_of_neurons_over_the_median():
    (axis,) = figures.norm_tails({"none": torch.tensor([1.0, 2.0, 4.0])}).axes
    (line,) = axis.lines
    assert line.get_xdata().tolist() == [2, 1, 0.5]
    assert line.get_ydata() == pytest.approx([1 / 3, 2 / 3, 1])


def test_accuracy_by_share_shows_the_median_of_one_alpha_and_of_plain_runs():
    frame = experiment()
    (axis,) = figures.accuracy_by_share(frame, alpha=1.9).axes
    shown = {line.get_label(): line for line in axis.lines if len(line.get_xdata())}
    curves = [line.get_ydata() for line in shown.values()]
    assert sum(np.allclose(drawn, curve(1.9, seed=2)) for drawn in curves) == 3
    assert not any(np.allclose(drawn, curve(1.75, seed=2)) for drawn in curves)
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["plain SGD", "Type-I", "Type-II", "Type-III"]


def test_pruning_by_alpha_draws_a_point_a_run_and_the_plain_median_as_a_line():
    frame = experiment()
    (axis,) = figures.pruning_by_alpha(frame).axes
    points = np.concatenate([dots.get_offsets()[:, 1] for dots in axis.collections if len(dots.get_offsets())])
    noisy = frame.loc[frame["noise"].notna(), "pruning_ratio"]
    assert sorted(np.asarray(points)) == pytest.approx(sorted(noisy))
    places = [label.get_text() for label in axis.get_xticklabels()]
    assert places == ["1.5\n(not run)", "1.75", "1.9"]
    (dashed,) = [line for line in axis.lines if line.get_linestyle() == "--"]
    assert list(dashed.get_ydata()) == pytest.approx([0.1, 0.1])
    assert dashed.get_label() == "plain SGD, 10%"


def test_loss_is_shown_over_the_noiseless_run_of_the_same_seed():
    left, right = figures.loss_and_pruning(shared_experiment()).axes
    assert len(left.lines) == len(right.lines) == 2
    for line in left.lines:
        assert line.get_xdata().tolist() == [0, 0.01, 0.2]
        assert line.get_ydata() == pytest.approx([1, 1.01, 1.02])
    for line in right.lines:
        assert line.get_ydata() == pytest.approx([0.1, 0.2, 0.4])


def test_figures_survive_runs_that_diverged():
    frame = experiment()
    rows = [(Run(noise="shared", alpha=1.75, sigma=0.1, seed=9), diverged()), (Run(seed=9), diverged())]
    with_failures = table(rows)[frame.columns]
    both = pd.concat([frame, with_failures], ignore_index=True)
    for draw in (figures.accuracy_by_share, figures.pruning_by_alpha):
        draw(both).savefig(io.BytesIO(), dpi=50)


def test_noise_types_show_one_panel_a_type():
    first, second, third, bar = figures.noise_types(1.5, generator=gen(), neurons=9, inputs=4).axes
    assert [axis.get_title() for axis in (first, second, third)] == [
        "Type-I: shared",
        "Type-II: entrywise",
        "Type-III: isotropic",
    ]
    pictures = [np.asarray(axis.images[0].get_array()) for axis in (first, second, third)]
    assert {picture.shape for picture in pictures} == {(4, 9)}
    assert (pictures[0] == pictures[0][0]).all()  # one scalar a neuron
    assert not (pictures[1] == pictures[1][0]).any(axis=1)[1:].all()
    assert bar.get_ylabel() == "noise at scale 1"


def test_stable_tails_show_the_running_maximum_and_the_law():
    left, right = figures.stable_tails([1.5, 2.0], 400, generator=gen()).axes
    assert all((np.diff(line.get_ydata()) >= 0).all() for line in left.lines)
    dotted = [line for line in right.lines if line.get_linestyle() == ":"]
    assert len(dotted) == 1  # no power law at α = 2
    x, y = dotted[0].get_data()
    assert np.diff(np.log(y)) / np.diff(np.log(x)) == pytest.approx([-1.5] * (len(x) - 1))
