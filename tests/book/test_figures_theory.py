"""Plots of the theory: made-up tables in, the numbers drawn out; the committed tables draw with no warning."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import io
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_simulations import lawful, normal, table
from matplotlib.colors import same_color

from heavytail import laws
from heavytail.book import figures
from heavytail.book.figures.style import COLOURS, GREY, SINGLE
from heavytail.evidence import theorems
from heavytail.lab import results
from heavytail.lab.simulations import Chaos, Pruning

# A socket that an earlier test left to the garbage collector is no warning of a figure.
pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("book_style"),
    pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

QUICK = Path(__file__).resolve().parents[2] / "data" / "results" / "quick"
NOISES = {"Type-I": ([0.5, 0.4], [0.6, 0.3], [0.01, 0.02]), "Type-III": ([0.2], [0.25], [0.03])}


committed = cache(lambda name: results.read_table(QUICK / f"{name}.parquet"))
maps = cache(lambda: figures.width_maps([(1.6, 0.25, "a mark")], error=0.3, band=(1.5, 1.8)))  # slow


def walk(steps, particles=2, seed=0):
    return torch.randn(steps + 1, particles, generator=torch.Generator().manual_seed(seed)).cumsum(0)


def jumped():
    return figures.misplaced_jump(torch.linspace(0, 1, 17), walk(16)[:, 0], {n: walk(n)[:, 0] for n in (2, 8)})


def distances():
    """At each width two repeats, 1 and 4 times what is no power law of n: their averages are 2.5 and 2 times it."""
    settings = [(1.3, 1.0), (1.8, 1.0), (2.0, 0.0), (2.0, 1.0)]
    records = [Chaos(alpha=alpha, sigma=s, width=n, repeats=2) for alpha, s in settings for n in (16, 64, 256)]
    return table((r, {"distance": [one := r.alpha + r.sigma + np.log(r.width), 4 * one]}) for r in records)


def two_panels(**options):
    rows = distances()
    some, rest = rows[rows["alpha"] < 2], rows[rows["alpha"] > 1.3]
    panels = {"some": (some, "width", lambda alpha: -alpha), "rest": (rest, "width", lambda alpha: -0.5)}
    return figures.power_laws(panels, "the width", "the distance", **options)


def shares():
    columns = ("predicted", "measured", "half")
    frames = [pd.DataFrame(dict(zip(columns, some, strict=True))).assign(type=name) for name, some in NOISES.items()]
    rows = pd.concat(frames)
    return figures.error_shares(rows.assign(low=rows["measured"] - rows["half"], high=rows["measured"] + rows["half"]))


def bounded():
    some = pd.DataFrame({"alpha": [1.1, 1.5, 1.5], "error": [0.01, 0.2, 0.3], "bound": [0.05, 0.4, 1.0]})
    return pd.concat([some.assign(network="tanh"), some.assign(network="ReLU", bound=0.9)])


def largest():
    """At widths 4 and 16 two repeats each, whose geometric means are 1 and 3."""
    rows = [
        (alpha, n, value) for alpha in (1.3, 1.8) for n, values in ((4, (0.5, 2)), (16, (1, 9))) for value in values
    ]
    kicks = {1.3: {4: 10.0, 16: 30.0}, 1.8: {4: 10.0, 16: 20.0, 64: 5.0}}
    return figures.largest_in_width(pd.DataFrame(rows, columns=["alpha", "width", "value"]), kicks)


DRAWN = {
    "paths": lambda: figures.paths({"a": walk(8), "b": walk(4)}, horizon=2.0),
    "coupled": lambda: figures.coupled({k: (walk(n), walk(n, seed=1)) for k, n in {"a": 8, "b": 4}.items()}, horizon=2),
    "power_laws": two_panels,
    "largest_in_width": largest,
    "pairwise_correlation": lambda: figures.pairwise_correlation(committed("chaos")),
    "misplaced_jump": jumped,
    "step_cost": lambda: figures.step_cost([1.3, 2.0], [16, 64, 1024]),
    "laws_overlaid": lambda: figures.laws_overlaid(committed("limit-law")),
    "predicted_errors": lambda: figures.predicted_errors(committed("roles"), {(5, 1, 1): "wide", (1, 1, 4): "long"}),
    "bounds": lambda: figures.bounds(bounded()),
    "width_maps": maps,
    "error_shares": shares,
}


def test_every_figure_of_the_theory_is_tested_here():
    assert {name for name in figures.__all__ if getattr(figures, name).__module__.endswith(".theory")} == DRAWN.keys()


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn_with_labelled_axes_and_no_warning(name):
    figure = DRAWN[name]()
    figure.savefig(io.BytesIO(), dpi=50)
    panels = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    assert all(axis.get_xlabel() for axis in panels if axis.get_subplotspec().is_last_row())
    assert all(axis.get_ylabel() for axis in panels if axis.get_subplotspec().is_first_col())


def test_a_figure_leaves_its_table_as_it_was():
    tables = {"pairwise_correlation": "chaos", "laws_overlaid": "limit-law", "predicted_errors": "roles"}
    for name, frame in tables.items():
        before = committed(frame).copy()
        DRAWN[name]()
        assert committed(frame).equals(before)


def test_bounds_are_points_over_the_line_on_which_they_would_be_sharp():
    axis, other = figures.bounds(bounded()).axes
    assert (axis.get_title(), other.get_title()) == ("tanh", "ReLU")
    assert {y for line in other.lines[:2] for y in line.get_ydata()} == {0.9}
    heavy, light, line = axis.lines
    assert (heavy.get_xdata().tolist(), heavy.get_ydata().tolist()) == ([0.01], [0.05])
    assert light.get_ydata().tolist() == [0.4, 1.0]
    assert list(line.get_xdata()) == list(line.get_ydata())
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["$\\alpha=1.1$", "$\\alpha=1.5$"]


def test_paths_are_steps_in_time_a_line_a_particle():
    for axis, steps in zip(DRAWN["paths"]().axes, (8, 4), strict=True):
        for line, values in zip(axis.lines, walk(steps).T.numpy(), strict=True):
            assert line.get_drawstyle() == "steps-post"
            assert np.array(line.get_data()) == pytest.approx(np.array([np.linspace(0, 2, steps + 1), values]))


def test_a_particle_and_its_limit_are_drawn_side_by_side_and_named_once():
    for axis, steps in zip(DRAWN["coupled"]().axes, (8, 4), strict=True):
        ours, limits = axis.lines[::2], axis.lines[1::2]
        for lines, values in ((ours, walk(steps)), (limits, walk(steps, seed=1))):
            assert np.array([line.get_ydata() for line in lines]) == pytest.approx(values.T.numpy())
            assert all(line.get_xdata() == pytest.approx(np.linspace(0, 2, steps + 1)) for line in lines)
        assert [(line.get_color(), line.is_dashed()) for line in ours] == [(colour, False) for colour in SINGLE[:2]]
        assert [(line.get_color(), line.is_dashed()) for line in limits] == [("black", True)] * 2
        assert axis.get_legend_handles_labels()[1] == ["particle", "limit"]


@pytest.mark.parametrize(("typical", "average"), [(False, 2.5), (True, 2.0)])
def test_power_laws_draw_averages_and_a_line_of_the_slope_through_their_middle(typical, average):
    left, right = two_panels(typical=typical).axes
    drawn = {left: [(1.3, 1, -1.3), (1.8, 1, -1.8)], right: [(1.8, 1, -0.5), (2.0, 0, -0.5), (2.0, 1, -0.5)]}
    for axis, settings in drawn.items():
        assert (axis.get_xlabel(), axis.get_xscale(), axis.get_yscale()) == ("the width", "log", "log")
        for (alpha, sigma, slope), dots, line in zip(settings, axis.lines[::2], axis.lines[1::2], strict=True):
            x, y = dots.get_data()
            assert x.tolist() == line.get_xdata().tolist() == [16, 64, 256]
            assert y == pytest.approx(average * (alpha + sigma + np.log(x)))
            assert dots.get_marker() == {1.3: "o", 1.8: "s", 2.0: "^"}[alpha]
            assert (dots.get_linestyle(), line.get_linestyle()) == ("None", "--")
            assert np.diff(np.log(line.get_ydata())) == pytest.approx(slope * np.log([4, 4]))
            assert np.log(line.get_ydata()).mean() == pytest.approx(np.log(y).mean())
            assert dots.get_label() == (f"$\\alpha={alpha:g}$" if sigma else "$\\sigma=0$")
            assert same_color(dots.get_color(), line.get_color())
            assert same_color(dots.get_color(), GREY) == (sigma == 0)


def test_the_largest_error_is_drawn_beside_the_largest_kick_and_its_limit_through_the_middle_of_the_points():
    for axis, alpha, kick in zip(largest().axes, (1.3, 1.8), (3.0, 2.0), strict=True):
        dots, kicks, limit = axis.lines
        assert axis.get_title() == f"$\\alpha={alpha:g}$"
        assert [line.get_linestyle() for line in axis.lines] == ["None", "-", "--"]
        assert dots.get_xdata().tolist() == kicks.get_xdata().tolist() == limit.get_xdata().tolist() == [4, 16]
        assert dots.get_ydata() == pytest.approx([1, 3])
        for line, growth in ((kicks, kick), (limit, 4 ** (1 / alpha))):
            low, high = line.get_ydata()
            assert high / low == pytest.approx(growth)
            assert low * high == pytest.approx(3)


def test_an_alpha_has_one_colour_in_all_panels_and_one_place_in_the_legend():
    figure = two_panels()
    shown = [(line.get_label(), line.get_color()) for axis in figure.axes for line in axis.lines[::2]]
    assert (len(shown), len(set(shown)), len({name for name, _ in shown}), len({hue for _, hue in shown})) == (
        5,
        4,
        4,
        4,
    )
    (legend,) = figure.legends
    named = zip(legend.get_texts(), legend.legend_handles, strict=True)
    assert [(text.get_text(), handle.get_color()) for text, handle in named] == sorted(set(shown))


def test_the_correlation_of_neurons_is_that_of_the_inflation_of_their_mean():
    rho = {(1.5, 1.0): -0.5, (2.0, 0.0): 0.25, (2.0, 1.0): 0.0}  # n times the correlation
    names = ["$\\alpha=1.5$", "$\\sigma=0$", "$\\alpha=2$"]
    unit = normal(30) / normal(30).std(ddof=1)
    records = [Chaos(alpha=alpha, sigma=sigma, width=n, repeats=30) for alpha, sigma in rho for n in (16, 64)]
    inflated = {r: 1 + (r.width - 1) * rho[r.alpha, r.sigma] / r.width for r in records}
    outputs = {r: unit * np.sqrt(r.alpha / r.width * inflated[r]) for r in records}  # one neuron has the variance alpha
    squares = {r: np.full(30, r.alpha) for r in records}
    frame = table((r, {"output": outputs[r], "output_square": squares[r], "distance": [1e3]}) for r in records)
    (axis,) = figures.pairwise_correlation(frame).axes
    assert [bars.get_label() for bars in axis.containers] == names
    assert [same_color(bars.lines[0].get_color(), GREY) for bars in axis.containers] == [False, True, False]
    for k, bars in enumerate(axis.containers):
        dots, _, (lengths,) = bars.lines
        assert dots.get_xdata() == pytest.approx([16, 64], rel=0.3)  # settings stand side by side
        assert dots.get_ydata() == pytest.approx([list(rho.values())[k]] * 2, abs=1e-9)
        for r, segment in zip(records[2 * k : 2 * k + 2], lengths.get_segments(), strict=True):
            cell = theorems.inflation(outputs[r], squares[r], r.width)
            assert segment[:, 1] == pytest.approx((np.array([cell.low, cell.high]) - 1) * r.width / (r.width - 1))


def test_a_coarse_scheme_is_held_to_its_next_grid_point_and_its_distance_shown_below():
    time, fine, axes = np.linspace(0, 1, 17), walk(16)[:, 0].numpy(), jumped().axes
    for steps, above, below in zip((2, 8), axes[:2], axes[2:], strict=True):
        held = np.array([walk(steps)[j * steps // 16, 0] for j in range(17)])
        path, scheme = above.lines
        assert (above.get_title(), scheme.get_drawstyle()) == (f"$\\eta$ = 1/{steps}", "steps-post")
        for line, values in ((path, fine), (scheme, held)):
            assert np.array(line.get_data()) == pytest.approx(np.array([time, values]))
        vertices = below.collections[0].get_paths()[0].vertices
        assert [vertices[vertices[:, 0] == t, 1].max() for t in time] == pytest.approx(abs(fine - held))


def test_one_coarse_scheme_is_a_figure_too():
    assert len(figures.misplaced_jump(torch.linspace(0, 1, 17), walk(16)[:, 0], {4: walk(4)[:, 0]}).axes) == 2


def test_the_cost_in_steps_is_the_inverse_of_the_largest_step_allowed():
    (axis,) = DRAWN["step_cost"]().axes
    for alpha, line in zip((1.3, 2.0), axis.lines, strict=True):
        assert line.get_label() == f"$\\alpha={alpha:g}$"
        assert line.get_xdata().tolist() == [16, 64, 1024]
        assert line.get_ydata() == pytest.approx([1 / laws.step_condition(alpha, n) for n in (16, 64, 1024)])


def test_errors_are_overlaid_on_their_limit_law_and_a_wrong_law_is_seen():
    settings = {1.2: ("isotropic", 3, 1.0), 1.75: ("shared", 2, 1.5)}  # noise, inputs, and errors so much too large
    errors = {a: factor * lawful(a, 0.2, noise, d, 900, 200) for a, (noise, d, factor) in settings.items()}
    records = [Pruning(alpha=a, width=900, noise=noise, inputs=d, keep=0.2) for a, (noise, d, _) in settings.items()]
    frame = table((r, {"error": errors[r.alpha][::-1], "bulk": [1e3]}) for r in records)
    for axis, r, (least, most) in zip(figures.laws_overlaid(frame).axes, records, ((0, 0.004), (0.1, 1)), strict=True):
        simulated, limit = axis.lines
        title, _, apart = axis.get_title().partition(", ")
        assert title == f"$\\alpha={r.alpha:g}$"
        assert least <= float(apart.removesuffix(" apart")) <= most
        assert simulated.get_xdata() == pytest.approx(900 ** (2 / r.alpha - 1) * errors[r.alpha] ** 2)
        assert simulated.get_ydata() == pytest.approx(np.arange(1, 201) / 200)
        law, x = laws.limit_law(r.alpha, 0.2, r.noise, r.inputs), limit.get_xdata()
        assert limit.get_ydata() == pytest.approx(law.cdf(x))
        assert x[0] < simulated.get_xdata()[0] < simulated.get_xdata()[-1] < x[-1]


def test_predicted_errors_show_medians_the_prediction_and_the_law_of_noise_alone():
    settings = [(5.0, 1.0, 1.0), (1.0, 0.5, 4.0), (0.1, 1.0, 1.0)]
    records = [
        Pruning(alpha=1.5, width=n, spread=start, sigma=sigma, horizon=t, steps=4, noise="isotropic", inputs=2)
        for start, sigma, t in settings
        for n in (256, 4096)
    ]
    errors = {n: np.array([1, 0.5, 1.2]) / np.log(n) for n in (256, 4096)}  # of mean 0.9
    frame = table((r, {"error": errors[r.width], "noise_error": [1e3], "bulk": [1e3], "rest": [1e3]}) for r in records)
    titles = {(1.0, 0.5, 4.0): "first", (5.0, 1.0, 1.0): "second"}
    (axis,) = figures.predicted_errors(frame, titles).axes
    assert axis.get_legend_handles_labels()[1] == ["first", "second"]
    for k, ((start, sigma, horizon), title) in enumerate(titles.items()):
        dots, line = axis.lines[2 * k : 2 * k + 2]
        assert (dots.get_label(), line.get_linestyle()) == (title, "-")
        assert dots.get_xdata().tolist() == [256, 4096]
        assert dots.get_ydata() == pytest.approx(1 / np.log([256, 4096]))
        layer = {"noise": "isotropic", "inputs": 2, "spread": start, "scale": sigma * horizon ** (1 / 1.5)}
        for n, drawn in list(zip(*line.get_data(), strict=True))[::3]:
            assert drawn == pytest.approx(laws.predicted_error(1.5, int(n), 0.1, **layer))
        assert list(line.get_xdata()[[0, -1]]) == [256, 4096]
    dotted, alone = axis.lines[4], laws.limit_law(1.5, 0.1, "isotropic", 2)
    assert dotted.get_linestyle() == ":"
    assert dotted.get_ydata() == pytest.approx([laws.pruning_error(alone, n) for n in dotted.get_xdata()])


def test_width_maps_mark_experiments_and_the_band_of_their_alpha():
    left, right, bar = maps().axes
    for axis in (left, right):
        band = [line for line in axis.lines if line.get_linestyle() == "--"]
        assert [list(line.get_xdata()) for line in band] == [[1.5, 1.5], [1.8, 1.8]]
    (dot,) = [line for line in left.lines if line.get_marker() == "o"]
    assert dot.get_xydata().tolist() == [[1.6, 0.25]]
    assert [text.xy for text in left.texts if text.get_text() == "a mark"] == [(1.6, 0.25)]
    assert (left.get_title(), right.get_title()) == ("error $\\varepsilon$ = 0.3", "a tenth kept")
    assert bar.get_ylabel() == "$\\log_{10}$ of the required width"


def test_contours_of_width_maps_lie_where_the_law_asks_for_that_width():
    asked = (lambda alpha, keep: (alpha, keep, 0.3), lambda alpha, error: (alpha, 0.1, error))
    for axis, arguments in zip(maps().axes[:2], asked, strict=True):
        _, lines = axis.collections
        for level, path in list(zip(lines.levels, lines.get_paths(), strict=True))[:4]:
            corners = path.vertices[1:-1:3]
            assert len(corners) >= 4
            found = [np.log10(laws.required_width(*arguments(*map(float, corner)))) for corner in corners]
            assert found == pytest.approx([level] * len(found), rel=0.1)  # straight between the points of the map


def test_error_shares_set_measured_against_predicted_in_the_colour_of_the_noise():
    (axis,) = shares().axes
    for bars, (name, (x, y, half)) in zip(axis.containers, NOISES.items(), strict=True):
        dots, _, (lengths,) = bars.lines
        assert np.array(dots.get_data()).tolist() == [x, y]
        assert [np.ptp(segment[:, 1]) / 2 for segment in lengths.get_segments()] == pytest.approx(half)
        assert (bars.get_label(), same_color(dots.get_color(), COLOURS[name])) == (name, True)
    (diagonal,) = [line for line in axis.lines if line.get_linestyle() == ":"]
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
