"""The plotting style: fonts that matplotlib brings along, and one scale of colours and axes for the tail index."""

from __future__ import annotations

import logging
import re
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from heavytail.book import figures
from heavytail.book.dark import luminance
from heavytail.book.figures.style import ALPHA_LABEL, alpha_axis, alpha_colour, alpha_colours, alpha_slots


@pytest.mark.parametrize("lost", ["nothing", "the fonts of matplotlib"])
def test_a_figure_is_drawn_without_a_warning_whatever_list_of_fonts_was_read(lost, monkeypatch, caplog):
    own = Path(mpl.get_data_path())
    manager = font_manager.fontManager
    whole = [entry for entry in manager.ttflist if lost == "nothing" or own not in Path(entry.fname).parents]
    monkeypatch.setattr(manager, "ttflist", whole)
    manager._findfont_cached.cache_clear()
    figures.style()
    with caplog.at_level(logging.WARNING, logger="matplotlib.font_manager"):
        for family in ("cm", "stix", "dejavusans"):
            with mpl.rc_context({"mathtext.fontset": family}):
                figure, axes = plt.subplots()
                axes.set_title(r"$\alpha \leq \sum_i x_i$")
                figure.canvas.draw()
                plt.close(figure)
    assert [record.message for record in caplog.records] == []


def test_one_scale_of_colours_for_the_tail_index_the_heavier_the_darker():
    alphas = [2.0, 1.9, 1.75, 1.5, 1.3, 1.0, 0.7]
    colours = [to_rgb(alpha_colour(alpha)) for alpha in alphas]
    bright = luminance(np.array(colours))
    assert (np.diff(bright) < 0).all()
    assert min(np.abs(np.subtract(one, other)).max() for one, other in pairwise(colours)) > 0.12  # can be told apart
    assert alpha_colours([1.5, 0.7]) == {alpha: alpha_colour(alpha) for alpha in (0.7, 1.5)}


def test_axes_of_the_tail_index_are_the_same_everywhere():
    _, (one, other, whole) = plt.subplots(1, 3)
    assert alpha_slots(one, [1.75]) == {1.5: 0, 1.75: 1, 1.9: 2} == alpha_slots(other, [1.5, 1.9])
    assert one.get_xlim() == other.get_xlim()
    assert [label.get_text() for label in other.get_xticklabels()] == ["1.5", "1.75\n(not run)", "1.9"]
    alpha_axis(whole)
    assert whole.get_xlim() == (1, 2)
    assert {axis.get_xlabel() for axis in (one, other, whole)} == {ALPHA_LABEL}
    plt.close("all")


CHOSEN = re.compile(
    r"color_palette|colormaps|get_cmap|LinearSegmented|#[0-9a-fA-F]{6}"
    r"|(?:colors?|cmap|facecolor|palette|edgecolor)[\"']?\s*[=:]\s*f?[\"'](?!none)"
    r"|ALPHA_LABEL|stability index"
)


@pytest.mark.parametrize("path", sorted(Path(figures.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_only_the_style_chooses_colours_and_names_the_axis_of_the_tail_index(path):
    found = CHOSEN.findall(path.read_text("utf-8"))
    assert bool(found) == (path.stem == "style"), found
