"""The pieces to touch: operated by keyboard, their numbers those of the library, and whole without their scripts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heavytail import laws
from heavytail.book import jumps, ruler

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
        share, gaussian = (f"{100 * float(jumps.largest_shares(a, SEED)[kick - 1]):.1f}%" for a in (alpha, 2))
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


@pytest.fixture(scope="module")
def measuring(visit):
    return visit("book/required_width.html")


def test_the_widths_of_the_page_are_those_of_the_library(measuring):
    places = [
        (kind, a, k, e) for kind in range(3) for a in (0, 8, 17) for k in range(len(ruler.KEEPS)) for e in (0, 4, 8, 10)
    ]
    shown = measuring.page.evaluate(
        "(places) => places.map((place) => document.querySelector('.ruler').numbers.logWidth(...place))", places
    )
    wanted = [
        laws.log_required_width(ruler.ALPHAS[a], ruler.KEEPS[k], ruler.ERRORS[e], noise=ruler.NOISES[kind], inputs=784)
        for kind, a, k, e in places
    ]
    np.testing.assert_allclose(shown, wanted, rtol=1e-9, atol=1e-9)


def test_the_ruler_is_operated_by_keyboard_and_its_pointer_and_dots_follow(measuring):
    page = measuring.page

    def at():
        """Where the pointer stands on the ruler, as a power of ten."""
        return page.evaluate("""() => {
          const ticks = [...document.querySelectorAll('.ruler line.edge')].map((one) => one.x1.baseVal.value);
          const box = document.querySelector('.ruler path.answer').getBBox();
          return (box.x + box.width / 2 - ticks[1]) / (ticks[2] - ticks[1]);
        }""")

    def dots():
        return page.evaluate(
            "() => [...document.querySelectorAll('.ruler .matrix')].map((one) => one.cy.baseVal.value)"
        )

    def needed(alpha, keep, error, noise="shared"):
        return laws.log_required_width(alpha, keep, error, noise=noise, inputs=784) / math.log(10)

    assert at() == pytest.approx(needed(1.5, 0.1, 0.1), abs=0.01)
    text = reading(page, ".ruler")
    assert (
        "Type-I, α = 1.5, 10% of the columns kept, error 0.1: half of all matrices are that good from 9.0 · 10⁵" in text
    )
    assert text.endswith("beyond a hidden layer of GPT-3, short of the neurons of a brain.")
    assert page.locator(".ruler .committed").count() >= 10
    steps = {
        "alpha": ("ArrowRight", 1.55, 0.1, 0.1),
        "keep": ("ArrowLeft", 1.55, 0.05, 0.1),
        "error": ("ArrowRight", 1.55, 0.05, 0.15),
    }
    before = dots()
    assert len(before) == len(ruler.WIDTHS["shared"]) * ruler.MATRICES
    for name, (key, *setting) in steps.items():
        page.locator(f".ruler input[name={name}]").focus()
        page.keyboard.press(key)
        assert at() == pytest.approx(needed(*setting), abs=0.01), name
        assert (dots() == before) == (name == "error")  # the same matrices, whatever is asked of them
        before = dots()
    assert page.locator(".ruler .committed").count() == 0
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert at() == pytest.approx(needed(1.55, 0.05, 0.15, "entrywise"), abs=0.01)
    assert reading(page, ".ruler").startswith("Type-II, α = 1.55, 5% of the columns kept, error 0.15")
    assert len(dots()) == len(ruler.WIDTHS["entrywise"]) * ruler.MATRICES
    page.locator(".ruler input[name=alpha]").focus()
    page.keyboard.press("End")
    assert "off the ruler" in page.locator(".ruler text.answer").text_content()
    page.keyboard.press("Home")
    for _ in ruler.ERRORS:
        page.locator(".ruler input[name=error]").press("ArrowRight")
    assert reading(page, ".ruler").endswith("too few for a law of wide matrices.")
    assert measuring.said == []


def test_the_ruler_fits_a_phone_and_no_line_crosses_a_name(measuring):
    crossed = """() => [...document.querySelectorAll('.ruler svg:has(.lead) text')].filter((text) => {
      const box = text.getBoundingClientRect();
      return [...document.querySelectorAll('.ruler .lead')].some((line) => {
        const { left, top, bottom } = line.getBoundingClientRect();
        return left > box.left && left < box.right && top < box.bottom && bottom > box.bottom;
      });
    }).map((text) => text.textContent).filter((text) => /[a-z]/.test(text))"""
    for key in ("Home", "End"):
        measuring.page.locator(".ruler input[name=alpha]").press(key)
        fits(measuring.page, ".ruler")
        assert measuring.page.evaluate(crossed) == []


@pytest.mark.parametrize(
    ("chapter", "piece", "last"), [("stable_noise", "jumps", "%"), ("required_width", "ruler", "10")]
)
def test_without_its_script_a_piece_is_a_table(elsewhere, browser, chapter, piece, last):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((elsewhere / "book" / f"{chapter}.html").as_uri())
    assert last in page.locator(f".{piece} .piece-without td").all_inner_texts()[-1]
    assert page.locator(f".{piece} .piece-without").is_visible()
    context.close()
