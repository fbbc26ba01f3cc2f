"""The one plotting style of the book: fonts, greys, a colour a noise, one scale of colours and axes for α."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
import seaborn as sns
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import colormaps, font_manager
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib_inline.backend_inline import set_matplotlib_formats

from heavytail.book.figures.layouts import both, keep_formulas

# What is no data: on a dark page each is another grey of the same contrast, see `heavytail.book.dark`.
INK, GREY, FAINT, BLANK, GROUND = "black", "#595959", "#808080", "#ededed", "white"
# Each has a contrast of 4.5 on white at least, as a text must.
COLOURS = {"none": GREY, "Type-I": "#b45f06", "Type-II": "#0173b2", "Type-III": "#017a58"}
CLEAR = 0.75  # how much of its colour a point has that others show through: a contrast of 3 is left
MARKED = "#c44e52"  # what a figure points at, where it is no noise
HALO = [withStroke(linewidth=2.5, foreground=GROUND)]  # of a text that lies on lines
TINT = "#d5e8f5"  # of a box
SHADES = colormaps["RdBu_r"].resampled(11)  # of weights; few, or a picture of noise is a large file
DEPTHS = LinearSegmentedColormap.from_list(
    "depths", colormaps["YlGnBu"](np.linspace(0, 0.7, 40))
)  # of a map; lines are seen
# Of things that mean nothing by their colour, such as single neurons.
SINGLE = ("#4c72b0", "#b8621b", "#3d8a50", "#c44e52", "#8172b3", "#937860", "#b8579c", "#6f6f6f")
WIDE = (8.0, 3.2)  # inches: the text column of the book

# From α = 2 to the heaviest tail of the book, palest to darkest; both ends are clear on white.
_ALPHA, _LEAST = (
    LinearSegmentedColormap.from_list("alpha", ["#e8602c", "#d13a6b", "#9b2fae", "#4a3fb0", "#12263f"]),
    0.7,
)
_ORDERED = LinearSegmentedColormap.from_list(
    "ordered", ["#3d9a50", "#1f86a8", "#4a5fc1", "#5b2a86", "#1c1030"]
)  # for what is ordered and is no α
ALPHA_LABEL = "stability index $\\alpha$"
SLOTS = (1.5, 1.75, 1.9)  # what every axis of trained networks has a place for


def style() -> None:
    """Set the book's plotting style; call once at the top of a chapter.

    Figures become vector graphics without a background, each in two layouts, and the same figure is the same text each
    time.
    """
    _own_fonts()
    keep_formulas()
    set_matplotlib_formats()  # none of IPython's own
    formatter = InteractiveShell.instance().display_formatter
    if formatter is not None:
        formatter.mimebundle_formatter.for_type(Figure, both)
    sns.set_theme(
        context="notebook",
        style="ticks",
        palette=list(SINGLE),
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


def alpha_colour(alpha: float) -> str:
    """The colour of a tail index everywhere in the book: the heavier the tail, the darker.

    It goes by a power of `2 - alpha` below 1, since most of the book's indices are near 2.

    >>> alpha_colour(2.0), alpha_colour(1.5), alpha_colour(0.7)
    ('#e8602c', '#9d2fab', '#12263f')
    """
    heavy = min(1.0, max(0.0, (2 - alpha) / (2 - _LEAST)))
    return to_hex(_ALPHA(heavy**0.75))


def in_words(name: str) -> str:
    """A name of COLOURS as a reader meets it.

    >>> in_words("none"), in_words("Type-I")
    ('plain SGD', 'Type-I')
    """
    return "plain SGD" if name == "none" else name


def alpha_colours(alphas: Iterable[float]) -> dict[float, str]:
    """The colour of each of some tail indices, in order."""
    return {alpha: alpha_colour(alpha) for alpha in sorted(set(alphas))}


def ordered_colours(count: int) -> list[str]:
    """Colours for so many ordered things that are no α, the last the darkest."""
    return [to_hex(_ORDERED(step / max(1, count - 1))) for step in range(count)]


def alpha_slots(axis: Axes, alphas: Iterable[float]) -> dict[float, int]:
    """Make the x axis one of tail indices side by side, the heaviest on the left; where each of them is.

    SLOTS have a place on every such axis, so that figures of several data sets can be laid side by side.
    """
    drawn = {*map(float, alphas)}
    ordered = sorted({*SLOTS, *drawn})
    names = [f"{alpha:g}" if alpha in drawn else f"{alpha:g}\n(not run)" for alpha in ordered]
    axis.set_xticks(range(len(ordered)), names)
    axis.set(xlim=(-0.5, len(ordered) - 0.5), xlabel=ALPHA_LABEL)
    return {alpha: place for place, alpha in enumerate(ordered)}


def alpha_axis(axis: Axes) -> None:
    """Make the x axis one of all tail indices for which the laws of the book hold."""
    axis.set(xlim=(1, 2), xticks=[1, 1.25, 1.5, 1.75, 2], xlabel=ALPHA_LABEL)
