"""The pieces to touch: operated by keyboard, their numbers those of the library, and whole without their scripts."""

from __future__ import annotations

import numpy as np
import pytest

from heavytail.book import jumps

pytestmark = pytest.mark.pages

SEED = 1  # of the chapters
# The smallest text of a piece as it is on the screen, and how far the page reaches.
SIZES = """(piece) => ({
  text: Math.min(...[...document.querySelectorAll(`${piece} svg text`)].map((one) => {
    const svg = one.ownerSVGElement;
    return (parseFloat(getComputedStyle(one).fontSize) * svg.getBoundingClientRect().width) / svg.viewBox.baseVal.width;
  })),
  cut: [...document.querySelectorAll(`${piece} svg text`)].filter((one) => {
    const [own, all] = [one.getBoundingClientRect(), one.ownerSVGElement.getBoundingClientRect()];
    return own.left < all.left - 1 || own.right > all.right + 1 || own.bottom > all.bottom + 1;
  }).map((one) => one.textContent),
  wide: document.documentElement.scrollWidth,
})"""


def fits(page, piece):
    """A piece at the width of a phone: its text can be read, none of it is cut, and nothing is wider than the page."""
    page.set_viewport_size({"width": 375, "height": 800})
    page.wait_for_function(
        "(piece) => [...document.querySelectorAll(`${piece} svg`)].every("
        "(one) => Math.abs(one.viewBox.baseVal.width - one.getBoundingClientRect().width) < 1)",
        arg=piece,
    )
    sizes = page.evaluate(SIZES, piece)
    assert (sizes["cut"], sizes["wide"]) == ([], 375)
    assert sizes["text"] >= 11


@pytest.fixture(scope="module")
def jumping(visit):
    return visit("book/stable_noise.html")


def reading(page, piece):
    return page.locator(f"{piece} [role=status]").inner_text().replace("\u00a0", " ")


def test_the_kicks_of_the_page_are_those_of_the_library(jumping):
    for alpha in (1, 1.001, 1.1, 1.5, 1.75, 1.95, 1.999, 2):
        shown = jumping.page.evaluate(f"() => [...document.querySelector('.jumps').numbers.kicks({alpha})]")
        wanted = jumps.kicks(alpha, SEED).numpy().ravel()
        np.testing.assert_allclose(shown, wanted, rtol=1e-9, atol=0, err_msg=f"alpha = {alpha}")


def test_jump_by_jump_is_operated_by_keyboard_and_says_the_largest_share(jumping):
    page = jumping.page

    def says(alpha, kick):
        share, gaussian = (f"{100 * float(jumps.largest_shares(a, SEED)[kick - 1]):.1f} %" for a in (alpha, 2))
        text = reading(page, ".jumps")
        assert f"α = {alpha:g}, kick {kick} of 64: the largest column holds {share} of the squared norm" in text
        assert alpha == 2 or f"At α = 2, on the same random numbers: {gaussian}." in text

    paths = "() => [...document.querySelectorAll('.jumps path')].map((one) => one.getAttribute('d'))"
    says(1.5, 64)
    before = page.evaluate(paths)
    page.locator(".jumps input[name=alpha]").focus()
    page.keyboard.press("ArrowLeft")
    says(1.45, 64)
    assert all(new != old for new, old in zip(page.evaluate(paths), before, strict=True))
    page.keyboard.press("Home")
    says(1.1, 64)
    page.keyboard.press("End")
    says(2, 64)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    assert "No kick yet" in reading(page, ".jumps")
    page.keyboard.press("ArrowRight")
    says(1.95, 1)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Step"
    page.keyboard.press("Enter")
    says(1.95, 2)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")  # plays until it is asked to pause
    assert page.evaluate("document.activeElement.textContent") == "Pause"
    assert page.locator(".jumps [role=status]").get_attribute("aria-live") == "off"
    page.wait_for_function("() => Number(document.querySelector('.jumps input[name=time]').value) > 3")
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.textContent") == "Play"
    assert page.locator(".jumps [role=status]").get_attribute("aria-live") == "polite"
    says(1.95, int(page.locator(".jumps input[name=time]").input_value()))
    assert jumping.said == []


def test_jump_by_jump_fits_a_phone(jumping):
    for key in ("Home", "End"):
        jumping.page.locator(".jumps input[name=alpha]").focus()
        jumping.page.keyboard.press(key)
        fits(jumping.page, ".jumps")


def test_without_its_script_a_piece_is_a_table(elsewhere, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((elsewhere / "book" / "stable_noise.html").as_uri())
    assert page.locator(".jumps .piece-without td").all_inner_texts()[-1].endswith("%")
    assert page.locator(".jumps .piece-without").is_visible()
    context.close()
