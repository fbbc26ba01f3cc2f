"""The pruning slider of the story, worked by keyboard: its numbers are those of the library's own pruning."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from heavytail import compress, networks
from heavytail.book import pruning_slider
from heavytail.lab import datasets

pytestmark = pytest.mark.pages

STORY = "book/story.html"
READ = """() => {
  const root = document.querySelector(".pruning");
  const rows = [...root.querySelectorAll(".touch tbody tr")];
  return {
    rows: rows.map((row) => [...row.cells].map((cell) => cell.innerText.trim())),
    chosen: rows.findIndex((row) => row.hasAttribute("aria-current")),
    kept: Number(root.querySelector("#pruning-cut").value),
    said: root.querySelector("[role=status]").textContent,
    wrong: root.querySelector(".wrong p").textContent,
    pictures: root.querySelectorAll(".wrong li canvas").length,
    cut: root.querySelector(".cut").style.left,
  };
}"""


@dataclass(frozen=True)
class Library:
    """The networks that the page holds, as the library has them."""

    models: list[nn.Module]
    seed: int
    x: torch.Tensor
    y: torch.Tensor

    def cut(self, which: int, kept: int, order: str) -> tuple[float, float, torch.Tensor]:
        """Squared error, accuracy and answers of one network with `kept` neurons left."""
        model = self.models[which]
        chance = compress.chance(self.seed) if order == "random" else None
        pruned = compress.prune(model, keep=kept / len(model[1].weight), generator=chance)
        with torch.no_grad():
            answers = pruned(self.x).argmax(dim=1)
        [part] = compress.taken(model, pruned)
        assert part.kept == kept
        return part.squared_error, float((answers == self.y).double().mean()), answers


@pytest.fixture(scope="module")
def story(visit):
    seen = visit(STORY)
    yield seen
    seen.page.close()


@pytest.fixture(scope="module")
def library(story):
    data = json.loads(story.page.locator(".pruning script[type='application/json']").text_content())
    digits = datasets.load("digits")
    models = []
    for one in data["networks"]:

        def rows(part, one=one):
            values, scales = (base64.b64decode(one[f"{part}{end}"]) for end in ("", "_scales"))
            steps = np.frombuffer(scales, "<f4")
            return pruning_slider.Rows(np.frombuffer(values, np.int8).reshape(len(steps), -1), steps)

        weights = pruning_slider.unpack(pruning_slider.Packed(rows("incoming"), rows("outgoing")))
        model = networks.fcn(64, width=len(data["random"]), depth=1, classes=10, generator=torch.Generator())
        model.load_state_dict(weights)
        models.append(model)
    assert data["random"] == compress.order(weights["1.weight"], generator=compress.chance(48)).tolist()
    return Library(models, 48, digits.x_test[:300], digits.y_test[:300])


def choose(page, name, value):
    """Move to a radio button by the arrow keys alone."""
    page.locator(f".pruning input[name=pruning-{name}]:checked").focus()
    for _ in range(page.locator(f".pruning input[name=pruning-{name}]").count()):
        if page.evaluate("document.activeElement.value") == value:
            return
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.value") == value


def press(page, *keys):
    page.locator("#pruning-cut").focus()
    for key in keys:
        page.keyboard.press(key)


def look(found, byerror):
    """How noise looks by the table's numbers: better, worse, or something else."""
    plain, *noisy = [float(row[1 if byerror else 3].removesuffix("%")) for row in found["rows"]]
    return {all(one > plain for one in noisy): "better", all(one < plain for one in noisy): "worse"}.get(True, "")


@pytest.mark.parametrize("order", ["norm", "random"])
def test_at_every_cut_errors_accuracies_and_wrong_digits_are_the_librarys(story, library, order):
    page = story.page
    choose(page, "held", "share")
    choose(page, "order", order)
    cuts = set()
    for which, keys in (
        (1, ["End"]),
        (0, ["PageDown"] * 3),
        (2, ["PageDown"] * 4),
        (3, ["ArrowLeft"] * 3),
        (1, ["Home"]),
    ):
        choose(page, "chosen", str(which))
        press(page, *keys)
        found = page.evaluate(READ)
        cuts.add(kept := found["kept"])
        assert found["chosen"] == which
        for network, row in enumerate(found["rows"]):
            error, accuracy, answers = library.cut(network, kept, order)
            whole = library.cut(network, len(library.models[0][1].weight), order)
            assert row[1:] == [
                f"{100 * (1 - kept / len(library.models[0][1].weight)):.1f}%",
                "<0.001" if 0 < error < 0.001 else f"{error:.3f}",
                f"{100 * accuracy:.1f}%",
                f"{100 * whole[1]:.1f}%",
            ]
            if network == which:
                wrong = int(((whole[2] == library.y) & (answers != library.y)).sum())
                assert re.findall(r"(\d+) of 300", found["wrong"]) == [str(wrong)]
                assert found["pictures"] == min(wrong, 12)
        assert f"cut {'at random' if order == 'random' else 'by norm'}" in found["said"]
    assert len(cuts) == 5
    assert story.said == []


