"""Colours of a dark page: their contrast with the ground and among each other is that of the light page."""

from __future__ import annotations

import base64
import colorsys
import io

import numpy as np
import pytest
from matplotlib.image import imread, imsave

from heavytail.book import dark
from heavytail.book.figures.style import CLEAR, COLOURS, FAINT, MARKED, SINGLE, alpha_colour, ordered_colours


def rgb(colour):
    return tuple(int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))


def contrast(one, other):
    bright = dark.luminance(np.array([one, other], dtype=float)) + 0.05
    return bright.max() / bright.min()


def test_twins_keep_their_hue_and_the_contrast_of_any_two_of_them():
    ground = rgb(dark.GROUND)
    colours = np.random.default_rng(1).uniform(size=(300, 3))
    held = colours[dark.luminance(colours) > 0.03]  # what is darker is held at white
    made = dark.twins(held)
    assert len(held) > 200
    for one, other, own, theirs in zip(held[1:], held, made[1:], made, strict=False):
        assert contrast(own, theirs) == pytest.approx(contrast(one, other), rel=0.02)
        assert contrast(own, ground) == pytest.approx(contrast(one, (1, 1, 1)), rel=0.02)
        turned = colorsys.rgb_to_hls(*own)[0] - colorsys.rgb_to_hls(*one)[0]
        assert min(abs(turned), 1 - abs(turned)) < 0.01
    assert contrast(rgb(dark.twin("#000000")), ground) > 15
    assert dark.twin("#ffffff") == dark.GROUND


def test_a_figure_gets_twins_and_keeps_the_names_of_its_parts():
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[0] = (255, 255, 255, 255)
    pixels[1] = (1, 115, 178, 128)
    file = io.BytesIO()
    imsave(file, pixels, format="png")
    light = (
        '<svg width="9pt">\n<g style="fill: #ffffff; stroke: #0173b2"><path id="#a1b2c3" clip-path="url(#facade)"/>'
        '<use xlink:href="#facade" style="stroke: #262626"/></g>'
        f'<image xlink:href="data:image/png;base64,\n{base64.b64encode(file.getvalue()).decode()}"/></svg>'
    )
    made = dark.figure(light)
    assert made.startswith(f'<svg fill="{dark.twin("#000000")}" width="9pt">')  # what is black has no fill of its own
    for part in ('xlink:href="#facade"', "url(#facade)", f"stroke: {dark.twin('#262626')}", f"fill: {dark.GROUND}"):
        assert part in made
    found = np.rint(255 * imread(io.BytesIO(base64.b64decode(made.split("base64,")[1].split('"')[0])), format="png"))
    assert found.shape == pixels.shape
    assert tuple(found[0, 0]) == (*(round(255 * part) for part in rgb(dark.GROUND)), 255)
    assert tuple(found[1, 2]) == (*(round(255 * part) for part in rgb(dark.twin("#0173b2"))), 128)
    assert dark.figure(light) == made


def test_what_figures_draw_with_is_clear_on_both_grounds():
    """Figures and pieces to touch have twins on a dark page."""
    white, ground = (1, 1, 1), rgb(dark.GROUND)
    for name, colour in COLOURS.items():
        assert contrast(rgb(colour), white) >= 4.5, name
        assert contrast(rgb(dark.twin(colour)), ground) >= 4.4, name
        for own, behind in ((colour, white), (dark.twin(colour), ground)):
            assert contrast([CLEAR * a + (1 - CLEAR) * b for a, b in zip(rgb(own), behind, strict=True)], behind) >= 3
    lines = [FAINT, MARKED, *SINGLE, *ordered_colours(5)]
    lines += [alpha_colour(alpha) for alpha in (0.7, 1.0, 1.5, 1.9, 2.0)]
    for colour in lines:
        assert contrast(rgb(colour), white) >= 3, colour
        assert contrast(rgb(dark.twin(colour)), ground) >= 3, colour
