"""Figures laid out for a phone: panels below one another, each with its own numbers, texts large and none cut off."""

from __future__ import annotations

import io
from itertools import pairwise

import matplotlib as mpl

mpl.use("Agg")

import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import pyplot as plt
from matplotlib._mathtext import Parser
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.text import Text

from heavytail.book.figures import layouts

pytestmark = pytest.mark.usefixtures("book_style")


def panels(rows, columns, legend=True):
    figure, axes = plt.subplots(rows, columns, figsize=(8.0, 3.2), sharey="row", sharex="col", squeeze=False)
    for row, own in enumerate(axes):
        for column, axis in enumerate(own):
            axis.plot([0, 1], [row, row + 1], label=f"a line with a rather long name, {column}")
            axis.set_title(f"{row}, {column}")
            if row == rows - 1:
                axis.set_xlabel("share pruned at squared error $0.1 \\cdot 1$")
        own[0].set_ylabel(f"test accuracy after pruning, {row}")
    axes[0][0].annotate("small", (0.5, 0.5), fontsize=5)
    if legend:
        handles = [axis.lines[0] for axis in axes[0]]
        figure.legend(handles, [line.get_label() for line in handles], ncols=columns, loc="outside upper center")
    return figure


def places(figure):
    """Titles of panels by their places, row and column, in what is drawn."""
    figure.canvas.draw()
    boxes = {axis.get_title(): axis.get_position() for axis in figure.axes}
    lefts = sorted({round(box.x0, 1) for box in boxes.values()})
    lines = sorted({round(box.y0, 3) for box in boxes.values()}, reverse=True)
    return {title: (lines.index(round(box.y0, 3)), lefts.index(round(box.x0, 1))) for title, box in boxes.items()}


def test_panels_of_a_row_stand_below_one_another_with_the_numbers_they_shared():
    figure = panels(1, 3)
    layouts.stack(figure)
    assert places(figure) == {"0, 0": (0, 0), "0, 1": (1, 0), "0, 2": (2, 0)}
    assert [axis.get_ylabel().replace("\n", " ") for axis in figure.axes] == ["test accuracy after pruning, 0"] * 3
    assert all(any(tick.label1.get_visible() for tick in axis.yaxis.get_major_ticks()) for axis in figure.axes)
    assert figure.get_figwidth() < 3.6  # of 375 pixels


def test_rows_stay_together_and_many_columns_stand_two_abreast():
    figure = panels(2, 4)
    layouts.stack(figure)
    assert places(figure) == {
        **{"0, 0": (0, 0), "0, 1": (0, 1), "1, 0": (1, 0), "1, 1": (1, 1)},
        **{"0, 2": (2, 0), "0, 3": (2, 1), "1, 2": (3, 0), "1, 3": (3, 1)},
    }
    shown = {
        axis.get_title(): any(t.label1.get_visible() for t in axis.yaxis.get_major_ticks()) for axis in figure.axes
    }
    assert {title for title, own in shown.items() if own} == {"0, 0", "1, 0", "0, 2", "1, 2"}


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 4)])
def test_no_text_is_small_or_cut_off(shape):
    figure = panels(*shape)
    layouts.stack(figure)
    figure.canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) * 4 / 3 > 11
    (legend,) = figure.legends
    boxes = [legend.get_window_extent(), *(axis.get_tightbbox() for axis in figure.axes)]
    assert all(box.x0 > -2 and box.x1 < figure.bbox.width + 2 for box in boxes)
    assert all(box.y0 > -2 and box.y1 < figure.bbox.height + 2 for box in boxes)
    assert all(axis.get_position().height * figure.get_figheight() > 0.8 for axis in figure.axes)


