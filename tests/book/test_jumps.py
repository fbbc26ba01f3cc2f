"""Jump by jump: with the page come the library's own uniforms, and without the script a table stands there."""

from __future__ import annotations

import base64
import json
import math
import re

import numpy as np
import pytest

from heavytail.book import jumps


def textbook(alpha, turn, wait):
    """Chambers, Mallows and Stuck as it is usually written, from the angle and the exponential: fine in the bulk."""
    angle = np.sign(turn) * math.pi / 2 * (1 - np.abs(turn))
    exponential = -np.log(np.where(wait > 0, 1 - np.abs(wait) / 2, np.abs(wait) / 2))
    size = np.sin(alpha * angle) / np.cos(angle) ** (1 / alpha)
    return size * (np.cos((1 - alpha) * angle) / exponential) ** ((1 - alpha) / alpha)


@pytest.mark.parametrize("alpha", [1.1, 1.5, 2])
def test_the_textbook_formula_makes_the_kicks_of_the_library_from_the_uniforms_of_the_page(alpha):
    turn, wait = jumps.uniforms(seed=3)
    for part in (turn, wait):
        assert (np.abs(part) <= 1).all()
        assert 0.4 < np.mean(part > 0) < 0.6
    made = jumps.KICKS ** (-1 / alpha) * textbook(alpha, turn, wait)
    wanted = jumps.kicks(alpha, seed=3).numpy()
    inside = np.abs(turn) > 0.01  # nearer to the end the usual form cancels
    assert inside.mean() > 0.95
    np.testing.assert_allclose(made[inside], wanted[inside], rtol=1e-8, atol=1e-9)


def test_the_page_holds_the_uniforms_of_its_seed_in_full_and_says_what_the_largest_holds():
    page = jumps.page(1.5, seed=3)
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', page.text, re.DOTALL)
    data = json.loads(text)
    for name, part in zip(("turns", "waits"), jumps.uniforms(seed=3), strict=True):
        sent = np.frombuffer(base64.b64decode(data[name]), "<f8")
        assert np.array_equal(sent.reshape(data["kicks"], data["columns"]), part)
    assert len(page.text) < 350_000
    before = page.text.partition("<script")[0]
    shares = re.findall(r"<td>([\d.]+)%</td>", before)
    path = np.cumsum(jumps.kicks(1.1, seed=3).numpy(), axis=0)[-1] ** 2
    assert float(shares[0]) == pytest.approx(100 * path.max() / path.sum(), abs=0.051)
    assert len(shares) == before.count("<th ") == 6


@pytest.mark.parametrize("alpha", [1.0, 1.52, 2.05])
def test_an_alpha_that_the_slider_does_not_have_is_an_error(alpha):
    with pytest.raises(ValueError, match=f"the slider goes from 1.1 to 2 in steps of 0.05, and has no {alpha:g}"):
        jumps.page(alpha, seed=1)
