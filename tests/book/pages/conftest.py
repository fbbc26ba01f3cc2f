"""The built book, copied to another place, and a browser that has no network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from heavytail.book import pdf

ROOT = Path(__file__).resolve().parents[3]
HTML = ROOT / "_build" / "html"
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.glob("book/*.html")) if HTML.is_dir() else []
CHROMIUM = pdf.browser()


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as a reader has them who was given the folder."""
    if not PAGES:
        pytest.fail("there is no built book: `make book` comes first")
    return Path(shutil.copytree(HTML, tmp_path_factory.mktemp("elsewhere") / "html", copy_function=linked))


def linked(source: str, target: str) -> None:
    """A file in another place too, without a copy where the disk is the same: no test writes into one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@dataclass(frozen=True)
class Tag:
    """A start tag of a page, and whether it is in the article."""

    name: str
    attributes: dict[str, str | None]
    in_article: bool

    def __str__(self) -> str:
        return f"<{self.name} {self.attributes}>"


class Tags(HTMLParser):
    """All start tags of a page, in their order: enough for links, and a tenth of the time of a tree."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[Tag] = []
        self.articles = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.articles += tag == "article"
        self.found.append(Tag(tag, dict(attrs), self.articles > 0))

    def handle_endtag(self, tag: str) -> None:
        self.articles -= tag == "article"


@pytest.fixture(scope="session")
def tags(elsewhere: Path) -> dict[Path, list[Tag]]:
    """The start tags of every page of the book."""
    pages = [path for path in sorted(elsewhere.rglob("*.html")) if "_static" not in path.parts]  # there templates lie
    return {path: Tags(path.read_text("utf-8")).found for path in pages}


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: `make browser` says how to get one")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        quiet = [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ]
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)


@dataclass
class Seen:
    """A page in the browser, and what happened while it was loaded."""

    page: object
    said: list[str] = field(default_factory=list)  # errors on the console, exceptions
    failed: list[str] = field(default_factory=list)  # requests without an answer
    files: set[Path] = field(default_factory=set)
    away: list[str] = field(default_factory=list)  # requests to anywhere but this folder

    def weight(self) -> int:
        """Bytes of all files that the page loaded."""
        return sum(os.path.getsize(path) for path in self.files)


@pytest.fixture(scope="module")
def visit(browser: object, elsewhere: Path) -> Iterator[object]:
    """A function that opens a page: `visit("book/index.html", width=375)`."""
    contexts = []

    def opened(name: str, *, width: int = 1280) -> Seen:
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, color_scheme="light", reduced_motion="reduce")
        context.set_default_timeout(240_000)  # a busy machine takes long
        contexts.append(context)
        seen = Seen(context.new_page())

        def request(asked: object) -> None:
            if asked.url.startswith("file://"):
                seen.files.add(Path(asked.url.removeprefix("file://").partition("?")[0].partition("#")[0]))
            elif not asked.url.startswith(("data:", "blob:")):
                seen.away.append(asked.url)

        seen.page.on("request", request)
        seen.page.on("requestfailed", lambda asked: seen.failed.append(asked.url))
        seen.page.on("pageerror", lambda error: seen.said.append(str(error)))
        seen.page.on("console", lambda line: seen.said.append(line.text) if line.type == "error" else None)
        seen.page.goto((elsewhere / name).as_uri())
        seen.page.evaluate("() => window.MathJax?.startup?.promise")  # waits until the formulas are set
        return seen

    yield opened
    for context in contexts:
        context.close()
