"""The page for searching, opened as a file: what it finds, in which order, and that nothing fails."""

from __future__ import annotations

import pytest

from .test_pages import unreadable, violations

pytestmark = pytest.mark.pages

FOUND = """() => [...document.querySelectorAll("#found ol > li")].map((page) => ({
  title: page.querySelector("h2").textContent,
  link: page.querySelector("h2 a").getAttribute("href"),
  excerpts: [...page.querySelectorAll(".excerpt")].map((one) => one.textContent),
  marks: [...page.querySelectorAll("mark")].map((one) => one.textContent),
}))"""


@pytest.fixture(scope="module")
def seen(visit):
    found = visit("search.html")
    yield found
    assert (found.said, found.failed, found.away) == ([], [], [])


def search(seen, query):
    """What the page shows of a query, and what it says of it."""
    said = seen.page.locator("#found [role=status]")
    seen.page.locator(".bd-search-container input[name=q]").fill(query)
    seen.page.wait_for_function("(query) => document.title.startsWith(`${query}:`)", arg=query)
    return seen.page.evaluate(FOUND), said.inner_text()


@pytest.mark.parametrize(
    ("query", "spelt"), [("Levy", "Lévy"), ("simsekli", "Şimşekli"), ("pruning ratios", "pruning")]
)
def test_words_are_found_without_their_accents_with_the_text_around_them(seen, query, spelt):
    found, said = search(seen, query)
    marks = [mark for page in found for mark in page["marks"]]
    assert sum(mark.lower().startswith(spelt.lower()) for mark in marks) > len(marks) / 4
    assert all(page["excerpts"] and max(map(len, page["excerpts"])) > 40 for page in found)
    assert f"on {len(found)} page" in said


def test_chapters_come_before_names_of_functions(seen):
    links = {query: [page["link"] for page in search(seen, query)[0]] for query in ("federated", "perturb")}
    assert links["federated"][0] == "book/federated.html"
    assert all(len(found) > 1 and found[-1] == "book/api.html" for found in links.values())


def test_words_side_by_side_come_first_and_quoted_ones_alone_count(seen):
    apart, together = search(seen, "pruning ratio")[0], search(seen, '"pruning ratio"')[0]
    assert 0 < len(together) < len(apart)
    assert any("pruning ratio" in text.lower() for text in apart[0]["excerpts"])


def test_a_word_that_is_nowhere_is_said_to_be(seen):
    found, said = search(seen, "xylophone")
    assert found == []
    assert "“xylophone” was not found" in said


def test_the_keys_lead_through_what_was_found_and_a_link_to_its_place(seen, visit):
    """As from the sidebar of any page: the query stands in the address."""
    page = visit("search.html").page
    page.goto(page.url + "?q=L%C3%A9vy+process")
    first = page.locator("#found ol a").first
    first.wait_for()
    page.locator(".bd-search-container input[name=q]").focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.href") == first.evaluate("(one) => one.href")
    page.keyboard.press("ArrowDown")
    target = page.evaluate("document.activeElement.getAttribute('href')")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.name") == "q"
    page.locator(f'#found a[href="{target}"]').first.click()
    page.wait_for_url(f"**/{target}")
    anchor = target.partition("#")[2]
    assert page.evaluate("(id) => !id || !!document.getElementById(id)", anchor)


def test_the_page_for_searching_is_light_readable_and_fits_a_phone(seen):
    assert seen.weight() < 1e6, sorted((path.stat().st_size, path.name) for path in seen.files)[-5:]
    search(seen, "noise")
    page = seen.page
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert unreadable(page) == []
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 375, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
