"""Every page of the built book in a real browser without a network: nothing fails, nothing is cut off."""

from __future__ import annotations

import re

import pytest
import yaml

from heavytail.book import dark

from .conftest import PAGES, ROOT

pytestmark = pytest.mark.pages

FORMULAS = """() => {
  const math = [...document.querySelectorAll(".math")];
  const raw = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
  const left = [];
  for (let node = raw.nextNode(); node; node = raw.nextNode()) {
    const plain = !node.parentElement.closest("pre, code, script, style, mjx-container");
    if (plain && /\\\\[(\\[]|\\$\\$/.test(node.data)) left.push(node.data);
  }
  return {
    unset: math.filter((one) => !one.querySelector("mjx-container")).map((one) => one.textContent),
    wrong: [...document.querySelectorAll("mjx-merror")].map((one) => one.textContent),
    left,
  };
}"""
# On paper: chapters that begin a page; titles that are not there, what scrolls, what is cut off, icons, what to touch.
PRINTED = """() => {
  const all = (what, is) => [...document.querySelectorAll(what)].filter(is).map((one) => one.outerHTML.slice(0, 120));
  const style = (one, of) => getComputedStyle(one, of);
  const icon = (of) => (one) => !["none", "normal"].includes(style(one, of).content);
  return {
    begin: all('[id^="document-book/"] + section', (one) => style(one).breakBefore === "page").length,
    hidden: all('article > section > h1, [id^="document-book/"] + section > h2', (one) => !one.checkVisibility()),
    scrolls: all("mjx-container, .math, pre", (one) => /auto|scroll/.test(style(one).overflowX)),
    wide: all("article p, article pre, article table, article img", (one) => one.getBoundingClientRect().right > 689),
    icons: [...all(".admonition-title", icon("::after")), ...all(".admonition-title", icon("::before"))],
    live: all("article select, article input, article button, .piece-live", (one) => one.checkVisibility()),
  };
}"""
WIDE = """() => [...document.querySelectorAll("body *")].filter((one) => {
  const box = one.getBoundingClientRect();
  const aside = one.closest(".bd-sidebar-primary, .bd-sidebar-secondary, dialog");
  return box.right > innerWidth + 1 && box.width > 0 && !aside;
}).slice(0, 5).map((one) => one.tagName + "." + one.className)"""
# Marks the first and the last text of every look: its colours, its size, how it is underlined, and the colours of all
# that it stands in. Of the thousands of texts of a page others have the same contrast.
SAMPLE = """() => {
  const looks = new Map(), sample = new Map();
  const look = (one) => {
    if (one && !looks.has(one)) {
      const style = getComputedStyle(one), { color, backgroundColor, backgroundImage, opacity, filter } = style;
      looks.set(one, [look(one.parentElement), color, backgroundColor, backgroundImage, opacity, filter].join());
    }
    return looks.get(one);
  };
  for (const one of document.querySelectorAll("body, body *")) {
    one.removeAttribute("data-sample");
    const text = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    const seen = one.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    if (!seen || !(text || one.matches("input, select, textarea"))) continue;
    if (one.closest("mjx-assistive-mml")) continue; // a formula for those who hear it
    const { fontSize, fontWeight, textShadow, textDecoration, borderBottom } = getComputedStyle(one);
    const link = one.closest("a") !== null;
    const own = [link, look(one), fontSize, fontWeight, textShadow, textDecoration, borderBottom].join();
    sample.set(own, [sample.get(own)?.[0] ?? one, one]);
  }
  for (const one of [...sample.values()].flat()) one.setAttribute("data-sample", "");
}"""
# What axe-core finds that is serious or critical: rule, element, what is wrong with it. It looks at a page, or at the
# sample of it: then what holds none of it is empty meanwhile, for axe takes its time over every element.
AXE = """async ([sampled, options]) => {
  const kept = new Set(), hulls = [];
  if (sampled) {
    window.FontAwesome?.noAuto(); // it has drawn its icons, and would look through all that comes and goes
    for (const one of document.querySelectorAll("[data-sample]")) {
      for (let up = one; up && !kept.has(up); up = up.parentElement) kept.add(up);
    }
    for (const one of document.querySelectorAll("body *")) {
      const token = one.parentElement.localName === "pre"; // of code, a colour each; its place colours no other
      if (kept.has(one) || !kept.has(one.parentElement) || !(token || one.firstElementChild)) continue;
      if (one.querySelector("style, link")) continue;
      const hull = token ? new Text() : one.cloneNode(false); // so that what is beside it keeps its place and colours
      const table = one.querySelector("table.dataframe"); // without one the theme gives a cell other colours
      if (table && !token) hull.append(table.cloneNode(false));
      hulls.push([one, hull]);
      one.replaceWith(hull);
    }
  }
  axe.configure({ rules: [{ id: "color-contrast", selector: sampled ? "[data-sample]" : "*" }] });
  try {
    const { violations } = await axe.run(document, options);
    return violations
      .filter((rule) => ["serious", "critical"].includes(rule.impact))
      .flatMap((rule) => rule.nodes.slice(0, 3).map((node) => [
        rule.id, node.html.slice(0, 200), node.failureSummary.slice(0, 300)]));
  } finally {
    for (const [one, hull] of hulls) hull.replaceWith(one);
  }
}"""
OF_TEXTS = ["color-contrast", "link-in-text-block"]

