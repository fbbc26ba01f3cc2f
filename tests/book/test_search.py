"""The index of the book's search: which text belongs to which place of a page."""

from __future__ import annotations

import base64
import json
import zlib

from heavytail.book import search
from heavytail.book.search import Section

PAGE = """<nav>not here</nav><article>
<section id="top"><h1>Le\u0301vy jumps<a class="headerlink" href="#top">#</a></h1>
<p>One <em>jump</em>.</p><p>At <span class="math">\\(\\alpha \\le 2\\)</span>.</p>
<details class="hide above-input"><summary>Show code</summary><pre>secret = 1</pre></details>
<script>window.secret = 2</script><table><tr><td>left</td><td>0.25</td><td>right</td></tr></table>
<section id="more"><h2>More</h2><pre><span>heavytail</span><span>.</span><span>prune</span>()</pre></section>
</section></article>"""
NAMES = """<article><section id="reference"><h1>Reference</h1><p>All.</p>
<dl class="py function"><dt class="sig" id="heavytail.prune"><span class="descclassname">heavytail.</span>
<span class="descname">prune</span>(model)</dt><dd><p>Cuts.</p></dd></dl>
<dl class="py class"><dt class="sig"><span class="descname">Path</span></dt><dd><p>Of jumps.</p>
<dl class="py method"><dt class="sig"><span class="descname">ends</span>()</dt><dd><p>Where.</p></dd></dl></dd></dl>
</section></article>"""


def test_a_section_has_its_own_text_and_not_that_of_the_next_nor_what_is_folded():
    page = search.read(PAGE, "book/a.html")
    assert (page.title, page.reference) == ("L\u00e9vy jumps", False)  # an accented letter is one character
    assert page.sections == (
        Section("top", "L\u00e9vy jumps", "One jump. At \u03b1 \u2264 2. left right"),
        Section("more", "More", "heavytail.prune()"),
    )


def test_a_name_of_the_reference_is_a_place_of_its_own():
    page = search.read(NAMES, "book/api.html")
    assert page.reference
    named, other = page.sections[1:]
    assert named == Section("heavytail.prune", "heavytail.prune", "Cuts.")
    assert other == Section("reference", "Path", "Of jumps. ends() Where.")  # without an anchor of its own
    assert page.sections[0].text == "All."


def test_the_index_is_written_and_only_the_page_for_searching_loads_it(tmp_path):
    scripts = "".join(f'<script src="{name}?v=1"></script>\n' for name in search.SPHINX)
    (tmp_path / "search.html").write_text(f"<head></head>{scripts}<script src='own.js'></script>", "utf-8")
    (tmp_path / "searchindex.js").write_text("", "utf-8")
    for _ in range(2):  # a second build finds what the first has settled
        search.settle(tmp_path, {"a.html": PAGE, "b.html": "moved"})
        page = (tmp_path / "search.html").read_text("utf-8")
        assert page.count(search.INDEX) == page.count("_static/search.js") == 1
        assert not any(name in page for name in search.SPHINX)
        assert "own.js" in page
    given, _, index = (tmp_path / search.INDEX).read_text("utf-8").partition(" = ")
    assert given == "window.heavytailIndex"
    deflated = base64.b64decode(json.loads(index.rstrip().removesuffix(";")))
    ((address, title, reference, sections),) = json.loads(zlib.decompress(deflated))
    assert (address, title, reference, sections[1][0]) == ("a.html", "L\u00e9vy jumps", 0, "more")
    assert not (tmp_path / "searchindex.js").exists()
