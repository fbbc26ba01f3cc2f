"""The plotting style: its fonts are those that matplotlib brings along, whatever list of fonts a user has."""

from __future__ import annotations

import logging
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib import font_manager
from matplotlib import pyplot as plt

from heavytail.book import figures


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