# Where the first figure begins, how many words of prose come before it, which figures nothing follows that says what
# they show, and what the first link after each says and whether it leads to it. A formula is a word; titles, code,
# controls and what is folded away are none.
FIGURES = """() => {
  const article = document.querySelector("article");
  const touched = "section.piece, section.pruning, section.explorer"; // figures to touch, whatever is drawn in them
  const figures = [...article.querySelectorAll(`.cell_output img, figure, canvas, ${touched}`)].filter(
    (one) => one.checkVisibility() && !one.parentElement.closest(`figure, ${touched}`));
  if (!figures.length) return null;
  const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT), prose = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (!(node.compareDocumentPosition(figures[0]) & Node.DOCUMENT_POSITION_FOLLOWING)) break;
    const skipped = node.parentElement.closest(
      "h1, h2, h3, .admonition-title, .cell_input, details, script, style, label, select, button, output");
    if (skipped || !node.parentElement.checkVisibility()) continue;
    prose.push(node.parentElement.closest("mjx-container") ? "" : node.data);
  }
  const formulas = [...article.querySelectorAll("mjx-container")].filter(
    (one) => one.compareDocumentPosition(figures[0]) & Node.DOCUMENT_POSITION_FOLLOWING);
  const bare = figures.filter((one) => {
    const next = one.closest(".cell, figure").nextElementSibling;
    return !one.querySelector("figcaption") && !(next && next.matches("p") && next.textContent.trim());
  });
  const numbers = figures.map((one) => {
    const link = one.closest(".cell, figure").nextElementSibling?.querySelector("a");
    return [link?.textContent, Boolean(link?.hash && document.querySelector(link.hash)?.parentElement.contains(one))];
  });
  return {
    numbers,
    top: figures[0].getBoundingClientRect().top + scrollY,
    words: formulas.length + prose.join(" ").split(/\\s+/).filter((word) => /[\\p{L}\\p{N}]/u.test(word)).length,
    bare: bare.map((one) => one.getAttribute("alt") ?? one.outerHTML.slice(0, 200)),
  };
}"""
# The theme that each figure which is shown is drawn for; and, of those on a phone, how large they are on the screen and
# whether they are wider than their place, which is fine where that scrolls.
DRAWN_FOR = """() => [...document.querySelectorAll("picture.drawn")].filter((one) =>
  one.querySelector("img").checkVisibility()).map((one) =>
  one.classList.contains("dark") ? "dark" : "light")"""