def test_a_legend_of_a_single_panel_goes_above_it():
    figure = panels(1, 1, legend=False)
    figure.axes[0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    layouts.stack(figure)
    figure.canvas.draw()
    assert figure.axes[0].get_legend() is None
    assert figure.legends[0].get_window_extent().y0 > figure.axes[0].get_window_extent().y1


def test_ipython_gets_both_layouts_and_one_of_what_has_no_panels_to_stack():
    shown = layouts.both(panels(1, 1))
    assert shown.keys() == {layouts.WIDE_TYPE, layouts.NARROW_TYPE}
    assert shown == layouts.both(panels(1, 1))
    figure = panels(1, 1)
    figure.set_label(layouts.STAYS_WIDE)
    assert layouts.both(figure).keys() == {layouts.WIDE_TYPE}


def test_a_figure_that_is_only_laid_out_before_it_is_saved_is_the_same_text(monkeypatch):
    """And a formula is set once, whichever renderer asks."""
    drawn, parsed = [], []
    draw, parse = Line2D.draw, Parser.parse
    monkeypatch.setattr(Line2D, "draw", lambda line, renderer: drawn.append(line) or draw(line, renderer))
    monkeypatch.setattr(Parser, "parse", lambda parser, text, *how: parsed.append(text) or parse(parser, text, *how))
    figure = panels(2, 3)
    once = layouts.svg(figure)
    assert sum(line is figure.axes[0].lines[0] for line in drawn) == 1
    parsed.clear()
    made = io.BytesIO()
    again = panels(2, 3)
    again.savefig(made, format="svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.04)
    assert once == layouts._FINER.sub(r"\1", made.getvalue().decode())
    assert sum(line is again.axes[0].lines[0] for line in drawn) == 2
    assert parsed == []


def test_a_cell_shows_a_figure_by_this_alone():
    data, _ = InteractiveShell.instance().display_formatter.format(panels(1, 1))  # the fixture has set the style
    assert data.keys() == {layouts.WIDE_TYPE, layouts.NARROW_TYPE, "text/plain"}
    assert io.StringIO(data[layouts.WIDE_TYPE]).readline().startswith("<?xml")


def test_long_names_of_lines_leave_their_panel_room():
    figure, axis = plt.subplots(figsize=(8.0, 4.0))
    axis.set_yticks(range(14), ["dense"] + ["Gaussian common kicks, largest columns"] * 13)
    layouts.stack(figure)
    figure.canvas.draw()
    assert axis.get_position().width > 0.35
    names = axis.get_yticklabels()
    assert [label.get_text() for label in names[:2]] == ["dense", "Gaussian common kicks,\nlargest columns"]
    boxes = [label.get_window_extent() for label in names]
    assert all(above.y0 > below.y1 - 1 for below, above in pairwise(boxes))  # none lies on another


def test_a_point_with_its_bar_is_one_in_the_legend_too():
    figure, axis = plt.subplots()
    axis.errorbar([1], [2], [1], fmt="o", label="a point")
    axis.legend()
    layouts.stack(figure)
    (marked,) = [line for line in figure.legends[0].findobj(Line2D) if line.get_marker() == "o"]
    assert marked.get_linestyle() == "None"


def test_short_logarithmic_axes_have_plain_numbers_long_ones_powers_of_ten_and_no_tick_lacks_its_number():
    figure, (long, short, narrow) = plt.subplots(1, 3)
    for axis, high in ((long, 1e5), (short, 30), (narrow, 2)):
        axis.loglog([1, high], [1e-6, 2e-5])
    narrow.set_yscale("log", base=2)
    kept = narrow.yaxis.get_major_formatter()
    layouts.both(figure)
    assert named(long.xaxis) == {10.0**power: rf"$\mathdefault{{10^{{{power}}}}}$" for power in range(6)}
    assert named(short.xaxis) == {1.0: "1", 2.0: "2", 5.0: "5", 10.0: "10", 20.0: "20"}
    assert named(narrow.xaxis) == {1.0: "1", 1.5: "1.5", 2.0: "2"}
    assert named(short.yaxis)[1e-5] == "$10^{-5}$"
    assert named(short.yaxis)[2e-6] == r"$2\times10^{-6}$"
    assert narrow.yaxis.get_major_formatter() is kept  # to another base
    assert all(axis.get_minorticklocs().size == 0 for panel in (long, short) for axis in (panel.xaxis, panel.yaxis))


def named(axis: Axis) -> dict[float, str]:
    """The number at each tick that is seen."""
    low, high = axis.get_view_interval()
    return {
        round(place, 9): label.get_text()
        for place, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
        if low <= place <= high
    }
