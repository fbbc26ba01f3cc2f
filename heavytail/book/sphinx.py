"""The book's own Sphinx extension: the foot of a page, where its buttons lead, and no load that no page uses."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from heavytail.book import bibliography, glossary, search, stamps
from heavytail.book.page import lasted
from heavytail.lab import bench
from heavytail.version import __version__

RUNS = "runs.json"  # beside the book's files where they are assembled: when each chapter ran, and how long
REPORT, WRONG = "book/claims", "#if-a-verdict-is-wrong"  # the page, and the place in it, that says how to report one
TERMS = "book/glossary"
BRANCH = "notebooks"  # of the repository: holds each chapter as a notebook that Binder and Colab can open
ADDRESS = re.compile(r"(?:https?://|git@|ssh://git@)([\w.-]+)[:/]([\w./-]+?)(?:\.git)?/?")
# Font Awesome: one drawing in its script.
ICON = re.compile(r'"?([a-z0-9-]+)"?:\[\d+,\d+,\[([^\]]*)\],"[0-9a-f]*",(?:"[^"]*"|\[[^\]]*\])\],?')
# The same icons as letters of a font, which need not be loaded: the script draws them.
LETTERS = re.compile(r'(?:\.fa-[a-z0-9-]+:before,?)+\{content:"[^"]*"\}')
MATHJAX_USED = ("tex-chtml.js", "output/chtml", "input", "a11y/assistive-mml.js", "ui")


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    bibliography.add_style()
    gc.set_threshold(100_000, 50, 100)  # to look for cycles among all trees takes a tenth of the time of a build
    search.silence(app)
    app.add_css_file("terms.css")
    app.add_js_file("terms.js", loading_method="defer")
    app.connect("config-inited", _settle)
    app.connect("autodoc-process-docstring", _plain)
    app.connect("html-page-context", _lighten, priority=900)
    app.connect("build-finished", _trim)
    return {"version": __version__, "parallel_read_safe": True, "parallel_write_safe": True}


def repository(root: Path | None = None) -> str | None:
    """The web address of the project: HEAVYTAIL_REPOSITORY, or where the clone at `root` came from; None if unknown."""
    address = os.environ.get("HEAVYTAIL_REPOSITORY", "")
    if not address:
        command = ["git", "config", "--get", "remote.origin.url"]
        try:
            address = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None
    match = ADDRESS.fullmatch(address)
    return f"https://{match[1]}/{match[2]}" if match else None


def buttons(address: str | None) -> dict[str, Any]:
    """Theme options for the buttons that lead to the project, to Binder and to Colab; none without an address."""
    if address is None:
        return {}
    launch = {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"}
    if address.startswith("https://github.com/"):
        launch["colab_url"] = "https://colab.research.google.com"
    return {
        "repository_url": address,
        "repository_branch": BRANCH,
        "path_to_docs": "",
        "use_repository_button": True,
        "use_issues_button": True,
        "launch_buttons": launch,
    }


@cache
def made_with() -> tuple[str, str]:
    """What makes the pages and on what: the words for the foot of a page, and those that it has no room for."""
    made = bench.machine()
    versions, processor = made["versions"], re.sub(r"\((R|TM)\)|( \d+-Core)? (CPU|Processor)| @.*", "", made["device"])
    here = f"heavytail {versions['heavytail']} · torch {versions['torch']} · {processor}, {made['cores']} cores"
    return here, f"numpy {versions['numpy']}, scipy {versions['scipy']}, {made['system']}"


def foot(runs: Sequence[stamps.Ran] = (), report: str = "") -> str:
    """What stands at the foot of a page: when its code ran and how long, or else when it was built, and with what.

    Of a page that holds several chapters, the last day and the time of all. `report` is where a link leads that asks
    for wrong verdicts.
    """
    day = max((run.day for run in runs), default=datetime.now(UTC).date().isoformat())
    when = f"Ran {day} in {lasted(sum(run.seconds for run in runs))}" if runs else f"Built {day}"
    here, more = made_with()
    asked = f' · <a href="{escape(report)}">Is a verdict wrong?</a>' if report else ""
    return f'<p class="made-with" title="{escape(more)}">{when} · {escape(here)}{asked}</p>'


def _settle(app: Any, config: Any) -> None:
    config.html_search_language = search.SILENT
    config.html_theme_options = {
        **config.html_theme_options,
        **buttons(repository(Path(app.srcdir))),
        "extra_footer": foot(),
    }
    config.html_context = {**config.html_context, "default_mode": "auto"}


def _plain(app: Any, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    lines[:] = restructured("\n".join(lines)).splitlines()


def restructured(docstring: str) -> str:
    """A plain docstring as reStructuredText.

    A paragraph whose lines are a name, two spaces or more, and what it means becomes a list; an indented one keeps its
    columns; a bar is a bar.
    """

    def bars(text: str) -> str:
        return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in _CODE.split(text))

    paragraphs = []
    for paragraph in docstring.split("\n\n"):
        rows = [(re.match(r"(\w+) {2,}(\S.*)", line), line) for line in paragraph.splitlines()]
        if rows and rows[0][0] and all(named or line.startswith("   ") for named, line in rows):
            paragraphs.append(
                "\n".join(f"`{row[1]}`\n  {bars(row[2])}" if row else f"  {bars(line.strip())}" for row, line in rows)
            )
        else:
            paragraphs.append("::\n\n" + paragraph if paragraph.startswith(" ") else bars(paragraph))
    return "\n\n".join(paragraphs)


_CODE = re.compile(r"(`[^`]*`)")


def _lighten(app: Any, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """No scripts of Thebe, whose buttons this book lacks; those for formulas only where there are any.

    A bibliography is not called a list, for a list would have items.
    """
    body = context.get("body", "")
    unused = ["thebe"] if 'class="math' in body else ["thebe", "mathjax"]
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context[kind] if not any(name in _text(file) for name in unused)]
    runs, whole = _runs(Path(app.srcdir)), app.builder.name == "singlehtml"
    own = list(runs.values()) if whole else [runs[page]] if page in runs else []
    there = "" if whole or REPORT not in app.env.found_docs else context["pathto"](REPORT)  # "#" from there itself
    context["theme_extra_footer"] = foot(own, there.rstrip("#") + WRONG if whole or there else "")
    body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    context["body"] = typeset(glossary.explained(body, _terms(app.env)))


# What stands as it was written: code, drawings, formulas, what scripts read, and all tags.
_WRITTEN = r"<(pre|code|script|style|svg)\b.*?</\1>|<(span|div) class=\"math[^>]*>.*?</\2>|<[^>]*>"
_MINUS = re.compile(rf"{_WRITTEN}|(?<!\w)-(?=\d)", re.DOTALL)
_FORMULA = re.compile(r'(<span class="math[^>]*>[^<]*</span>[,.;:)]+)')
_TYPE = re.compile(rf'<td class="short">[^<]*|{_WRITTEN}|(?P<name>Type-I+)\b', re.DOTALL)


def typeset(body: str) -> str:
    """A page with minus signs, and with no line that breaks before a comma or in the name of a noise.

    Python writes a hyphen before a negative number, and a browser may begin a line with the comma that follows a
    formula, and break the name of a noise at its hyphen.

    >>> typeset("<td>-0.1 to 0-1</td><code>-2</code>")
    '<td>−0.1 to 0-1</td><code>-2</code>'
    >>> typeset("<th>Type-II</th>")
    '<th><span class="whole">Type-II</span></th>'
    """
    body = _MINUS.sub(lambda found: "\u2212" if found[0] == "-" else found[0], body)
    body = _FORMULA.sub(r'<span class="whole">\1</span>', body)
    return _TYPE.sub(lambda found: f'<span class="whole">{found[0]}</span>' if found["name"] else found[0], body)


@cache
def _terms(environment: Any) -> dict[str, str]:
    """The definitions of the glossary, read once for all pages; none in a book without one."""
    return glossary.definitions(environment.get_doctree(TERMS)) if TERMS in environment.found_docs else {}


@cache
def _runs(source: Path) -> dict[str, stamps.Ran]:
    """When the chapters of an assembled book ran, by the names of their pages."""
    path = source / RUNS
    noted = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return {name: run for name, one in noted.items() if (run := stamps.read_ran(one))}


def _text(file: Any) -> str:
    """Name of a file that a page loads, or the script that stands in the page itself."""
    return f"{getattr(file, 'filename', file)} {getattr(file, 'attributes', '')}".lower()


def _trim(app: Any, failure: Exception | None) -> None:
    """Take out of the built book what no page needs."""
    out = Path(app.outdir)
    if failure is not None or app.builder.name != "html":
        return
    pages = {path: path.read_text("utf-8") for path in out.rglob("*.html") if "_static" not in path.parts}
    for path, page in pages.items():
        path.write_text(search.LOADED.sub("", page), "utf-8")
    places = [f"{name}.html" for name in search.in_order(app.config.root_doc, app.env.toctree_includes)]
    search.settle(out, {place: pages[out / place] for place in places if out / place in pages})
    used = {name for page in pages.values() for name in icons_of(page)}
    script, sheet = out / "_static/scripts/fontawesome.js", out / "_static/styles/pydata-sphinx-theme.css"
    script.write_text(with_icons(script.read_text("utf-8"), used), "utf-8")
    sheet.write_text(LETTERS.sub("", sheet.read_text("utf-8")), "utf-8")
    for path in out.rglob("*.map"):
        path.unlink()
    mathjax = out / "_static/mathjax"
    for path in [p for p in mathjax.rglob("*") if p.is_file()]:
        if not path.relative_to(mathjax).as_posix().startswith(MATHJAX_USED):
            path.unlink()


def icons_of(page: str) -> set[str]:
    """Names of the Font Awesome icons in a page: the words after `fa-` in its classes."""
    return {
        name for classes in re.findall(r'class="([^"]*)"', page) for name in re.findall(r"\bfa-([a-z0-9-]+)", classes)
    }


def with_icons(script: str, used: set[str]) -> str:
    """Font Awesome's script with the drawings of the used icons alone, each known by all of its names."""

    def kept(match: re.Match[str]) -> str:
        names = {match[1], *re.findall(r'"([a-z0-9-]+)"', match[2])}
        return match[0] if names & used else ""

    return ICON.sub(kept, script)