ON_A_PHONE = """async () => {
  for (const fold of document.querySelectorAll("details:has(picture.drawn)")) fold.open = true;
  const shown = [...document.querySelectorAll("picture.light img")];
  await Promise.all(shown.map((one) => one.decode()));
  return shown.map((one) => {
    const place = one.closest(".output"), own = one.getBoundingClientRect(), box = place.getBoundingClientRect();
    const scrolls = own.width > box.width + 1;
    return {
      file: one.currentSrc.split("/_static/")[1],
      scale: own.width / one.naturalWidth,
      scrolls,
      inside: box.right <= innerWidth && (!scrolls || getComputedStyle(place).overflowX === "auto"),
    };
  });
}"""
# How many figures of a page a phone scrolls, since they have no panels that can be stacked. There may be fewer.
WIDE_FIGURES = {"architecture": 4}
MOST_WORDS, SCREEN = 60, 800


@pytest.fixture(scope="module", params=PAGES)
def opened(request, visit):
    """One page after the other, each loaded once."""
    seen = visit(request.param)
    yield request.param, seen
    seen.page.close()


def test_a_page_loads_without_network_errors_or_raw_formulas(opened):
    name, seen = opened
    assert (seen.said, seen.failed, seen.away) == ([], [], [])
    assert seen.page.evaluate(FORMULAS) == {"unset": [], "wrong": [], "left": []}
    heaviest = sorted((path.stat().st_size, path.name) for path in seen.files)[-5:]
    assert seen.weight() < (1e6 if name == "book/index.html" else 3e6), heaviest


def test_no_cell_of_a_page_complained(opened):
    """What a chapter writes to its standard error is shown on its page, so that it is seen: here."""
    assert opened[1].page.locator(".output.stderr").all_inner_texts() == []


def test_the_foot_says_what_made_the_page(opened):
    foot = opened[1].page.locator(".made-with")
    assert re.search(r"(Ran|Built) 20\d\d-\d\d-\d\d.*heavytail 0\.\d+\.\d+.*torch \d.*cores", foot.inner_text())
    assert foot.locator("a").get_attribute("href").endswith("#if-a-verdict-is-wrong")  # test_links.py follows it


def test_a_picture_comes_first_is_told_what_it_shows_and_has_its_number(opened):
    page = opened[1].page
    page.set_viewport_size({"width": 1280, "height": SCREEN})
    figures = page.evaluate(FIGURES)
    if figures is None:
        return  # a page without pictures
    assert figures["bare"] == [], "figures that no paragraph follows"
    assert figures["numbers"] == [[f"Figure {number}", True] for number in range(1, len(figures["numbers"]) + 1)]
    assert figures["words"] <= MOST_WORDS
    assert figures["top"] < SCREEN


