"""The one plotting style of the book: sizes, fonts, a colour a noise, a colour an alpha."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import matplotlib
import seaborn as sns
from matplotlib import font_manager
from matplotlib_inline.backend_inline import set_matplotlib_formats

_HUES = sns.color_palette("colorblind")
COLOURS = {"none": "0.35", "Type-I": _HUES[1], "Type-II": _HUES[0], "Type-III": _HUES[2]}
WIDE = (8.0, 3.2)  # inches: the text column of the book


def style() -> None:
    """Set the book's plotting style; call once at the top of a chapter.

    Figures become vector graphics without a background, so that a page's dark mode can turn them over, and the same
    figure is the same text each time.
    """
    _own_fonts()
    set_matplotlib_formats("svg", metadata={"Date": None})
    sns.set_theme(
        context="notebook",
        style="ticks",
        rc={
            "figure.dpi": 110,
            "savefig.dpi": 220,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.labelsize": 10.5,
            "xtick.labelsize": 9.5,
            "ytick.labelsize": 9.5,
            "legend.fontsize": 9.5,
            "legend.frameon": False,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "legend.facecolor": "none",
            "savefig.transparent": True,
            "svg.hashsalt": "heavytail",
        },
    )


def _own_fonts() -> None:
    """Make matplotlib know the fonts that it brings along.

    It keeps its list of fonts in a file that all environments of a user share. One made while an environment was being
    deleted lacks them, and every figure then writes twenty warnings into its page.
    """
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    listed = {Path(entry.fname) for entry in font_manager.fontManager.ttflist}
    for path in sorted(folder.glob("*.ttf")):
        if path not in listed:
            font_manager.fontManager.addfont(path)


def alpha_colours(alphas: Iterable[float]) -> dict[float, tuple[float, float, float]]:
    """One colour an alpha, the heaviest tail darkest; the same colours in every plot of the same alphas."""
    ordered = sorted(set(alphas))
    return dict(zip(ordered, sns.color_palette("viridis", len(ordered) + 1), strict=False))
