"""A figure as text, twice: as wide as the text column, and as a column of panels for a phone."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.legend import Legend
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text
from matplotlib.ticker import AutoLocator, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

WIDE_TYPE, NARROW_TYPE = "image/svg+xml", "application/x-narrow-svg"
STAYS_WIDE = "stays wide"  # the label of a figure that has no panels to stack; a phone scrolls it

_NARROW = 3.45  # inches, 331 pixels: what a phone of 375 leaves a page for text
_PANEL = 2.3  # inches, the height of a panel in a stack
_SMALLEST = 8.6  # points, 11.5 pixels
_LINE = {1: 32, 2: 14}  # letters of a label below a panel, by how many panels stand side by side
_UP = 24  # letters of one beside it
_FINER = re.compile(r"(\.\d{3})\d{2,}\b")  # matplotlib writes six digits, a quarter of a file


def both(
    figure: Figure, include: Container[str] | None = None, exclude: Container[str] | None = None
) -> Mapping[str, str]:
    """What IPython shows of a figure: the wide SVG that every reader of notebooks knows, and the narrow one for pages.

    The figure is stacked afterwards; it is made to be shown once.
    """
    _thin_out(figure)
    shown = {WIDE_TYPE: svg(figure)}
    if figure.get_label() != STAYS_WIDE:
        stack(figure)
        shown[NARROW_TYPE] = svg(figure)
    return shown


def _thin_out(figure: Figure) -> None:
    """Leave logarithmic axes ticks that have a number each, and plain ones where they are few decades long.

    Matplotlib takes more time for its small ticks than for all the rest, and names some of them `2 × 10⁰`.
    """
    for axis in [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]:
        if (span := _span(axis)) > 1:
            axis.set_minor_locator(NullLocator())
            if span <= 100:
                axis.set_major_locator(LogLocator(subs=(1, 2, 5) if span > 4 else (1, 1.5, 2, 3, 4, 5, 7)))
                axis.set_major_formatter(FuncFormatter(_plain))


def _plain(number: float, _place: int | None = None) -> str:
    """A tick's number without a power of ten, as long as that is short.

    >>> _plain(0.02), _plain(5000.0), _plain(2e-5)
    ('0.02', '5000', '$2\\\\times10^{-5}$')
    """
    digits, power = f"{number:.3e}".split("e")
    short = 1e-3 <= number < 1e5
    return f"{number:g}" if short else f"${float(digits):g}\\times10^{{{int(power)}}}$".replace("$1\\times", "$")


def _span(axis: Axis) -> float:
    """How many times its low end an axis reaches that is logarithmic to the base 10 and has small ticks; or else 1."""
    low, high = sorted(axis.get_view_interval())
    decimal = getattr(axis.get_transform(), "base", None) == 10
    return float(high / low) if decimal and not isinstance(axis.get_minor_locator(), NullLocator) else 1.0


def svg(figure: Figure) -> str:
    """A figure as SVG without a date, the same text each time, with places to a thousandth of a point."""
    made = io.BytesIO()
    with _drawn_once(figure):
        figure.savefig(made, format="svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.04)
    return _FINER.sub(r"\1", made.getvalue().decode())


@contextmanager
def _drawn_once(figure: Figure) -> Iterator[None]:
    """Matplotlib draws a figure to nowhere before it saves it, for its layout; in the block it only lays it out."""
    laid_out = False

    def draw(renderer: RendererBase) -> None:
        nonlocal laid_out
        engine = figure.get_layout_engine()
        if laid_out or engine is None:
            Figure.draw(figure, renderer)
        else:
            engine.execute(figure)
        laid_out = True

    figure.draw = draw  # type: ignore[method-assign]
    try:
        yield
    finally:
        del figure.draw


def keep_formulas() -> None:
    """Make matplotlib set a formula once: it keeps fifty, each for one renderer, and a figure has several renderers."""
    parser: Any = MathTextParser
    parsed: Any = getattr(getattr(parser, "_parse_cached", None), "__wrapped__", None)
    if parsed is None:  # done before, or another matplotlib
        return
    first: dict[str, Any] = {}

    @lru_cache(4096)
    def kept(kind: str, *how: Any) -> Any:
        return parsed(first[kind], *how)

    def of_its_kind(one: Any, *how: Any) -> Any:
        first.setdefault(one._output_type, one)
        return kept(one._output_type, *how)

    parser._parse_cached = of_its_kind


def stack(figure: Figure) -> None:
    """Lay a figure out anew for a phone: its columns of panels below one another, two abreast where they are many.

    A panel that begins a line gets the labels that it shared; legends that stood beside a single panel or above all
    stand above, in as many lines as they need; no text is small.
    """
    panels = {
        (spec.rowspan.start, spec.colspan.start): axis for axis in figure.axes if (spec := axis.get_subplotspec())
    }
    legends = list(figure.legends)
    if len(panels) == 1:
        legends += [legend for axis in panels.values() if (legend := axis.get_legend()) is not None]
    for text in figure.findobj(Text):
        text.set_fontsize(max(text.get_fontsize(), _SMALLEST))
    height = _regrid(figure, panels)
    figure.set_size_inches(_NARROW, height)
    high = sum(_above(figure, legend) for legend in legends)
    figure.set_size_inches(_NARROW, height + high / figure.dpi)


def _regrid(figure: Figure, panels: Mapping[tuple[int, int], Axes]) -> float:
    """Put panels by row and column into one column or two; the height of the figure without its legends, in inches."""
    grid = panels[0, 0].get_gridspec()
    assert grid is not None  # only a panel of a grid has a place
    rows, columns = grid.get_geometry()
    across = 2 if columns > 3 else 1
    blocks = math.ceil(columns / across)
    new = GridSpec(rows * blocks, across, figure=figure, height_ratios=np.tile(grid.get_height_ratios(), blocks))
    broken = False
    for (row, column), axis in panels.items():
        axis.set_subplotspec(new[column // across * rows + row, column % across])
        if column % across == 0:
            _label(axis, panels[row, 0])
        axis.set_ylabel(_in_lines(axis.get_ylabel(), _UP))
        axis.set_xlabel(_in_lines(axis.get_xlabel(), _LINE[across]))
        axis.set_title(_in_lines(axis.get_title(), _LINE[across]))
        if across > 1 and isinstance(axis.xaxis.get_major_locator(), AutoLocator):
            axis.xaxis.set_major_locator(MaxNLocator(3))  # more would touch
        if isinstance(axis.yaxis.get_major_locator(), FixedLocator):  # its names may be words
            names = [_in_lines(one.get_text(), _UP) for one in axis.get_yticklabels()]
            axis.set_yticks(axis.get_yticks(), names)
            broken = broken or any("\n" in name for name in names)
    if columns > 1:
        return _PANEL * rows * blocks
    return float(figure.get_figheight()) * (1.5 if broken else 1.0)  # names of two lines want room


def _label(axis: Axes, first: Axes) -> None:
    """Give a panel the label and the numbers of the first in its row, which it shared so far."""
    if not axis.get_ylabel():
        axis.set_ylabel(first.get_ylabel())
    if axis is not first and axis.get_shared_y_axes().joined(axis, first):
        axis.tick_params(axis="y", which="both", labelleft=True)


def _above(figure: Figure, legend: Legend) -> float:
    """Put a legend above all panels, in so many columns as there is room for; its height in pixels."""
    labels = [text.get_text() for text in legend.get_texts()]
    drawn = dict(zip(*reversed(legend.axes.get_legend_handles_labels()), strict=True)) if legend.axes else {}
    shown = zip(labels, legend.legend_handles, strict=True)
    # Its own handles lack bars of errors.
    handles = [drawn.get(label, handle) for label, handle in shown if handle is not None]
    legend.remove()
    for most in range(min(len(labels), 4), 0, -1):
        columns = math.ceil(len(labels) / math.ceil(len(labels) / most))  # lines of about one length
        look: dict[str, Any] = {"ncols": columns, "columnspacing": 1.0, "handlelength": 1.5, "handletextpad": 0.4}
        new = figure.legend(handles, labels, loc="outside upper center", **look)
        box = new.get_window_extent()
        if box.width <= figure.bbox.width or columns == 1:
            break
        new.remove()
    return float(box.height)


def _in_lines(text: str, length: int) -> str:
    """A label in lines of about one length, of so many letters at most as far as it has spaces; formulas stay whole."""
    lines: list[str] = []
    even = _letters(text) / math.ceil(max(1, _letters(text)) / length) + 3
    for word in re.split(r"[ \n](?=(?:[^$]*\$[^$]*\$)*[^$]*$)", text):
        if lines and _letters(f"{lines[-1]} {word}") <= min(length, even):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def _letters(text: str) -> int:
    """About how many letters wide a text is, in which formulas may be."""
    return len(re.sub(r"[${}^_]", "", re.sub(r"\\[a-z]+", "x", text)))