def test_a_page_is_accessible(opened):
    page = opened[1].page
    page.evaluate("() => document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert violations(page) == []


def test_a_page_is_readable_in_the_dark(opened):
    page = opened[1].page
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert unreadable(page) == []  # nothing else depends on colours
    assert page.evaluate(DRAWN_FOR) == ["dark"] * len(page.evaluate(DRAWN_FOR))
    page.emulate_media(color_scheme="light")


def test_a_page_fits_a_phone(opened, elsewhere):
    name, seen = opened
    page = seen.page
    page.set_viewport_size({"width": 375, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375, page.evaluate(WIDE)
    drawn = page.evaluate(ON_A_PHONE)
    small = {one["file"]: size for one in drawn if (size := smallest_text(elsewhere / "_static", one)) < 11}
    assert small == {}
    assert [one["file"] for one in drawn if not one["inside"]] == []
    wide = [one["file"] for one in drawn if one["scrolls"]]
    assert len(wide) <= WIDE_FIGURES.get(name.removeprefix("book/").removesuffix(".html"), 0), wide


def smallest_text(static, drawn):
    """The size of a figure's smallest text on the screen, in pixels: matplotlib draws letters of 100 points, scaled."""
    text = (static / drawn["file"]).read_text("utf-8")
    scales = [float(scale) for scale in re.findall(r"scale\((0\.\d+) -0\.\d+\)", text)]
    assert scales, drawn
    return 100 * min(scales) * 4 / 3 * drawn["scale"]


def unreadable(page):
    """Texts whose contrast is too low, and links that look like the text around them, of the sample."""
    page.evaluate(SAMPLE)
    return found(page, sampled=True, runOnly=OF_TEXTS)


def violations(page):
    """What axe-core finds on a page that is serious or critical: rule, element, what is wrong with it."""
    off = {rule: {"enabled": False} for rule in (*OF_TEXTS, "region")}  # the last is a moderate one that takes long
    return found(page, rules=off) + unreadable(page)


def found(page, *, sampled=False, **options):
    """What axe-core finds.

    Without `preload` it asks for no style sheet by itself, which a page that lies in files refuses with errors on the
    console of every test that has the page after this one. To write selectors takes it longer than to look.
    """
    base = pytest.importorskip("axe_playwright_python.base")
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(base.AXE_SCRIPT)
    return page.evaluate(
        AXE, [sampled, {"resultTypes": ["violations"], "preload": False, "selectors": False, **options}]
    )


def test_the_book_in_one_file_needs_no_other_file_and_sets_its_formulas(visit):
    seen = visit("heavytail-book.html")
    assert (seen.said, seen.failed, seen.away) == ([], [], [])
    assert [path.name for path in seen.files] == ["heavytail-book.html"]
    formulas = seen.page.evaluate(FORMULAS)
    assert formulas["unset"] == formulas["wrong"] == []
    others = seen.page.locator("[id^='document-book/']").count()
    assert others == len(PAGES) - 1  # all but the first, which it begins with
    assert seen.page.evaluate("() => [...document.images].filter((one) => !one.naturalWidth).length") == 0
    places = seen.page.locator("[id^='figure-']").evaluate_all("(all) => all.map((one) => `#${one.id}`)")
    links = seen.page.locator("a[href^='#figure-']").evaluate_all("(all) => all.map((one) => one.hash)")
    assert set(links) == set(places)
    assert len(places) == len(set(places)) > len(PAGES)
    seen.page.set_viewport_size({"width": 688, "height": 1000})  # A4 without its margins
    seen.page.emulate_media(media="print")
    printed = seen.page.evaluate(PRINTED)
    assert printed["begin"] == others
    assert [printed[what] for what in ("hidden", "scrolls", "wide", "icons", "live")] == [[], [], [], [], []]


@pytest.fixture(scope="module")
def plain(visit):
    """A page of text and pictures alone, of the smallest."""
    return visit("book/architecture.html")


def test_what_axe_finds_is_seen_and_leaves_no_error_behind(plain):
    page = plain.page
    assert unreadable(page) == []
    texts = "[...document.querySelectorAll('article p')].filter((one) => one.checkVisibility())"
    for place in ("0", f"{texts}.length - 1", f"Math.floor({texts}.length / 2)"):
        page.evaluate(f"() => {{ {texts}[{place}].style.color = '#eee'; }}")
        assert {rule for rule, *_ in unreadable(page)} == {"color-contrast"}, place
        if place == "0":  # as among all texts
            assert {rule for rule, *_ in found(page, runOnly=OF_TEXTS)} == {"color-contrast"}
        page.evaluate(f"() => {{ {texts}[{place}].style.color = ''; }}")
    page.evaluate("() => document.querySelector('article img').removeAttribute('alt')")
    assert {rule for rule, *_ in violations(page)} == {"image-alt"}
    page.evaluate("() => document.querySelector('article img').setAttribute('alt', 'A plan.')")
    assert (plain.said, plain.failed) == ([], [])


def test_a_text_on_a_ground_of_another_colour_is_a_look_of_its_own(plain):
    """Only what it stands in is changed, and every text keeps the colours that are its own."""
    for ground, found in (("#333", {"color-contrast"}), ("", set())):
        plain.page.evaluate(
            "(ground) => { document.querySelector('article p').parentElement.style.background = ground; }", ground
        )
        assert {rule for rule, *_ in unreadable(plain.page)} == found


@pytest.fixture(scope="module")
def exploring(visit):
    return visit("book/explorer.html")


def test_the_explorer_is_operated_by_keyboard_and_its_picture_changes(exploring):
    page = exploring.page
    lines = (
        "() => [...document.querySelectorAll('.explorer figure svg path')].map((one) => one.getAttribute('d')).join()"
    )
    table = "() => document.querySelector('.explorer table').innerText"
    before = page.evaluate(lines), page.evaluate(table)
    alpha = page.locator(".explorer select").filter(has=page.locator("option", has_text="1.9")).first
    alpha.focus()
    page.keyboard.press("ArrowDown")
    after = page.evaluate(lines), page.evaluate(table)
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert exploring.said == []


def test_the_explorer_fits_a_phone_whatever_is_chosen(exploring):
    page = exploring.page
    page.set_viewport_size({"width": 375, "height": 900})
    for position in range(page.locator(".explorer select").count()):
        choice = page.locator(".explorer select").nth(position)
        if choice.is_visible() and choice.is_enabled():
            choice.focus()
            page.keyboard.press("ArrowDown")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375


@pytest.fixture(scope="module")
def front(visit):
    return visit("book/index.html")


def test_the_contents_show_the_parts_in_order_on_a_phone_too(front):
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))["parts"]
    page = front.page
    page.set_viewport_size({"width": 375, "height": 900})
    page.locator("button.primary-toggle").click()
    captions = page.locator(".bd-sidebar-primary .caption")
    assert captions.all_inner_texts() == [part["caption"] for part in parts]
    links = page.locator(".bd-sidebar-primary .caption + ul").evaluate_all(
        "(lists) => lists.map((one) => [...one.querySelectorAll('a')].map((link) => link.getAttribute('href')))"
    )
    files = [[f"{chapter['file'].removeprefix('book/')}.html" for chapter in part["chapters"]] for part in parts]
    assert links == files
    captions.first.wait_for(state="visible")
    for caption in captions.all():
        box = caption.bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= 375
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_the_theme_switch_shows_figures_drawn_for_the_dark_and_paper_those_for_the_light(front):
    page = front.page
    count = page.locator("picture.drawn").count() // 2
    assert count > 0
    assert page.evaluate(DRAWN_FOR) == ["light"] * count
    page.evaluate("() => document.documentElement.dataset.theme = 'dark'")
    assert page.evaluate(DRAWN_FOR) == ["dark"] * count
    of = "() => { const { filter, backgroundColor } = getComputedStyle(document.querySelector('picture.dark img'));"
    assert page.evaluate(f"{of} return [filter, backgroundColor]; }}") == ["none", "rgba(0, 0, 0, 0)"]
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == rgb(dark.GROUND)
    page.emulate_media(media="print")
    assert page.evaluate(DRAWN_FOR) == ["light"] * count
    page.emulate_media(media="screen")
    page.evaluate("() => document.documentElement.dataset.theme = 'light'")


def rgb(colour):
    return f"rgb({', '.join(str(int(colour[place : place + 2], 16)) for place in (1, 3, 5))})"


def test_a_citation_can_be_copied(front):
    page = front.page
    button = page.locator("button.copy-bibtex")
    button.click()
    page.wait_for_function("() => /^(Copied|Marked)/.test(document.querySelector('button.copy-bibtex').textContent)")


def test_code_folds_away_but_for_the_lines_that_matter(visit):
    page = visit("book/story.html").page
    assert page.locator("details.hide summary").count() >= 2
    code = page.locator("article div.highlight:visible").all_inner_texts()
    assert any("heavytail.train(" in text for text in code)
    assert sum(len(text.strip().splitlines()) for text in code) <= 10