def test_at_the_same_error_every_network_is_cut_as_far_as_the_library_would(story, library):
    page = story.page
    choose(page, "order", "norm")
    choose(page, "held", "error")
    seen = set()
    for keys in (["End", *["PageDown"] * 2], ["PageDown"] * 3, ["PageDown"] * 3):
        choose(page, "chosen", "2")
        press(page, *keys)
        found = page.evaluate(READ)
        error, *_ = library.cut(2, found["kept"], "norm")
        for which, row in enumerate(found["rows"]):
            weight = library.models[which][1].weight
            gone = compress.count(weight, squared_error=error * (1 + 1e-12))
            assert row[1] == f"{100 * gone / len(weight):.1f}%"
            assert row[3] == f"{100 * library.cut(which, len(weight) - gone, 'norm')[1]:.1f}%"
        seen.add(found["said"])
    assert len(seen) == 3
    assert all(said.split(". ")[1].startswith("At the same squared error (at most 0") for said in seen)


def test_the_live_line_says_what_the_table_shows_and_changes_with_what_is_held_equal(story):
    page = story.page
    seen = []
    for held in ("error", "share"):
        choose(page, "held", held)
        for keys in (["End"], ["PageDown"] * 5, ["PageDown"] * 4):
            press(page, *keys)
            found = page.evaluate(READ)
            seen.append(found["said"])
            assert re.findall(r"^Noise looks (better|worse)\.", found["said"]) == list(
                filter(None, [look(found, held == "error")])
            )
            assert f"plain SGD ({found['rows'][0][1 if held == 'error' else 3]})" in found["said"]
    assert len(set(seen)) == 6


def test_the_mouse_drags_the_cut_to_where_it_is(story):
    page = story.page
    matrix = page.locator(".pruning .matrix canvas")
    matrix.scroll_into_view_if_needed()
    box = matrix.bounding_box()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 40)
    page.mouse.up()
    found = page.evaluate(READ)
    assert found["kept"] == pytest.approx(125, abs=1)
    assert float(found["cut"].removesuffix("%")) == pytest.approx(25, abs=0.2)


def test_the_slider_fits_a_phone_and_its_text_can_be_read(story):
    page = story.page
    page.set_viewport_size({"width": 375, "height": 800})
    press(page, "Home")
    inside = """() => [...document.querySelectorAll(".pruning *")].filter((one) => one.checkVisibility()).map((one) => [
      one.getBoundingClientRect().right, parseFloat(getComputedStyle(one).fontSize), one.tagName])"""
    found = page.evaluate(inside)
    assert len(found) > 50
    assert [one for one in found if one[0] > 375 or one[1] < 11] == []
    page.set_viewport_size({"width": 1280, "height": 900})


def test_the_story_with_its_networks_and_pictures_weighs_less_than_a_megabyte(story):
    """What is the page's own: the theme and the program that sets formulas are every page's. A phone has other pictures
    in the place of these, which other tests have asked for too.
    """
    piece = {"pieces.js", "pruning.js", "pruning.css"}
    wide = [path for path in story.files if path.parent.name == "figures" and "-narrow" not in path.name]
    own = wide + [path for path in story.files if path.parent.name == "book" or path.name in piece]
    sizes = {path.name: path.stat().st_size for path in own}
    assert wide
    assert {"story.html", *piece} < sizes.keys()
    assert sum(sizes.values()) < 1e6, sizes


def test_printed_or_without_script_there_is_a_table_instead(story, browser, elsewhere):
    page = story.page
    page.emulate_media(media="print")
    assert page.locator(".pruning-without").is_visible()
    assert not page.locator(".pruning .touch").is_visible()
    page.emulate_media(media="screen")
    assert not page.locator(".pruning-without").is_visible()
    context = browser.new_context(java_script_enabled=False)
    bare = context.new_page()
    bare.goto((elsewhere / STORY).as_uri())
    assert bare.locator(".pruning-without table tbody tr").count() == 4
    assert bare.locator(".pruning-without").is_visible()
    context.close()
