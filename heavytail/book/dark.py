"""Figures for a dark page: every colour gets a twin of its hue, and any two colours keep their contrast.

The contrast of two colours is the ratio of their luminances, each plus 0.05. A twin's is a constant over that of the
colour, and the constant makes white the ground of a dark page. So a text that can be read on its ground can be read in
the dark, dark ends of a scale become light ends, and nothing is chosen twice. Black is held at white.
"""

from __future__ import annotations

import base64
import io
import re
from functools import cache

import numpy as np
from matplotlib.image import imread, imsave

GROUND = "#121212"  # of a dark page, as the theme has it
_COLOUR = re.compile(r"(?<=: )#[0-9a-fA-F]{6}(?=[;\"])")  # in a style; elsewhere it is the name of a part
_PICTURE = re.compile(r"(data:image/png;base64,\s*)([A-Za-z0-9+/=\s]+)")


def twin(colour: str) -> str:
    """The colour that stands for `#rrggbb` on a dark page.

    >>> twin("#ffffff"), twin("#000000"), twin("#0173b2")
    ('#121212', '#ffffff', '#018cd9')
    """
    rgb = np.array([[int(colour[place : place + 2], 16) for place in (1, 3, 5)]]) / 255
    return "#" + "".join(f"{value:02x}" for value in np.rint(255 * twins(rgb)[0]).astype(int))


def twins(colours: np.ndarray) -> np.ndarray:
    """The twins of (n, 3) colours, whose parts are between 0 and 1."""
    wanted = np.minimum(1.05 * _ground() / (luminance(colours) + 0.05) - 0.05, 1.0)
    low, high = colours.min(1), colours.max(1)
    spread = high - low
    hue = np.where(spread[:, None] > 0, (colours - low[:, None]) / np.maximum(spread, 1e-9)[:, None], 0.5)
    room = 1 - np.abs(high + low - 1)  # what spread a colour of this lightness can have
    full = np.where(room > 0, spread / np.maximum(room, 1e-9), 0.0)

    def at(lightness: np.ndarray) -> np.ndarray:
        reach = full * (1 - np.abs(2 * lightness - 1))
        return np.clip(lightness[:, None] + reach[:, None] * (hue - 0.5), 0, 1)

    dark, light = np.zeros(len(colours)), np.ones(len(colours))
    for _ in range(16):
        middle = (dark + light) / 2
        below = luminance(at(middle)) < wanted
        dark, light = np.where(below, middle, dark), np.where(below, light, middle)
    return at((dark + light) / 2)


def luminance(colours: np.ndarray) -> np.ndarray:
    """The relative luminance of (n, 3) colours, as WCAG 2 defines it.

    >>> luminance(np.array([[1, 1, 1], [0, 0, 0]])).tolist()
    [1.0, 0.0]
    """
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ [0.2126, 0.7152, 0.0722])


@cache
def _ground() -> float:
    return float(luminance(np.array([[int(GROUND[place : place + 2], 16) / 255 for place in (1, 3, 5)]]))[0]) + 0.05


def figure(svg: str) -> str:
    """An SVG of matplotlib's for a dark page: its colours are twins, in the pictures inside it too."""
    known = {colour: twin(colour) for colour in set(_COLOUR.findall(svg))}
    text = _COLOUR.sub(lambda match: known[match[0]], svg)
    text = _PICTURE.sub(lambda match: match[1] + _picture(match[2]), text)
    return text.replace("<svg ", f'<svg fill="{twin("#000000")}" ', 1)  # what is black has no fill in the text


def _picture(encoded: str) -> str:
    read = imread(io.BytesIO(base64.b64decode(encoded)), format="png")
    pixels = np.rint(255 * read).astype(np.uint8)
    colours, places = np.unique(pixels[..., :3].reshape(-1, 3), axis=0, return_inverse=True)
    rgb = np.rint(255 * twins(colours / 255)).astype(np.uint8)[places].reshape(*pixels.shape[:2], 3)
    made = io.BytesIO()
    imsave(made, np.dstack([rgb, pixels[..., 3]]), format="png", pil_kwargs={"optimize": True})
    return base64.b64encode(made.getvalue()).decode()
